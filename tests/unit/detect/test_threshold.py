from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.detect.threshold import Config, Threshold
from aiops.errors import ConfigError
from aiops.model import Labels, Severity
from aiops.rulebook.alerts import AlertRule, Layer, Selector
from aiops.rulebook.reduce import Reduce
from tests.fakes import FakeSeries

GPU_0 = Labels.of(host_name="n1", hw_id="a", gpu="0")
GPU_1 = Labels.of(host_name="n1", hw_id="b", gpu="1")
HOST = Labels.of(host_name="n1")
BUSY = "detector: threshold\nthreshold: {metric: {name: hw_gpu_utilization_ratio}, above: 90%, clear: 85%}\n"


def gauge(metric: str, labels: Labels, *values: float, step_s: float = 5.0, end_s: float = 1000.0) -> FakeSeries:
    series = FakeSeries()
    series.put(metric, labels, {end_s - step_s * i: value for i, value in enumerate(reversed(values))})
    return series


def test_a_value_past_the_limit_breaches_with_its_words(detector):
    """Value, limit and labels are what the message is made of."""
    found = detector(BUSY + 'summary: "GPU {gpu}: {value} over {limit}"\n')
    series = gauge("hw_gpu_utilization_ratio", GPU_0, 0.5, 0.97)
    series.put("hw_gpu_utilization_ratio", GPU_1, {1000.0: 0.5})

    (breach,) = found.evaluate(series, 1001.0)

    assert (breach.rule, breach.labels, breach.at_s, breach.value, breach.limit) == ("Tried", GPU_0, 1000.0, 0.97, 0.9)
    assert (breach.text, breach.starts) == ("GPU 0: 97 % over 90 %", True)


@pytest.mark.parametrize(("value", "starts"), [(0.85, None), (0.86, False), (0.90, False), (0.901, True)])
def test_between_clearing_and_firing_a_breach_only_holds(detector, value: float, starts: bool | None):
    """A value that swings around the limit is one alert, not twenty."""
    found = list(detector(BUSY).evaluate(gauge("hw_gpu_utilization_ratio", GPU_0, value), 1001.0))

    assert [breach.starts for breach in found] == ([] if starts is None else [starts])


def test_less_can_be_worse(detector):
    """Success rates breach downwards, and clear upwards."""
    rule = "detector: threshold\nthreshold: {metric: {name: business_success_ratio}, below: 99.5%, clear: 99.6%}\n"
    found = detector(rule)

    by_value = {
        value: [
            b.starts for b in found.evaluate(gauge("business_success_ratio", Labels.of(service="c"), value), 1001.0)
        ]
        for value in (0.997, 0.9955, 0.99)
    }

    assert by_value == {0.997: [], 0.9955: [False], 0.99: [True]}


def test_a_reading_too_old_is_no_reading(detector):
    """A collector that went silent says nothing about now."""
    series = gauge("hw_gpu_utilization_ratio", GPU_0, 0.97)

    assert list(detector(BUSY).evaluate(series, 1061.0)) == []
    assert list(detector(BUSY).evaluate(series, 1060.0)) != []


def test_a_relative_limit_divides_by_the_cards_own(detector):
    """Cards differ in the temperature at which they slow down."""
    found = detector(
        "detector: threshold\n"
        "threshold: {metric: {name: hw_temperature_celsius}, per: {name: hw_temperature_limit_celsius}, above: 90%}\n"
    )
    series = FakeSeries()
    for labels, limit in ((GPU_0, 90.0), (GPU_1, 105.0)):
        series.put("hw_temperature_celsius", labels, {1000.0: 85.0})
        series.put("hw_temperature_limit_celsius", labels, {1000.0: limit})

    (breach,) = found.evaluate(series, 1000.0)

    assert breach.labels == GPU_0
    assert breach.text == "94 % past 90 %"


