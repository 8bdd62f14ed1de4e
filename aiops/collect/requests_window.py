"""
Requests of one service, counted into one-second buckets and written as samples, late lines included.

Four views of the same entries. `Totals` counts completions: running totals, one point for each second in which
something ended, stamped with that second's end, so that an increase over any interval is right however many seconds
are written in one go. `Arrivals` counts by the second a request came in; a long request completes late, so buckets of
the last ten minutes are revised under the timestamps they had. `Latencies` gives quantiles per upstream and per route
over windows of five seconds. `Piles` shows failures that all took the same time. Only full seconds are written: half a
bucket would look like half the traffic.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from aiops.collect.sketch import Sketch
from aiops.model import Labels, Sample

HORIZON_S = 600
"""Arrivals further back are not revised any more, and lines as old are no news."""
_REVISED_S = 60
"""How late a line may be to still count in the second it belongs to; later ones count in the oldest such second."""
_BEAT_S = 5
"""A total that does not change is written this often."""
FORGET_S = 3_600
"""A total into which nothing was counted for so long ends; upstreams come and go for as long as this program runs."""
_MAX_NAMED = 512
"""Label sets made beforehand."""
_WINDOW_S = 5
_QUANTILES = (0.5, 0.95, 0.99)
_PILE_S = 60
"""Time-outs come one by one: five seconds hold too few of them."""
_PILE_WIDTH = 1.02
"""Durations up to two percent apart are of one time-out: what is added to it is a round trip."""
_MAX_PILED = 512
_LEAST_PILED = 5
"""Of fewer, a share says nothing."""


@dataclass(slots=True)
class _Total:
    """One running total."""

    labels: Labels
    first: int
    """The second its zero stands at."""
    folded: int = 0
    """Count of seconds no longer kept apart."""
    seconds: dict[int, int] = field(default_factory=dict)
    stamps: set[int] = field(default_factory=set)
    """Timestamps written and still revisable."""
    last: int = -1
    """Newest timestamp written."""
    changed: int | None = None
    """Oldest second counted into since the last writing."""
    counted: int = 0
    """Newest second counted into."""


class Totals:
    """
    Running totals per label set.

    Args:
        metric: The counter's name.
    """

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._totals: dict[Labels, _Total] = {}

    def add(self, labels: Labels, at_s: float) -> None:
        """Count one that ended at *at_s*."""
        second = int(at_s)
        total = self._totals.get(labels)
        if total is None:
            total = self._totals[labels] = _Total(labels, first=second)
        if second < total.first:
            if total.last < 0:
                total.first = second
            else:
                second = total.first
        total.seconds[second] = total.seconds.get(second, 0) + 1
        total.counted = max(total.counted, second)
        if total.changed is None or second < total.changed:
            total.changed = second

    def samples(self, now_s: float) -> Iterator[Sample]:
        """Points of all seconds that are over and changed, zeros of new totals first."""
        end = int(now_s)
        if any(total.counted < end - FORGET_S for total in self._totals.values()):
            self._totals = {each: total for each, total in self._totals.items() if total.counted >= end - FORGET_S}
        for total in self._totals.values():
            if total.last > end + _BEAT_S:
                _restart(total, end)
            if total.changed is not None and total.changed < end:
                yield from self._points(total, end)
            elif end - total.last >= _BEAT_S and total.last >= 0:
                yield from self._point(total, end)
            if total.seconds and min(total.seconds) < end - _REVISED_S:
                _fold(total, end - _REVISED_S)

    def _points(self, total: _Total, end: int) -> Iterator[Sample]:
        changed = end if total.changed is None else total.changed
        stamps = {stamp for stamp in total.stamps if stamp > changed}
        for second in total.seconds:
            if changed <= second < end:
                # the unchanged value before it too, so that the step has a width of one second
                stamps.update(stamp for stamp in (second, second + 1) if stamp > total.last)
        if end - max(stamps, default=total.last) >= _BEAT_S:
            stamps.add(end)
        running, seconds = total.folded, sorted(total.seconds.items())
        position = 0
        for stamp in sorted(stamps):
            while position < len(seconds) and seconds[position][0] < stamp:
                running += seconds[position][1]
                position += 1
            yield Sample(self._metric, total.labels, float(stamp), float(running))
        total.stamps |= stamps
        total.last = max(stamps, default=total.last)
        # the second that is not over stays to be written
        total.changed = min((second for second in total.seconds if second >= end), default=None)

    def _point(self, total: _Total, stamp: int) -> Iterator[Sample]:
        running = total.folded + sum(count for second, count in total.seconds.items() if second < stamp)
        total.stamps.add(stamp)
        total.last = stamp
        yield Sample(self._metric, total.labels, float(stamp), float(running))


def _fold(total: _Total, before: int) -> None:
    """Forget which second each count before *before* came from."""
    for second in [second for second in total.seconds if second < before]:
        total.folded += total.seconds.pop(second)
    total.stamps = {stamp for stamp in total.stamps if stamp >= before}
    total.first = max(total.first, before)


def _restart(total: _Total, end: int) -> None:
    """The clock was set back: go on from *end* with what was counted so far."""
    total.folded += sum(total.seconds.values())
    total.seconds.clear()
    total.stamps.clear()
    total.first, total.last, total.changed = end, end - _BEAT_S, None
    total.counted = min(total.counted, end)


class Arrivals:
    """
    Arrivals per second of one service.

    Args:
        metric: The gauge's name.
        labels: The service's.
    """

    def __init__(self, metric: str, labels: Labels) -> None:
        self._metric = metric
        self._labels = labels
        self._counts: dict[int, int] = {}
        self._changed: set[int] = set()
        self._from: int | None = None
        """The first second known whole; None while nothing is being watched."""
        self._next = 0
        """The first second not written yet."""

    def watch(self, start_s: float) -> None:
        """Seconds from *start_s* on are complete; does nothing while watching already."""
        if self._from is None:
            self._from = max(math.ceil(start_s), self._next)
            self._next = self._from

    def lose(self) -> None:
        """The log cannot be read: from now on a bucket without arrivals says nothing."""
        self._from = None

    def add(self, at_s: float) -> None:
        """Count one that arrived at *at_s*."""
        second = int(at_s)
        if self._from is None or second < self._from:
            return  # before the log was watched: the rest of that second is not known
        self._counts[second] = self._counts.get(second, 0) + 1
        if second < self._next:
            self._changed.add(second)

    def samples(self, now_s: float) -> Iterator[Sample]:
        """Buckets that are over and were not written yet, empty ones as 0; then revised ones."""
        end = int(now_s)
        if self._from is None:
            return
        if max(self._from, self._next) > end + _BEAT_S:  # the clock was set back
            self._from, self._next = end, end
            self._counts.clear()
            self._changed.clear()
        revised, self._changed = sorted(self._changed), set()
        self._next = max(self._next, end - HORIZON_S)
        for second in (*revised, *range(self._next, end)):
            yield Sample(self._metric, self._labels, float(second), float(self._counts.get(second, 0)))
        self._next = max(self._next, end)
        if len(self._counts) > HORIZON_S * 1.1:
            self._from = max(self._from, end - HORIZON_S)
            self._counts = {second: n for second, n in self._counts.items() if second >= end - HORIZON_S}


class Latencies:
    """
    Quantiles of a duration per upstream and per route, over windows of five seconds.

    Args:
        metric: The gauge of upstreams; the label ``quantile`` is added.
        route_metric: The gauge of routes, likewise.
    """

    def __init__(self, metric: str, route_metric: str) -> None:
        self._metrics = (metric, route_metric)
        self._window: dict[tuple[Labels, Labels], Sketch] = {}
        self._end: int | None = None
        self._named: dict[Labels, Sequence[Labels]] = {}

    def add(self, upstream: Labels, route: Labels, value_s: float) -> None:
        """Take in one duration."""
        sketch = self._window.get((upstream, route))
        if sketch is None:
            sketch = self._window[upstream, route] = Sketch()
        sketch.add(value_s)

    def samples(self, now_s: float) -> Iterator[Sample]:
        """Quantiles of the window that has just ended, for who answered anything in it."""
        if self._end is None or self._end - now_s > _WINDOW_S:  # the clock may have been set back
            self._end = (int(now_s) // _WINDOW_S + 1) * _WINDOW_S
        if now_s < self._end:
            return
        window, self._window = self._window, {}
        stamp = float(int(now_s) // _WINDOW_S * _WINDOW_S)
        self._end = int(stamp) + _WINDOW_S
        for side, metric in enumerate(self._metrics):
            merged: dict[Labels, Sketch] = {}
            for key, sketch in window.items():
                merged.setdefault(key[side], Sketch()).merge(sketch)
            for labels, sketch in merged.items():
                for named, value in zip(self._labels(labels), sketch.quantiles(_QUANTILES), strict=True):
                    yield Sample(metric, named, stamp, value)

    def _labels(self, labels: Labels) -> Sequence[Labels]:
        if labels not in self._named:
            if len(self._named) >= _MAX_NAMED:
                self._named.clear()
            self._named[labels] = tuple(labels.merge(quantile=f"{share}") for share in _QUANTILES)
        return self._named[labels]


class Piles:
    """
    Whether failures of one service all took the same time: a time-out shows as a pile of durations at one value.

    For whoever found no upstream alive, nothing was waited for: a gateway that gives servers up after their time-outs
    refuses many more at once, and hides the value.

    Args:
        labels: The service's; the label ``outcome`` is added.
    """

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._failed: dict[str, deque[tuple[float, float]]] = {}
        self._next_s = 0.0

    def add(self, outcome: str, at_s: float, duration_s: float) -> None:
        """Take in one failure."""
        self._failed.setdefault(outcome, deque(maxlen=_MAX_PILED)).append((at_s, duration_s))

    def samples(self, now_s: float) -> Iterator[Sample]:
        """The largest pile of each outcome in the last minute, and its share, for outcomes seen often enough."""
        if not self._failed or 0.0 < self._next_s - now_s <= _WINDOW_S:
            return
        self._next_s = now_s + _WINDOW_S
        stamp = float(int(now_s))
        for outcome, failed in list(self._failed.items()):
            durations = sorted(took_s for at_s, took_s in failed if now_s - _PILE_S <= at_s <= now_s)
            if not durations:
                del self._failed[outcome]
            elif len(durations) >= _LEAST_PILED:
                labels = self._labels.merge(outcome=outcome)
                share, value_s = _largest_pile(durations)
                yield Sample("http_server_failed_duration_pile_ratio", labels, stamp, share)
                yield Sample("http_server_failed_duration_pile_seconds", labels, stamp, value_s)


def _largest_pile(durations: Sequence[float]) -> tuple[float, float]:
    """Share of *durations*, sorted, in their densest stretch, and the median of that."""
    best, best_start, start = 0, 0, 0
    for end, duration_s in enumerate(durations):
        while duration_s > durations[start] * _PILE_WIDTH:
            start += 1
        if end + 1 - start > best:
            best, best_start = end + 1 - start, start
    return best / len(durations), durations[best_start + best // 2]
