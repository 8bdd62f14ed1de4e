"""
The /metrics page: the node's samples and this program's own counters, in Prometheus text format.

prometheus_client takes 14 ms for 2,000 series because it escapes and sorts everything anew. A node's series hardly
change from tick to tick, only their values do; so the part of each line before the value is made once per series and
kept. The page is made at the first scrape after a tick; all others until the next tick get the same bytes, and a tick that
nobody scrapes costs nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, generate_latest

from aiops.catalog import CATALOG, Metric, MetricKind
from aiops.model import Labels, Sample

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class Exposition:
    """
    The page, rendered at most once a tick and cached.

    Args:
        registry: Holds our own metrics; rendered at each scrape, it is small.
        catalog: Which names may appear, with their help and kind.
    """

    def __init__(self, registry: CollectorRegistry, catalog: Mapping[str, Metric] = CATALOG) -> None:
        self._registry = registry
        self._catalog = catalog
        self._prefixes: dict[str, dict[Labels, str]] = {}
        self._node = b""
        self._renewed: Callable[[], Iterable[Sample]] | None = None

    def renew(self, samples: Callable[[], Iterable[Sample]]) -> None:
        self._renewed = samples

    def render(self, samples: Iterable[Sample]) -> None:
        """
        Make *samples* what the page shows, in an order that depends on nothing but their names and labels.

        Of two samples of one series the later wins. Left out: metrics the catalogue does not know, and values that are
        no finite number, since a reading that failed is absent.
        """
        families: dict[str, dict[str, float]] = {}
        kept: dict[str, dict[Labels, str]] = {}
        for sample in samples:
            name, labels, value = sample.metric, sample.labels, sample.value
            family = families.get(name)
            if family is None:
                if name not in self._catalog:
                    continue
                family = families[name] = {}
                kept[name] = {}
            if not math.isfinite(value):
                continue
            prefix = self._prefixes.get(name, {}).get(labels)
            if prefix is None:
                prefix = _prefix(name, labels)
            kept[name][labels] = prefix
            family[prefix] = value
        self._prefixes = kept  # series that ended are forgotten with it
        self._node = self._text(families).encode()

    def _text(self, families: Mapping[str, Mapping[str, float]]) -> str:
        lines: list[str] = []
        announced = ""
        for name in sorted(families):
            family = families[name]
            if not family:
                continue
            metric = self._catalog[name]
            group, kind = _group(metric)
            if group != announced:
                announced = group
                lines.append(f"# HELP {group} {_escape_help(metric.help)}\n# TYPE {group} {kind}")
            lines.extend([f"{prefix}{value!r}" for prefix, value in sorted(family.items())])
        lines.append("")
        return "\n".join(lines)

    def page(self) -> bytes:
        """The whole page: node samples as they were at the first scrape after a tick, then our own metrics as they stand."""
        if self._renewed is not None:
            samples, self._renewed = self._renewed, None
            self.render(samples())
        return self._node + generate_latest(self._registry)


def _group(metric: Metric) -> tuple[str, str]:
    """Under which name and type a metric is announced: a running sum and its count are a summary without quantiles."""
    if metric.kind is MetricKind.COUNTER:
        for suffix in ("_sum", "_count"):
            if metric.name.endswith(suffix):
                return metric.name.removesuffix(suffix), "summary"
    return metric.name, metric.kind.value


def _prefix(name: str, labels: Labels) -> str:
    """A line up to its value. Labels whose name the format cannot carry are left out."""
    shown = ",".join(f'{key}="{_escape_label(value)}"' for key, value in labels.pairs if _LABEL_NAME.fullmatch(key))
    return f"{name}{{{shown}}} " if shown else f"{name} "


def _escape_label(value: str) -> str:
    # file names may hold bytes that are no UTF-8; they arrive as lone surrogates, which cannot be encoded again
    text = value.encode("utf-8", "replace").decode()
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _escape_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
