"""
From a server's metrics page to catalogued samples, by the alias table in engines.yaml.

Every engine spells the same few facts in its own way, and spells them anew every few versions; the table holds the
spellings, this module the arithmetic. Several engines or ranks on one page become one series per server: counters and
queues are added up, KV-cache usage is the fullest, ranks that mirror one another count once. A P99 is interpolated in
the server's own buckets, over what was added since the last reading.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import resources
from typing import NamedTuple

from aiops.catalog import CATALOG, MetricKind
from aiops.collect.exposition import Page, Parser, Reading
from aiops.document import decode, parse
from aiops.errors import SourceMalformed
from aiops.model import Labels, Sample

_MAX_SERIES = 1_024
"""Of one metric on one page: models or pools, times bucket edges."""
_MAX_REMEMBERED = 4_096
_MAX_LABEL = 200
_NO_PROOF = {"process_start_time_seconds"}
"""Stands on the page of any program."""


class Combine(StrEnum):
    """How several series of a page become one."""

    SUM = "sum"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class Source:
    """Where one metric stands on an engine's page; fields as explained in engines.yaml."""

    names: tuple[str, ...]
    combine: Combine = Combine.SUM
    where: dict[str, str] = field(default_factory=dict)
    value_of: str = ""
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    quantile: float | None = None


@dataclass(frozen=True, slots=True)
class Engine:
    """One inference server's spelling; fields as explained in engines.yaml."""

    title: str
    marks: tuple[str, ...]
    unless: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ("",)
    model: tuple[str, ...] = ()
    version: str = ""
    mirrored: tuple[str, ...] = ()
    read: dict[str, Source] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _File:
    engines: dict[str, Engine]
    every_page: dict[str, Source]


class Dialect:
    """
    One engine's table, ready for use and shared by all its servers.

    Args:
        name: As in the label ``server``; empty for a page of no known engine.
        engine: Its spelling.
        every_page: What stands on every page, without prefix.
    """

    def __init__(self, name: str, engine: Engine, every_page: Mapping[str, Source]) -> None:
        self.name = name
        self.title = engine.title
        self.readable = bool(engine.read)
        self.model = engine.model
        self.version_path = engine.version
        self.mirrored = frozenset(engine.mirrored)
        self.rows = [
            *((metric, source, _spellings(source, engine.prefixes)) for metric, source in engine.read.items()),
            *((metric, source, _spellings(source, ("",))) for metric, source in every_page.items()),
        ]
        self.parser = Parser({name for _, _, names in self.rows for name in names})
        self._marks = _line_start(engine.marks)
        self._unless = _line_start(engine.unless)

    def wrote(self, page: bytes) -> bool:
        """Whether *page* is one of this engine's."""
        return bool(self._marks and self._marks.search(page) and not (self._unless and self._unless.search(page)))


def _spellings(source: Source, prefixes: Sequence[str]) -> tuple[str, ...]:
    suffix = "_bucket" if source.quantile is not None else ""
    return tuple(f"{prefix}{name}{suffix}" for name in source.names for prefix in prefixes)


def _line_start(marks: Sequence[str]) -> re.Pattern[bytes] | None:
    if not marks:
        return None
    choice = b"|".join(re.escape(mark.encode()) for mark in marks)
    return re.compile(rb"^(?:# TYPE )?(?:" + choice + rb")", re.MULTILINE)


class Dialects:
    """All of them."""

    def __init__(self, file: _File) -> None:
        self.known = tuple(Dialect(name, engine, file.every_page) for name, engine in file.engines.items())
        self.unknown = Dialect("", Engine("server", ()), file.every_page)

    def recognise(self, page: bytes) -> Dialect | None:
        """Whose page this is."""
        return next((dialect for dialect in self.known if dialect.wrote(page)), None)


