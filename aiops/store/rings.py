"""
Recent samples of every series, in memory.

Detectors and the correlator read windows of the last minutes, many times a second; collectors write a few hundred
samples a second. Each series is a `Track`: arrays that grow at the end, their older part packed. A ring that wraps would
have to be unrolled at every read. Only the newest `points` are ever shown.

`array.array` and not numpy, measured on CPython 3.11 over 2,000 series: an append of one time and one value costs
0.1 microseconds against 0.2 for two numpy element stores, and memory follows what is held instead of what was
reserved. Readers get numpy arrays over a private copy, so nobody can see a window change under his hands.

Everything is bounded: points a series, series in all, bytes in all. At the last bound histories become shorter before
anything is refused.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from math import inf, isfinite

from aiops.model import Labels, Sample
from aiops.ports import Window
from aiops.selfstat import SelfStat
from aiops.store.track import Packer, Track, read

_MAX_IDLE_S = 3600.0
"""A series without a new sample for this long has ended."""
_MAX_SHOWN_AGE_S = 300.0
"""Prometheus takes a series for stale after five minutes too."""
_MAX_AHEAD_S = 5.0
"""Samples further in the future were stamped by a clock that has since been set back."""
_MOST = 1e150
"""A value as large as this is no reading. Sums and squares of what is smaller are finite, so that nobody else need ask."""
_MAX_MATCHES = 512
"""Choices of series remembered; there are some hundred rules."""


class Rings:
    """
    The newest samples of every series; implements `ports.SeriesReader` and `ports.SeriesWriter`.

    Safe to use from several threads: the lock is held for one batch of writes or one read.

    Args:
        stat: Counts refused samples, shows the number of series.
        points: Samples kept per series; 720 are an hour at 5 s, 12 minutes at 1 s.
        max_series: Series held at most; what comes after is refused and counted.
        max_bytes: Bytes of all points together; 2,000 full series take about a third of it.
    """

    def __init__(
        self, stat: SelfStat, *, points: int = 720, max_series: int = 10_000, max_bytes: int = 24 * 2**20
    ) -> None:
        if points < 1 or max_series < 1:
            raise ValueError(f"points and max_series must be at least 1, got {points} and {max_series}")
        self._stat = stat
        self._points = points
        self._max_series = max_series
        self._max_bytes = max_bytes
        self._held: dict[str, dict[Labels, Track]] = {}
        self._matches: dict[tuple[object, ...], list[tuple[Labels, Track]]] = {}
        self._series_count = 0
        self._size_bytes = 0
        self._packer = Packer()
        self._lock = threading.Lock()

    # --- writing ----------------------------------------------------------------------------------------------------

    def extend(self, samples: Iterable[Sample]) -> None:
        batch = samples if isinstance(samples, list | tuple) else list(samples)  # no foreign code under the lock
        not_finite = late = refused = 0
        with self._lock:
            for sample in batch:
                at_s, value = sample.at_s, sample.value
                if not (-_MOST < value < _MOST and isfinite(at_s)):
                    not_finite += 1
                    continue
                by_labels = self._held.get(sample.metric)
                track = None if by_labels is None else by_labels.get(sample.labels)
                if track is None:
                    track = self._open(sample)
                    if track is None:
                        refused += 1
                        continue
                if not track or at_s > track.newest_s:
                    self._append(track, at_s, value)
                elif not self._replace(track, at_s, value):
                    late += 1
        for reason, count in (("not_finite", not_finite), ("late", late), ("too_many_series", refused)):
            if count:
                self._stat.samples_dropped.labels(reason).inc(count)

    def _open(self, sample: Sample) -> Track | None:
        if self._series_count >= self._max_series or self._size_bytes >= self._max_bytes:
            return None
        self._series_count += 1
        self._matches.clear()
        track = self._held.setdefault(sample.metric, {})[sample.labels] = Track()
        return track

    def _append(self, track: Track, at_s: float, value: float) -> None:
        before = track.size_bytes
        if self._size_bytes >= self._max_bytes:
            track.shorten()
        track.append(at_s, value, self._points, self._packer)
        self._size_bytes += track.size_bytes - before

    def _replace(self, track: Track, at_s: float, value: float) -> bool:
        before = track.size_bytes
        replaced = track.replace(at_s, value)
        self._size_bytes += track.size_bytes - before
        return replaced

    # --- reading ----------------------------------------------------------------------------------------------------

    def window(
        self, metric: str, start_s: float, end_s: float, match: Mapping[str, str] | None = None
    ) -> Iterator[Window]:
        with self._lock:
            chosen = self._chosen(metric, match)
            cuts = read([track for _, track in chosen], start_s, end_s, self._points)
            found = [Window(labels, *cut) for (labels, _), cut in zip(chosen, cuts, strict=True) if cut is not None]
        return iter(found)

    def latest(
        self, metric: str, now_s: float, match: Mapping[str, str] | None = None, max_age_s: float = 30.0
    ) -> Iterator[Sample]:
        found: list[Sample] = []
        with self._lock:
            for labels, track in self._chosen(metric, match):
                if (point := track.at(now_s)) is not None and now_s - point[0] <= max_age_s:
                    found.append(Sample(metric, labels, *point))
        return iter(found)

    def _chosen(self, metric: str, match: Mapping[str, str] | None) -> Collection[tuple[Labels, Track]]:
        """Series of *metric* that match; rules ask for the same ones every second."""
        by_labels = self._held.get(metric)
        if by_labels is None:
            return ()
        if not match:
            return by_labels.items()
        key = (metric, *match.items())
        found = self._matches.get(key)
        if found is None:
            if len(self._matches) >= _MAX_MATCHES:
                self._matches.clear()
            found = [(labels, track) for labels, track in by_labels.items() if labels.matches(match)]
            self._matches[key] = found
        return found

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
                Sample(metric, labels, track.newest_s, track.newest)
                for metric, by_labels in self._held.items()
                for labels, track in by_labels.items()
                if track.newest_s >= oldest_s
            ]

    def freeze(self) -> Iterator[tuple[str, Window]]:
        """
        Every metric with each of its series whole, in the order in which they are held, as they are now.

        What is read later does not change, and reading costs neither memory nor the lock: tracks are copied here, packed
        points unpacked when their turn comes.
        """
        with self._lock:
            held = [
                (metric, labels, track.copy())
                for metric, by_labels in self._held.items()
                for labels, track in by_labels.items()
            ]

        def read() -> Iterator[tuple[str, Window]]:
            for metric, labels, track in held:
                if (whole := track.window(-inf, inf, self._points)) is not None:
                    yield metric, Window(labels, *whole)

        return read()

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
                for labels in [labels for labels, track in by_labels.items() if not self._still_lives(track, now_s)]:
                    del by_labels[labels]
                    self._matches.clear()
                    self._series_count -= 1
                if not by_labels:
                    del self._held[metric]
            count = self._series_count
        self._stat.series.set(count)

    def _still_lives(self, track: Track, now_s: float) -> bool:
        if track.newest_s > now_s + _MAX_AHEAD_S:
            before = track.size_bytes
            track.cut(now_s)
            self._size_bytes += track.size_bytes - before
        if track and track.newest_s >= now_s - _MAX_IDLE_S:
            return True
        self._size_bytes -= track.size_bytes
        return False
