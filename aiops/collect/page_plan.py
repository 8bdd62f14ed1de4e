"""
What becomes of each series of a page, worked out once for as long as the page is laid out alike.

Several engines or ranks on one page become one series per server: counters and queues are added up, KV-cache usage is
the fullest, ranks that mirror one another count once. Which lines go where depends on labels alone, so a plan holds
nothing but positions in the list of values, and carrying it out is a few additions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from aiops.catalog import CATALOG, MetricKind
from aiops.collect.engines import FACTORS, Combine, Dialect, Row, Source
from aiops.collect.exposition import Series
from aiops.model import Labels

MAX_LABEL = 200
_MAX_VALUES = 16
"""Values of one label on one page (models, pools, clusters, reasons); what is beyond goes together as "other"."""
_MAX_CELLS = 512
"""Samples of one page in all."""
_MAX_BUCKETS = 128
_MAX_PARTS = 64

Group = list[int]
"""Places of values that mean the same: the highest of them counts, once."""


@dataclass(slots=True)
class Cell:
    """One sample to be: where its values stand."""

    metric: str
    labels: Labels
    combine: Combine
    groups: dict[object, Group] = field(default_factory=dict)
    over: list[int] = field(default_factory=list)
    single: list[int] = field(default_factory=list)
    """The places, where no value is told twice."""

    def settle(self) -> None:
        """All places are known."""
        if all(len(group) == 1 for group in self.groups.values()):
            self.single = [group[0] for group in self.groups.values()]

    def value(self, values: Sequence[float]) -> float | None:
        """The sample's value; None where the page shows no number, or one below zero, which nothing here can be."""
        if self.single:
            found = [values[place] for place in self.single]
        else:
            found = [max([values[place] for place in group]) for group in self.groups.values()]
        total = max(found, default=0.0) if self.combine is Combine.MAX else sum(found)
        if not math.isfinite(total):
            return self._careful(values)
        return self._over(total, values) if self.over else total if total >= 0.0 else None

    def _careful(self, values: Sequence[float]) -> float | None:
        """As `value`, where some of *values* are no finite numbers."""
        found = [value for group in self.groups.values() if (value := _highest(values, group)) is not None]
        if not found:
            return None
        total = max(found) if self.combine is Combine.MAX else sum(found)
        return self._over(total, values) if math.isfinite(total) else None

    def _over(self, total: float, values: Sequence[float]) -> float | None:
        if total < 0.0 or not self.over:
            return total if total >= 0.0 else None
        limit = sum(values[place] for place in self.over)
        return total / limit if limit > 0.0 and math.isfinite(limit) else None


@dataclass(slots=True)
class Histogram:
    """One quantile to be: for each edge, where its counts stand."""

    metric: str
    labels: Labels
    share: float
    edges: tuple[float, ...]
    cells: tuple[Cell, ...]

    def counts(self, values: Sequence[float]) -> list[float] | None:
        """The cumulative count of each edge; None where one is missing."""
        found = [cell.value(values) for cell in self.cells]
        known = [count for count in found if count is not None]
        return known if len(known) == len(found) else None


@dataclass(slots=True)
class Part:
    """One engine of a page: where its batch size and what moves with its work stand."""

    running: list[int] = field(default_factory=list)
    moving: list[int] = field(default_factory=list)


