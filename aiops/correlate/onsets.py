"""
When what is read began: of the spell that hurts, not of a moment that was over long before.

A queue of four requests for a second, half a minute before the first bad answer, is everyday life. What is part of the
failure is still there as users are hurt, or comes after; short gaps between two readings of it do not part it.
"""

from __future__ import annotations

import numpy as np

from aiops.correlate.departures import Integers
from aiops.model import Onset
from aiops.stats import Floats, median

_GAP_S = 10.0
"""Readings of one spell are no further apart, unless they come more seldom anyway."""
_READINGS = 3
"""… then a spell may miss so many of them."""


def spell(at_s: Floats, crossed: Integers, first_bad_s: float) -> int | None:
    """
    The first reading of the spell that was going on at *first_bad_s*, or began next; of the last one before, if none did.

    Args:
        at_s: Times of readings, shape (n,), increasing.
        crossed: Indices of those that are abnormal, increasing.
        first_bad_s: The first bad second.
    """
    if not crossed.size:
        return None
    times = at_s[crossed]
    gaps = times[1:] - times[:-1]
    parted = np.flatnonzero(gaps > _GAP_S) + 1
    if parted.size:  # rarely; how often it is read need not be known before
        every_s = median(at_s[1:] - at_s[:-1])
        parted = np.flatnonzero(gaps > max(_GAP_S, _READINGS * every_s)) + 1
    if not parted.size:
        return int(crossed[0])
    begins, ends = np.append(0, parted), np.append(parted, times.size) - 1
    lasted = np.flatnonzero(times[ends] >= first_bad_s - _GAP_S)
    return int(crossed[begins[lasted[0] if lasted.size else -1]])


def begun(onset: Onset, lasted_s: float) -> Onset:
    """What had lasted for *lasted_s* as it was read: a request, a silence, a process began so long before."""
    began_s = onset.by_s - max(lasted_s, 0.0)
    return Onset(min(onset.after_s, began_s - 1.0), began_s)
