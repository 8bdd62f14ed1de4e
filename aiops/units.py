"""
Quantities as people write them ("5m", "80%", "16GiB"), to base units and back.

Inside the program there are only seconds, bytes and ratios; this is the edge where they are converted.
"""

from __future__ import annotations

import math
import re

_DURATION_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_SIZE_BYTES = {
    "B": 1.0,
    "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
    "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "TiB": 2.0**40,
}  # fmt: skip
_DURATION_PART = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h|d|w)", re.ASCII)
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s?(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)", re.ASCII)
_PERCENT = re.compile(r"(-?\d{1,6}(?:\.\d{1,6})?)\s?%", re.ASCII)


def parse_duration_s(text: str) -> float:
    """
    Seconds in a duration such as "15s", "1m30s", "2h".

    Raises:
        ValueError: *text* has no unit, an unknown unit, or anything besides number-unit pairs.
    """
    total_s, end = 0.0, 0
    for part in _DURATION_PART.finditer(text):
        if part.start() != end:
            break
        total_s += float(part[1]) * _DURATION_S[part[2]]
        end = part.end()
    if end == 0 or end != len(text):
        message = f"expected a duration such as 15s, 5m or 1h30m, found {text!r}"
        raise ValueError(message)
    return total_s


def parse_size_bytes(text: str) -> int:
    """
    Bytes in a size such as "512MiB" or "20GB".

    Raises:
        ValueError: *text* is no number followed by B, kB, MB, GB, TB, KiB, MiB, GiB or TiB.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        message = f"expected a size such as 512MiB or 20GB, found {text!r}"
        raise ValueError(message)
    return int(float(found[1]) * _SIZE_BYTES[found[2]])


def parse_ratio(text: str) -> float:
    """
    A ratio written as a percentage: "80%" is 0.8.

    Raises:
        ValueError: *text* is no number followed by a percent sign.
    """
    found = _PERCENT.fullmatch(text)
    if found is None:
        message = f"expected a percentage such as 80%, found {text!r}"
        raise ValueError(message)
    return float(found[1]) / 100.0


def parse_quantity(text: str) -> float:
    """
    A threshold in whatever unit it is written: percentage, duration, size or plain number, in base units.

    Raises:
        ValueError: *text* is none of these.
    """
    for parse in (parse_ratio, parse_duration_s, parse_size_bytes, float):
        try:
            value = float(parse(text))
        except ValueError:
            continue
        if math.isfinite(value):
            return value
    message = f"expected a number, percentage, duration or size, found {text!r}"
    raise ValueError(message)


def format_duration(seconds: float) -> str:
    """A duration for people, two units at most: "74 s", "5 min", "1 h 20 min"."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def format_bytes(size_bytes: float) -> str:
    """A size for people in binary units: "23.5 GiB"."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def format_quantity(value: float, unit: str) -> str:
    """
    A value in a catalogue unit, for people.

    Args:
        value: In base units.
        unit: As the catalogue spells it: "ratio", "seconds", "bytes", "celsius", "watts", "hertz" or a plain noun.
    """
    if unit == "ratio":
        # close to nothing tenths matter, and what would read 100 % but is less
        fine = abs(value) < 0.1 or 0.995 <= abs(value) < 1
        return f"{value * 100:.1f} %" if fine else f"{value * 100:.0f} %"
    if unit == "seconds":
        return format_duration(value)
    if unit == "bytes":
        return format_bytes(value)
    if unit == "celsius":
        return f"{value:.0f} °C"
    if unit == "watts":
        return f"{value:.0f} W"
    if unit == "hertz":
        return f"{value / 1e6:.0f} MHz"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"