class Plan:
    """
    The plan for pages of one layout.

    Args:
        dialect: The engine's table.
        fixed: Labels every sample has.
        model: The server's model, for lines that name none; None where samples have no such label.
        series: What stands on the page, in its order.
    """

    def __init__(self, dialect: Dialect, fixed: Labels, model: str | None, series: Sequence[Series]) -> None:
        self._dialect, self._fixed, self._model = dialect, fixed, model
        self._count = len(series)
        self._places: dict[str, list[int]] = {}
        for place, each in enumerate(series):
            self._places.setdefault(each.name, []).append(place)
        self._series = series
        self._known: dict[str, set[str]] = {}
        self._constants: list[float] = []
        self._scaled: dict[int, float] = {}
        self._edges: dict[tuple[str, Labels], dict[float, Cell]] = {}
        self._cells: dict[tuple[str, Labels], Cell] = {}
        shown: set[str] = set()
        for number, row in enumerate(dialect.rows):
            if row.spare and row.source.metric in shown:
                continue
            if self._take(number, row) and not row.spare:
                shown.add(row.source.metric)
        self.cells = tuple(self._cells.values())
        for cell in (*self.cells, *(cell for cells in self._edges.values() for cell in cells.values())):
            cell.settle()
        self.histograms = tuple(self._histograms())
        self.parts = tuple(self._parts())

    @property
    def names(self) -> frozenset[str]:
        """Names of which the page has something."""
        return frozenset(self._places)

    def fill(self, values: Sequence[float]) -> Sequence[float]:
        """The page's *values* in base units, with what stands in labels behind them."""
        if not self._constants and not self._scaled:
            return values
        filled = [*values, *self._constants]
        for place, factor in self._scaled.items():
            filled[place] *= factor
        return filled

    def _take(self, number: int, row: Row) -> bool:
        """Give the lines of one row their places; False if the page has none."""
        name = next((name for name in row.names if name in self._places), None)
        over = [place for each in row.over for place in self._places.get(each, ())]
        if name is None or (row.over and not over):
            return False
        source, matched = row.source, False
        for place in self._places[name]:
            matched |= self._place(number, source, place, over)
        told = any(source.where.keys() <= self._series[place].labels.keys() for place in self._places[name])
        counts = CATALOG[source.metric].kind is MetricKind.COUNTER
        if not matched and source.where and told and counts and not source.labels:
            # the family is there, nothing in it is what we look for: that is none so far
            self._cell(source, self._labels(source, {}))
        return True

    def _place(self, number: int, source: Source, place: int, over: list[int]) -> bool:
        """Give one line its place; False if it is not wanted."""
        theirs, text = self._series[place].labels, self._series[place].text
        edge = _number(theirs.get("le", "")) if source.quantile is not None else 0.0
        known = _number(theirs.get(source.value_of, "")) if source.value_of else 0.0
        if not _matches(theirs, source.where) or edge is None or known is None or math.isinf(known):
            return False
        factor = FACTORS[source.unit]
        if source.quantile is not None:
            cell = self._bucket(source, self._labels(source, theirs), edge * factor)
        else:
            cell = self._cell(source, self._labels(source, theirs))
            if source.value_of:
                place = self._count + len(self._constants)
                self._constants.append(known)
            elif factor != 1.0:
                self._scaled[place] = factor
        mirrored = self._dialect.mirrored
        apart = tuple(pair for pair in theirs.items() if pair[0] not in mirrored) if mirrored else text
        if cell is not None:
            cell.groups.setdefault((number, apart), []).append(place)
            cell.over = over
        return cell is not None

    def _labels(self, source: Source, theirs: Mapping[str, str]) -> Labels:
        ours = dict(source.fixed)
        if self._model is not None:
            ours["model"] = next((theirs[name] for name in self._dialect.model if name in theirs), self._model)
        for name, spellings in source.labels.items():
            value = next((theirs[spelling] for spelling in spellings if spelling in theirs), "")
            ours[name] = source.rename.get(value, value)
        return self._fixed.merge(**{name: self._bounded(name, value[:MAX_LABEL]) for name, value in ours.items()})

    def _bounded(self, name: str, value: str) -> str:
        known = self._known.setdefault(name, {value})
        if value not in known and len(known) >= _MAX_VALUES:
            return "other"
        known.add(value)
        return value

    def _cell(self, source: Source, labels: Labels) -> Cell | None:
        """The cell of these labels, a new one if there is room."""
        key, cells = (source.metric, labels), self._cells
        if key not in cells:
            if len(cells) >= _MAX_CELLS:
                return None
            cells[key] = Cell(source.metric, labels, source.combine)
        return cells[key]

    def _bucket(self, source: Source, labels: Labels, edge: float) -> Cell | None:
        key = (source.metric, labels)
        if key not in self._edges and len(self._edges) >= _MAX_CELLS:
            return None
        cells = self._edges.setdefault(key, {})
        if edge not in cells:
            if len(cells) >= _MAX_BUCKETS:
                return None
            cells[edge] = Cell(source.metric, labels, source.combine)
        return cells[edge]

    def _histograms(self) -> Iterator[Histogram]:
        shares = {row.source.metric: row.source.quantile for row in self._dialect.rows if row.source.quantile}
        for (metric, labels), cells in self._edges.items():
            edges = sorted(edge for edge, cell in cells.items() if cell.groups)
            yield Histogram(metric, labels, shares[metric] or 0.0, tuple(edges), tuple(cells[edge] for edge in edges))

    def _parts(self) -> Iterator[Part]:
        """Engines of the page, each with its own batch and progress."""
        running = {
            place
            for cell in self.cells
            if cell.metric == "gen_ai_server_requests_running"
            for group in cell.groups.values()
            for place in group
        }
        parts: dict[tuple[str, ...], Part] = {}
        for place, each in enumerate(self._series):
            where = self._dialect.progress.get(each.name)
            moves = where is not None and _matches(each.labels, where)
            if place not in running and not moves:
                continue
            key = tuple(each.labels.get(label, "") for label in self._dialect.parts)
            if key in parts or len(parts) < _MAX_PARTS:
                part = parts.setdefault(key, Part())
                (part.running if place in running else part.moving).append(place)
        yield from (part for part in parts.values() if part.running and part.moving)


def _matches(theirs: Mapping[str, str], where: Mapping[str, Sequence[str]]) -> bool:
    """Whether every label has a wanted value; one that is not there has an empty one."""
    return all(theirs.get(label, "") in wanted for label, wanted in where.items())


def _highest(values: Sequence[float], group: Group) -> float | None:
    return max((values[place] for place in group if math.isfinite(values[place])), default=None)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return None if math.isnan(value) else value
