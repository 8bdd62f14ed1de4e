"""A line says when it was written. (Its many spellings are tested where lines are chosen by time.)"""

from __future__ import annotations

import calendar

import pytest

from aiops.stamps import Stamps

NOW_S = 1_795_478_400.0  # 2026-11-24


@pytest.mark.parametrize(
    ("line", "before_s"),
    [
        ("2026-11-23T23:00:00Z x", 3_600.0),
        ("[2026-11-23 23:00:00 TP0] x", 3_600.0),
        ("(EngineCore_0 pid=3) ERROR 11-23 23:00:00 [core.py:1] x", 3_600.0),
        ("I1123 23:00:00.000001 12 x.cc:1] x", 3_600.0),
    ],
)
def test_servers_stamps_are_read(line: str, before_s: float) -> None:
    """vLLM leaves the year out, and so does glog."""
    assert Stamps(NOW_S, calendar.timegm).at_s(line) == NOW_S - before_s


@pytest.mark.parametrize(
    "line", ["", "no time", "99-99 99:99:99", "2026-13-45T99:00:00Z", "x" * 300 + "2026-11-23T23:00:00Z"]
)
def test_what_is_no_time_is_none(line: str) -> None:
    """Digits are not always a date."""
    assert Stamps(NOW_S, calendar.timegm).at_s(line) is None
