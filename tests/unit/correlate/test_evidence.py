"""Clauses on data: present, absent, unknown; and bound to the right place."""

from __future__ import annotations

import gc
import math
import weakref

import numpy as np
import pytest

from aiops.correlate.evidence import event_finding, examine
from aiops.correlate.levels import metric_finding
from aiops.correlate.lines import log_finding
from aiops.correlate.rank import weigh, weigh_all, weigh_possible
from aiops.correlate.round_values import past_round
from aiops.correlate.scene import IncidentContext, Scene
from aiops.document import FieldError
from aiops.model import CauseLevel, Event, EventKind, EvidenceState, Labels, LogTemplate, Onset, from_json, to_json
from aiops.rulebook.causes import CauseRule, Clause, ClauseText, Odds, Scope, load_causes
from aiops.rulebook.clauses import Against, EventTest, Limit, LogTest, MetricTest, PaceTest, Subtracted, Watched
from aiops.rulebook.places import shipped_rules
from aiops.rulebook.reduce import Reduce
from aiops.rulebook.signatures import LogClass
from tests.fakes import FakeEvents, FakeSeries, FakeTemplates

BAD_S = 1000.0
PRESENT, ABSENT, UNKNOWN = EvidenceState.PRESENT, EvidenceState.ABSENT, EvidenceState.UNKNOWN
OOM = LogTest(LogClass.VRAM_EXHAUSTION, within=300.0)


class Node:
    """A service of replicas r0…, on cards of the same number."""

    def __init__(self, replicas: int = 3, *, linked: bool = True) -> None:
        self.series = FakeSeries()
        self.events: list[Event] = []
        self.templates: list[LogTemplate] = []
        self.feed: bool | None = None
        for index in range(replicas):
            name = f"r{index}"
            self.gauge("gen_ai_server_up", 1.0, instance=name, model=f"m{index}")
            self.gauge("hw_gpu_memory_utilization_ratio", 0.9, gpu=str(index))
            self.counter("http_server_requests_total", 0.0, service="chat", outcome="503", upstream=name)
            if linked:
                self.gauge("gen_ai_server_gpu", 1.0, instance=name, gpu=str(index))

    def gauge(
        self, metric: str, value: float, *, then: float | None = None, at_s: float = BAD_S - 10, **labels: str
    ) -> None:
        times = np.arange(BAD_S - 120, BAD_S + 20, 5.0)
        values = {float(t): value if then is None or t < at_s else then for t in times}
        self.series.put(metric, Labels.of(**labels), values)

    def counter(self, metric: str, rate: float, *, from_s: float = BAD_S, **labels: str) -> None:
        times = np.arange(BAD_S - 120, BAD_S + 20, 1.0)
        self.series.put(metric, Labels.of(**labels), {float(t): max(t - from_s, 0.0) * rate for t in times})

    def scene(self) -> Scene:
        context = IncidentContext("chat", (), BAD_S, BAD_S + 3)
        return Scene(
            context, self.series, FakeEvents(self.events, feed=self.feed), FakeTemplates(self.templates), BAD_S + 15
        )

    def at(self, scope: Scope, index: int):
        scene = self.scene()
        return scene, scene.topology.places(scope)[index]


def a_rule(*clauses: Clause, scope: Scope = Scope.SERVICE) -> CauseRule:
    odds, text = Odds(5, 0.2), ClauseText("", "")
    spare = tuple(Clause(f"spare{i}", f"spare{i}", odds, "", text, specific=True, log=OOM) for i in range(2))
    return CauseRule("x", "X", CauseLevel.FAULT, ("any",), scope, 300.0, 0.1, (*clauses, *spare), "")


# --- logs -----------------------------------------------------------------------------------------------------------


def lines(node: Node, rate: float, **labels: str) -> None:
    node.counter("log_records_total", rate, log_class="vram_exhaustion", **labels)


def follow(node: Node, instance: str) -> None:
    node.gauge("log_source_up", 1.0, source="f", instance=instance)


def test_lines_of_a_replica_speak_of_the_card_it_runs_on_whatever_they_call_it():
    """CUDA_VISIBLE_DEVICES renumbers cards from 0: "GPU 0" in the log of the replica on card 1 is card 1."""
    node = Node()
    for index in range(3):
        follow(node, f"r{index}")
    lines(node, 1.0, instance="r1", gpu="0")

    states = [log_finding(OOM, *node.at(Scope.GPU, index)).state for index in range(3)]
    assert states == [ABSENT, PRESENT, ABSENT]


def test_a_line_that_names_the_card_binds_where_the_replica_is_not_known():
    """The kernel log has no replica, but it has the card's number."""
    node = Node(linked=False)
    lines(node, 1.0, instance="", gpu="2")

    states = [log_finding(OOM, *node.at(Scope.GPU, index)).state for index in range(3)]
    assert states == [UNKNOWN, UNKNOWN, PRESENT]


def test_silence_of_a_log_nobody_follows_says_nothing():
    """Unknown is not absent."""
    node = Node()
    follow(node, "r0")

    assert log_finding(OOM, *node.at(Scope.INSTANCE, 0)).state is ABSENT
    unfollowed = log_finding(OOM, *node.at(Scope.INSTANCE, 1))
    assert (unfollowed.state, unfollowed.missing) == (UNKNOWN, "no log of replica r1 is followed")


