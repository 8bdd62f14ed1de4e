"""How a window of samples becomes one number; alert rules and causes name the same ways."""

from __future__ import annotations

from enum import StrEnum


class Reduce(StrEnum):
    """How a window becomes one number."""

    LAST = "last"
    MIN = "min"
    MAX = "max"
    MEAN = "mean"
    INCREASE = "increase"
    """Of a counter: what was added."""
    RATE = "rate"
    """Of a counter: what was added a second."""
