"""
How far, and from when on, many series left their normal: the arithmetic of the ranker that needs no cause file.

Arrays in, values out. A row of an array is a series, a column a moment, NaN a missing reading; times come beside them.
Normal is what a series did before the alert, less a guard: an alert comes late, and the minutes before it may be the
fault's already. The scale has two floors. One is pooled over the metric's family, since the spread of a sparse counter
collapses to nothing and any step of it would be infinite; the other is a share of the series' own size, since a steady
value that moves by a few per cent did nothing. How far a series went is a high quantile of its distance, neither the
largest, which one bad reading makes, nor the median, which a fault that comes and goes does not move.

The constants are one choice for all data. On the development cases each may be halved or doubled, and the quantile be
anything from the median to the maximum, and little changes (bench/rca.py; docs/quality.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aiops.stats import Floats, median

Integers = NDArray[np.intp]
Flags = NDArray[np.bool_]

GUARD_S = 120.0
"""Before the alert: neither normal nor surely faulty."""
MIN_PAST = 4
"""Readings a series needs before one can say what is normal for it."""
MAX_SCORE = 1000.0
TYPICAL = 0.8
"""Quantile of the distance from normal."""
_GUARD_SHARE = 1 / 3
"""Of all that lies before the alert, at most: a short recording needs its normal time more than a long guard."""
_SURE_PAST = 8
"""The guard gives way when it would leave fewer rows than this."""
_MIN_RECENT = 3
_MAX_PAST = 2000
_RECENT_S = 600.0
"""What comes later is the repair, or the next fault."""
_RECENT_ROWS = 8
"""As many at least, where rows are minutes apart."""
_MAD_TO_SIGMA = 1.4826
_STD_SHARE = 0.5
"""MAD is nothing where most readings are equal; the standard deviation is spoiled by one outlier. Half of it is a floor."""
_SIZE_SHARE = 0.05
"""Of the series' usual size: less is weather."""
_ABNORMAL = 4.0
"""Scales from normal (as `stats.onset`)."""
_CONTRAST_ROWS = 20
"""Normal rows beside the faulty ones for a correlation; with many more of them it tells of the daily round instead."""


@dataclass(frozen=True, slots=True)
class Split:
    """Which rows are normal, and which show the fault: half-open ranges."""

    past_from: int
    past_until: int
    recent_from: int
    recent_until: int


@dataclass(frozen=True, slots=True)
class Departures:
    """
    How far each series left its normal.

    Args:
        centre: What is normal, the series' unit; NaN where too little is known.
        scale: What counts as one step, the series' unit.
        score: Distance in scales, 0 to `MAX_SCORE`, high is far; NaN where too little is known.
    """

    centre: Floats
    scale: Floats
    score: Floats


def split_rows(at_s: Floats, alert_s: float, guard_s: float = GUARD_S) -> Split:
    """
    Rows before and after an alert.

    Args:
        at_s: Times, shape (n,), increasing, n at least 2.
        alert_s: When the alert fired.
        guard_s: How much earlier the fault may have begun.
    """
    size = int(at_s.size)
    alert = int(np.searchsorted(at_s, alert_s))
    guard_s = min(guard_s, _GUARD_SHARE * (alert_s - float(at_s[0])))
    until = int(np.searchsorted(at_s, alert_s - guard_s))
    until = max(min(max(until, _SURE_PAST), alert, size - 1), 1)
    begin = max(min(alert, size - _MIN_RECENT), until)
    end = max(int(np.searchsorted(at_s, alert_s + _RECENT_S, "right")), begin + _RECENT_ROWS)
    return Split(max(0, until - _MAX_PAST), until, begin, min(end, size))


def measure(
    past: Floats, recent: Floats, family: Integers, *, reach: float = TYPICAL, floor: Floats | None = None
) -> Departures:
    """
    How far each series went.

    Args:
        past: Readings of the normal time, shape (m, p).
        recent: Readings that may show the fault, shape (m, q).
        family: Number of each series' metric, shape (m,), from 0.
        reach: Quantile of the distance that counts, 0 to 1.
        floor: Smallest step to believe in, the series' unit, shape (m,), where the units are known.
    """
    ordered = np.sort(past, axis=1)
    count = np.isfinite(past).sum(axis=1)
    centre = quantile(ordered, count, 0.5)
    away = np.abs(past - centre[:, None])
    mad = quantile(np.sort(away, axis=1), count, 0.5)
    known = (count >= MIN_PAST) & np.isfinite(recent).any(axis=1)
    own = np.maximum(_MAD_TO_SIGMA * mad, _STD_SHARE * deviation(past, count))
    far = np.abs(recent - centre[:, None])
    reached = quantile(np.sort(far, axis=1), np.isfinite(far).sum(axis=1), reach)
    scale = np.fmax(np.fmax(own, _pooled(own, family, known)), _SIZE_SHARE * np.abs(centre))
    scale = scale if floor is None else np.fmax(scale, floor)
    # where nothing of its kind ever moved, no noise is known: a step from nothing is as good as another
    scale = np.where(scale > 0, scale, _SIZE_SHARE * reached)
    with np.errstate(over="ignore"):
        score = np.divide(reached, scale, out=np.zeros_like(reached), where=scale > 0)
    return Departures(
        np.where(known, centre, np.nan), scale, np.where(known, np.minimum(score, MAX_SCORE), np.nan)
    )  # fmt: skip