def test_lines_before_the_window_do_not_count():
    """Last week's failure is not today's cause."""
    node = Node()
    follow(node, "r0")
    times = {BAD_S - 120 + t: 7.0 for t in range(130)}
    node.series.put("log_records_total", Labels.of(log_class="vram_exhaustion", instance="r0", gpu=""), times)

    assert log_finding(OOM, *node.at(Scope.INSTANCE, 0)).state is ABSENT


# --- events ---------------------------------------------------------------------------------------------------------

DEPLOY = EventTest(EventKind.CHANGE, ("deploy",))


def deploy(at_s: float = BAD_S - 60, **labels: str) -> Event:
    return Event(EventKind.CHANGE, "deploy", at_s, Labels.of(**labels))


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (deploy(), PRESENT),
        (deploy(service="chat"), PRESENT),
        (deploy(instance="r1"), PRESENT),
        (deploy(model="m1"), PRESENT),
        (deploy(service="search"), ABSENT),
        (deploy(service="chat", instance="r9"), ABSENT),
        (deploy(model="other"), ABSENT),
        (deploy(BAD_S - 400), ABSENT),
        (deploy(BAD_S + 10), ABSENT),
        (Event(EventKind.CHANGE, "scale", BAD_S - 9, Labels()), ABSENT),
        (Event(EventKind.HARDWARE, "deploy", BAD_S - 9, Labels()), ABSENT),
    ],
)
def test_a_change_counts_for_the_place_it_happened_to_and_shortly_before(event, state):
    """Somebody always deploys something somewhere."""
    node = Node()
    node.events, node.feed = [event], True

    assert event_finding(DEPLOY, a_rule(), *node.at(Scope.SERVICE, 0)).state is state


def test_without_a_change_feed_no_deploy_seen_means_nothing():
    """ "Deploys ruled out" would be a lie."""
    node = Node()
    node.feed = False
    found = event_finding(DEPLOY, a_rule(), *node.at(Scope.SERVICE, 0))

    assert (found.state, found.missing) == (UNKNOWN, "no deploy feed")


@pytest.mark.parametrize(
    ("points", "state"),
    [
        ({BAD_S - 300.0: 1.0, BAD_S - 150.0: 1.0, BAD_S: 1.0}, ABSENT),
        ({BAD_S - 300.0: 1.0, BAD_S - 150.0: 0.0, BAD_S: 1.0}, UNKNOWN),
        ({BAD_S - 150.0: 1.0, BAD_S: 1.0}, UNKNOWN),
        ({BAD_S - 300.0: 1.0, BAD_S - 150.0: 1.0}, UNKNOWN),
    ],
)
def test_a_feed_of_ours_rules_deploys_out_only_for_the_time_it_saw(points, state):
    """Whole, for all of the cause's lead and up to the first bad answer."""
    node = Node()
    node.feed = False
    node.series.put("change_feed_up", Labels.of(host_name="n1", feed="replicas"), points)

    assert event_finding(DEPLOY, a_rule(), *node.at(Scope.SERVICE, 0)).state is state


def test_what_a_page_shows_of_a_reported_rollout_is_no_second_one():
    """The report names when it began; the page, when it was seen."""
    node, clause = Node(), Clause("c", "change", Odds(15, 0.02), "", ClauseText("{when}", ""), event=DEPLOY)
    seen = deploy(BAD_S - 1.0, instance="r0", version="2.0", seen_by="replicas")
    node.events = [deploy(BAD_S - 60.0, version="v2.0"), seen]
    found = examine(clause, a_rule(clause), *node.at(Scope.SERVICE, 0))

    assert found.text == "60 s before the first bad answer"
    assert found.log_odds == pytest.approx(math.log(15))


def test_without_a_report_what_a_page_shows_counts():
    """Most nodes have no pipeline that reports."""
    node, clause = Node(), Clause("c", "change", Odds(15, 0.02), "", ClauseText("{action}", ""), event=DEPLOY)
    labels = Labels.of(instance="r0", version="2.0", seen_by="replicas")
    node.events = [Event(EventKind.CHANGE, "deploy", BAD_S - 30.0, labels)]

    assert examine(clause, a_rule(clause), *node.at(Scope.SERVICE, 0)).text == "deploy of version 2.0"


@pytest.mark.parametrize(("second", "state"), [("2.0", PRESENT), ("1.9", ABSENT), ("", ABSENT)])
def test_a_rollout_whose_first_replica_refuses_as_it_ends_counts_though_pages_show_it_later(second, state):
    """One replica that tells another version after the first bad answer may have been started anew after a crash."""
    node = Node()
    node.feed = True
    node.events = [deploy(BAD_S + 2.5, instance="r0", version="2.0", seen_by="replicas")]
    if second:
        node.events.append(deploy(BAD_S + 11.0, instance="r1", version=second, seen_by="replicas"))

    assert event_finding(DEPLOY, a_rule(), *node.at(Scope.SERVICE, 0)).state is state


