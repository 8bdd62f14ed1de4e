"""
Leaves out lines that are older than somebody cares for.

A line without a stamp of its own (the middle of a traceback) belongs to the last line that has one. Lines before the
first stamp stay: nothing says that they are old.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime

from aiops.errors import AiopsError
from aiops.stamps import Stamps, ToEpoch
from aiops.units import parse_duration_s


class Since:
    """
    Says which lines are recent enough; to be asked about all lines in order.

    Args:
        start_s: Lines from then on are kept.
        stamps: Reads when a line was written.
    """

    def __init__(self, start_s: float, stamps: Stamps) -> None:
        self._start_s = start_s
        self._stamps = stamps
        self._keeping = True
        self.stamped = 0
        """Lines that said when they were written."""

    def keeps(self, lines: Sequence[str]) -> list[bool]:
        """For each of *lines*, which follow those of the last call, whether it is recent enough."""
        return [self._keeps(line) for line in lines]

    def _keeps(self, line: str) -> bool:
        at_s = self._stamps.at_s(line)
        if at_s is not None:
            self.stamped += 1
            self._keeping = at_s >= self._start_s
        return self._keeping


def parse_when(text: str, now_s: float, to_epoch: ToEpoch = time.mktime) -> float:
    """
    A moment as people write it: how long ago ("2h"), or a date and time ("2026-11-24", "2026-11-24T10:00").

    Args:
        text: What was written; without a zone local time is meant.
        now_s: The time now.
        to_epoch: Local time to seconds of the epoch.

    Raises:
        AiopsError: it is neither.
    """
    try:
        return now_s - parse_duration_s(text)
    except ValueError:
        pass
    try:
        day = datetime.fromisoformat(text)
        if day.tzinfo:
            return day.timestamp()
        return to_epoch((day.year, day.month, day.day, day.hour, day.minute, day.second, 0, 0, -1))
    except (ValueError, OverflowError) as error:
        raise AiopsError(f"expected 2h, 30m or 2026-11-24T10:00, found {text!r}") from error
