"""
Statistics that detectors and the correlator share: counters, robust spread, onsets, proportions.

Everything is exact or a documented approximation on plain arrays, with numpy alone: scipy would cost the resident
process more memory than the rest of it. Inputs are finite numbers, oldest first where they have times. Too little
data gives NaN or None, never a number that looks like "normal".
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aiops.model import Onset

Floats = NDArray[np.float64]

_MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation (Iglewicz & Hoaglin 1993)."""
_MEAN_AD_TO_SIGMA = 1.2533
"""The same for the mean absolute deviation, used where more than half of the values are equal."""


# --- counters -------------------------------------------------------------------------------------------------------


def increase(values: ArrayLike) -> float:
    """
    How much a counter rose over a window.

    A fall means that the source restarted, so the new total counts from zero.

    Args:
        values: Running totals, shape (n,), oldest first.

    Returns:
        The rise, 0 or more; NaN with fewer than two values.

    Source:
        Prometheus, `increase()`, without its extrapolation to the window's ends.
    """
    totals = np.asarray(values, dtype=np.float64)
    if totals.size < 2:
        return math.nan
    return float(steps(totals).sum())


def rate_points(at_s: ArrayLike, values: ArrayLike) -> Floats:
    """
    Rate of a counter in each interval between two samples.

    Args:
        at_s: Times in seconds, shape (n,), strictly increasing.
        values: Running totals, same shape.

    Returns:
        Units a second, shape (n - 1,), 0 or more; element i belongs to the interval that ends at ``at_s[i + 1]``.

    Raises:
        ValueError: the shapes differ.
    """
    times, totals = _paired(at_s, values)
    if totals.size < 2:
        return np.empty(0)
    return steps(totals) / (times[1:] - times[:-1])


def steps(totals: Floats) -> Floats:
    """What a counter added between neighbouring samples, shape (n - 1,); a fall is a restart from zero."""
    added: Floats = totals[1:] - totals[:-1]  # numpy.diff takes four times as long on a few hundred values
    fell = added < 0
    if fell.any():
        added[fell] = totals[1:][fell]
    return added