@pytest.mark.parametrize(("slow", "states"), [((0,), [PRESENT, ABSENT, ABSENT]), ((0, 1), [PRESENT, PRESENT, ABSENT])])
def test_a_replica_is_slow_because_of_a_change_only_where_the_change_reached_it(slow, states):
    """The first replicas of a rollout are slow beside their peers, and no bad nodes; the others are asked about as well."""
    node = Node()
    node.events = [deploy(BAD_S - 60.0, instance=f"r{i}", version="2.0") for i in slow]
    times = np.arange(BAD_S - 120, BAD_S + 16, 5.0)
    for index in range(3):
        labels = Labels.of(instance=f"r{index}", model=f"m{index}")
        spent = np.cumsum([0.08 if index in slow and t > BAD_S - 60 else 0.04 for t in times]) * 100
        node.series.put("gen_ai_server_time_per_output_token_seconds_sum", labels, dict(zip(times, spent, strict=True)))
        counted = {float(t): 100.0 * n for n, t in enumerate(times, start=1)}
        node.series.put("gen_ai_server_time_per_output_token_seconds_count", labels, counted)
    clause = Clause("c", "pace", Odds(5, 0.1), "", ClauseText("{who}", ""), pace=PaceTest(Against.CHANGE, above=1.2))
    rule = a_rule(clause, scope=Scope.INSTANCE)

    assert [examine(clause, rule, *node.at(Scope.INSTANCE, i)).state for i in range(3)] == states


def test_where_changes_are_frequent_one_more_says_little():
    """A node with a deploy every five minutes always has one before the incident."""
    quiet, busy = Node(), Node()
    quiet.events = [deploy()]
    busy.events = [deploy(BAD_S - 60 - 120 * n) for n in range(700)]
    clause = Clause("c", "change", Odds(15, 0.02), "", ClauseText("{action} {when}", ""), event=DEPLOY)
    rare, common = (examine(clause, a_rule(clause), *node.at(Scope.SERVICE, 0)) for node in (quiet, busy))

    assert rare.log_odds == pytest.approx(math.log(15))
    assert 0.0 <= common.log_odds < 0.6
    assert rare.text == "deploy 60 s before the first bad answer"


def test_a_hostile_version_cannot_break_the_message():
    """Labels of pushed events come from anybody with the token."""
    node = Node()
    node.events = [deploy(version="2\n\x1b[2J" + "x" * 500 + "{place}")]
    clause = Clause("c", "change", Odds(15, 0.02), "", ClauseText("{action}", ""), event=DEPLOY)
    text = examine(clause, a_rule(clause), *node.at(Scope.SERVICE, 0)).text

    assert text.isprintable()
    assert len(text) < 120


# --- metrics --------------------------------------------------------------------------------------------------------


def test_a_level_is_read_at_the_place_only():
    """A full card is not its neighbour's problem."""
    node = Node()
    node.gauge("hw_gpu_memory_utilization_ratio", 0.9, then=0.99, gpu="1")
    test = MetricTest("hw_gpu_memory_utilization_ratio", 60.0, reduce=Reduce.MAX, above=0.97)
    found = [metric_finding(test, *node.at(Scope.GPU, index)) for index in range(3)]

    assert [f.state for f in found] == [ABSENT, PRESENT, ABSENT]
    assert found[1].words["value"] == "99 %"
    assert found[1].onset is not None
    assert (found[1].onset.after_s, found[1].onset.by_s) == (BAD_S - 15, BAD_S - 10)


def test_what_was_never_seen_normal_began_before_all_and_can_be_kept():
    """Incidents are kept as JSON, which has no infinity: one that could not be read back would be lost, open as it is."""
    node = Node()
    node.gauge("system_cpu_utilization_ratio", 0.97)
    test = MetricTest("system_cpu_utilization_ratio", 60.0, above=0.9)

    found = metric_finding(test, *node.at(Scope.SERVICE, 0))

    assert found.onset is not None
    assert Onset(BAD_S - 600, BAD_S - 300).before(found.onset) is False
    assert from_json(to_json(found.onset), Onset) == found.onset


@pytest.mark.parametrize(
    ("before", "then", "state"), [(0.8, 0.5, PRESENT), (0.8, 0.1, PRESENT), (0.22, 0.11, ABSENT), (0.8, 0.78, ABSENT)]
)
def test_what_a_share_leaves_can_be_asked_for(before, then, state):
    """A cache that holds half of the prompts instead of 80 % leaves 2.5 times the work; 11 % instead of 22 % hardly more."""
    node, times = Node(), np.arange(BAD_S - 120, BAD_S + 16, 5.0)
    labels = Labels.of(instance="r0", model="m0")
    found = np.cumsum([1000 * (before if t < BAD_S - 20 else then) for t in times])
    asked = {float(t): 1000.0 * n for n, t in enumerate(times, start=1)}
    node.series.put("gen_ai_server_prompt_tokens_total", labels, asked)
    node.series.put("gen_ai_server_prompt_tokens_cached_total", labels, dict(zip(times, found, strict=True)))
    test = MetricTest(
        "gen_ai_server_prompt_tokens_cached_total", 60.0, divide_by="gen_ai_server_prompt_tokens_total",
        rest=True, ratio_to_baseline=Limit(above=1.4),
    )  # fmt: skip

    assert metric_finding(test, *node.at(Scope.SERVICE, 0)).state is state


