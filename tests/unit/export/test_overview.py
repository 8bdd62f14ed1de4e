"""The tiles of the first page."""

from __future__ import annotations

from aiops.export.overview import overview
from aiops.model import Labels
from tests.fakes import FakeSeries

NOW_S = 10_000.0
CHAT = Labels.of(host_name="n", service="chat")


def groups(series: FakeSeries):
    return {group.title: group.meters for group in overview(series, NOW_S)}


def test_what_has_no_series_has_no_tile():
    """0 for what is unknown would be believed."""
    assert groups(FakeSeries()) == {}


def test_a_service_shows_its_rate_and_the_share_that_fails():
    """The two numbers somebody looks for first."""
    series = FakeSeries()
    series.put("http_server_arrival_rate", CHAT, {NOW_S - t: 31.0 for t in range(300)})
    for outcome, rise in (("ok", 80.0), ("4xx", 10.0), ("503", 10.0)):
        labels = CHAT.merge(outcome=outcome)
        series.put("http_server_requests_total", labels, {NOW_S - 50: 5.0, NOW_S - 1: 5.0 + rise})

    (meter,) = groups(series)["Services"]

    assert [(t.value, t.name) for t in meter.tiles] == [("31.0", "requests a second"), ("10 %", "failing, last minute")]
    assert meter.css == "down"
    assert meter.path.startswith("M")


def test_the_error_budget_left_stands_beside_the_rate_once_it_is_known():
    """Whether to ship today is read here."""
    series = FakeSeries()
    series.put("http_server_arrival_rate", CHAT, {NOW_S - t: 31.0 for t in range(300)})
    series.put("slo_error_budget_remaining_ratio", CHAT, {NOW_S - 10: 0.42})

    (meter,) = groups(series)["Services"]

    assert ("42 %", "error budget left, 30 days") in [(t.value, t.name) for t in meter.tiles]


def test_a_service_without_an_answer_in_the_last_minute_claims_no_share():
    """0 of 0 is not 0 %."""
    series = FakeSeries()
    series.put("http_server_arrival_rate", CHAT, {NOW_S - t: 0.0 for t in range(300)})
    series.put("http_server_requests_total", CHAT.merge(outcome="ok"), {NOW_S - 50: 5.0, NOW_S - 1: 5.0})

    (meter,) = groups(series)["Services"]

    assert [t.name for t in meter.tiles] == ["requests a second"]


def test_a_restarted_counter_is_no_negative_share():
    """The gateway's log may be rotated away with its counters."""
    series = FakeSeries()
    series.put("http_server_arrival_rate", CHAT, {NOW_S - 5: 1.0})
    series.put("http_server_requests_total", CHAT.merge(outcome="503"), {NOW_S - 50: 500.0, NOW_S - 1: 1.0})

    (meter,) = groups(series)["Services"]

    assert ("100 %", "failing, last minute") in [(t.value, t.name) for t in meter.tiles]


def test_a_replica_that_does_not_answer_says_so_instead_of_its_last_numbers():
    """Old numbers beside a dead replica look like life."""
    series = FakeSeries()
    labels = Labels.of(instance="10.0.0.1:8000", host_name="n", model="m", server="vllm")
    series.put("gen_ai_server_up", labels, {NOW_S: 0.0})
    series.put("gen_ai_server_requests_running", labels, {NOW_S - 20: 64.0})

    (meter,) = groups(series)["Replicas"]

    assert [t.value for t in meter.tiles] == ["no answer"]
    assert meter.css == "down"


def test_gpus_and_host_show_the_newest_readings_with_units():
    """93 % busy at 67 °C is an answer; 0.93 and 67 are a riddle."""
    series = FakeSeries()
    gpu = Labels.of(host_name="n", hw_id="GPU-x", gpu="3")
    series.put("hw_gpu_utilization_ratio", gpu, {NOW_S - 1: 0.93})
    series.put("hw_temperature_celsius", gpu, {NOW_S - 1: 67.0})
    series.put("system_cpu_utilization_ratio", Labels.of(host_name="n"), {NOW_S - 1: 0.31})

    found = groups(series)

    assert [(t.value, t.name) for t in found["GPUs"][0].tiles] == [("93 %", "busy"), ("67 °C", "core")]
    assert found["GPUs"][0].name == "GPU 3"
    assert found["Host"][0].tiles[0].value == "31 %"


def test_a_fleet_of_replicas_is_bounded():
    """A page of a thousand tiles helps nobody and costs everybody."""
    series = FakeSeries()
    for i in range(100):
        series.put("gen_ai_server_requests_running", Labels.of(instance=f"h:{i}"), {NOW_S: 1.0})

    assert len(groups(series)["Replicas"]) == 32
