"""
When things turned, for all series together: the row from which on a file or a window is abnormal.

One series alone turns by chance every few minutes. The mean abnormality of all of them is steady while nothing is
wrong and steps up when something is; the best place to cut it in two is the least-squares change point.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from aiops.correlate.departures import Integers, measure
from aiops.stats import Floats

_MIN_BEFORE = 8
_MIN_AFTER = 2
_FAR = 20.0
"""Scales; further than this one series says no more."""
_FEW = 3
"""Fewer series than this are one bad reading."""
_TINY = 1e-300
"""One over it is still a number."""
CLEAR = 2.5
"""Standard deviations of what is left of the curve beside its step."""


@dataclass(frozen=True, slots=True)
class Turn:
    """
    A step up in how abnormal all is.

    Args:
        row: First row after it.
        strength: Its height in standard deviations of the rest, 0 or more, high is clear.
    """

    row: int
    strength: float


def find_turn(values: Floats, family: Integers, share: float = 1.0) -> Turn | None:
    """
    The row from which on things were abnormal; None with too few rows, or when nothing stepped up.

    The first half is taken as normal. Median and spread stand it when up to half of that is not.

    Args:
        values: Readings, shape (m, n), NaN where missing.
        family: Number of each series' metric, shape (m,).
        share: Of the series that counts, at each moment those furthest from normal, above 0 to 1: a fault moves a few
            of them far, another day or another load moves all a little.
    """
    size = values.shape[1]
    half = max(size // 2, _MIN_BEFORE)
    if size < _MIN_BEFORE + _MIN_AFTER:
        return None
    found = measure(values[:, :half], values[:, half:], family)
    known = np.isfinite(found.score) & (found.scale > 0)
    if not known.any():
        return None
    return _step(_abnormality(values[known], found.centre[known], found.scale[known], share))


def _abnormality(away: Floats, centre: Floats, scale: Floats, share: float) -> Floats:
    """Mean over those series of the logarithm of how far each is from normal, shape (n,); *away* is worked on in place."""
    away -= centre[:, None]
    np.abs(away, out=away)
    with np.errstate(over="ignore"):
        away *= (1.0 / np.maximum(scale, _TINY))[:, None]  # dividing every reading takes five times as long
    np.minimum(away, _FAR, out=away)
    np.log1p(away, out=away)
    present = np.isfinite(away)
    if not present.all():
        away[~present] = 0.0
    if share < 1.0:
        few = min(max(math.ceil(share * away.shape[0]), _FEW), away.shape[0])
        furthest: Floats = np.sort(away, axis=0)[-few:].mean(axis=0)
        return furthest
    curve: Floats = away.sum(axis=0) / np.maximum(present.sum(axis=0), 1)
    return curve


def _step(curve: Floats) -> Turn | None:
    before = np.arange(1, curve.size)
    after = curve.size - before
    total = np.cumsum(curve)
    height = (total[-1] - total[:-1]) / after - total[:-1] / before
    gain = np.where(height > 0, height**2 * before * after, 0.0)
    gain[: _MIN_BEFORE - 1] = 0.0
    gain[curve.size - _MIN_AFTER :] = 0.0
    place = int(np.argmax(gain))
    if gain[place] <= 0:
        return None
    row = place + 1
    rest = np.concatenate([curve[:row] - curve[:row].mean(), curve[row:] - curve[row:].mean()])
    spread = float(rest.std())
    return Turn(row, float(height[place]) / spread if spread > 0 else math.inf)