@pytest.mark.parametrize("limit", [None, 0.0])
def test_without_a_divisor_there_is_no_verdict(detector, limit: float | None):
    """Unknown is not zero; dividing by it would be infinity."""
    found = detector(
        "detector: threshold\n"
        "threshold: {metric: {name: hw_temperature_celsius}, per: {name: hw_temperature_limit_celsius}, above: 90%}\n"
    )
    series = gauge("hw_temperature_celsius", GPU_0, 85.0)
    if limit is not None:
        series.put("hw_temperature_limit_celsius", GPU_0, {1000.0: limit})

    assert list(found.evaluate(series, 1000.0)) == []


@pytest.mark.parametrize(
    ("reduce", "expected"), [("min", 1.0), ("max", 9.0), ("mean", 5.0), ("increase", 15.0), ("rate", 1.0)]
)
def test_a_window_becomes_one_number(detector, reduce: str, expected: float):
    """The five ways a rule may look at the last minutes; the counter restarts at 7."""
    metric = "system_memory_oom_kills_total"
    found = detector(
        f"detector: threshold\nthreshold: {{metric: {{name: {metric}}}, reduce: {reduce}, over: 20s, above: 0}}\n"
    )

    (breach,) = found.evaluate(gauge(metric, HOST, 1.0, 3.0, 9.0, 7.0), 1000.0)

    assert breach.value == pytest.approx(expected)


def test_a_window_less_than_half_full_is_no_verdict_on_a_mean(detector):
    """Just after the start, ten busy seconds are not a busy minute."""
    found = detector(
        "detector: threshold\nthreshold: {metric: {name: hw_gpu_utilization_ratio}, reduce: mean, over: 1m, above: 90%}\n"
    )

    assert list(found.evaluate(gauge("hw_gpu_utilization_ratio", GPU_0, 1.0, 1.0, 1.0), 1000.0)) == []
    assert list(found.evaluate(gauge("hw_gpu_utilization_ratio", GPU_0, *[1.0] * 7), 1000.0)) != []


def test_an_increase_is_told_from_any_part_of_its_window(detector):
    """More history could only add to it, so there is nothing to wait for."""
    metric = "system_memory_oom_kills_total"
    found = detector(
        f"detector: threshold\nthreshold: {{metric: {{name: {metric}}}, reduce: increase, over: 10m, above: 0}}\n"
    )

    assert list(found.evaluate(gauge(metric, HOST, 4.0, 5.0), 1000.0)) != []
    assert list(found.evaluate(gauge(metric, HOST, 4.0, 4.0), 1000.0)) == []


@pytest.mark.parametrize(
    ("values", "breaches"),
    [
        (range(1, 26), True),
        (range(25, 0, -1), False),
        ([5] * 25, False),
        ([0, *range(1, 25)], False),
    ],
)
def test_a_queue_must_hold_and_grow(detector, values, breaches: bool):
    """A queue that drains is capacity at work."""
    metric = "gen_ai_server_requests_waiting"
    found = detector(
        f"detector: threshold\nthreshold: {{metric: {{name: {metric}}}, reduce: min, over: 2m, above: 0, rising: true}}\n"
    )
    labels = Labels.of(host_name="n1", instance="a:1", model="m", server="vllm")

    assert any(b.starts for b in found.evaluate(gauge(metric, labels, *values), 1000.0)) is breaches


def test_series_that_fall_together_give_the_worst(detector):
    """Two sensors of one card are one alert."""
    found = detector(BUSY + "by: [host_name]\n")
    series = gauge("hw_gpu_utilization_ratio", GPU_0, 0.95)
    series.put("hw_gpu_utilization_ratio", GPU_1, {1000.0: 0.99})

    (breach,) = found.evaluate(series, 1000.0)

    assert (breach.labels, breach.value) == (HOST, 0.99)


def test_only_matching_series_are_watched(detector):
    """A power cap is no heat."""
    found = detector(
        "detector: threshold\nthreshold: {metric: {name: hw_gpu_throttled_ratio, match: {reason: thermal}}, above: 20%}\n"
    )

    assert list(found.evaluate(gauge("hw_gpu_throttled_ratio", GPU_0.merge(reason="power"), 1.0), 1000.0)) == []
    assert list(found.evaluate(gauge("hw_gpu_throttled_ratio", GPU_0.merge(reason="thermal"), 1.0), 1000.0)) != []


