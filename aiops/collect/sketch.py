"""
Quantiles of durations, to one percent, in little memory, of parts that can be put together.

A DDSketch: counts in buckets whose borders grow by a constant factor, so a quantile is known to within one percent of
its value however the values are spread, and two sketches are merged by adding their counts. A window keeps one for each
route and upstream, and reads from them the quantiles of each route and of each upstream.

It is written here and not taken from `ddsketch` 3.0.1: that has had no release since April 2024, needs `six`, and
collapses buckets when they get many, which durations between a microsecond and a week cannot (1,400 at most).

Source: Masson, Rim, Lee, DDSketch: A Fast and Fully-Mergeable Quantile Sketch, PVLDB 12 (2019).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

_ERROR = 0.01
_GAMMA = (1 + _ERROR) / (1 - _ERROR)
_PER_LOG = 1.0 / math.log(_GAMMA)
_MIDDLE = 2.0 / (_GAMMA + 1.0)
"""Of a bucket, as a share of its upper border: no value in it is further than the error from there."""
_LEAST_S = 1e-6
_MOST_S = 1e6


class Sketch:
    """How often values of about the same size were seen."""

    __slots__ = ("_buckets", "_zeros", "count")

    def __init__(self) -> None:
        self.count = 0
        self._zeros = 0
        """Values too small to be told from nothing."""
        self._buckets: dict[int, int] = {}

    def add(self, value_s: float) -> None:
        """Take in one duration; none is negative, and more than eleven days count as eleven."""
        self.count += 1
        if value_s < _LEAST_S:
            self._zeros += 1
            return
        key = math.ceil(math.log(min(value_s, _MOST_S)) * _PER_LOG)
        self._buckets[key] = self._buckets.get(key, 0) + 1

    def merge(self, other: Sketch) -> None:
        """Take in everything *other* has seen."""
        self.count += other.count
        self._zeros += other._zeros
        for key, count in other._buckets.items():
            self._buckets[key] = self._buckets.get(key, 0) + count

    def quantiles(self, shares: Sequence[float]) -> list[float]:
        """
        The value that each of *shares* of all values do not exceed; empty if nothing was seen.

        Args:
            shares: Each above 0 and at most 1, ascending.
        """
        if not self.count:
            return []
        found: list[float] = []
        seen, value = self._zeros, 0.0
        rest = iter(sorted(self._buckets))
        for share in shares:
            rank = math.ceil(share * self.count)
            while seen < rank:
                key = next(rest)
                seen += self._buckets[key]
                value = _MIDDLE * _GAMMA**key
            found.append(value)
        return found