def test_what_a_share_leaves_is_asked_of_shares_only():
    """One less 40 requests is nothing."""
    with pytest.raises(FieldError, match="is for ratios"):
        MetricTest("gen_ai_server_requests_waiting", 60.0, rest=True, above=3)


@pytest.mark.parametrize(
    ("waits_at_s", "until", "state"), [(2.0, 10.0, PRESENT), (12.0, 10.0, ABSENT), (12.0, 0.0, PRESENT)]
)
def test_readings_count_until_shortly_after_the_first_bad_answer_where_a_clause_says_so(waits_at_s, until, state):
    """What waits in the engines only later did not hurt by then."""
    node = Node()
    node.gauge("gen_ai_server_requests_waiting", 0.0, then=20.0, at_s=BAD_S + waits_at_s, instance="r0", model="m0")
    test = MetricTest("gen_ai_server_requests_waiting", 60.0, until=until, reduce=Reduce.MAX, above=3)

    assert metric_finding(test, *node.at(Scope.SERVICE, 0)).state is state


def test_a_series_that_was_not_read_since_is_unknown_where_a_clause_asks_until_when():
    """A page read every half minute may have missed it."""
    node = Node()
    labels = Labels.of(instance="r0", model="m0")
    node.series.put("gen_ai_server_requests_waiting", labels, {BAD_S - 33.0: 0.0, BAD_S - 3.0: 0.0})
    test = MetricTest("gen_ai_server_requests_waiting", 60.0, until=2.0, reduce=Reduce.MAX, above=3)

    assert metric_finding(test, *node.at(Scope.SERVICE, 0)).state is UNKNOWN


def test_a_metric_nobody_reports_is_unknown():
    """Never "0"."""
    test = MetricTest("gen_ai_server_kv_cache_utilization_ratio", 60.0, above=0.95)

    assert metric_finding(test, *Node().at(Scope.SERVICE, 0)).state is UNKNOWN


def test_a_ratio_to_the_baseline_needs_a_baseline():
    """Twenty seconds of history are no normal."""
    test = MetricTest("hw_gpu_memory_utilization_ratio", 300.0, ratio_to_baseline=Limit(above=1.03))
    node = Node()
    node.gauge("hw_gpu_memory_utilization_ratio", 0.9, then=0.99, gpu="0")
    short = Node()
    short.series.held["hw_gpu_memory_utilization_ratio"] = {
        Labels.of(gpu="0"): {BAD_S - 20 + t: 0.9 + 0.004 * t for t in range(25)}
    }

    assert metric_finding(test, *node.at(Scope.GPU, 0)).state is PRESENT
    assert metric_finding(test, *node.at(Scope.GPU, 1)).state is ABSENT
    assert metric_finding(test, *short.at(Scope.GPU, 0)).state is UNKNOWN


def test_peers_are_the_others_of_the_service_and_two_at_least():
    """One other replica cannot say who is odd."""
    test = MetricTest("gen_ai_server_requests_waiting", 30.0, reduce=Reduce.MEAN, ratio_to_peers=Limit(above=3.0))
    for replicas, expected in ((3, PRESENT), (2, UNKNOWN)):
        node = Node(replicas)
        for index in range(replicas):
            node.gauge("gen_ai_server_requests_waiting", 20.0 if index == 0 else 2.0, instance=f"r{index}")
        assert metric_finding(test, *node.at(Scope.INSTANCE, 0)).state is expected


def test_a_share_is_of_all_replicas_and_says_nothing_of_few_answers():
    """Four of five errors are chance; forty of fifty are not."""
    test = MetricTest("http_server_requests_total", 10.0, match={"outcome": "503|5xx"}, reduce=Reduce.INCREASE,
                      share=Limit(above=0.6))  # fmt: skip
    node = Node()
    node.counter("http_server_requests_total", 4.0, service="chat", outcome="503", upstream="r2")
    node.counter("http_server_requests_total", 1.0, service="chat", outcome="5xx", upstream="r0")
    node.counter("http_server_requests_total", 9.0, service="search", outcome="503", upstream="r1")
    few = Node()
    few.counter("http_server_requests_total", 0.2, service="chat", outcome="503", upstream="r2")

    found = metric_finding(test, *node.at(Scope.INSTANCE, 2))
    assert (found.state, found.words["share"]) == (PRESENT, "80 %")
    assert metric_finding(test, *node.at(Scope.INSTANCE, 1)).state is ABSENT
    assert metric_finding(test, *few.at(Scope.INSTANCE, 2)).state is UNKNOWN


