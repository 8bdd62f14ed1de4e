"""
Pages that somebody else has scraped, put together again from their series.

A Prometheus keeps each line of a page under the page's target and the time of the scrape. Series of one target and one
time are therefore the page as it was read, and go to the same translators as a page that we read ourselves: nothing is
spelled twice. What the server added (``job``, ``instance``) is taken off again, what it renamed to make room for that
(``exported_instance``) gets its name back.

What a collector of this machine reads is left to it: it is fresher. Nothing is told twice, and each target remembers
the time of its last scrape. Targets, and scrapes of a target in one answer, are bounded.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from aiops.cards import CardBook
from aiops.catalog import CATALOG
from aiops.collect import dcgm_page, node_page
from aiops.collect.addresses import Addresses
from aiops.collect.engines import Dialect, dialects, gateways
from aiops.collect.exposition import Page, Reading, Series
from aiops.collect.prometheus_api import Found
from aiops.collect.server_page import ServerPage, gateway, server
from aiops.errors import SourceError
from aiops.model import Labels, Observation, Sample

MAX_TARGETS = 512
_MAX_SCRAPES = 128
"""Of a target in one answer: the newest count."""
_FORGET_S = 900.0
_MAX_LABEL = 200
_UP: Final = "up"
_GPU, _HOST, _OWN, _PAGE = "GPU exporter", "host", "aiops", "page"
_CALLED_HOST: Final = ("host_name", "node", "nodename", "hostname", "kubernetes_node")
"""Labels a target's host often has."""


class Vocabulary(NamedTuple):
    """Every name that is understood, by who understands it."""

    pages: frozenset[str]
    """Of inference servers and gateways."""
    own: frozenset[str]
    """Of the catalogue, as other nodes' daemons show them."""
    wanted: tuple[str, ...]


@functools.cache
def vocabulary() -> Vocabulary:
    """All tables together; made when it is first needed."""
    every = (*dialects().known, *gateways().known)
    pages = frozenset(name for dialect in every for name in (*dialect.wanted, *dialect.strangers))
    own = frozenset(name for name in CATALOG if not name.startswith("aiops_"))
    return Vocabulary(pages, own, tuple(sorted({_UP} | pages | own | dcgm_page.WANTED | node_page.WANTED)))


class Scrape(NamedTuple):
    """One page as it was read."""

    at_s: float
    series: tuple[Series, ...]
    values: list[float]


class Place(NamedTuple):
    """What translators must know of where they are."""

    host: str
    addresses: Addresses
    book: CardBook
    known: frozenset[str]
    """Inference servers whose pages are read here."""
    this_host: bool
    """Take what collectors of this machine read, too."""


