"""
The only place that asks what time it is.

Wall time (`now_s`) stamps records and leases; monotonic time (`monotonic_s`) measures deadlines and cadences, so that
a clock set back an hour stops nothing. Everything else takes ``now_s`` as an argument.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the time is, in both senses."""

    def now_s(self) -> float:
        """Wall time, seconds since the epoch."""
        ...

    def monotonic_s(self) -> float:
        """Time that never goes back, seconds from an arbitrary start."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_s(self) -> float:
        return time.time()

    def monotonic_s(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that stands still until told otherwise; for tests and replay."""

    def __init__(self, now_s: float = 0.0) -> None:
        self._now_s = now_s

    def now_s(self) -> float:
        return self._now_s

    def monotonic_s(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Move both times forward by *seconds*, which may not be negative."""
        if seconds < 0:
            message = f"a clock does not go back: {seconds}"
            raise ValueError(message)
        self._now_s += seconds
