from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from aiops.detect.error_ratio import Config, ErrorRatio
from aiops.errors import ConfigError
from aiops.model import Breach, Labels, Sample, Severity
from aiops.ports import Detector
from aiops.rulebook.alerts import AlertRule, Layer, Selector
from aiops.selfstat import SelfStat
from aiops.store.rings import Rings

REQUESTS = "http_server_requests_total"
START_S = 1_700_000_000.0
RULE = AlertRule(
    alert="ServiceUnavailable", layer=Layer.SOFTWARE, severity=Severity.PAGE, detector="error_ratio", symptom=True,
    summary="503 on {value} of {service}'s answers ({detail})", source="", method=None, place=None,  # type: ignore[arg-type]
)  # fmt: skip
Second = Mapping[tuple[str, str], int]
"""Answers of one second by outcome and upstream."""


def spike_of(outcome: str = "503", **options: float) -> ErrorRatio:
    config = Config(
        bad=Selector(REQUESTS, {"outcome": outcome}), total=(Selector(REQUESTS),), outcome=outcome, **options
    )  # type: ignore[arg-type]
    return ErrorRatio(RULE, config)


class Gateway:
    """An access log's counters in real rings, a point a second, and what a detector says after each."""

    def __init__(self, detector: Detector, points: int = 720) -> None:
        self.detector = detector
        self.rings = Rings(SelfStat(CollectorRegistry()), points=points)
        self.totals: dict[tuple[str, str], int] = {}
        self.second = 0
        self.breaches: dict[int, Breach] = {}

    def live(self, seconds: Iterable[Second]) -> Gateway:
        for answers in seconds:
            for key in answers.keys() - self.totals.keys():
                self._write(key, 0)  # who makes a series writes its zero first
            self.second += 1
            for key in self.totals.keys() | answers.keys():
                self._write(key, self.totals.get(key, 0) + answers.get(key, 0))
            for breach in self.detector.evaluate(self.rings, START_S + self.second):
                self.breaches[self.second] = breach
        return self

    def _write(self, key: tuple[str, str], total: int) -> None:
        self.totals[key] = total
        outcome, upstream = key
        labels = Labels.of(
            host_name="n1", service="chat", outcome=outcome, upstream=upstream,
            answered_by="gateway" if upstream == "none" else "upstream",
        )  # fmt: skip
        self.rings.extend([Sample(REQUESTS, labels, START_S + self.second, float(total))])


def traffic(
    seconds: int, rate: float, bad: float = 0.0, outcome: str = "503", seed: int = 1, upstreams: int = 3
) -> Iterable[Second]:
    """Random arrivals, each ending badly with the same chance."""
    rng = np.random.default_rng(seed)
    for _ in range(seconds):
        answers: dict[tuple[str, str], int] = {}
        for i in range(upstreams):
            count = int(rng.poisson(rate / upstreams))
            failed = int(rng.binomial(count, bad))
            answers |= {("ok", f"10.0.0.{i}:8000"): count - failed, (outcome, f"10.0.0.{i}:8000"): failed}
        yield answers


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("rate", "within_s"), [(10, 6), (40, 3), (300, 2)])
def test_a_real_spike_is_found_within_seconds(rate: int, within_s: int, seed: int):
    """Three in ten failing: people are being hurt, every second counts; at ten a second the dice decide a little."""
    gateway = Gateway(spike_of()).live(traffic(120, rate, seed=seed)).live(traffic(10, rate, 0.3, seed=seed + 100))

    assert min(gateway.breaches) <= 120 + within_s


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("rate", "bad", "within_s"), [(12, 0.05, 30), (50, 0.028, 20)])
def test_a_few_bad_answers_in_a_hundred_are_found_as_soon_as_they_are_many(
    rate: int, bad: float, within_s: int, seed: int
):
    """What one in twenty says at twelve requests a second, one in thirty-five says at fifty."""
    gateway = Gateway(spike_of()).live(traffic(300, rate, seed=seed)).live(traffic(40, rate, bad, seed=seed + 100))

    assert min(gateway.breaches) <= 300 + within_s


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rate", [1, 3, 10, 30, 100])
@pytest.mark.parametrize("bad", [0.0, 0.001, 0.01])
def test_a_steady_background_is_never_a_spike(rate: int, bad: float, seed: int):
    """One request in a hundred fails somewhere every day; tested every second for six minutes."""
    assert Gateway(spike_of()).live(traffic(360, rate, bad, seed=seed)).breaches == {}


