from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiops.detect.counting import last_added_s, moved, read_counted
from aiops.model import Labels
from aiops.rulebook.alerts import Selector
from tests.fakes import FakeSeries

REQUESTS = Selector("http_server_requests_total", {"outcome": "503"})
CHAT = Labels.of(service="chat", outcome="503")


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(-2, 2)), max_size=30), st.integers(-5, 200))
def test_a_counter_that_did_not_move_has_added_nothing(points: list[tuple[int, int]], after_s: int):
    """The short way round must never hide what the long way finds, a restart from zero included."""
    series, at_s, total = FakeSeries(), 0.0, 0.0
    for gap, step in points:
        at_s, total = at_s + gap, max(total + step, 0.0)
        series.put(REQUESTS.name, CHAT, {at_s: total})

    counted = read_counted((REQUESTS,), series, 0.0, 1000.0, "service").get("chat", [])

    if last_added_s(counted) > after_s:
        assert moved((REQUESTS,), series, after_s, 1000.0)


def test_what_moved_long_ago_does_not_matter():
    """Otherwise every service that ever failed would be read in full every second."""
    series = FakeSeries()
    series.put(REQUESTS.name, CHAT, {0.0: 1.0, 5.0: 4.0, 10.0: 4.0, 15.0: 4.0})

    assert moved((REQUESTS,), series, 4.0, 15.0)
    assert not moved((REQUESTS,), series, 5.0, 15.0)