@pytest.mark.parametrize(
    ("seconds", "expected"), [([0.3, 1.2, 5.0], PRESENT), ([0.3, 0.3, 5.0], ABSENT), ([5.0, 5.0, 5.0], UNKNOWN)]
)
def test_what_was_given_up_is_no_measurement(seconds: list[float], expected: EvidenceState):
    """A question that is given up after five seconds says how long somebody waited, not that an answer was late."""
    test = MetricTest("gen_ai_server_health_seconds", 60.0, reduce=Reduce.MAX, up_to=4.9, above=0.5)
    node = Node()
    readings = dict(zip((BAD_S - 20, BAD_S - 10, BAD_S), seconds, strict=True))
    node.series.put("gen_ai_server_health_seconds", Labels.of(instance="r0"), readings)

    assert metric_finding(test, *node.at(Scope.INSTANCE, 0)).state is expected


def test_a_quotient_pairs_series_by_the_labels_they_share():
    """Used connections of one pool over the limit of the same pool."""
    test = MetricTest("db_client_connection_count", 60.0, match={"state": "used"}, divide_by="db_client_connection_max",
                      by="instance", reduce=Reduce.MAX, above=0.95)  # fmt: skip
    node = Node()
    for index, limit in enumerate((10.0, 100.0)):
        node.gauge("db_client_connection_count", 10.0, instance=f"r{index}", pool="p", state="used")
        node.gauge("db_client_connection_max", limit, instance=f"r{index}", pool="p")

    assert metric_finding(test, *node.at(Scope.INSTANCE, 0)).state is PRESENT
    assert metric_finding(test, *node.at(Scope.INSTANCE, 1)).state is ABSENT
    assert metric_finding(test, *node.at(Scope.INSTANCE, 2)).state is UNKNOWN


def test_a_counter_that_restarted_is_not_a_fall():
    """A replica that crashed counts from zero."""
    test = MetricTest("gen_ai_server_preemptions_total", 60.0, reduce=Reduce.INCREASE, above=25)
    node = Node(1)
    values = {BAD_S - 50 + t: float(t if t < 20 else t - 20) for t in range(50)}
    node.series.put("gen_ai_server_preemptions_total", Labels.of(instance="r0"), values)

    found = metric_finding(test, *node.at(Scope.INSTANCE, 0))
    assert (found.state, found.words["value"]) == (PRESENT, "48")


def test_a_quotient_of_counters_is_of_what_both_gained():
    """Prompt tokens a request now, not over the life of the server."""
    test = MetricTest("gen_ai_server_prompt_tokens_total", 60.0, divide_by="gen_ai_server_requests_finished_total",
                      by="instance", ratio_to_baseline=Limit(above=2.0))  # fmt: skip
    node = Node(2)
    for index, late in enumerate((300.0, 110.0)):
        times = np.arange(BAD_S - 120, BAD_S + 20, 5.0)
        tokens = np.cumsum(np.where(times < BAD_S - 30, 100.0, late))
        labels = Labels.of(instance=f"r{index}")
        node.series.put("gen_ai_server_prompt_tokens_total", labels, dict(zip(times.tolist(), tokens, strict=True)))
        finished = {float(t): 900.0 + i for i, t in enumerate(times)}
        node.series.put("gen_ai_server_requests_finished_total", labels, finished)

    found = metric_finding(test, *node.at(Scope.INSTANCE, 0))
    assert (found.state, found.words["ratio"], found.words["baseline"]) == (PRESENT, "3.0 times", "100")
    assert metric_finding(test, *node.at(Scope.INSTANCE, 1)).state is ABSENT


def test_a_count_that_never_began_is_zero_where_somebody_looks():
    """A gateway that never refused has no series of refusals; without its log nobody knows."""
    looked = Watched("http_server_requests_total", {"answered_by": "gateway|upstream"})
    test = MetricTest("http_server_refusals_total", 30.0, match={"reason": "rate_limited"}, by="service",
                      reduce=Reduce.INCREASE, above=5, watched_by=looked)  # fmt: skip
    node = Node()

    assert metric_finding(test, *node.at(Scope.SERVICE, 0)).state is UNKNOWN
    node.counter("http_server_requests_total", 1.0, service="search", outcome="ok", answered_by="upstream")
    assert metric_finding(test, *node.at(Scope.SERVICE, 0)).state is UNKNOWN
    node.counter("http_server_requests_total", 1.0, service="chat", outcome="ok", answered_by="upstream")
    assert metric_finding(test, *node.at(Scope.SERVICE, 0)).state is ABSENT
    node.counter("http_server_refusals_total", 3.0, service="chat", reason="rate_limited", upstream="none")
    assert metric_finding(test, *node.at(Scope.SERVICE, 0)).state is PRESENT


@pytest.mark.parametrize(("before", "state"), [(0.0, PRESENT), (0.5, PRESENT), (4.0, ABSENT)])
def test_lines_that_are_everyday_count_only_when_there_are_many_more_of_them(before, state):
    """A client that names no cause is in every log; ten times as many of it are news."""
    test = LogTest(LogClass.NETWORK, within=10.0, jump=5.0)
    node = Node(1)
    unfollowed = node.at(Scope.INSTANCE, 0)
    assert log_finding(test, *unfollowed).state is UNKNOWN
    follow(node, "r0")
    times = np.arange(BAD_S - 120, BAD_S + 20, 1.0)
    counts = np.cumsum(np.where(times < BAD_S - 10, before, 8.0))
    labels = Labels.of(instance="r0", log_class="network")
    node.series.put("log_records_total", labels, dict(zip(times.tolist(), counts.tolist(), strict=True)))

    assert log_finding(test, *node.at(Scope.INSTANCE, 0)).state is state


