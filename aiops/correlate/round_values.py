"""Time-outs are set by people, and people set round values: what fails after 5.01 s was ended by somebody's 5 s."""

from __future__ import annotations

import math
from bisect import bisect_right

_ROUND_S = (
    1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 45, 50, 60, 75, 90, 100, 120, 150, 180, 200, 240, 300, 400, 500,
    600, 900, 1_200, 1_800, 3_600,
)  # fmt: skip
_EARLY_S = 0.01
"""Clocks and logs round: 4.998 s is 5 s."""


def past_round(value_s: float) -> float:
    """Seconds that *value_s* lies past the last round time-out; infinite below the smallest one."""
    passed = bisect_right(_ROUND_S, value_s + _EARLY_S)
    return max(value_s - _ROUND_S[passed - 1], 0.0) if passed else math.inf
