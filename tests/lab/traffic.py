"""
How demand moves while a run lasts: a factor on the normal rate, from a folder of recorded rates or made up.

Recorded series have rows of ten seconds to ten minutes; a run lasts two minutes. One row is played in ten seconds, so
that a run sees slopes and jumps as they are from one row to the next, not their calendar. Highs and lows are bounded:
a healthy house must carry the highest.
"""

from __future__ import annotations

import csv
import math
import random
import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

_ROW_S = 10.0
_ROWS = 60
"""Of a curve: ten minutes."""
_LOWEST, _HIGHEST = 0.6, 1.3
_OF_RATES = re.compile(r"req|qps|volume|tokens")
"""Names of series that count demand; others in such a folder are latencies and duty cycles."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Straight lines between points. Times are seconds from the start, factors are of the normal rate."""

    name: str
    times_s: tuple[float, ...]
    factors: tuple[float, ...]

    def at(self, elapsed_s: float) -> float:
        """The factor then; beyond its end that of the end."""
        place = bisect_right(self.times_s, elapsed_s)
        if place == 0:
            return self.factors[0]
        if place == len(self.times_s):
            return self.factors[-1]
        begin_s, end_s = self.times_s[place - 1 : place + 1]
        before, after = self.factors[place - 1 : place + 1]
        return before + (after - before) * (elapsed_s - begin_s) / (end_s - begin_s)


def made_up(rng: random.Random) -> Curve:
    """A piece of a day's slope, with small bursts on it at random times."""
    phase, depth = rng.uniform(0.0, math.tau), rng.uniform(0.05, 0.15)
    points = {float(at): 1.0 + depth * math.sin(phase + math.tau * at / 900.0) for at in range(0, 601, 20)}
    slope = Curve("made_up", tuple(points), tuple(points.values()))
    at_s = rng.expovariate(1 / 40.0)
    while at_s < 590.0:
        height, ends_s = rng.uniform(1.05, 1.2), at_s + rng.uniform(2.0, 8.0)
        points |= {at_s: slope.at(at_s), at_s + 0.5: slope.at(at_s) * height,
                   ends_s: slope.at(ends_s) * height, ends_s + 0.5: slope.at(ends_s)}  # fmt: skip
        at_s = ends_s + rng.expovariate(1 / 40.0)
    times_s = sorted(points)
    return Curve("made_up", tuple(times_s), tuple(_bounded(points[at]) for at in times_s))


def from_folder(folder: Path, rng: random.Random) -> Curve:
    """
    A window of one of the series in *folder*.

    Raises:
        ValueError: no series there is long enough.
    """
    paths = sorted(path for path in folder.glob("*.csv") if _OF_RATES.search(path.stem))
    rng.shuffle(paths)
    for path in paths:
        values = _values(path)
        if len(values) <= _ROWS:
            continue
        start = rng.randrange(len(values) - _ROWS)
        if (window := values[start : start + _ROWS]) and (level := sum(window) / _ROWS) > 0:
            return _steps(f"{path.stem}:{start}", [value / level for value in window])
    raise ValueError(f"no rates of {_ROWS} rows or more in {folder}")


def _values(path: Path) -> list[float]:
    with path.open(encoding="utf-8", newline="") as file:
        return [float(row["value"]) for row in csv.DictReader(file) if row.get("value")]


def _steps(name: str, values: list[float]) -> Curve:
    """Each row is held and left within a second."""
    times_s, factors = [0.0], [_bounded(values[0])]
    for row, (before, after) in enumerate(pairwise(values), start=1):
        times_s += [row * _ROW_S, row * _ROW_S + 1.0]
        factors += [_bounded(before), _bounded(after)]
    return Curve(name, tuple(times_s), tuple(factors))


def _bounded(factor: float) -> float:
    return min(max(factor, _LOWEST), _HIGHEST)