@pytest.mark.parametrize("kind", [EventKind.PROCESS, EventKind.HARDWARE])
def test_an_event_that_nobody_would_tell_of_is_unknown(kind):
    """Without a watched process or card, silence is not peace."""
    rule = a_rule()
    node = Node(1)

    assert event_finding(EventTest(kind), rule, *node.at(Scope.INSTANCE, 0)).state is UNKNOWN
    node.gauge("process_uptime_seconds", 900.0, instance="r0", process="server")
    node.gauge("hw_gpu_up", 1.0, gpu="0")
    assert event_finding(EventTest(kind), rule, *node.at(Scope.INSTANCE, 0)).state is ABSENT


def test_an_event_clause_may_look_less_far_back_than_its_cause():
    """A process that ended ten minutes ago did not end just now."""
    node = Node(1)
    node.events.append(Event(EventKind.PROCESS, "exit", BAD_S - 200, Labels.of(instance="r0")))
    node.gauge("process_uptime_seconds", 900.0, instance="r0", process="server")
    scene, place = node.at(Scope.INSTANCE, 0)

    assert event_finding(EventTest(EventKind.PROCESS), a_rule(), scene, place).state is PRESENT
    assert event_finding(EventTest(EventKind.PROCESS, within=60.0), a_rule(), scene, place).state is ABSENT


@pytest.mark.parametrize(
    ("lines_a_second", "followed", "state"), [(1.0, True, ABSENT), (0.0, True, PRESENT), (0.0, False, UNKNOWN)]
)
def test_a_negated_clause_turns_present_and_absent_round_and_leaves_unknown(lines_a_second, followed, state):
    """ "No traceback" is evidence only where one would have been seen."""
    clause = Clause("quiet", "log", Odds(3, 0.2), "", ClauseText("quiet", "loud"), negated=True, log=OOM)
    node = Node(1)
    if followed:
        follow(node, "r0")
    if lines_a_second:
        lines(node, lines_a_second, instance="r0")

    found = examine(clause, a_rule(scope=Scope.INSTANCE), *node.at(Scope.INSTANCE, 0))

    assert found.state is state
    if state is not UNKNOWN:
        assert found.text == ("quiet" if state is PRESENT else "loud")
        assert found.log_odds == pytest.approx(math.log(3 if state is PRESENT else 0.2))


@pytest.mark.parametrize(
    ("clock", "slower", "state"),
    [(0.6, 1 / 0.6, PRESENT), (0.6, 3.0, ABSENT), (1.0, 1.7, ABSENT), (0.6, 1.0, ABSENT), (None, 1.7, UNKNOWN)],
    ids=["by the clock alone", "by more than the clock", "at full clock", "clock cut and not slower", "clock unknown"],
)
def test_a_slowdown_is_of_the_clock_when_it_is_gone_at_an_equal_clock(clock, slower, state):
    """Design rule 2: thermal throttling is what the SM clock explains."""
    node = Node(2)
    times = np.arange(BAD_S - 120, BAD_S + 20, 5.0)
    wobble = 1 + 0.01 * np.sin(times)
    seconds = np.cumsum(np.where(times < BAD_S - 30, 1.0, slower) * wobble)
    labels = Labels.of(instance="r0")
    node.series.put("gen_ai_server_time_per_output_token_seconds_sum", labels, dict(zip(times, seconds, strict=True)))
    tokens = {float(t): 40.0 * i for i, t in enumerate(times)}
    node.series.put("gen_ai_server_time_per_output_token_seconds_count", labels, tokens)
    if clock is not None:
        node.gauge("hw_gpu_clock_hertz", 1.9e9, then=1.9e9 * clock, at_s=BAD_S - 35, gpu="0")
    clause = Clause("c", "pace", Odds(3, 0.2), "", ClauseText("{ratio}", ""), pace=PaceTest(Against.CLOCK, 1.1))

    assert examine(clause, a_rule(scope=Scope.GPU), *node.at(Scope.GPU, 0)).state is state


@pytest.mark.parametrize(("of_host", "state"), [(True, PRESENT), (False, ABSENT)])
def test_lines_of_no_replica_speak_of_each_only_where_a_clause_says_so(of_host, state):
    """The kubelet names a pod and no address; an engine's own death stands in its own log."""
    test = LogTest(LogClass.VRAM_EXHAUSTION, within=300.0, of_host=of_host)
    node = Node(2)
    follow(node, "r0")
    lines(node, 1.0, source="kubelet")

    assert log_finding(test, *node.at(Scope.INSTANCE, 0)).state is state


# --- a metric less another ------------------------------------------------------------------------------------------

TTFB = "http_server_time_to_first_byte_seconds"
TTFT_SUM, TTFT_COUNT = (
    "gen_ai_server_time_to_first_token_seconds_sum",
    "gen_ai_server_time_to_first_token_seconds_count",
)
GAP = MetricTest(
    TTFB, over=300.0, match={"quantile": "0.5"}, minus=Subtracted(TTFT_SUM, TTFT_COUNT), rise=Limit(above=0.25)
)