@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        ("{metric: {name: hw_gpu_utilization_ratio}}", "expected either above or below"),
        ("{metric: {name: hw_gpu_utilization_ratio}, above: 1, below: 2}", "expected either above or below"),
        ("{metric: {name: hw_gpu_utilization_ratio}, above: 90%, clear: 95%}", ".clear: expected a value at or below above"),
        ("{metric: {name: hw_gpu_utilization_ratio}, below: 50%, clear: 40%}", ".clear: expected a value at or above below"),
        ("{metric: {name: hw_gpu_utilization_ratio}, above: 90%, reduce: mean}", "expected a window, because mean needs one"),
        ("{metric: {name: hw_gpu_utilization_ratio}, above: 90%, rising: true}", ".rising: expected a window"),
        ("{metric: {name: hw_gpu_utilization_ratio}, above: ninety}", ".above: expected a number, percentage"),
        ("{metric: {name: hw_gpu_utilization_ratio}, above: 90%, reduce: p99}", ".reduce: expected one of last, min"),
        ("{metric: {name: hw_gpu_utilisation}, above: 90%}", ".metric.name: the catalogue has no metric 'hw_gpu_utilisation'; did you mean hw_gpu_utilization_ratio?"),
        ("{metric: {name: hw_gpu_utilization_ratio, match: {colour: red}}, above: 1}", ".metric.match: hw_gpu_utilization_ratio has no label 'colour'; expected one of host_name, hw_id, gpu"),
        ("{metric: {name: hw_gpu_utilization_ratio}, over_: 1m, above: 1}", ".over_: unknown key; expected one of"),
    ],
)  # fmt: skip
def test_a_wrong_block_is_refused_with_its_line(detector, block: str, complaint: str):
    """A rule that can never fire, or never clear, must not be loaded in silence."""
    with pytest.raises(ConfigError) as caught:
        detector(f"detector: threshold\nthreshold: {block}\n")

    (problem,) = caught.value.problems
    assert problem.line == 6
    assert complaint in problem.text


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [("by: [service]\n", "by: the metric has no label 'service'"), ('summary: "{gpuu}"\n', "{gpuu} is no label of the alert"),
     ('by: [gpu]\nsummary: "{host_name}"\n', "{host_name} is no label of the alert")],
)  # fmt: skip
def test_a_rule_speaks_only_of_labels_its_alert_has(detector, lines: str, complaint: str):
    """A message with a hole in it helps nobody."""
    with pytest.raises(ConfigError) as caught:
        detector(BUSY + lines)

    assert complaint in str(caught.value)


def plain_rule() -> AlertRule:
    return AlertRule(
        alert="Tried", layer=Layer.SOFTWARE, severity=Severity.PAGE, detector="threshold", summary="{value}", source="",
        method=None, place=None,  # type: ignore[arg-type]
    )  # fmt: skip


@given(
    st.lists(st.floats(0, 0.85) | st.just(float("nan")), max_size=30),
    st.sampled_from([r for r in Reduce if r not in {Reduce.INCREASE, Reduce.RATE}]),
)
def test_nothing_under_the_limit_ever_breaches(values: list[float], reduce: Reduce):
    """Constant, short, empty and broken series are silent."""
    config = Config(Selector("hw_gpu_utilization_ratio"), reduce=reduce, over=60.0, above=0.9)
    series = FakeSeries()
    if values:
        series = gauge("hw_gpu_utilization_ratio", GPU_0, *np.asarray(values))

    assert list(Threshold(plain_rule(), config, "ratio").evaluate(series, 1000.0)) == []


# --- what must hold besides ---

BUSY_AND_WAITING = (
    "detector: threshold\n"
    "threshold: {metric: {name: hw_gpu_utilization_ratio}, above: 90%,"
    " also: [{metric: {name: gen_ai_server_requests_waiting}, above: 0},"
    " {metric: {name: system_cpu_utilization_ratio}, below: 50%}]}\n"
)


