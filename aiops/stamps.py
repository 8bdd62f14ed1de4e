"""
When a line was written, by its own words.

Logs spell time in many ways and mostly without a zone; then the zone of this machine is meant, which wrote them.
"""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable

import re2

Moment = tuple[int, int, int, int, int, int, int, int, int]
"""Year, month, day, hour, minute, second; weekday, day of the year and summer time are found out."""
ToEpoch = Callable[[Moment], float]
"""Local time to seconds of the epoch."""

_HEAD_CHARS = 256
"""Further on, a time is somebody's text."""
_MAX_CACHED = 10_000
_DAY_S = 86_400.0
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

_ZONE = r"(?:[.,]\d+)?(?: ?(Z\b|UTC\b|GMT\b|[+-]\d{2}:?\d{2}\b))?"
_STAMPS = (
    r"\b(\d{4})[-/](\d{2})[-/](\d{2})[T ](\d{2}:\d{2}:\d{2})" + _ZONE,  # 2026-11-24 10:00:00,123
    r"\b(\d{2})/([A-Z][a-z]{2})/(\d{4}):(\d{2}:\d{2}:\d{2})" + _ZONE,  # access logs: 24/Nov/2026:10:00:00 +0000
    r"\b([A-Z][a-z]{2}) +(\d{1,2}) (\d{2}:\d{2}:\d{2})(?:\.\d+)?(?: (\d{4})\b)?",  # syslog, and with a year
    r"\b(\d{2})[-/](\d{2}) (\d{2}:\d{2}:\d{2})",  # vLLM: 11-24 10:00:00
    r"\b[IWEF](\d{2})(\d{2}) (\d{2}:\d{2}:\d{2})",  # glog: I1124 10:00:00.000000
    r"""(?:^|"(?:t|ts|time|timestamp|msec)": ?"?)(1\d{9})(?:\d{3})?\b""",  # seconds or milliseconds of the epoch
)
"""Each names its parts by groups; the first that is found in a line counts."""
_PARTS = (5, 5, 4, 3, 3, 1)


class Stamps:
    """
    Reads the time stamps of lines.

    Args:
        now_s: The time now; a stamp without a year is the latest one that is not in the future.
        to_epoch: Local time to seconds of the epoch.
    """

    def __init__(self, now_s: float, to_epoch: ToEpoch = time.mktime) -> None:
        self._now_s = now_s
        self._to_epoch = to_epoch
        self._stamp = re2.compile("|".join(f"(?:{stamp})" for stamp in _STAMPS).encode())
        self._known: dict[tuple[bytes | None, ...], float | None] = {}

    def at_s(self, line: str) -> float | None:
        """When *line* says it was written; None if it does not."""
        found = self._stamp.search(line[:_HEAD_CHARS].encode("utf-8", "replace"))
        if found is None:
            return None
        parts = found.groups()
        if parts not in self._known:
            if len(self._known) >= _MAX_CACHED:
                self._known.clear()
            self._known[parts] = self._read([part.decode() if part else "" for part in parts])
        return self._known[parts]

    def _read(self, parts: list[str]) -> float | None:
        """Seconds of the epoch; None where the digits are no date."""
        start = 0
        for form, count in enumerate(_PARTS):
            mine = parts[start : start + count]
            if mine[0]:
                try:
                    return self._as_epoch(form, mine)
                except (ValueError, OverflowError):
                    return None
            start += count
        return None

    def _as_epoch(self, form: int, parts: list[str]) -> float:
        match form, parts:
            case 0, [year, month, day, clock, zone]:
                return self._at(int(year), int(month), int(day), clock, zone)
            case 1, [day, name, year, clock, zone]:
                return self._at(int(year), _month(name), int(day), clock, zone)
            case 2, [name, day, clock, year] if year:
                return self._at(int(year), _month(name), int(day), clock, "")
            case 2, [name, day, clock, _]:
                return self._latest(_month(name), int(day), clock)
            case _, [seconds]:
                return float(seconds)
            case _, [month, day, clock]:
                return self._latest(int(month), int(day), clock)
        raise ValueError(parts)

    def _latest(self, month: int, day: int, clock: str) -> float:
        """A stamp without a year."""
        # a clock may run ahead, and another zone may be a day ahead
        latest_s = self._now_s + _DAY_S
        year = time.gmtime(latest_s).tm_year + 1
        while (at_s := self._at(year, month, day, clock, "")) > latest_s:
            year -= 1
        return at_s

    def _at(self, year: int, month: int, day: int, clock: str, zone: str) -> float:
        hour, minute, second = map(int, clock.split(":"))
        if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second <= 60):
            raise ValueError(clock)
        moment: Moment = (year, month, day, hour, minute, second, 0, 0, -1)
        return float(calendar.timegm(moment)) - _offset_s(zone) if zone else self._to_epoch(moment)


def _month(name: str) -> int:
    """Raises ValueError where *name* is no month: "May" is, "CPU" is not."""
    return _MONTHS.index(name) + 1


def _offset_s(zone: str) -> float:
    if zone[0] not in "+-":
        return 0.0
    digits = zone[1:].replace(":", "")
    seconds = int(digits[:2]) * 3600.0 + int(digits[2:]) * 60.0
    return -seconds if zone[0] == "-" else seconds