@functools.cache
def dialects() -> Dialects:
    """The shipped table."""
    text = resources.files("aiops.collect").joinpath("engines.yaml").read_text(encoding="utf-8")
    node = parse(text, "engines.yaml")
    if node is None:
        raise SourceMalformed("engines.yaml is empty")
    return Dialects(decode(node, _File))


_Apart = bytes | tuple[tuple[str, str], ...]


class _Place(NamedTuple):
    """Where a line of a page goes."""

    ours: tuple[Labels, float]
    """Our series, and the bucket edge where it is a histogram's (otherwise 0)."""
    apart: _Apart
    """What tells the line from others of the same series; lines that mirror one another have the same."""
    value: float | None
    """The value, if it stands in a label."""


class Server:
    """
    One server whose page is read again and again; remembers what differences need.

    Args:
        dialect: Its engine's spelling.
        host: Value of ``host_name``.
        instance: ``host:port``.
    """

    def __init__(self, dialect: Dialect, host: str, instance: str) -> None:
        self.dialect = dialect
        self.model = ""
        self._fixed = Labels.of(host_name=host, instance=instance, server=dialect.name)
        self._own: Labels | None = None
        self._places: dict[tuple[str, bytes], _Place | None] = {}
        self._counted: set[tuple[str, Labels]] = set()
        self._buckets: dict[tuple[str, Labels], dict[float, float]] = {}
        self._read_s: float | None = None

    @property
    def labels(self) -> Labels:
        """What this server's own series are labelled with."""
        if self._own is None:
            self._own = self._fixed.merge(model=self.model)
        return self._own

    def read(self, text: bytes, now_s: float) -> list[Sample]:
        """
        The samples on the page *text*.

        Raises:
            SourceMalformed: nothing of what this engine's page shows is there.
        """
        page = self.dialect.parser.parse(text)
        expected = self.dialect.readable or not self.dialect.name
        if expected and not page.readings.keys() - _NO_PROOF:
            raise SourceMalformed(f"none of the metrics of {self.dialect.title} is on the page")
        self._notice_model(page)
        samples: list[Sample] = []
        for metric, source, names in self.dialect.rows:
            readings = next((page.readings[name] for name in names if name in page.readings), None)
            if readings is None:
                continue
            if source.quantile is not None:
                samples += self._quantiles(metric, source, readings, now_s)
            else:
                samples += self._values(metric, source, readings, now_s)
        self._read_s = now_s
        return samples

    def _notice_model(self, page: Page) -> None:
        """The page's model; of several, the first by name. Some lines (vLLM's cache config) name none."""
        found = {
            reading.labels[name]
            for readings in page.readings.values()
            for reading in readings[:_MAX_SERIES]
            for name in self.dialect.model
            if name in reading.labels
        }
        model = min(found, default=self.model)[:_MAX_LABEL]
        if model != self.model:
            self.model, self._own = model, None
            self._places.clear()

    def _values(self, metric: str, source: Source, readings: Sequence[Reading], now_s: float) -> list[Sample]:
        samples: list[Sample] = []
        before_s = self._read_s if CATALOG[metric].kind is MetricKind.COUNTER else None
        totals = self._combined(metric, source, readings)
        if not totals and source.where:  # the family is there, nothing in it is what we look for: that is none so far
            totals = {(self.labels, 0.0): 0.0}
        for (labels, _), value in totals.items():
            if (metric, labels) not in self._counted:
                # a counter that appears on a page we have read before began at zero after that reading
                if before_s is not None:
                    samples.append(Sample(metric, labels, before_s, 0.0))
                if len(self._counted) >= _MAX_REMEMBERED:
                    self._counted.clear()
                self._counted.add((metric, labels))
            samples.append(Sample(metric, labels, now_s, value))
        return samples

    def _combined(self, metric: str, source: Source, readings: Sequence[Reading]) -> dict[tuple[Labels, float], float]:
        """*readings* as one value for each of our series, and bucket edge where they are a histogram's."""
        kept: dict[tuple[Labels, float], dict[_Apart, float]] = {}
        for reading in readings:
            place = self._place(metric, source, reading)
            if place is None or (place.ours not in kept and len(kept) >= _MAX_SERIES):
                continue
            value = reading.value if place.value is None else place.value
            group = kept.setdefault(place.ours, {})
            group[place.apart] = max(value, group.get(place.apart, -math.inf))
        if source.combine is Combine.MAX:
            return {ours: max(group.values()) for ours, group in kept.items()}
        return {ours: math.fsum(group.values()) for ours, group in kept.items()}

    def _place(self, metric: str, source: Source, reading: Reading) -> _Place | None:
        """Where *reading* belongs, worked out once for each of the page's series; None if it is not wanted."""
        key = (metric, reading.text)
        if key not in self._places:
            if len(self._places) >= _MAX_REMEMBERED:
                self._places.clear()
            self._places[key] = self._find_place(source, reading)
        return self._places[key]

    def _find_place(self, source: Source, reading: Reading) -> _Place | None:
        theirs = reading.labels
        if any(theirs.get(name, value) != value for name, value in source.where.items()):
            return None
        number = _number(theirs.get(source.value_of, "")) if source.value_of else None
        edge = 0.0 if source.quantile is None else _number(theirs.get("le", ""))
        if edge is None or (source.value_of and (number is None or math.isinf(number))):
            return None
        model = next((theirs[name] for name in self.dialect.model if name in theirs), self.model)
        ours = {"model": model[:_MAX_LABEL]}
        for name, spellings in source.labels.items():
            ours[name] = next((theirs[spelling] for spelling in spellings if spelling in theirs), "")[:_MAX_LABEL]
        mirrored = self.dialect.mirrored
        apart = tuple(pair for pair in theirs.items() if pair[0] not in mirrored) if mirrored else reading.text
        return _Place((self._fixed.merge(**ours), edge), apart, number)

    def _quantiles(self, metric: str, source: Source, readings: Sequence[Reading], now_s: float) -> list[Sample]:
        totals: dict[Labels, dict[float, float]] = {}
        for (labels, edge), value in self._combined(metric, source, readings).items():
            totals.setdefault(labels, {})[edge] = value
        samples: list[Sample] = []
        for labels, buckets in totals.items():
            before = self._buckets.get((metric, labels))
            if len(self._buckets) >= _MAX_SERIES:
                self._buckets.clear()
            self._buckets[metric, labels] = buckets
            reached = None if before is None else quantile(source.quantile or 0.0, increase(before, buckets))
            if reached is not None:
                samples.append(Sample(metric, labels, now_s, reached))
        return samples


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return None if math.isnan(value) else value


