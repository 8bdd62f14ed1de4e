"""
Recent samples of every series, in memory.

Detectors and the correlator read windows of the last minutes, many times a second; collectors write a few hundred
samples a second. Each series is a pair of arrays of doubles (times, values), oldest first. A ring that wraps would have
to be unrolled at every read, so the arrays simply grow at the end, and when they are an eighth over their size the
oldest eighth is cut off: one move of 6 KB every ninety samples. Only the newest `points` are ever shown.

`array.array` and not numpy, measured on CPython 3.11 over 2,000 series: an append of one time and one value costs
0.1 microseconds against 0.2 for two numpy element stores, and memory follows what is held instead of what was
reserved. Readers get numpy arrays over a private copy, so nobody can see a window change under his hands.

Everything is bounded: points a series, series in all, points in all. At the last bound a series keeps what length it
has reached, that is, histories become shorter before anything is refused.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from aiops.model import Labels, Sample
from aiops.ports import Window
from aiops.selfstat import SelfStat

if TYPE_CHECKING:
    from aiops.ports import Floats

_BYTES_PER_POINT = 16
_MAX_IDLE_S = 3600.0
"""A series without a new sample for this long has ended."""
_MAX_SHOWN_AGE_S = 300.0
"""Prometheus takes a series for stale after five minutes too."""
_MAX_AHEAD_S = 5.0
"""Samples further in the future were stamped by a clock that has since been set back."""


class _Series:
    """Times and values, oldest first."""

    __slots__ = ("at_s", "values")

    def __init__(self) -> None:
        self.at_s = array("d")
        self.values = array("d")


class Rings:
    """
    The newest samples of every series; implements `ports.SeriesReader` and `ports.SeriesWriter`.

    Safe to use from several threads: the lock is held for one batch of writes or one read.

    Args:
        stat: Counts refused samples, shows the number of series.
        points: Samples kept per series; 720 are an hour at 5 s, 12 minutes at 1 s.
        max_series: Series held at most; what comes after is refused and counted.
        max_bytes: Bytes of all points together; 24 MiB are about 2,000 full series.
    """

    def __init__(
        self, stat: SelfStat, *, points: int = 720, max_series: int = 10_000, max_bytes: int = 24 * 2**20
    ) -> None:
        if points < 1 or max_series < 1:
            raise ValueError(f"points and max_series must be at least 1, got {points} and {max_series}")
        self._stat = stat
        self._points = points
        self._cut_at = points + max(points // 8, 1)
        self._max_series = max_series
        self._max_points = max_bytes // _BYTES_PER_POINT
        self._held: dict[str, dict[Labels, _Series]] = {}
        self._series_count = 0
        self._points_count = 0
        self._lock = threading.Lock()

    # --- writing ----------------------------------------------------------------------------------------------------

    def extend(self, samples: Iterable[Sample]) -> None:
        batch = samples if isinstance(samples, list | tuple) else list(samples)  # no foreign code under the lock
        not_finite = late = refused = 0
        with self._lock:
            for sample in batch:
                at_s, value = sample.at_s, sample.value
                if not (isfinite(value) and isfinite(at_s)):
                    not_finite += 1
                    continue
                by_labels = self._held.get(sample.metric)
                series = None if by_labels is None else by_labels.get(sample.labels)
                if series is None:
                    series = self._open(sample)
                    if series is None:
                        refused += 1
                        continue
                times = series.at_s
                if not times or at_s > times[-1]:
                    self._append(series, at_s, value)
                elif not _replace(series, at_s, value):
                    late += 1
        for reason, count in (("not_finite", not_finite), ("late", late), ("too_many_series", refused)):
            if count:
                self._stat.samples_dropped.labels(reason).inc(count)

    def _open(self, sample: Sample) -> _Series | None:
        if self._series_count >= self._max_series or self._points_count >= self._max_points:
            return None
        self._series_count += 1
        series = self._held.setdefault(sample.metric, {})[sample.labels] = _Series()
        return series

    def _append(self, series: _Series, at_s: float, value: float) -> None:
        times, values = series.at_s, series.values
        if self._points_count >= self._max_points and times:
            del times[0], values[0]
            self._points_count -= 1
        times.append(at_s)
        values.append(value)
        self._points_count += 1
        if len(times) >= self._cut_at:
            excess = len(times) - self._points
            del times[:excess], values[:excess]
            self._points_count -= excess

    # --- reading ----------------------------------------------------------------------------------------------------

    def window(
        self, metric: str, start_s: float, end_s: float, match: Mapping[str, str] | None = None
    ) -> Iterator[Window]:
        found: list[Window] = []
        with self._lock:
            for labels, series in self._held.get(metric, {}).items():
                if match and not labels.matches(match):
                    continue
                times = series.at_s
                first = bisect_left(times, start_s, max(0, len(times) - self._points))
                end = bisect_right(times, end_s, first)
                if first < end:
                    found.append(Window(labels, _copy(times, first, end), _copy(series.values, first, end)))
        return iter(found)

    def latest(
        self, metric: str, now_s: float, match: Mapping[str, str] | None = None, max_age_s: float = 30.0
    ) -> Iterator[Sample]:
        found: list[Sample] = []
        with self._lock:
            for labels, series in self._held.get(metric, {}).items():
                if match and not labels.matches(match):
                    continue
                times = series.at_s
                newest = len(times) - 1 if times[-1] <= now_s else bisect_right(times, now_s) - 1
                if newest >= 0 and now_s - times[newest] <= max_age_s:
                    found.append(Sample(metric, labels, times[newest], series.values[newest]))
        return iter(found)

    def metrics(self) -> Sequence[str]:
        with self._lock:
            return list(self._held)

    def series_count(self) -> int:
        """Series held now."""
        return self._series_count

    def snapshot(self, now_s: float) -> Sequence[Sample]:
        """The newest sample of every series updated in the last five minutes; samples of one metric stand together."""
        oldest_s = now_s - _MAX_SHOWN_AGE_S
        with self._lock:
            return [
                Sample(metric, labels, series.at_s[-1], series.values[-1])
                for metric, by_labels in self._held.items()
                for labels, series in by_labels.items()
                if series.at_s[-1] >= oldest_s
            ]

    # --- forgetting -------------------------------------------------------------------------------------------------

    def expire(self, now_s: float) -> None:
        """
        Forget series without a new sample for an hour, and points from the future.

        After the wall clock was set back, newer samples carry smaller times than those held. Without cutting the
        future off, every series would refuse samples until the clock has caught up with itself.
        """
        with self._lock:
            for metric in list(self._held):
                by_labels = self._held[metric]
                for labels in [labels for labels, series in by_labels.items() if not self._still_lives(series, now_s)]:
                    del by_labels[labels]
                    self._series_count -= 1
                if not by_labels:
                    del self._held[metric]
            count = self._series_count
        self._stat.series.set(count)

    def _still_lives(self, series: _Series, now_s: float) -> bool:
        times = series.at_s
        if times[-1] > now_s + _MAX_AHEAD_S:
            first_ahead = bisect_right(times, now_s)
            self._points_count -= len(times) - first_ahead
            del times[first_ahead:], series.values[first_ahead:]
        if times and times[-1] >= now_s - _MAX_IDLE_S:
            return True
        self._points_count -= len(times)
        return False


def _replace(series: _Series, at_s: float, value: float) -> bool:
    """Put *value* at the time *at_s* if a sample of that time is held."""
    times = series.at_s
    place = len(times) - 1 if times[-1] == at_s else bisect_left(times, at_s)
    if times[place] != at_s:
        return False
    series.values[place] = value
    return True


def _copy(numbers: array[float], first: int, end: int) -> Floats:
    return np.frombuffer(numbers[first:end], dtype=np.float64)