def families(metrics: Sequence[str]) -> Integers:
    """Numbers for names: one a name, from 0."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in metrics], dtype=np.intp)


def quantile(ordered: Floats, count: Integers, share: float) -> Floats:
    """Of sorted rows that end in NaN, linear between order statistics; NaN where a row has nothing else."""
    place = share * np.maximum(count - 1, 0)
    low = place.astype(np.intp)
    high = np.minimum(low + 1, np.maximum(count - 1, 0))
    rows = np.arange(ordered.shape[0])
    below: Floats = ordered[rows, low]
    found: Floats = below + (ordered[rows, high] - below) * (place - low)
    return found


def deviation(past: Floats, count: Integers) -> Floats:
    """Standard deviation of each row; *count* says how many readings it has. 0 where it has none."""
    present = np.isfinite(past)
    if present.all():
        spread: Floats = past.std(axis=1)
    else:
        size = np.maximum(count, 1)
        mean = np.where(present, past, 0.0).sum(axis=1) / size
        away = np.where(present, past - mean[:, None], 0.0)
        spread = np.sqrt((away**2).sum(axis=1) / size)
    return spread


def onsets(at_s: Floats, values: Floats, found: Departures) -> Floats:
    """
    When each series left its normal for two readings in a row, or for the last one there is; NaN where it did not.

    Args:
        at_s: Times, shape (n,), increasing.
        values: Readings from the end of the normal time on, shape (m, n).
        found: What is normal.
    """
    with np.errstate(invalid="ignore"):
        abnormal = np.abs(values - found.centre[:, None]) > _ABNORMAL * found.scale[:, None]
    lasting = abnormal & np.concatenate([abnormal[:, 1:], abnormal[:, -1:]], axis=1)
    return np.where(lasting.any(axis=1), at_s[np.argmax(lasting, axis=1)], np.nan)


def alikeness(values: Floats, symptom: Floats, split: Split) -> Floats:
    """
    Pearson's correlation with the symptom around the alert; 0 where a series is flat or too little is known.

    Args:
        values: Readings, shape (m, n).
        symptom: Readings of the symptom, shape (n,).
        split: The rows; as much of the normal time counts as of the faulty one, but `_CONTRAST_ROWS` at least.
    """
    contrast = max(_CONTRAST_ROWS, split.recent_until - split.recent_from)
    rows = slice(max(split.past_from, split.past_until - contrast), split.recent_until)
    one, other = values[:, rows], symptom[None, rows]
    both = np.isfinite(one) & np.isfinite(other)
    count = np.maximum(both.sum(axis=1, keepdims=True), 1)
    one, other = (_centred(part, both, count) for part in (one, np.broadcast_to(other, one.shape)))
    spread = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    alike: Floats = np.divide((one * other).sum(axis=1), spread, out=np.zeros_like(spread), where=spread > 0)
    return alike


def _centred(part: Floats, both: Flags, count: Integers) -> Floats:
    filled = np.where(both, part, 0.0)
    centred = np.where(both, filled - filled.sum(axis=1, keepdims=True) / count, 0.0)
    # numbers of any size: what is left of a constant after rounding is no movement
    size = np.abs(filled).max(axis=1, keepdims=True, initial=0.0)
    moved: Floats = np.divide(centred, size, out=np.zeros_like(centred), where=size > 0)
    return np.where(np.abs(moved).max(axis=1, keepdims=True, initial=0.0) > 1e-12, moved, 0.0)


def _pooled(own: Floats, family: Integers, known: Flags) -> Floats:
    """The usual scale of each series' family: the median, or the mean where most of the family never moves."""
    floor = np.zeros_like(own)
    order = np.argsort(family, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(family[order])) + 1):
        scales = own[members[known[members]]]
        if scales.size:
            middle = median(scales)
            floor[members] = middle if middle > 0 else float(scales.mean())
    return floor