def increase(before: Mapping[float, float], after: Mapping[float, float]) -> dict[float, float]:
    """Growth of each cumulative bucket; all of *after* if the server has restarted in between."""
    if before.keys() != after.keys() or any(after[edge] < before[edge] for edge in after):
        return dict(after)
    return {edge: after[edge] - before[edge] for edge in after}


def quantile(share: float, buckets: Mapping[float, float]) -> float | None:
    """
    The *share* quantile of a histogram, interpolated linearly within a bucket.

    Args:
        share: Above 0, up to 1.
        buckets: Upper edge to cumulative count; the last edge should be infinity.

    Returns:
        None if nothing was counted; the highest finite edge if the quantile lies above it.

    Source:
        Prometheus' histogram_quantile.
    """
    edges = sorted(buckets)
    total = max(buckets.values(), default=0.0)
    if total <= 0.0:
        return None
    lower_edge = lower_count = 0.0
    for edge in edges:
        count = max(buckets[edge], lower_count)  # buckets written one after another may disagree by a request
        if count >= share * total:
            if math.isinf(edge) or count == lower_count:
                return lower_edge
            start = min(lower_edge, edge)
            return min(start + (edge - start) * (share * total - lower_count) / (count - lower_count), edge)
        lower_edge, lower_count = edge, count
    return lower_edge
