"""The users' rate: level, ramp, and back from the middle of a ramp."""

import pytest

from aiops.demo.load import Rate


def test_a_burst_rises_in_a_straight_line_and_stays():
    """A step within one request would give the daemon nothing to see before the first 503."""
    rate = Rate(10.0)

    rate.move(4.0, 5.0, now_s=100.0)

    assert [rate.at(t) for t in (100.0, 102.5, 105.0, 200.0)] == pytest.approx([10.0, 25.0, 40.0, 40.0])


def test_turning_back_in_the_middle_starts_from_where_it_was():
    """Ctrl-C or the end of a fault may come during the ramp."""
    rate = Rate(10.0)
    rate.move(3.0, 10.0, now_s=0.0)

    rate.move(1.0, 10.0, now_s=5.0)

    assert rate.at(5.0) == pytest.approx(20.0)
    assert rate.at(15.0) == pytest.approx(10.0)
