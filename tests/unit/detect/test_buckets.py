from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.detect.buckets import Buckets

HOUR = 3600.0


@given(st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 5), st.integers(0, 5)), max_size=60))
def test_a_window_that_ends_with_a_minute_holds_exactly_what_was_counted_in_it(counts: list[tuple[int, int, int]]):
    """A sample stands at the end of what it counts: the window is (now - over, now]."""
    buckets = Buckets(60.0, 1000)
    for at_s, good, bad in counts:
        buckets.add(float(at_s), float(good + bad), float(bad))

    seen = buckets.window(HOUR, 6000.0)

    inside = [(good + bad, bad) for at_s, good, bad in counts if 2400 < at_s <= 6000]
    assert (seen.total, seen.bad) == (sum(total for total, _ in inside), sum(bad for _, bad in inside))
    assert seen.buckets == len({(at_s - 1) // 60 for at_s, _, _ in counts if 2400 < at_s <= 6000})


def test_a_time_nobody_watched_has_no_bucket():
    """Unknown is not good: half an hour seen is half of an hour."""
    buckets = Buckets(60.0, 1000)
    for minute in range(30):
        buckets.add(60.0 * minute + 30.0, 0.0, 0.0)

    assert buckets.share_seen(buckets.window(HOUR, HOUR), HOUR) == pytest.approx(0.5)
    assert buckets.share_seen(buckets.window(300.0, HOUR), 300.0) == 0.0


def test_no_more_is_held_than_was_said():
    """A month is a month, also after a year."""
    buckets = Buckets(60.0, 10)
    for minute in range(100):
        buckets.add(60.0 * minute + 1.0, 1.0, 0.0)

    assert len(buckets.rows()) == 10
    assert buckets.window(HOUR, 6000.0).total == 10.0


@pytest.mark.parametrize(
    "rows", [[(1, 1.0)], [(1, 1.0, 2.0)], [(1.5, 1.0, 0.0)], [(1, float("inf"), 0.0)], [("a", 1.0, 0.0)]]
)
def test_rows_that_are_none_are_refused(rows: list[tuple[float, ...]]):
    """A book that was damaged on the disk must not become the truth."""
    with pytest.raises((ValueError, TypeError)):
        Buckets(60.0, 10).restore(rows)
