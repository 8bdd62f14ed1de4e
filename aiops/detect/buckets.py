"""Counts of answers by minute or hour: a few kilobytes that hold a month."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Seen(NamedTuple):
    """What a window holds."""

    buckets: int
    """How many of its buckets somebody watched; the others are unknown, not good."""
    total: float
    bad: float


class Buckets:
    """
    Answers and failures per stretch of time. A stretch nobody watched has no bucket.

    Bucket k holds what was counted in (k * width, (k + 1) * width], as a sample stands at the end of what it counts.

    Args:
        width_s: Length of a stretch.
        keep: Buckets held at most; the oldest go first.
    """

    def __init__(self, width_s: float, keep: int) -> None:
        self._width_s = width_s
        self._keep = keep
        # three arrays: a month of hours takes 17 KB, as lists of lists it would be ten times that
        self._keys = array("q")
        self._totals = array("d")
        self._bads = array("d")

    def add(self, at_s: float, total: float, bad: float) -> None:
        """Count *total* answers, *bad* of them failures, at *at_s*; zeros say that somebody watched."""
        key = math.ceil(at_s / self._width_s) - 1
        place = len(self._keys) - 1
        if place < 0 or self._keys[place] != key:
            place = bisect_left(self._keys, key)
            if place == len(self._keys) or self._keys[place] != key:
                self._keys.insert(place, key)
                self._totals.insert(place, 0.0)
                self._bads.insert(place, 0.0)
        self._totals[place] += total
        self._bads[place] += bad
        if len(self._keys) > self._keep:
            del self._keys[0], self._totals[0], self._bads[0]

    def window(self, over_s: float, now_s: float) -> Seen:
        """What was counted in the last *over_s*: the stretches that began in it, the one that runs included."""
        first = bisect_left(self._keys, math.ceil((now_s - over_s) / self._width_s))
        end = bisect_right(self._keys, math.ceil(now_s / self._width_s) - 1)
        if first >= end:
            return Seen(0, 0.0, 0.0)
        return Seen(end - first, sum(self._totals[first:end]), sum(self._bads[first:end]))

    def share_seen(self, seen: Seen, over_s: float) -> float:
        """Which share of a window's stretches somebody watched, 0 to 1."""
        return min(seen.buckets * self._width_s / over_s, 1.0)

    def forget_after(self, now_s: float) -> None:
        """Drop what lies ahead of *now_s*: it was stamped by a clock that has since been set back."""
        end = bisect_right(self._keys, math.ceil(now_s / self._width_s))
        del self._keys[end:], self._totals[end:], self._bads[end:]

    def last_s(self) -> float:
        """End of the newest stretch; minus infinity when there is none."""
        return (self._keys[-1] + 1) * self._width_s if self._keys else -math.inf

    def rows(self) -> list[tuple[int, float, float]]:
        """Everything held, as plain data."""
        return list(zip(self._keys, self._totals, self._bads, strict=True))

    def restore(self, rows: Iterable[Sequence[float]]) -> None:
        """
        Take in *rows* as `rows` gave them.

        Raises:
            ValueError: they are no such rows.
        """
        for key, total, bad in rows:
            if not (0.0 <= bad <= total < math.inf) or key != int(key):
                raise ValueError(f"no bucket: {key!r}, {total!r}, {bad!r}")
            self.add((int(key) + 1) * self._width_s, total, bad)