def first_tokens(node: Node, instance: str, usual_s: float, then_s: float) -> None:
    """The engine's own time to first token, two requests a second."""
    times = np.arange(BAD_S - 120, BAD_S + 20, 5.0)
    spent = np.cumsum([10 * (usual_s if at < BAD_S - 10 else then_s) for at in times])
    node.series.put(TTFT_SUM, Labels.of(instance=instance), dict(zip(times, spent, strict=True)))
    counts = {float(at): 10.0 * number for number, at in enumerate(times)}
    node.series.put(TTFT_COUNT, Labels.of(instance=instance), counts)


@pytest.mark.parametrize(
    ("gateway_s", "engine_s", "state"), [(2.05, 0.05, PRESENT), (1.6, 1.55, ABSENT), (0.08, 0.05, ABSENT)]
)
def test_what_the_gateway_waits_for_beyond_the_engine_is_spent_before_it(
    gateway_s: float, engine_s: float, state: EvidenceState
):
    """A slow engine lets the gateway wait as long as a full tokenizer does; only the difference tells them apart."""
    node = Node()
    node.gauge(TTFB, 0.08, then=gateway_s, service="chat", upstream="r1", quantile="0.5")
    first_tokens(node, "r1", 0.05, engine_s)

    found = metric_finding(GAP, *node.at(Scope.INSTANCE, 1))
    assert found.state is state
    if state is PRESENT:
        assert found.words["value"].startswith("2.0")
        assert found.onset is not None


def test_without_the_engine_s_own_time_the_difference_is_unknown():
    """A page that is not read is not an engine that needs no time."""
    node = Node()
    node.gauge(TTFB, 0.08, then=1.6, service="chat", upstream="r1", quantile="0.5")

    assert metric_finding(GAP, *node.at(Scope.INSTANCE, 1)).state is UNKNOWN


def test_an_engine_that_was_last_read_long_ago_is_not_taken_for_today_s():
    """Readings of different times have no difference."""
    node = Node()
    node.gauge(TTFB, 0.08, then=1.6, service="chat", upstream="r1", quantile="0.5")
    first_tokens(node, "r1", 0.05, 0.05)
    for metric in (TTFT_SUM, TTFT_COUNT):
        held = node.series.held[metric][Labels.of(instance="r1")]
        for at in [at for at in held if at > BAD_S - 60]:
            del held[at]

    assert metric_finding(GAP, *node.at(Scope.INSTANCE, 1)).state is not PRESENT


# --- from next to nothing, and out of all that was asked ------------------------------------------------------------


@pytest.mark.parametrize(("then", "state"), [(0.2, ABSENT), (0.9, PRESENT)])
def test_a_rise_from_nothing_counts_from_the_floor_on(then: float, state: EvidenceState):
    """One segment sent again within a reading is no lossy way, on whatever quiet night."""
    test = MetricTest(
        "system_network_tcp_retransmits_per_second", over=600.0, ratio_to_baseline=Limit(above=3.0), floor=0.15
    )
    node = Node()
    node.gauge(test.name, 0.0, then=then, host_name="n1")

    found = metric_finding(test, *node.at(Scope.SERVICE, 0))
    assert found.state is state
    assert found.words["baseline"] == "0"


@pytest.mark.parametrize(
    ("failed", "answered", "state", "told"),
    [(2.0, 0.0, PRESENT, "100"), (2.0, 8.0, ABSENT, "20 %"), (0.1, 0.0, UNKNOWN, "")],
    ids=["nobody is there", "now and then", "two of them"],
)
def test_connections_that_fail_are_seen_beside_those_that_come_about(
    failed: float, answered: float, state: EvidenceState, told: str
):
    """Who answers most of what he is asked can be reached; another upstream's answers say nothing of him."""
    test = MetricTest(
        "http_server_refusals_total", over=5.0, match={"reason": "connect_failure"}, by="service", reduce=Reduce.INCREASE,
        out_of=Watched("http_server_requests_total"), above=0.6,
    )  # fmt: skip
    node = Node()
    node.counter(test.name, failed, service="chat", reason="connect_failure", upstream="r1")
    asked = {"service": "chat", "answered_by": "upstream"}
    node.counter("http_server_requests_total", failed, outcome="5xx", upstream="r1", **asked)
    node.counter("http_server_requests_total", answered, outcome="ok", upstream="r1", **asked)
    node.counter("http_server_requests_total", 50.0, outcome="ok", upstream="r2", **asked)

    found = metric_finding(test, *node.at(Scope.SERVICE, 0))
    assert found.state is state
    assert not told or found.words["value"].startswith(told)


# --- against what people set time-outs to ---------------------------------------------------------------------------

ROUND = MetricTest(
    "http_server_failed_duration_pile_seconds", over=20.0, by="service", reduce=Reduce.MAX, past_round=Limit(below=0.06)
)


