from __future__ import annotations

import calendar
from datetime import UTC, datetime

import pytest

from aiops.errors import AiopsError
from aiops.offline.since import Since, parse_when
from aiops.stamps import Stamps

NOW_S = datetime(2026, 11, 24, 12, 0, tzinfo=UTC).timestamp()
AT_S = datetime(2026, 11, 24, 10, 0, tzinfo=UTC).timestamp()


def local(moment: tuple[int, ...]) -> float:
    """A machine whose local time is two hours ahead of UTC."""
    return calendar.timegm(moment) - 7200.0


def test_lines_without_a_time_belong_to_the_last_that_has_one():
    """A traceback is as old as its first line."""
    lines = [
        "before any stamp",
        "2026-11-24 09:00:00 ERROR old",
        "Traceback (most recent call last):",
        "2026-11-24 10:00:00 ERROR new",
        "Traceback (most recent call last):",
        "2026-11-24 09:59:59 written late",
        "",
    ]
    recent = Since(AT_S, Stamps(NOW_S, to_epoch=calendar.timegm))
    assert recent.keeps(lines[:3]) + recent.keeps(lines[3:]) == [True, False, False, True, True, False, False]
    assert recent.stamped == 3


@pytest.mark.parametrize(
    ("text", "expected_s"),
    [
        ("2h", AT_S), ("90m", AT_S + 1800), ("1h30m", AT_S + 1800), ("2026-11-24T10:00Z", AT_S),
        ("2026-11-24T12:00", AT_S), ("2026-11-24 12:00:00", AT_S), ("2026-11-24", AT_S - 43_200),
        ("2026-11-24T11:00:00+01:00", AT_S),
    ],
)  # fmt: skip
def test_a_moment_is_how_long_ago_or_a_date(text: str, expected_s: float):
    """Both are what people type at three in the morning."""
    assert parse_when(text, NOW_S, to_epoch=local) == expected_s


@pytest.mark.parametrize("text", ["", "yesterday", "2", "24/11/2026", "9999999999999d", "10000-01-01", "-2h"])
def test_what_is_no_moment_is_refused_with_what_was_expected(text: str):
    """A slip must not silently mean "all"."""
    with pytest.raises(AiopsError, match="expected 2h, 30m or"):
        parse_when(text, NOW_S, to_epoch=local)