class Target:
    """One page of the fleet, as far as it is of one kind."""

    def __init__(self, instance: str, kind: str) -> None:
        self.instance = instance
        self.kind = kind
        self.title = ""
        """What it turned out to be; empty while it is not known or not wanted."""
        self.last_s = -math.inf
        self.seen_s = -math.inf
        self._series: tuple[Series, ...] = ()
        self._page: ServerPage | None = None
        self._gpus: dcgm_page.DcgmPage | None = None
        self._node: node_page.NodePage | None = None

    def read(self, scrape: Scrape, at_s: float, place: Place) -> Iterable[Observation]:
        """
        What *scrape* says, at *at_s* of our clock.

        Raises:
            SourceError: it says nothing that is understood.
        """
        if scrape.series != self._series:
            self._series = scrape.series
        if self.kind == _GPU:
            return self._read_gpus(scrape, at_s, place)
        if self.kind == _HOST:
            return self._read_node(scrape, at_s, place)
        if self.kind == _OWN:
            return self._read_own(scrape, at_s, place)
        return self._read_page(scrape, at_s, place)

    def down(self, at_s: float) -> Iterator[Observation]:
        """A scrape failed."""
        if self._page is not None and self.title:
            for metric in _up_names(self._page.dialect):
                yield Sample(metric, self._page.labels, at_s, 0.0)

    def _read_page(self, scrape: Scrape, at_s: float, place: Place) -> Iterator[Observation]:
        if self._page is None:
            self._page = _recognise(scrape.series, self.instance, place)
        if self._page is None:
            return
        self.title = ""
        here = self.instance.startswith("127.0.0.1:")
        read_here = here if _is_gateway(self._page.dialect) else self.instance in place.known
        if read_here and not place.this_host:
            return
        samples = self._page.take(self._series, scrape.values, at_s)
        self.title = self._page.dialect.title
        asleep = any(sample.metric == "gen_ai_server_asleep" and sample.value > 0.0 for sample in samples)
        yield from samples
        for metric in _up_names(self._page.dialect):
            ready = metric != "gen_ai_server_ready" or not asleep
            yield Sample(metric, self._page.labels, at_s, 1.0 if ready else 0.0)

    def _read_gpus(self, scrape: Scrape, at_s: float, place: Place) -> Iterator[Observation]:
        if self.instance.startswith("127.0.0.1:") and not place.this_host:
            return
        if self._gpus is None:
            self._gpus = dcgm_page.DcgmPage(_host_of(scrape.series, self.instance, place), local=False, book=place.book)
        readings: dict[str, list[Reading]] = {}
        for (name, labels, text), value in zip(scrape.series, scrape.values, strict=True):
            if math.isfinite(value):
                readings.setdefault(name, []).append(Reading(labels, value, text))
        yield from self._gpus.take(Page(readings, 0), at_s)
        self.title = "" if self._gpus.left_to_nvml else _GPU

    def _read_node(self, scrape: Scrape, at_s: float, place: Place) -> Iterator[Observation]:
        if self._node is None:
            self._node = node_page.NodePage(_host_of(scrape.series, self.instance, place))
        samples = list(self._node.take(self._series, scrape.values, at_s))
        own = self._node.host == place.host
        self.title = "" if own and not place.this_host else _HOST
        if self.title:
            yield from samples

    def _read_own(self, scrape: Scrape, at_s: float, place: Place) -> Iterator[Observation]:
        for (name, labels, _), value in zip(scrape.series, scrape.values, strict=True):
            if labels.get("host_name") == place.host or not math.isfinite(value):
                continue  # what this daemon has shown itself
            self.title = "aiops of another node"
            ours = {each: labels.get(each, "")[:_MAX_LABEL] for each in CATALOG[name].labels}
            yield Sample(name, Labels.from_mapping(ours), at_s, value)


class Scraped:
    """The targets of one server."""

    def __init__(self) -> None:
        self._targets: dict[tuple[str, str, str], Target] = {}
        self.refused = 0
        """Targets of the last answer for which there was no room."""
        self.newest_s = -math.inf
        """Time of the last scrape of any target, by the server's clock."""

    def read(self, found: Iterable[Found], shift_s: float, place: Place) -> Iterator[Observation]:
        """
        What is new in an answer.

        Args:
            found: Series of the answer.
            shift_s: Added to their times to make them ours.
            place: Where we are.
        """
        grouped: dict[tuple[str, str, str], list[tuple[Series, Sequence[tuple[float, str]]]]] = {}
        ups: dict[tuple[str, str], Sequence[tuple[float, str]]] = {}
        for each in found:
            name, job, instance = (each.metric.get(label, "") for label in ("__name__", "job", "instance"))
            if name == _UP:
                ups[job, instance] = each.points
            elif kind := _kind(name):
                labels = page_labels(each.metric, keep=kind == _OWN)
                grouped.setdefault((job, instance, kind), []).append((_series(name, labels), each.points))
        self.refused = 0
        for key, rows in grouped.items():
            if (target := self._target(key, place)) is not None:
                yield from self._read_target(target, rows, shift_s, place)
        yield from self._downs(ups, shift_s)
        self._forget()

    def titles(self) -> dict[str, int]:
        """How many targets turned out to be what."""
        counts: dict[str, int] = {}
        for target in self._targets.values():
            if target.title:
                counts[target.title] = counts.get(target.title, 0) + 1
        return counts

    def _target(self, key: tuple[str, str, str], place: Place) -> Target | None:
        target = self._targets.get(key)
        if target is None:
            if len(self._targets) >= MAX_TARGETS:
                self.refused += 1
                return None
            target = self._targets[key] = Target(place.addresses.instance(key[1])[:_MAX_LABEL], key[2])
        return target

    def _read_target(
        self, target: Target, rows: Sequence[tuple[Series, Sequence[tuple[float, str]]]], shift_s: float, place: Place
    ) -> Iterator[Observation]:
        for scrape in scrapes(rows, target.last_s):
            target.last_s = scrape.at_s
            self.newest_s = max(self.newest_s, scrape.at_s)
            try:
                yield from target.read(scrape, scrape.at_s + shift_s, place)
            except SourceError:  # a page that says nothing we want is no failure of the server that kept it
                target.title = ""

    def _downs(
        self, ups: Mapping[tuple[str, str], Sequence[tuple[float, str]]], shift_s: float
    ) -> Iterator[Observation]:
        for (job, instance), points in ups.items():
            target = self._targets.get((job, instance, _PAGE))
            if target is None or not target.title:
                continue
            for at_s, text in points:
                if at_s > target.last_s and text == "0":
                    target.last_s = at_s
                    yield from target.down(at_s + shift_s)

    def _forget(self) -> None:
        for key, target in list(self._targets.items()):
            if target.last_s < self.newest_s - _FORGET_S:
                del self._targets[key]