@pytest.mark.parametrize(
    ("waiting", "cpu", "breaches"), [(4.0, 0.2, 1), (0.0, 0.2, 0), (4.0, 0.9, 0), (None, 0.2, 0), (4.0, None, 0)]
)
def test_everything_named_besides_must_hold_on_the_same_host(
    detector, waiting: float | None, cpu: float | None, breaches: int
):
    """A busy card is a finding when requests wait for it; what is unknown does not hold."""
    series = gauge("hw_gpu_utilization_ratio", GPU_0, 0.97)
    server = Labels.of(host_name="n1", instance="a:1", model="m", server="vllm")
    series.put("gen_ai_server_requests_waiting", server.merge(host_name="n2"), {1000.0: 9.0})
    for metric, labels, value in (
        ("gen_ai_server_requests_waiting", server, waiting),
        ("system_cpu_utilization_ratio", HOST, cpu),
    ):
        if value is not None:
            series.put(metric, labels, {1000.0: value})

    assert len(list(detector(BUSY_AND_WAITING).evaluate(series, 1001.0))) == breaches


def test_one_series_that_starts_starts_the_alert_of_its_group(detector):
    """Under `by` the worst gives the value; a queue that grows beside a longer one that drains still counts."""
    found = detector(
        "detector: threshold\n"
        "threshold: {metric: {name: gen_ai_server_requests_waiting}, reduce: min, over: 30s, above: 0, rising: true}\n"
        "by: [host_name]\n"
    )
    series = FakeSeries()
    for instance, first, step in (("a:1", 90.0, -1.0), ("b:1", 1.0, 1.0), ("c:1", 50.0, 0.0)):
        labels = Labels.of(host_name="n1", instance=instance)
        series.put("gen_ai_server_requests_waiting", labels, {970.0 + 5 * i: first + step * i for i in range(7)})

    (breach,) = found.evaluate(series, 1000.0)

    assert (breach.value, breach.starts) == (84.0, True)


# --- against a moment earlier ---

BURST = (
    "detector: threshold\n"
    "threshold: {metric: {name: http_server_arrival_rate}, reduce: mean, over: 10s,"
    " times_earlier: {over: 1m, at_least: 5}, above: 10}\n"
)


@pytest.mark.parametrize(
    ("before", "now", "value"),
    [(6.0, 66.0, 11.0), (6.0, 60.0, None), (0.1, 40.0, None), (0.1, 51.0, 10.2), (None, 600.0, None)],
)
def test_a_burst_is_measured_against_the_minute_before(detector, before: float | None, now: float, value: float | None):
    """Ten times almost nothing is nothing, and without a past there is no verdict."""
    series = FakeSeries()
    chat = Labels.of(host_name="n1", service="chat")
    if before is not None:
        series.put("http_server_arrival_rate", chat, {float(at): before for at in range(925, 990, 5)})
    series.put("http_server_arrival_rate", chat, {990.5: now, 995.0: now, 1000.0: now})

    found = list(detector(BURST).evaluate(series, 1000.0))

    assert [breach.value for breach in found] == ([] if value is None else [pytest.approx(value)])


@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        ("also: [{metric: {name: aiops_collector_up}, above: 0}]", "also: aiops_collector_up shares no label"),
        ("also: [{metric: {name: hw_gpu_up}}]", "expected either above or below"),
        ("times_earlier: {over: 1m, at_least: 1}", "expected a window in `over`, and no `per`"),
        ("over: 10s, reduce: mean, times_earlier: {over: 0s, at_least: 1}", "expected more than 0s"),
        ("over: 10s, reduce: mean, times_earlier: {over: 1m, at_least: 0}", "at_least: expected more than 0"),
    ],
)
def test_conditions_that_cannot_be_are_refused(detector, block: str, complaint: str):
    """A condition on another host's series, or ten times nothing, would never be what the author meant."""
    with pytest.raises(ConfigError) as caught:
        detector(f"detector: threshold\nthreshold: {{metric: {{name: hw_gpu_utilization_ratio}}, above: 1, {block}}}\n")

    assert complaint in str(caught.value)
