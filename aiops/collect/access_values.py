"""Single values of access logs: numbers, durations, moments and lists, in the spellings gateways use."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta, timezone
from typing import Any

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LOCAL_TIME = re.compile(r"(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)")
_MAX_EPOCH_S = 1e11
"""Times above are milliseconds: as seconds they would lie after the year 5000."""
_MAX_DURATION_S = 7 * 86_400.0
_MAX_WORD = 100
_NUMERIC = (int, float, str)
"""A tuple: a union would be made anew at every call."""


class Stamp:
    """Reads any spelling of a moment; remembers the last, for many lines share a second."""

    def __init__(self) -> None:
        self._text = ""
        self._at_s: float | None = None

    def read(self, value: Any) -> float | None:
        """Seconds of the epoch; None if *value* is no moment."""
        if isinstance(value, str) and value == self._text:
            return self._at_s
        if (seconds := number(value)) is not None:
            seconds = seconds / 1000.0 if seconds > _MAX_EPOCH_S else seconds
            return seconds if seconds > 0 else None
        if not isinstance(value, str):
            return None
        self._text, self._at_s = value, _time_of(value.strip("[]"))  # gunicorn's has its brackets with it
        return self._at_s


def number(value: Any) -> float | None:
    """*value* as a finite number; None if it is none."""
    if not isinstance(value, _NUMERIC) or isinstance(value, bool):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def last_of(value: Any) -> Any:
    """The last element of nginx's list: upstreams tried are parted by commas, internal redirects by colons."""
    if isinstance(value, str) and ("," in value or " : " in value):
        return value.replace(" : ", ",").rsplit(",", 1)[1].strip()
    return value


def seconds_of(value: Any, scale: float = 1.0) -> float | None:
    """A duration written in units of *scale* seconds, in seconds; None if *value* is none."""
    found = number(last_of(value))
    return found * scale if found is not None and 0.0 <= found * scale <= _MAX_DURATION_S else None


def first_of(value: Any) -> str:
    """*value* as text; the first of a list, as Caddy writes headers."""
    if isinstance(value, list):
        value = value[0] if value else ""
    return str(value or "")


def word_of(value: Any) -> str:
    """*value* as a short printable word; empty if it is none."""
    if value is None:
        return ""
    text = first_of(value)
    return text if text != "-" and len(text) <= _MAX_WORD and text.isprintable() else ""


def _time_of(text: str) -> float | None:
    try:
        if text[2:3] != "/":
            moment = datetime.fromisoformat(text)
            return moment.timestamp() if moment.tzinfo is not None else None
        found = _LOCAL_TIME.fullmatch(text)
        if found is None:
            return None
        day, month, year, hour, minute, second, sign, off_h, off_m = found.groups()
        offset = timedelta(hours=int(off_h), minutes=int(off_m)) * (-1 if sign == "-" else 1)
        zone = timezone(offset)
        return datetime(
            int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second), tzinfo=zone
        ).timestamp()
    except (ValueError, OverflowError):
        return None