def test_three_errors_out_of_ten_at_night_stay_three_errors():
    """A share of 30 %, and nobody should wake up for it."""
    quiet = [{("ok", "a:1"): 1 if second % 60 == 0 else 0} for second in range(600)]
    night = [
        {("ok", "a:1"): 1 if second % 2 else 0, ("503", "a:1"): 1 if second in {3, 5, 9} else 0} for second in range(14)
    ]

    assert Gateway(spike_of()).live(quiet).live(night).breaches == {}


def tried_again(seconds: int, rate: float, bad: float, again: float, seed: int, attempts: int = 3) -> Iterable[Second]:
    """A steady background of requests that fail, tried again by their clients; *again*: how likely that fails too."""
    rng = np.random.default_rng(seed)
    for _ in range(seconds):
        count = int(rng.poisson(rate))
        failed = int(rng.binomial(count, bad))
        more = sum(min(int(rng.geometric(1.0 - again)), attempts) for _ in range(failed))
        yield {("ok", "a:1"): count - failed, ("5xx", "a:1"): more}


def test_attempts_of_one_request_are_not_independent():
    """Five failures of seventy within five seconds, three of them one request: as on a calm node that was played."""
    day = [{("ok", "a:1"): 13, ("5xx", "a:1"): int(second % 170 == 5)} for second in range(1500)]
    burst = [{("ok", "a:1"): 13, ("5xx", "a:1"): failed} for failed in (1, 0, 3, 0, 1)]

    assert Gateway(spike_of("5xx"), points=1900).live(day).live(burst).live(day[:60]).breaches == {}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rate", [10, 40])
def test_a_background_that_is_tried_again_is_never_a_spike(rate: int, seed: int):
    """Clumps are learned: here nearly every request that fails does so three times, for half an hour."""
    background = tried_again(1900, rate, 0.0005, 0.9, seed)

    assert Gateway(spike_of("5xx"), points=1900).live(background).breaches == {}


@pytest.mark.parametrize("rate", [10, 40])
def test_a_service_whose_failures_come_in_clumps_has_real_spikes_found_as_well(rate: int):
    """What was learned costs a second or two, not the incident."""
    gateway = (
        Gateway(spike_of("5xx"), points=1900)
        .live(tried_again(1500, rate, 0.0005, 0.9, 7))
        .live(traffic(10, rate, 0.3, outcome="5xx", seed=100))
    )

    assert 1500 < min(gateway.breaches) <= 1500 + (7 if rate == 10 else 3)


def test_an_incident_is_no_clump():
    """Half an hour in which a minute was bad does not make the next five failures less of a symptom."""
    calm, outage = [{("ok", "a:1"): 2}], [{("503", "a:1"): 2}]
    gateway = Gateway(spike_of(), points=1900).live(calm * 600).live(outage * 60).live(calm * 600)
    known = set(gateway.breaches)
    gateway.live(outage * 5)

    assert min(gateway.breaches.keys() - known) <= 1260 + 3


def test_it_works_with_little_traffic():
    """One request a second, and suddenly none of them succeeds."""
    gateway = Gateway(spike_of()).live([{("ok", "a:1"): 1}] * 300).live([{("503", "a:1"): 1}] * 30)

    assert min(gateway.breaches) <= 306
    assert max(gateway.breaches) == 330


def test_a_breach_says_how_many_since_when_and_who_answered():
    """That sentence is the first thing on the phone."""
    calm = [{("ok", "a:1"): 10}] * 100
    spike = [{("ok", "a:1"): 6, ("503", "a:1"): 3, ("503", "none"): 1}] * 12
    gateway = Gateway(spike_of()).live(calm).live(spike)

    breach = gateway.breaches[112]

    assert breach.labels == Labels.of(service="chat", outcome="503")
    assert breach.since_s == START_S + 100  # the bucket that ends at 101 begins at 100
    assert breach.value == pytest.approx(0.4)
    assert breach.text == (
        "503 on 40 % of chat's answers (40 of 100 in 10 s, normally under 0.8 %; 30 by upstream, 10 by the gateway)"
    )


def test_the_first_bad_second_is_found_behind_a_background():
    """Bad seconds of the background directly before the spike are not the spike."""
    gateway = Gateway(spike_of()).live(traffic(300, 300, 0.01)).live(traffic(8, 300, 0.2, seed=2))
    first = gateway.breaches[min(gateway.breaches)]

    assert first.since_s == pytest.approx(START_S + 300, abs=1.0)


