from __future__ import annotations

import calendar
from datetime import UTC, datetime

import pytest

from aiops.stamps import Stamps

NOW_S = datetime(2026, 11, 24, 12, 0, tzinfo=UTC).timestamp()
AT_S = datetime(2026, 11, 24, 10, 0, tzinfo=UTC).timestamp()


def local(moment: tuple[int, ...]) -> float:
    """A machine whose local time is two hours ahead of UTC."""
    return calendar.timegm(moment) - 7200.0


def stamps(now_s: float = NOW_S) -> Stamps:
    return Stamps(now_s, to_epoch=calendar.timegm)


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-24T10:00:00Z ERROR x",
        "2026-11-24 10:00:00,123 - WARN x",
        "2026/11/24 10:00:00 [error] 1#1: x",
        "[2026-11-24 11:00:00 +0100] [10] [INFO] x",
        "2026-11-24T05:30:00.123456-04:30 x",
        '192.0.2.1 - - [24/Nov/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 5',
        "Nov 24 10:00:00 node sshd[1]: x",
        "[Tue Nov 24 10:00:00 2026] [notice] x",
        "[Tue Nov 24 10:00:00.123456 2026] x",
        "(EngineCore pid=112) ERROR 11-24 10:00:00 [core.py:1] x",
        "E1124 10:00:00.000000 2049 model_lifecycle.cc:473] x",
        '{"t":"1795514400.123","st":503}',
        '{"level": "error", "ts": 1795514400, "msg": "x"}',
        '{"time": 1795514400123}',
        "1795514400 x",
    ],
)
def test_time_is_read_in_the_many_ways_logs_spell_it(line: str):
    """Whoever asks for the last two hours must not first learn how each program writes the time."""
    assert stamps().at_s(line) == AT_S


@pytest.mark.parametrize(
    "line",
    [
        "", "x", "loaded 1795514400 bytes", "2026-13-24 10:00:00 x", "2026-11-24 25:00:00", "Foo 24 10:00:00 x",
        "99-99 10:00:00", "E9999 10:00:00.0", "x" * 300 + " 2026-11-24 10:00:00", "٢٠٢٦-١١-٢٤ 10:00:00",
    ],
)  # fmt: skip
def test_what_is_no_time_is_not_taken_for_one(line: str):
    """A line with a number in it must not be left out for being from 1970."""
    assert stamps().at_s(line) is None


def test_a_time_without_a_zone_is_local_time():
    """The machine that wrote the log is the one it is read on, mostly."""
    clock = Stamps(NOW_S, to_epoch=local)
    assert clock.at_s("2026-11-24 12:00:00 x") == AT_S
    assert clock.at_s("2026-11-24 10:00:00 UTC x") == AT_S


def test_a_time_without_a_year_is_the_latest_that_is_not_in_the_future():
    """On the first of January yesterday's lines are not a year ahead."""
    new_year_s = datetime(2027, 1, 1, 1, 0, tzinfo=UTC).timestamp()
    assert stamps(now_s=new_year_s).at_s("Dec 31 23:00:00 x") == new_year_s - 7200.0
    assert stamps(now_s=new_year_s).at_s("Jan  1 02:00:00 x") == new_year_s + 3600.0, "clocks differ a little"


def test_ever_new_times_do_not_fill_the_memory():
    """A log of a year holds thirty million seconds."""
    recent = stamps()
    for second in range(25_000):
        recent.at_s(f"{1_700_000_000 + second}")
    assert len(recent._known) <= 10_000
