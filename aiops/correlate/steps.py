"""
Where a series steps to another level: the change points under load accounting and baselines.

Two kinds of data, two tests: counts of arrivals per second are compared as Poisson rates (a quiet service may have two
requests a second, where no normal approximation holds), readings as levels with a robust spread. Both search the one
most likely step, so that a surge of four seconds is not diluted by the five minutes around it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from aiops.model import Onset
from aiops.stats import Floats, median, robust_scale

_MIN_EVIDENCE = 12.0
"""Log-likelihood ratio a rise needs: chance rises over 300 candidate seconds stay below one in a thousand."""
_MIN_RISE = 1.2
"""Smaller steps of arrivals are weather."""
_MIN_NORMAL = 3
_MIN_ABNORMAL = 2
_MIN_SPREADS = 4.0
_MIN_APART = 3
_APART_BY_CHANCE = 70
"""Of so many orders of readings of one level, one has all the later ones above the earlier."""


@dataclass(frozen=True, slots=True)
class Step:
    """A series left one level for another at an onset."""

    before: float
    after: float
    onset: Onset


def rate_rise(
    at_s: Floats, counts: Floats, *, earliest_s: float, latest_s: float, min_before_s: float = 30.0
) -> Step | None:
    """
    The most likely rise of an arrival rate, if there is one.

    Args:
        at_s: Starts of one-second buckets, shape (n,), increasing.
        counts: Arrivals in each bucket, same shape, 0 or more.
        earliest_s: The rise may begin with the bucket that starts here, and no sooner.
        latest_s: … and not later than with this one.
        min_before_s: Buckets needed before the rise; fewer are no baseline.

    Returns:
        Arrivals a second before and after; None when no rise of a fifth stands out from the noise.

    Source:
        Likelihood ratio for a change of Poisson rate; divided by the dispersion index for bursty traffic (McCullagh &
        Nelder, Generalized Linear Models, 1989, ch. 6).
    """
    n = counts.size
    index = np.arange(1, n)
    allowed = (at_s[1:] >= earliest_s) & (at_s[1:] <= latest_s) & (index >= min_before_s)
    if not allowed.any():
        return None
    cuts = index[allowed]
    total = np.concatenate(([0.0], np.cumsum(counts)))
    before, after = total[cuts], total[-1] - total[cuts]
    rate_before, rate_after, rate_all = before / cuts, after / (n - cuts), max(total[-1] / n, 1e-9)
    tiny = 1e-9  # keeps 0 * log(0) at 0
    evidence = before * np.log((rate_before + tiny) / rate_all) + after * np.log((rate_after + tiny) / rate_all)
    evidence = np.where(rate_after > _MIN_RISE * rate_before, evidence, 0.0)
    best = int(np.argmax(evidence))
    cut = int(cuts[best])
    past = counts[:cut]
    mean = float(past.mean())
    dispersion = max(float(past.var()) / mean, 1.0) if mean > 0 else 1.0
    if evidence[best] / dispersion < _MIN_EVIDENCE:
        return None
    return Step(mean, float(rate_after[best]), Onset(float(at_s[cut - 1]), float(at_s[cut]) + 1.0))


def level_step(  # noqa: PLR0913 - each is a different quantity of the same search
    at_s: Floats,
    values: Floats,
    *,
    earliest_s: float,
    latest_s: float,
    floor: float,
    min_before_s: float = 0.0,
    apart: bool = False,
) -> Step | None:
    """
    The most likely step of a level, up or down, if there is one.

    Args:
        at_s: Times in seconds, shape (n,), increasing.
        values: Readings, same shape; pass logarithms when ratios are meant.
        earliest_s: The first reading of the new level may not be older.
        latest_s: … nor newer.
        floor: Smallest spread to believe in, unit of *values*.
        min_before_s: Time the old level must have been watched.
        apart: Also believe a step of half as many spreads after which no reading lies among those before: for few, noisy
            readings.

    Returns:
        Medians before and after; None when they lie less than four robust spreads apart.
    """
    cut = _most_likely_cut(at_s, values, earliest_s, latest_s, min_before_s)
    if cut is None:
        return None
    past, present = values[:cut], values[cut:]
    before, after = median(past), median(present)
    spreads = abs(after - before) / robust_scale(past, floor)
    if spreads < _MIN_SPREADS and not (apart and spreads >= _MIN_SPREADS / 2 and _lie_apart(past, present)):
        return None
    return Step(before, after, Onset(float(at_s[cut - 1]), float(at_s[cut])))


def _most_likely_cut(
    at_s: Floats, values: Floats, earliest_s: float, latest_s: float, min_before_s: float
) -> int | None:
    """Where what is left of the spread is least when each side has its own mean; None where no cut is allowed."""
    n = values.size
    cuts = np.arange(_MIN_NORMAL, n - _MIN_ABNORMAL + 1)
    if cuts.size == 0:
        return None
    firsts = at_s[cuts]
    cuts = cuts[(firsts >= earliest_s) & (firsts <= latest_s) & (at_s[cuts - 1] - at_s[0] >= min_before_s)]
    if cuts.size == 0:
        return None
    total = np.empty(n + 1)
    total[0] = 0.0
    values.cumsum(out=total[1:])
    gap = (total[-1] - total[cuts]) / (n - cuts) - total[cuts] / cuts
    return int(cuts[(cuts * (n - cuts) / n * gap * gap).argmax()])


def _lie_apart(past: Floats, present: Floats) -> bool:
    few = min(past.size, present.size)
    rare = few >= _MIN_APART and math.comb(past.size + present.size, few) >= _APART_BY_CHANCE
    return rare and bool(present.min() > past.max() or present.max() < past.min())
