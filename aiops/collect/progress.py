"""
Whether an engine works: requests run, and the numbers that move with its work move.

An engine that hangs answers its health check and shows the batch it had; only its token counters stand still. Seconds
are counted from one reading to the next, so a counter that was reset has moved, and a pause of ours is not taken for
one of the engine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from aiops.collect.page_plan import Part

_LONGEST_STEP_S = 60.0
"""Readings further apart prove nothing about the time between them."""


class ProgressWatch:
    """Watches one server, whose page may show several engines."""

    def __init__(self) -> None:
        self._parts: Sequence[Part] = ()
        self._moved: list[tuple[float, ...]] = []
        self._still_s: list[float] = []
        self._read_s = math.inf

    def still_s(self, parts: Sequence[Part], values: Sequence[float], now_s: float) -> float | None:
        """
        For how long nothing has moved on the engine that is stuck longest, though requests run; None if it cannot be told.

        Args:
            parts: The page's engines; the same object for as long as the page is laid out alike.
            values: Of the page.
            now_s: Wall time of the reading.
        """
        moved = [tuple(values[place] for place in part.moving) for part in parts]
        step_s = now_s - self._read_s
        known = parts is self._parts and 0.0 <= step_s <= _LONGEST_STEP_S
        before, still_s = self._moved, self._still_s
        self._parts, self._moved, self._read_s = parts, moved, now_s
        self._still_s = [
            still_s[number] + step_s
            if known and moved[number] == before[number] and any(values[place] > 0.0 for place in part.running)
            else 0.0
            for number, part in enumerate(parts)
        ]
        return max(self._still_s, default=None)