def test_a_stray_error_within_ten_seconds_belongs_to_the_spike_where_errors_never_happen():
    """The first 503 counts, even if the flood comes a few seconds later."""
    calm = [{("ok", "a:1"): 10}] * 200
    stray = [{("ok", "a:1"): 9, ("503", "a:1"): 1}]
    gateway = Gateway(spike_of()).live(calm).live(stray).live(calm[:7]).live([{("503", "a:1"): 10}] * 3)

    assert gateway.breaches[211].since_s == START_S + 200


def test_the_breach_goes_on_with_the_errors_and_ends_soon_after():
    """It keeps the incident open, and lets it turn green."""
    gateway = Gateway(spike_of()).live(traffic(120, 20)).live(traffic(90, 20, 0.3)).live(traffic(60, 20, seed=7))

    assert set(range(123, 211)) <= gateway.breaches.keys()
    assert 215 <= max(gateway.breaches) <= 221


def test_an_incident_longer_than_memory_does_not_become_normal():
    """After half an hour of failures the baseline holds nothing else; it is still an incident."""
    gateway = Gateway(spike_of(), points=200).live(traffic(100, 10)).live(traffic(500, 10, 0.3))

    assert gateway.breaches.keys() >= set(range(104, 601))


def test_an_earlier_incident_does_not_hide_the_next():
    """The baseline is robust: a spike a few minutes ago is not what is normal."""
    gateway = Gateway(spike_of()).live(traffic(300, 20)).live(traffic(60, 20, 0.5)).live(traffic(100, 20))
    before = len(gateway.breaches)
    gateway.live(traffic(4, 20, 0.3, seed=9))

    assert len(gateway.breaches) > before


def test_a_daemon_that_starts_in_the_middle_of_an_incident_sees_it():
    """After a crash there is no history; the cap of the baseline is enough to go by."""
    gateway = Gateway(spike_of()).live(traffic(10, 20, 0.3))

    assert min(gateway.breaches) <= 5
    assert "too little history to compare with" in gateway.breaches[10].text


@pytest.mark.parametrize("seed", range(5))
def test_a_daemon_that_began_a_minute_ago_knows_what_is_normal(seed: int):
    """What it saw first is the baseline until there is more; the cap alone would hide six failures in a hundred."""
    gateway = Gateway(spike_of()).live(traffic(50, 30, seed=seed)).live(traffic(20, 30, 0.06, seed=seed + 100))

    assert min(gateway.breaches) <= 50 + 12


def test_a_background_never_seen_is_not_normal_just_because_it_lasts():
    """5 % of failures for ever are no baseline to be measured against."""
    gateway = Gateway(spike_of()).live(traffic(600, 50, 0.08))

    assert gateway.breaches.keys() >= set(range(60, 600, 10))


def test_one_client_that_gives_up_is_no_symptom():
    """A person stops generations one after another; thresholds for 499 are higher."""
    one_client = [{("ok", "a:1"): 9, ("499", "a:1"): 1 if second % 2 else 0} for second in range(120)]

    assert Gateway(spike_of("499", min_bad=10, min_ratio=0.2, max_baseline=0.2)).live(one_client).breaches == {}


def test_other_outcomes_are_not_counted_as_bad():
    """Each symptom has its own alert."""
    assert Gateway(spike_of("503")).live(traffic(60, 20)).live(traffic(30, 20, 0.5, outcome="429")).breaches == {}


def test_services_are_told_apart():
    """One service's traffic must not dilute the failures of another."""
    rings = Rings(SelfStat(CollectorRegistry()))
    for second in range(100):
        for service, outcome, rate in (("big", "ok", 1000), ("small", "ok", 5 if second < 90 else 0), ("small", "503", 0 if second < 90 else 5)):  # fmt: skip
            labels = Labels.of(host_name="n1", service=service, outcome=outcome, upstream="a:1", answered_by="upstream")
            known = next(iter(rings.latest(REQUESTS, START_S + second, dict(labels.pairs))), None)
            rings.extend([Sample(REQUESTS, labels, START_S + second, (known.value if known else 0.0) + rate)])

    (breach,) = spike_of().evaluate(rings, START_S + 99)

    assert breach.labels.get("service") == "small"