def _paired(at_s: ArrayLike, values: ArrayLike) -> tuple[Floats, Floats]:
    times, readings = np.asarray(at_s, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if times.shape != readings.shape or times.ndim != 1:
        raise ValueError(f"times and values need one equal length, got {times.shape} and {readings.shape}")
    return times, readings


# --- robust spread --------------------------------------------------------------------------------------------------


def median(values: ArrayLike) -> float:
    """
    Median of finite *values*; NaN when there are none.

    A diagnosis takes some sixty of them, of a few hundred values each: sorting costs a quarter of what `numpy.median`
    spends on axes, masks and NaNs.
    """
    ordered = np.array(values, dtype=np.float64)
    ordered.sort()
    if ordered.size == 0:
        return math.nan
    middle = ordered.size // 2
    return float(ordered[middle] if ordered.size % 2 else (ordered[middle - 1] + ordered[middle]) / 2)


def median_mad(values: ArrayLike) -> tuple[float, float]:
    """
    Median, and median absolute deviation from it, in the values' unit; NaN for both when *values* is empty.

    Source:
        Hampel, The influence curve and its role in robust estimation, JASA 69 (1974).
    """
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        return math.nan, math.nan
    centre = median(data)
    return centre, median(np.abs(data - centre))


def robust_scale(past: ArrayLike, floor: float) -> float:
    """
    Robust standard deviation of *past*, at least *floor*.

    1.4826 x MAD; where more than half of the values are equal (MAD 0), 1.2533 x mean absolute deviation.

    Args:
        past: Values of the normal time, shape (n,).
        floor: Smallest spread to believe in, unit of *past*; keeps a flat series from alarming on noise.

    Source:
        Iglewicz & Hoaglin, How to Detect and Handle Outliers (1993).
    """
    data = np.asarray(past, dtype=np.float64)
    centre, mad = median_mad(data)
    if math.isnan(mad):
        return floor
    spread = _MAD_TO_SIGMA * mad if mad > 0 else _MEAN_AD_TO_SIGMA * float(np.mean(np.abs(data - centre)))
    return max(spread, floor)


# --- onset ----------------------------------------------------------------------------------------------------------


def onset(  # noqa: PLR0913 - each is a different quantity of the same test
    at_s: ArrayLike,
    values: ArrayLike,
    *,
    baseline_until_s: float,
    floor: float,
    limit: float = 4.0,
    direction: int = 0,
    min_baseline: int = 8,
    min_abnormal: int = 2,
) -> Onset | None:
    """
    When a series left its normal, as the interval (last normal sample, first abnormal sample].

    The samples up to *baseline_until_s* give the median and robust scale. A sample further than *limit* scales from
    the median is abnormal, one within half of that is normal; what lies between decides nothing, so that a slow ramp
    gets an honest, wide interval. A spell of abnormal samples ends with three normal ones in a row. The answer is the
    first spell that lasts past the baseline's end; it may have begun before it, since median and MAD stand up to half
    of the baseline being spoiled.

    Args:
        at_s: Times in seconds, shape (n,), increasing.
        values: Readings, same shape (for counters pass rates).
        baseline_until_s: End of the time taken as normal.
        floor: Smallest spread to believe in, unit of *values*.
        limit: Robust standard deviations from the median that are abnormal.
        direction: 1 rises only, -1 falls only, 0 both.
        min_baseline: Samples the baseline needs.
        min_abnormal: Abnormal samples a spell needs.

    Returns:
        The onset; None when the series stayed normal, or the baseline is too short to say.

    Raises:
        ValueError: the shapes differ, or *floor* is not positive.
    """
    times, readings = _paired(at_s, values)
    if not floor > 0:
        raise ValueError(f"floor must be positive, got {floor}")
    past = readings[times <= baseline_until_s]
    if past.size < min_baseline or past.size == readings.size:
        return None
    score = (readings - median(past)) / robust_scale(past, floor)
    score = np.abs(score) if direction == 0 else score * direction
    return _first_spell(times, score, limit, baseline_until_s, min_abnormal)


def _first_spell(
    times: Floats, score: Floats, limit: float, baseline_until_s: float, min_abnormal: int
) -> Onset | None:
    abnormal = np.flatnonzero(score > limit)
    normal = np.flatnonzero(score <= limit / 2)
    begin = 0
    for i in range(abnormal.size):
        last_of_spell = i + 1 == abnormal.size or _calm_between(normal, abnormal[i], abnormal[i + 1])
        if not last_of_spell:
            continue
        if times[abnormal[i]] > baseline_until_s and i - begin + 1 >= min_abnormal:
            first = int(abnormal[begin])
            before = normal[normal < first]
            after_s = times[before[-1]] if before.size else times[0] if first else -math.inf
            return Onset(float(after_s), float(times[first]))
        begin = i + 1
    return None


def _calm_between(normal: NDArray[np.intp], first: int, second: int) -> bool:
    """Whether three normal samples in a row lie between two abnormal ones."""
    inside = normal[(normal > first) & (normal < second)]
    return bool(inside.size >= 3 and np.any(inside[2:] - inside[:-2] == 2))


# --- proportions ----------------------------------------------------------------------------------------------------


def binomial_tail(bad: int, total: int, p: float) -> float:
    """
    Chance of at least *bad* failures among *total* requests when each fails with probability *p*: the p-value of the
    exact one-sided binomial test.

    Summed from the largest term outward until further terms no longer count, so its cost grows with the square root
    of *total*; relative error below 1e-8 up to a million requests.

    Args:
        bad: Failures, 0 to *total*.
        total: Requests, 0 or more.
        p: Failure probability under "nothing is wrong", 0 to 1.

    Raises:
        ValueError: an argument is outside its range.

    Source:
        Clopper & Pearson, The use of confidence or fiducial limits illustrated in the case of the binomial,
        Biometrika 26 (1934).
    """
    if not 0 <= bad <= total or not 0.0 <= p <= 1.0:
        raise ValueError(f"no binomial tail for {bad} of {total} at {p}")
    if bad == 0 or p == 1.0:
        return 1.0
    if p == 0.0:
        return 0.0
    if bad > total * p:
        return min(_tail_sum(bad, total, p), 1.0)
    # at or below the mean the upper tail is most of the mass: take the small side, of the mirrored distribution
    return max(0.0, 1.0 - _tail_sum(total - bad + 1, total, 1.0 - p))


def _tail_sum(first: int, total: int, p: float) -> float:
    """Sum of binomial terms from *first*, at or above the mean, upward; there they fall faster and faster."""
    log_term = (
        math.lgamma(total + 1)
        - math.lgamma(first + 1)
        - math.lgamma(total - first + 1)
        + first * math.log(p)
        + (total - first) * math.log1p(-p)
    )
    odds = p / (1.0 - p)
    term = added = 1.0
    for k in range(first, total):
        term *= (total - k) / (k + 1) * odds
        added += term
        if term < added * 1e-17:
            break
    return math.exp(log_term + math.log(added))


def beta_upper(bad: int, total: int, confidence: float) -> float:
    """
    Upper confidence bound of a failure ratio: the largest one that would still let so few failures happen.

    Args:
        bad: Failures, 0 to *total*.
        total: Requests; with none the bound is 1.
        confidence: One-sided, in the open interval (0, 1), for example 0.95.

    Returns:
        The Clopper-Pearson bound, 0 to 1: the *confidence* quantile of Beta(bad + 1, total - bad).

    Raises:
        ValueError: an argument is outside its range.

    Source:
        Clopper & Pearson (1934), as `binomial_tail`.
    """
    if not 0 <= bad <= total or not 0.0 < confidence < 1.0:
        raise ValueError(f"no bound for {bad} of {total} at confidence {confidence}")
    if bad == total:
        return 1.0
    if bad == 0:
        return -math.expm1(math.log1p(-confidence) / total)
    low, high = bad / total, 1.0
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        if binomial_tail(bad + 1, total, middle) < confidence:
            low = middle
        else:
            high = middle
    return high
