"""The catalogue-free ranker, and the charts it may fill."""

from __future__ import annotations

import numpy as np

from aiops.correlate.charts import MAX_CHARTS, MAX_LINES, MAX_POINTS, draw
from aiops.correlate.movers import find_movers
from aiops.correlate.scene import IncidentContext, Scene
from aiops.model import CauseLevel, Evidence, EvidenceState, Hypothesis, Labels, SeriesRef, Verdict
from tests.fakes import FakeEvents, FakeSeries, FakeTemplates

BAD_S = 1000.0
CPU = "system_cpu_utilization_ratio"


def put(series: FakeSeries, metric: str, values, **labels: str) -> None:
    times = BAD_S - 400 + np.arange(len(values), dtype=float)
    series.put(metric, Labels.of(**labels), dict(zip(times.tolist(), [float(v) for v in values], strict=True)))


def noise(level: float, spread: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(level, spread, 430)


def moved(level: float, spread: float, to: float, at: int, seed: int = 0) -> np.ndarray:
    values = noise(level, spread, seed)
    values[at:] += to - level
    return values


def test_what_left_its_normal_is_found_and_what_did_not_is_not():
    """A cause nobody wrote down still moves something."""
    series = FakeSeries()
    put(series, CPU, moved(0.4, 0.02, 0.95, 390), host_name="n")
    put(series, "system_memory_utilization_ratio", noise(0.5, 0.01), host_name="n")
    put(series, "system_disk_await_seconds", np.full(430, 0.001), host_name="n", device="sda")

    (mover,) = find_movers(series, BAD_S, BAD_S + 30)
    assert mover.series.metric == CPU
    assert mover.onset is not None
    assert mover.onset.by_s == BAD_S - 10
    assert mover.text == "system_cpu_utilization_ratio (this host): 99 %, normally 40 %"


def test_who_moved_first_stands_first():
    """Effects move too, and often further; causes move earlier."""
    series = FakeSeries()
    put(series, CPU, moved(0.4, 0.02, 0.8, 385), host_name="n")
    put(series, "system_memory_utilization_ratio", moved(0.4, 0.02, 0.82, 410), host_name="n")

    assert find_movers(series, BAD_S, BAD_S + 30)[0].series.metric == CPU


def test_a_fault_that_takes_two_minutes_to_hurt_is_found():
    """Taken as normal, its first minutes widen the spread until nothing stands out any more."""
    series = FakeSeries()
    put(series, CPU, moved(0.4, 0.02, 0.95, 285), host_name="n")

    (mover,) = find_movers(series, BAD_S, BAD_S + 30)
    assert mover.onset is not None
    assert mover.onset.by_s == BAD_S - 115


def test_a_young_daemon_looks_back_as_far_as_it_can():
    """Two minutes after its start, leaving two minutes out would leave nothing."""
    series = FakeSeries()
    values = moved(0.4, 0.02, 0.95, 390)
    times = BAD_S - 400 + np.arange(430.0)
    put_late = {t: float(v) for t, v in zip(times.tolist(), values, strict=True) if t > BAD_S - 60}
    series.put(CPU, Labels.of(host_name="n"), put_late)

    (mover,) = find_movers(series, BAD_S, BAD_S + 30)
    assert mover.series.metric == CPU


def test_a_flat_series_that_twitches_is_not_the_strangest_of_all():
    """Without a floor, a spread of zero makes any step infinite."""
    series = FakeSeries()
    for index in range(8):
        put(series, "hw_temperature_celsius", noise(60, 2.0, index), gpu=str(index))
    put(series, "hw_temperature_celsius", [*[60.0] * 420, *[61.0] * 10], gpu="9")

    assert find_movers(series, BAD_S, BAD_S + 30) == ()


def test_an_idle_disk_that_reads_a_file_once_is_no_mover():
    """On a quiet machine every byte is infinitely more than before; weights being read are gigabytes."""
    series = FakeSeries()
    page = [0.0] * 430
    page[405] = 4096.0
    weights = [0.0] * 430
    weights[405:] = [2e9] * 25
    put(series, "process_disk_read_bytes_per_second", page, instance="a", process="server")
    put(series, "process_disk_read_bytes_per_second", weights, instance="b", process="server")

    assert [m.series.labels.get("instance") for m in find_movers(series, BAD_S, BAD_S + 30)] == ["b"]


def test_counters_are_judged_by_their_rate():
    """A running total always grows."""
    series = FakeSeries()
    steady, surge = np.cumsum(noise(100, 5)), np.cumsum(moved(100, 5, 400, 395))
    put(series, "gen_ai_server_generation_tokens_total", steady, instance="a")
    put(series, "gen_ai_server_generation_tokens_total", surge, instance="b")

    assert [m.series.labels.get("instance") for m in find_movers(series, BAD_S, BAD_S + 30)] == ["b"]


def test_odd_series_are_survived():
    """Constant, short, empty past, single values: no score, no error."""
    series = FakeSeries()
    put(series, CPU, [0.5], host_name="a")
    put(series, CPU, [0.5] * 3, host_name="b")
    put(series, CPU, [0.0] * 430, host_name="c")
    series.put(CPU, Labels.of(host_name="d"), {BAD_S + 5: 1.0})
    series.put("not_catalogued", Labels(), {BAD_S - 5: 1.0})

    assert find_movers(series, BAD_S, BAD_S + 30) == ()


def test_at_most_eight_are_told_and_three_of_one_kind():
    """A person reads a few lines, not six hundred."""
    series = FakeSeries()
    for index in range(20):
        put(series, "hw_gpu_utilization_ratio", moved(0.4, 0.02, 0.9, 390, index), gpu=str(index))
        put(series, "hw_power_watts", moved(200, 5, 600, 390, index), gpu=str(index))
        put(series, "hw_temperature_celsius", moved(50, 1, 90, 390, index), gpu=str(index))
        put(series, "hw_gpu_memory_utilization_ratio", moved(0.4, 0.02, 0.9, 390, index), gpu=str(index))

    found = find_movers(series, BAD_S, BAD_S + 30)
    assert len(found) == 8
    assert max(sum(m.series.metric == name for m in found) for name in {m.series.metric for m in found}) == 3


def test_charts_are_few_small_and_keep_their_peaks():
    """They are kept with every incident, and drawn in a page."""
    series = FakeSeries()
    spike = np.zeros(430)
    spike[300] = 9.0
    for index in range(10):
        put(series, "gen_ai_server_requests_waiting", spike * index, instance=f"r{index}")
        put(series, "gen_ai_server_requests_finished_total", np.arange(430.0), instance=f"r{index}")
    scene = Scene(IncidentContext("chat", (), BAD_S, BAD_S), series, FakeEvents(), FakeTemplates(), BAD_S + 30)
    evidence = [
        Evidence(
            f"e{n}",
            EvidenceState.PRESENT,
            "",
            series=tuple(SeriesRef(metric, w.labels) for w in series.window(metric, 0, 9e9)),
        )
        for n, metric in enumerate(("gen_ai_server_requests_waiting", "gen_ai_server_requests_finished_total"))
    ]
    named = Hypothesis("x", "X", CauseLevel.FAULT, Labels(), "p", 0.9, Verdict.ROOT, "", tuple(evidence))
    charts = draw([named], (), scene)

    assert [c.title for c in charts] == ["Requests queued in the engine", "Requests finished"]
    assert len(charts) <= MAX_CHARTS
    assert all(len(c.lines) == MAX_LINES and len(line.at_s) <= MAX_POINTS for c in charts for line in c.lines)
    assert max(charts[0].lines[0].values) == 81.0
    assert charts[1].unit == "requests/s"
    assert set(charts[1].lines[0].values) == {1.0}


def test_a_pair_of_counters_is_drawn_as_what_people_read():
    """Nobody reads "seconds of waiting summed a second"; seconds a token is the pace."""
    series = FakeSeries()
    name = "gen_ai_server_time_per_output_token_seconds"
    put(series, f"{name}_sum", 0.02 * 50 * np.arange(430), instance="a:1")
    put(series, f"{name}_count", 50.0 * np.arange(430), instance="a:1")
    refs = (SeriesRef(f"{name}_sum", Labels.of(instance="a:1")),)
    found = Evidence("pace", EvidenceState.PRESENT, "slow", log_odds=2.0, series=refs)
    root = Hypothesis(
        "slow_node", "One replica is slow", CauseLevel.FAULT, Labels(), "replica a:1", 0.9, Verdict.ROOT, "", (found,)
    )
    scene = Scene(IncidentContext("chat", (), BAD_S, BAD_S + 3), series, FakeEvents(), FakeTemplates(), BAD_S + 20)

    (chart,) = draw([root], (), scene)

    assert (chart.title, chart.unit) == ("Mean time between output tokens", "seconds")
    assert {round(value, 9) for value in chart.lines[0].values} == {0.02}


def test_the_symptom_in_another_form_is_no_mover():
    """Refusals by reason and answers by status rise with the 503s; as "what moved first" they would say nothing."""
    series = FakeSeries()
    put(series, CPU, moved(0.4, 0.02, 0.95, 390), host_name="n")
    rising = np.cumsum(np.where(np.arange(430) < 390, 0.0, 5.0))
    put(series, "http_server_refusals_total", rising, service="chat", reason="upstream")
    put(series, "http_server_route_requests_total", rising, service="chat", status="503")

    assert {mover.series.metric for mover in find_movers(series, BAD_S, BAD_S + 30)} == {CPU}
