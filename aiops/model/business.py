"""
What the business says about itself, and how late it may say it.

A business counts in its own time: a batch job tells at a quarter past what happened on the hour. So a value carries its
own time and goes in under that time, up to an hour late. Of one series times only go forward: a value is taken if it is
newer than the last one, or if it revises one that was told before; what is older and was never told is lost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

BUSINESS: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "business_success_ratio": (0.0, 1.0),
        "business_complaint_ratio": (0.0, 1.0),
        "business_request_rate": (0.0, math.inf),
        "business_revenue_per_second": (-math.inf, math.inf),
    }
)
"""Metrics, and the lowest and highest value of each; refunds may outweigh sales."""
LATENESS_S: Final = 3_600.0
"""A series without a value for an hour has ended, and memory reaches no further back."""
AHEAD_S: Final = 300.0
"""Clocks of a fleet differ by seconds; a sender five minutes ahead has a broken one."""


def expected(metric: str) -> str:
    """In words, what a value of *metric* must be."""
    low, high = BUSINESS[metric]
    if math.isfinite(high):
        return f"a number from {low:g} to {high:g}"
    return "a number of 0 or more" if math.isfinite(low) else "a number"


def is_sound(metric: str, value: float) -> bool:
    """Whether *value* can be one of *metric*."""
    low, high = BUSINESS[metric]
    return math.isfinite(value) and low <= value <= high