@pytest.mark.parametrize(
    ("pile_s", "state"),
    [(5.004, PRESENT), (4.998, PRESENT), (60.03, PRESENT), (1.5, PRESENT), (7.3, ABSENT), (0.5, ABSENT), (5.4, ABSENT)],
)
def test_a_time_out_is_a_round_value_and_a_round_trip(pile_s: float, state: EvidenceState):
    """What scatters around 7.3 s was ended by no setting; what is refused at once lasted for none."""
    node = Node()
    node.gauge("http_server_failed_duration_pile_seconds", pile_s, service="chat", outcome="5xx")

    assert metric_finding(ROUND, *node.at(Scope.SERVICE, 0)).state is state


@pytest.mark.parametrize("timeout_s", [1, 2, 5, 10, 15, 30, 60, 120, 300])
def test_every_time_out_people_commonly_set_is_round(timeout_s: float):
    """DESIGN names them; a millisecond either way is a clock."""
    assert past_round(timeout_s) == 0.0
    assert past_round(timeout_s - 0.002) == 0.0
    assert past_round(timeout_s + 0.03) == pytest.approx(0.03)


@pytest.mark.parametrize(("now_s", "waits"), [(4.0, True), (14.0, False)], ids=["a moment", "nobody reads it"])
def test_a_replica_that_nobody_has_read_yet_is_waited_for_a_moment(now_s: float, waits: bool):
    """One that was just put into service is not ready because the others are."""
    node = Node(replicas=2)
    node.series.put("gen_ai_server_ready", Labels.of(instance="r0"), {BAD_S - 8: 1.0, BAD_S + 3.5: 1.0})
    test = MetricTest("gen_ai_server_ready", over=60.0, reduce=Reduce.MIN, above=0.5, reread=True)
    rule = a_rule(Clause("ready", "ready", Odds(1.3, 0.1), "", ClauseText("", ""), metric=test))
    scene = Scene(
        IncidentContext("chat", (), BAD_S, BAD_S + 3), node.series, FakeEvents([], feed=None), FakeTemplates([]),
        BAD_S + now_s,
    )  # fmt: skip

    assert weigh(rule, scene, scene.whole(Scope.SERVICE)).waits is waits


@pytest.mark.parametrize(
    ("read_s", "now_s", "waits"),
    [(-3.0, 4.0, True), (3.5, 4.0, False), (-3.0, 14.0, False)],
    ids=["before users were hurt", "since", "it cannot be read any more"],
)
def test_what_must_be_read_again_is_waited_for_a_moment(read_s: float, now_s: float, waits: bool):
    """A page that showed a replica ready five seconds ago does not know of its end."""
    node = Node(replicas=1)
    ready = "gen_ai_server_ready"
    node.series.put(ready, Labels.of(instance="r0"), {BAD_S - 8: 1.0, BAD_S + read_s: 1.0})
    test = MetricTest(ready, over=60.0, reduce=Reduce.MIN, above=0.5, reread=True)
    rule = a_rule(Clause("ready", "ready", Odds(1.3, 0.1), "", ClauseText("", ""), metric=test))
    scene = Scene(
        IncidentContext("chat", (), BAD_S, BAD_S + 3), node.series, FakeEvents([], feed=None), FakeTemplates([]),
        BAD_S + now_s,
    )  # fmt: skip

    assert weigh(rule, scene, scene.whole(Scope.SERVICE)).waits is waits


# --- what it leaves behind ------------------------------------------------------------------------------------------


def test_what_a_look_has_read_is_let_go_with_it():
    """A look a second that left its windows to the collector of cycles would hold megabytes until that comes by."""
    gc.disable()
    try:
        scene = Node().scene()
        assert weigh_all(load_causes([shipped_rules()]), scene)
        gone = weakref.ref(scene)
        del scene
        assert gone() is None
    finally:
        gc.enable()


def test_a_share_of_nothing_is_no_reading():
    """Blocks a running request holds cannot be told while none runs; they can before and after."""
    node = Node()
    for name in ("r0", "r1", "r2"):
        node.gauge("gen_ai_server_kv_cache_utilization_ratio", 0.2, then=0.9, instance=name)
        node.gauge("gen_ai_server_requests_running", 4.0, instance=name)
        node.series.put("gen_ai_server_requests_running", Labels.of(instance=name), {BAD_S - 60: 0.0, BAD_S - 55: 0.0})
    test = MetricTest(
        "gen_ai_server_kv_cache_utilization_ratio", 300.0, divide_by="gen_ai_server_requests_running",
        ratio_to_baseline=Limit(above=1.7),
    )  # fmt: skip
    scene, place = node.at(Scope.SERVICE, 0)

    assert metric_finding(test, scene, place).state is PRESENT


def test_what_is_possible_is_weighed_as_all_are():
    """The second look leaves out what is ruled out, and must not see the rest any other way."""
    node = Node()
    for index in range(3):
        follow(node, f"r{index}")
    lines(node, 1.0, instance="r1", gpu="")
    node.gauge("gen_ai_server_requests_waiting", 0.0, then=20.0, instance="r1")
    causes = load_causes([shipped_rules()])

    everything, possible = weigh_all(causes, node.scene()), weigh_possible(causes, node.scene())
    left_out = [w for w in everything if w not in possible]
    assert possible == [w for w in everything if w not in left_out]
    assert left_out
    assert all(w.ruled_out for w in left_out)