REJECTED = """
detector: error_ratio
symptom: true
error_ratio:
  bad: {name: gen_ai_server_requests_rejected_total}
  total: [{name: gen_ai_server_requests_rejected_total}, {name: gen_ai_server_requests_finished_total}]
  outcome: rejected
  service_label: model
  bucket: 5s
  unless: {name: http_server_log_up}
summary: "{value} of {service} refused ({detail})"
"""


@pytest.mark.parametrize(("model", "service"), [("llama", "llama"), ("", "inference")])
@pytest.mark.parametrize("watched", [False, True])
def test_without_a_gateway_log_the_servers_own_page_must_do(
    detector: Callable[[str], Detector], model: str, service: str, watched: bool
):
    """It counts refusals every few seconds; where there is a log, the log knows better."""
    rings = Rings(SelfStat(CollectorRegistry()))
    labels = Labels.of(host_name="n1", instance="a:1", model=model, server="vllm")
    for i in range(60):
        at_s = START_S + 5 * i
        rings.extend([Sample("gen_ai_server_requests_finished_total", labels, at_s, 50.0 * i)])
        rings.extend([Sample("gen_ai_server_requests_rejected_total", labels, at_s, 20.0 * max(0, i - 58))])
        if watched:
            rings.extend([Sample("http_server_log_up", Labels.of(host_name="n1", service="chat"), at_s, 1.0)])

    found = list(detector(REJECTED).evaluate(rings, START_S + 296))

    assert [(b.labels.get("service"), b.since_s) for b in found] == ([] if watched else [(service, START_S + 290)])
    if not watched:
        assert "by the gateway" not in found[0].text


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("bad: {name: hw_gpu_up}\n  total: [{name: hw_gpu_up}]", "error_ratio.bad: expected counters; hw_gpu_up is none"),
        (f"bad: {{name: {REQUESTS}}}\n  total: []", "error_ratio.total: expected at least one counter"),
        (f"bad: {{name: {REQUESTS}}}\n  total: [{{name: {REQUESTS}}}]\n  service_label: model", "error_ratio.service_label: http_server_requests_total has no label 'model'"),
        (f"bad: {{name: {REQUESTS}}}\n  total: [{{name: {REQUESTS}}}]\n  probability: 0.5", "probability: expected more than 0"),
        (f"bad: {{name: {REQUESTS}}}\n  total: [{{name: {REQUESTS}}}]\n  min_bad: 1", "min_bad: expected 2 or more"),
        (f"bad: {{name: {REQUESTS}}}\n  total: [{{name: {REQUESTS}}}]\n  max_baseline: 0%", "max_baseline: expected 0.1% or more"),
        (f"bad: {{name: {REQUESTS}}}\n  total: [{{name: {REQUESTS}}}]\nby: [upstream]", "by: this detector's alerts have"),
        (f"bad: {{name: {REQUESTS}}}\n  total: [{{name: {REQUESTS}}}]\nsummary: '{{gpu}}'", "summary: {gpu} is not one of"),
    ],
)  # fmt: skip
def test_a_wrong_block_is_refused(detector: Callable[[str], Detector], lines: str, complaint: str):
    """A symptom that cannot fire is the worst of silent failures."""
    with pytest.raises(ConfigError) as caught:
        detector(f"detector: error_ratio\nerror_ratio:\n  outcome: '503'\n  {lines}\n")

    assert complaint in str(caught.value)


def test_an_evaluation_costs_next_to_nothing():
    """Six symptoms a second share 1.5 % of one core with everything else; measured: 0.04 ms calm, 1 ms in a spike."""
    gateway = Gateway(spike_of()).live(traffic(700, 100, 0.001)).live(traffic(20, 100, 0.3))
    begun_s = time.thread_time()
    for _ in range(20):
        list(gateway.detector.evaluate(gateway.rings, START_S + gateway.second))

    assert (time.thread_time() - begun_s) / 20 < 0.02


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=80), st.integers(0, 5))
def test_a_handful_of_errors_is_never_enough(seconds: list[tuple[int, int]], gap: int):
    """Whatever the pattern: fewer than five bad answers in all never breach."""
    budget, lived = 4, []
    for good, bad in seconds:
        failed = min(bad, budget)
        budget -= failed
        lived += [{("ok", "a:1"): good, ("503", "a:1"): failed}] + [{}] * gap

    assert Gateway(spike_of()).live(lived).breaches == {}