def scrapes(rows: Sequence[tuple[Series, Sequence[tuple[float, str]]]], after_s: float) -> list[Scrape]:
    """The pages of a target that are newer than *after_s*, oldest first; what is no number is left out."""
    at: dict[float, tuple[list[Series], list[float]]] = {}
    for series, points in rows:
        for at_s, text in points:
            if at_s > after_s and (value := _number(text)) is not None:
                page = at.setdefault(at_s, ([], []))
                page[0].append(series)
                page[1].append(value)
    return [Scrape(at_s, tuple(at[at_s][0]), at[at_s][1]) for at_s in sorted(at)[-_MAX_SCRAPES:]]


def page_labels(metric: Mapping[str, str], *, keep: bool = False) -> dict[str, str]:
    """
    The labels as they stood on the page.

    Args:
        metric: As the server has them.
        keep: Labels the server may have added stay where the page had none: with ``honor_labels`` they are the page's.
    """
    labels = {name: value for name, value in metric.items() if name != "__name__"}
    moved = {name.removeprefix("exported_"): value for name, value in labels.items() if name.startswith("exported_")}
    if not keep:
        labels.pop("job", None)
        labels.pop("instance", None)
    return {name: value for name, value in labels.items() if not name.startswith("exported_")} | moved


def _kind(name: str) -> str:
    if name in vocabulary().pages:
        return _PAGE
    if name in dcgm_page.WANTED:
        return _GPU
    if name in node_page.WANTED:
        return _HOST
    return _OWN if name in vocabulary().own else ""


def _series(name: str, labels: dict[str, str]) -> Series:
    text = ",".join(f"{label}={labels[label]!r}" for label in sorted(labels))
    return Series(name, labels, text.encode("utf-8", "replace"))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _recognise(series: Sequence[Series], instance: str, place: Place) -> ServerPage | None:
    """Who wrote a page with these lines."""
    names = "\n".join({each.name for each in series}).encode()
    if (dialect := dialects().recognise(names)) is not None:
        return server(dialect, _host_of(series, instance, place), instance)
    if (dialect := gateways().recognise(names)) is not None:
        return gateway(dialect, _host_of(series, instance, place), instance)
    return None


def _is_gateway(dialect: Dialect) -> bool:
    return dialect in gateways().known


def _up_names(dialect: Dialect) -> tuple[str, ...]:
    return ("http_gateway_up",) if _is_gateway(dialect) else ("gen_ai_server_up", "gen_ai_server_ready")


def _host_of(series: Sequence[Series], instance: str, place: Place) -> str:
    """The host a target runs on, as far as its labels tell; else the address it is asked at."""
    if instance.startswith("127.0.0.1:"):
        return place.host
    labels = series[0].labels
    named = next((labels[name] for name in _CALLED_HOST if labels.get(name)), "")
    return (named or instance.rpartition(":")[0] or instance or place.host)[:_MAX_LABEL]
