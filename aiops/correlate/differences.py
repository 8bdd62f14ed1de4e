"""One metric less another at the same place: what the gateway waits for beyond what the engine itself needs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aiops.ports import Window

_MAX_APART_S = 15.0
"""Pages are read every few seconds and logs once a second; readings further apart are not of the same time."""


def differences(mine: Sequence[Window], bound: str, others: Sequence[Window], other_bound: str) -> list[Window]:
    """
    Each series of *mine* less the one of *others* that its label *bound* shares with their *other_bound*.

    A reading without one of the other's near it is left out: what was not read is not 0.
    """
    by_place = {window.labels.get(other_bound): window for window in others}
    return [
        found
        for window in mine
        if (other := by_place.get(window.labels.get(bound))) is not None
        and (found := _difference(window, other)) is not None
    ]


def _difference(window: Window, other: Window) -> Window | None:
    if not other.at_s.size:
        return None
    after = np.minimum(other.at_s.searchsorted(window.at_s), other.at_s.size - 1)
    before = np.maximum(after - 1, 0)
    nearer = np.abs(other.at_s[before] - window.at_s) <= np.abs(other.at_s[after] - window.at_s)
    nearest = np.where(nearer, before, after)
    near = np.abs(other.at_s[nearest] - window.at_s) <= _MAX_APART_S
    if not near.any():
        return None
    return Window(window.labels, window.at_s[near], (window.values - other.values[nearest])[near])
