"""
One server's metrics page, read again and again: bytes in, catalogued samples out.

What is remembered between two readings is what differences need: the layout of the page and the plan made for it, the
buckets of its histograms, which counters were seen, and since when nothing has moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aiops.catalog import CATALOG, MetricKind
from aiops.collect.buckets import gap, increase, quantile
from aiops.collect.engines import Dialect
from aiops.collect.exposition import Follower, Series
from aiops.collect.page_plan import MAX_LABEL, Cell, Histogram, Plan
from aiops.collect.progress import ProgressWatch
from aiops.collect.steady_totals import SteadyTotals
from aiops.errors import SourceMalformed
from aiops.model import Labels, Sample

_MAX_REMEMBERED = 4_096
_NO_PROOF = {"process_start_time_seconds"}
"""Stands on the page of any program."""
_TTFT_P99 = "gen_ai_server_time_to_first_token_p99_seconds"
_LIMIT_S = 0.5
"""The threshold table's limit on the time to first token."""


class ServerPage:
    """
    One server.

    Args:
        dialect: Its engine's spelling.
        fixed: Labels all its samples have.
        has_model: Its samples also have a label ``model``.
    """

    def __init__(self, dialect: Dialect, fixed: Labels, *, has_model: bool) -> None:
        self.dialect = dialect
        self.model = ""
        self.guessed: tuple[float, float] | None = None
        """The bucket in which a P99 time to first token near 0.5 s is a guess; None if the server has an edge there."""
        self._fixed = fixed
        self._has_model = has_model
        self._follower = Follower(dialect.parser)
        self._series: Sequence[Series] = ()
        self._plan = Plan(dialect, fixed, "", ())
        self._own = fixed
        self._counted: set[tuple[str, Labels]] = set()
        self._new: list[Cell] = []
        self._buckets: dict[tuple[str, Labels], tuple[tuple[float, ...], Sequence[float]]] = {}
        self._progress = ProgressWatch()
        self._totals = SteadyTotals()
        self._read_s: float | None = None

    @property
    def labels(self) -> Labels:
        """What this server's own series are labelled with."""
        return self._own

    def read(self, text: bytes, now_s: float) -> list[Sample]:
        """
        The samples on the page *text*.

        Raises:
            SourceMalformed: nothing of what this engine's page shows is there.
        """
        layout, found = self._follower.read(text)
        return self.take(layout.series, found, now_s)

    def take(self, series: Sequence[Series], found: Sequence[float], now_s: float) -> list[Sample]:
        """
        The samples of a page that somebody else has read.

        Args:
            series: What stands on it; the same object as long as nothing else does.
            found: The values of *series*.
            now_s: When it was read.

        Raises:
            SourceMalformed: nothing of what this engine's page shows is there.
        """
        if series is not self._series or self._read_s is None:
            self._replan(series)
        if not self._plan.names - _NO_PROOF:
            raise SourceMalformed(f"none of the metrics of {self.dialect.title} is on the page")
        values = self._plan.fill(found)
        self._totals.see(self._plan, values)
        samples = list(self._zeros(values))
        samples.extend(
            Sample(cell.metric, cell.labels, now_s, self._totals.steady(cell, value))
            for cell in self._plan.cells
            if (value := cell.value(values)) is not None
        )
        for histogram in self._plan.histograms:
            samples += self._quantile(histogram, values, now_s)
        if (still_s := self._progress.still_s(self._plan.parts, values, now_s)) is not None:
            samples.append(Sample("gen_ai_server_no_progress_seconds", self.labels, now_s, still_s))
        self._read_s = now_s
        return samples

    def _replan(self, series: Sequence[Series]) -> None:
        """The page is laid out anew."""
        self._series = series
        names = self.dialect.model if self._has_model else ()
        found = {each.labels[name] for each in series for name in names if name in each.labels}
        self.model = min(found, default=self.model)[:MAX_LABEL]  # of several, the first by name
        self._own = self._fixed.merge(model=self.model) if self._has_model else self._fixed
        self._plan = Plan(self.dialect, self._fixed, self.model if self._has_model else None, series)
        edges = next((each.edges for each in self._plan.histograms if each.metric == _TTFT_P99), ())
        self.guessed = gap(edges, _LIMIT_S)
        counters = [cell for cell in self._plan.cells if CATALOG[cell.metric].kind is MetricKind.COUNTER]
        self._new = [cell for cell in counters if (cell.metric, cell.labels) not in self._counted]
        if len(self._counted) > _MAX_REMEMBERED:
            self._counted.clear()

    def _zeros(self, values: Sequence[float]) -> Iterator[Sample]:
        """A counter that appears on a page we have read before began at zero after that reading."""
        new, self._new = self._new, []
        for cell in new:
            if cell.value(values) is None:
                self._new.append(cell)
                continue
            self._counted.add((cell.metric, cell.labels))
            if self._read_s is not None:
                yield Sample(cell.metric, cell.labels, self._read_s, 0.0)

    def _quantile(self, histogram: Histogram, values: Sequence[float], now_s: float) -> Iterator[Sample]:
        counts = histogram.counts(values)
        if counts is None:
            return
        key = (histogram.metric, histogram.labels)
        edges, before = self._buckets.get(key, (None, ()))
        if len(self._buckets) >= _MAX_REMEMBERED:
            self._buckets.clear()
        self._buckets[key] = (histogram.edges, counts)
        if edges is None:
            return
        grown = increase(before, counts) if edges == histogram.edges else counts
        reached = quantile(histogram.share, histogram.edges, grown)
        if reached is not None:
            yield Sample(histogram.metric, histogram.labels, now_s, reached)


def server(dialect: Dialect, host: str, instance: str) -> ServerPage:
    """The page of an inference server; *instance* is its ``host:port``."""
    return ServerPage(dialect, Labels.of(host_name=host, instance=instance, server=dialect.name), has_model=True)


def gateway(dialect: Dialect, host: str, instance: str) -> ServerPage:
    """The page of a gateway; *instance* is its ``host:port``."""
    return ServerPage(dialect, Labels.of(host_name=host, instance=instance, gateway=dialect.name), has_model=False)
