from __future__ import annotations

import pytest

from aiops.errors import ConfigError
from aiops.model import Labels
from tests.fakes import FakeSeries

SERVER = Labels.of(host_name="n1", instance="a:1", model="m", server="vllm")
RULE = """
detector: absent
absent: {metric: {name: gen_ai_server_up}, down: 15s%s}
by: [instance]
summary: "{instance} gone for {value}"
"""


def up(*readings: tuple[float, float]) -> FakeSeries:
    series = FakeSeries()
    series.put("gen_ai_server_up", SERVER, dict(readings))
    return series


@pytest.mark.parametrize(("now_s", "since_s"), [(1014.0, None), (1015.0, 1000.0), (1040.0, 1000.0)])
def test_a_target_down_for_long_enough_breaches_since_it_went_down(detector, now_s: float, since_s: float | None):
    """One failed scrape is an accident; three are an outage."""
    series = up((990, 1), (995, 1), (1000, 0), (1005, 0), (1010, 0), (1015, 0))

    found = list(detector(RULE % "").evaluate(series, now_s))

    assert [breach.since_s for breach in found] == ([] if since_s is None else [since_s])


def test_a_target_that_came_back_is_well(detector):
    """And one that never was up is down, since somebody asked for it."""
    found = detector(RULE % "")

    assert list(found.evaluate(up((1000, 0), (1020, 0), (1025, 1)), 1030.0)) == []
    (breach,) = found.evaluate(up((1000, 0), (1020, 0)), 1030.0)
    assert (breach.labels, breach.text) == (Labels.of(instance="a:1"), "a:1 gone for 30 s")


def test_silence_is_no_outage_unless_the_rule_says_so(detector):
    """A server taken out of discovery is not down."""
    series = up((990, 1), (1000, 1))

    assert list(detector(RULE % "").evaluate(series, 1200.0)) == []
    (breach,) = detector(RULE % ", silent: 1m").evaluate(series, 1060.0)
    assert breach.since_s == 1000.0


def test_what_went_silent_long_ago_was_taken_away_on_purpose(detector):
    """An alert about a replica that was scaled in yesterday would never end."""
    series = up((990, 1), (1000, 0))

    assert list(detector(RULE % "").evaluate(series, 1300.0)) == []
    assert list(detector(RULE % ", silent: 1m, remember: 5m").evaluate(series, 1301.0)) == []


def test_remembering_must_be_longer_than_silence(detector):
    """Otherwise the rule could never fire."""
    with pytest.raises(ConfigError, match=r"absent\.remember: expected more than silent"):
        detector(RULE % ", silent: 10m, remember: 5m")


@pytest.mark.parametrize("series", [FakeSeries(), up((1000, 1)), up((1000, 0))])
def test_little_history_gives_no_verdict(detector, series: FakeSeries):
    """Nothing seen is not "gone"."""
    assert list(detector(RULE % "").evaluate(series, 1000.0)) == []
