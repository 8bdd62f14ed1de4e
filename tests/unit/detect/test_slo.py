from __future__ import annotations

import numpy as np
import pytest

from aiops.errors import ConfigError
from aiops.model import Labels
from tests.fakes import FakeSeries

REQUESTS = "http_server_requests_total"
RULE = """
detector: burn_rate
burn_rate:
  bad: [{name: http_server_requests_total, match: {outcome: "503"}}, {name: http_server_requests_total, match: {outcome: 5xx}}]
  total: [{name: http_server_requests_total}]
  objective: 99.95%
  burn: 86.4
  long: 10m
  short: 30s
summary: "{service} {value} {limit} {share}"
"""


def answers(seconds: int, failing_from: int, failing_to: int, share: float) -> FakeSeries:
    series = FakeSeries()
    for outcome in ("ok", "503"):
        rates = np.where((np.arange(seconds) >= failing_from) & (np.arange(seconds) < failing_to), share, 0.0)
        rates = 20 * (rates if outcome == "503" else 1 - rates)
        totals = np.concatenate(([0.0], np.cumsum(rates)))
        labels = Labels.of(service="chat", outcome=outcome)
        series.put(REQUESTS, labels, {float(i): float(total) for i, total in enumerate(totals)})
    return series


def test_it_breaches_while_both_windows_burn(detector):
    """Ten minutes say it matters, half a minute says it goes on."""
    (breach,) = detector(RULE).evaluate(answers(600, 300, 600, 0.2), 600.0)

    assert breach.labels == Labels.of(service="chat")
    assert breach.value == pytest.approx(200.0)
    assert breach.text == "chat 200.0 86.4 10 %"


def test_without_an_objective_each_service_is_held_to_its_own(detector):
    """A promise of 99 % allows twenty times the failures that 99.95 % does; an unknown promise cannot be broken."""
    found = detector(RULE.replace("  objective: 99.95%\n", "").replace("burn: 86.4", "burn: 14.4"))
    series = answers(600, 300, 600, 0.2)
    promised = Labels.of(host_name="n1", service="chat")

    assert list(found.evaluate(series, 600.0)) == []
    series.put("slo_objective_ratio", promised, {590.0: 0.99})
    assert list(found.evaluate(series, 600.0)) == []
    series.put("slo_objective_ratio", promised, {595.0: 0.9995})
    (breach,) = found.evaluate(series, 600.0)
    assert breach.value == pytest.approx(200.0)


@pytest.mark.parametrize(
    "series",
    [
        FakeSeries(),
        answers(600, 100, 500, 0.3),  # over
        answers(600, 590, 600, 0.5),  # a blip
        answers(600, 0, 600, 0.04),  # within what ten minutes may spend
        answers(200, 0, 200, 0.5),  # too little history to speak of ten minutes
    ],
)
def test_it_is_silent_otherwise(detector, series: FakeSeries):
    """A page for what is over, small or unknown is a false alarm."""
    now_s = max((at for by in series.held.values() for points in by.values() for at in points), default=600.0)

    assert list(detector(RULE).evaluate(series, now_s)) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("objective: 99.95%", "objective: 100%", "objective: expected between 0% and 100%"),
        ("burn: 86.4", "burn: 3000", "burn: expected a rate that some error ratio below 100% can reach"),
        ("short: 30s", "short: 10m", "short: expected less than long"),
        ("summary: ", "by: [upstream]\nsummary: ", "by: this detector's alerts have the label service"),
        ("{share}", "{upstream}", "summary: {upstream} is not one of"),
    ],
)
def test_a_wrong_block_is_refused(detector, old: str, new: str, complaint: str):
    """A budget that cannot be burnt never alerts."""
    with pytest.raises(ConfigError) as caught:
        detector(RULE.replace(old, new))

    assert complaint in str(caught.value)
