"""The shipped threshold table on timelines: rules, detectors and alert book together, over real rings."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from prometheus_client import CollectorRegistry

from aiops.detect import build_detectors
from aiops.detect.alerts import AlertBook
from aiops.errors import ConfigError
from aiops.model import Alert, AlertState, Labels, Sample
from aiops.rulebook.alerts import load_alert_rules
from aiops.rulebook.places import rules_dirs
from aiops.selfstat import SelfStat
from aiops.store.rings import Rings

RULES = load_alert_rules(rules_dirs(None))
URGENT, STEADY = build_detectors(RULES)
START_S = 1_700_000_000
HOST = {"host_name": "n1"}
GPU = {**HOST, "hw_id": "GPU-a", "gpu": "3"}
SERVER = {**HOST, "instance": "a:1", "model": "llama", "server": "vllm"}
CHAT = {"service": "chat"}
Timeline = Callable[[int], float]


def run(seconds: int, *series: tuple[str, dict[str, str], Timeline], every: int = 5) -> list[tuple[int, Alert]]:
    """Every change of every alert, with the second it happened in."""
    rings, book = Rings(SelfStat(CollectorRegistry())), AlertBook(RULES)
    written = [(metric, Labels.from_mapping(labels), value) for metric, labels, value in series]
    changes: list[tuple[int, Alert]] = []
    for second in range(0, seconds + 1, every):
        now_s = float(START_S + second)
        rings.extend(Sample(metric, labels, now_s, value(second)) for metric, labels, value in written)
        breaches = [breach for each in (*URGENT, *STEADY) for breach in each.evaluate(rings, now_s)]
        changes += [(second, alert) for alert in book.step(breaches, now_s)]
    return changes


def fired(changes: Iterable[tuple[int, Alert]]) -> dict[str, int]:
    return {alert.rule: second for second, alert in changes if alert.state is AlertState.FIRING}


def resolved(changes: Iterable[tuple[int, Alert]]) -> dict[str, int]:
    return {alert.rule: second for second, alert in changes if alert.state is AlertState.RESOLVED and alert.fired_at_s}


def const(value: float) -> Timeline:
    return lambda _: value


def between(start: int, end: int, inside: float, outside: float) -> Timeline:
    return lambda second: inside if start <= second < end else outside


@pytest.mark.parametrize(
    ("alert", "metric", "labels", "bad", "good"),
    [
        ("GpuUtilizationHigh", "hw_gpu_utilization_ratio", GPU, 0.95, 0.6),
        ("GpuMemoryHigh", "hw_gpu_memory_utilization_ratio", GPU, 0.95, 0.6),
        ("HostMemoryHigh", "system_memory_utilization_ratio", HOST, 0.95, 0.6),
        ("HostFilesystemFull", "system_filesystem_utilization_ratio", {**HOST, "mountpoint": "/"}, 0.95, 0.6),
        ("NicNearlyFull", "system_network_utilization_ratio", {**HOST, "device": "eth0"}, 0.95, 0.6),
        ("TcpRetransmitsHigh", "system_network_tcp_retransmit_ratio", HOST, 0.2, 0.001),
        ("HostCpuStolen", "system_cpu_steal_ratio", HOST, 0.5, 0.0),
        ("TimeToFirstTokenHigh", "gen_ai_server_time_to_first_token_p99_seconds", SERVER, 2.0, 0.1),
        ("UpstreamHeaderTimeHigh", "http_server_time_to_first_byte_seconds", {**HOST, **CHAT, "upstream": "a:1", "quantile": "0.99"}, 2.0, 0.1),
        ("SuccessRateLow", "business_success_ratio", CHAT, 0.98, 0.999),
        ("ComplaintsHigh", "business_complaint_ratio", CHAT, 0.05, 0.001),
    ],
)  # fmt: skip
def test_a_row_fires_after_five_minutes_and_ends_when_the_value_does(
    alert: str, metric: str, labels: dict[str, str], bad: float, good: float
):
    """The table says "for 5 min"; a mean of a minute may add that minute, a clearing wait another."""
    short = run(600, (metric, labels, between(120, 360, bad, good)))
    long = run(1500, (metric, labels, between(120, 900, bad, good)))

    assert alert not in fired(short)
    assert list(fired(long)) == [alert]
    assert 420 <= fired(long)[alert] <= 490
    assert 955 <= resolved(long)[alert] <= 1300


def test_a_card_that_nears_its_own_slowdown_temperature_is_a_ticket():
    """85 of 90 degrees, not of 105."""
    hot = ("hw_temperature_celsius", GPU, const(85.0))

    assert list(fired(run(600, hot, ("hw_temperature_limit_celsius", GPU, const(90.0))))) == ["GpuTemperatureHigh"]
    assert fired(run(600, hot, ("hw_temperature_limit_celsius", GPU, const(105.0)))) == {}


@pytest.mark.parametrize(
    ("alert", "metric", "labels", "within", "kept"),
    [
        ("GpuLost", "hw_gpu_up", GPU, 15, 0),
        ("GpuDriverHung", "hw_gpu_driver_responding", HOST, 15, 0),
        ("InferenceServerDown", "gen_ai_server_up", SERVER, 20, 60),
        ("AccessLogLost", "http_server_log_up", {**HOST, **CHAT}, 65, 0),
    ],
)
def test_what_is_gone_is_told_and_what_comes_back_too(
    alert: str, metric: str, labels: dict[str, str], within: int, kept: int
):
    """A blind daemon must say that it is blind."""
    changes = run(600, (metric, labels, between(100, 400, 0.0, 1.0)))

    assert list(fired(changes)) == [alert]
    assert 100 < fired(changes)[alert] <= 100 + within
    assert 400 + kept <= resolved(changes)[alert] <= 410 + kept


def test_one_uncorrected_memory_error_or_oom_kill_is_enough():
    """Neither happens on a healthy machine."""
    changes = run(
        300,
        ("hw_errors_total", {**GPU, "error_type": "uncorrected"}, between(100, 301, 1.0, 0.0)),
        ("system_memory_oom_kills_total", HOST, between(100, 301, 4.0, 3.0)),
    )

    assert set(fired(changes)) == {"GpuMemoryErrors", "HostOomKill"}
    assert set(fired(changes).values()) == {100}


def test_a_queue_that_grows_is_a_ticket_and_one_that_drains_is_not():
    """Waiting requests are what queues are for."""
    waiting = "gen_ai_server_requests_waiting"

    assert list(fired(run(400, (waiting, SERVER, lambda second: second / 10)))) == ["QueueGrowing"]
    assert fired(run(400, (waiting, SERVER, lambda second: 50 - second / 10))) == {}
    assert fired(run(400, (waiting, SERVER, lambda second: second % 60))) == {}


def answered(outcome: str, rate: Timeline) -> tuple[str, dict[str, str], Timeline]:
    total = 0.0
    totals = [0.0]
    for second in range(1, 2000):
        total += rate(second)
        totals.append(total)
    labels = {**HOST, **CHAT, "outcome": outcome, "answered_by": "upstream", "upstream": "a:1"}
    return ("http_server_requests_total", labels, lambda second: totals[second])


@pytest.mark.parametrize(
    ("alert", "outcome"),
    [
        ("ServiceUnavailable", "503"), ("ServerErrors", "5xx"), ("AnswersTruncated", "truncated"),
        ("AnswersStalled", "stalled"), ("TooManyRequests", "429"), ("ClientsGaveUp", "499"),
    ],
)  # fmt: skip
def test_each_symptom_is_found_in_seconds_and_is_over_in_seconds(alert: str, outcome: str):
    """The whole way from counters to an alert that opens an incident, and back."""
    changes = run(300, answered("ok", between(200, 240, 10, 20)), answered(outcome, between(200, 240, 10, 0)), every=1)
    fast = {name: second for name, second in fired(changes).items() if name == alert}

    assert list(fast) == [alert]
    assert fast[alert] <= 203
    assert 250 <= resolved(changes)[alert] <= 265
    (first,) = [a for _, a in changes if a.rule == alert and a.state is AlertState.FIRING]
    assert first.since_s == START_S + 199
    assert dict(first.labels.pairs) == {"service": "chat", "outcome": outcome}
    assert set(fired(changes)) <= {alert, "ErrorBudgetBurnsFast", "ErrorRatioHigh"}


def test_a_calm_hour_says_nothing():
    """No message before the fault."""
    changes = run(
        1800,
        answered("ok", const(19.9)),
        answered("503", lambda second: 1 if second % 10 == 0 else 0),
        answered("499", lambda second: 1 if second % 3 == 0 else 0),
        ("hw_gpu_utilization_ratio", GPU, lambda second: 0.5 + 0.45 * (second % 100 < 40)),
        ("hw_gpu_memory_utilization_ratio", GPU, const(0.86)),
        ("gen_ai_server_up", SERVER, const(1.0)),
        ("gen_ai_server_requests_waiting", SERVER, lambda second: second % 5),
        ("gen_ai_server_time_to_first_token_p99_seconds", SERVER, lambda second: 0.3 + 0.4 * (second % 60 < 10)),
        ("business_success_ratio", CHAT, const(0.999)),
    )

    assert fired(changes) == {}


def test_an_unknown_detector_is_refused_at_the_rule():
    """And the answer names the ones there are."""
    with pytest.raises(
        ConfigError, match=r"ServiceUnavailable\.detector: expected one of threshold, found 'error_ratio'"
    ):
        build_detectors(
            [rule for rule in RULES if rule.alert == "ServiceUnavailable"], {"threshold": "aiops.detect.threshold"}
        )


def test_detectors_are_silent_on_nothing():
    """A fresh daemon has no series at all."""
    rings = Rings(SelfStat(CollectorRegistry()))

    assert [list(each.evaluate(rings, float(START_S))) for each in (*URGENT, *STEADY)] == [[]] * len(RULES)
