from __future__ import annotations

import time

import pytest

from aiops.clock import ManualClock, SystemClock


def test_the_machines_clock_tells_wall_and_monotonic_time():
    """Records carry wall time; deadlines must survive its being set back."""
    before_s, before_monotonic_s = time.time(), time.monotonic()
    clock = SystemClock()

    assert before_s <= clock.now_s() <= time.time()
    assert before_monotonic_s <= clock.monotonic_s() <= time.monotonic()


def test_a_manual_clock_stands_still_until_told():
    """Tests and replays decide what time it is."""
    clock = ManualClock(100.0)
    assert (clock.now_s(), clock.monotonic_s()) == (100.0, 100.0)

    clock.advance(2.5)

    assert (clock.now_s(), clock.monotonic_s()) == (102.5, 102.5)


def test_a_manual_clock_does_not_go_back():
    """Monotonic time would not be monotonic."""
    with pytest.raises(ValueError, match="does not go back"):
        ManualClock().advance(-1.0)
