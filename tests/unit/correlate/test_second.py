"""What a named cause does not explain: whose bad answers are left, when they began, and what may be their cause."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aiops.correlate.rank import Weighed
from aiops.correlate.second import Only, Rest, rest, second_look, stood
from aiops.correlate.topology import Place
from aiops.model import CauseLevel, EventKind, Evidence, EvidenceState, Labels
from aiops.rulebook.causes import CauseRule, Clause, ClauseText, Odds, Scope
from aiops.rulebook.clauses import EventTest
from tests.unit.correlate.test_evidence import BAD_S, Node, a_rule

REPLICAS = ("r0", "r1", "r2")


def node(*bad: tuple[str, str, float, float]) -> Node:
    """Bad answers as (upstream, outcome, a second, from so many seconds after the first bad answer)."""
    found = Node()
    for name in REPLICAS:
        found.counter("http_server_requests_total", 4.0, from_s=0.0, service="chat", outcome="ok", upstream=name)
    for name, outcome, rate, after_s in bad:
        found.counter(
            "http_server_requests_total", rate, from_s=BAD_S + after_s, service="chat", outcome=outcome, upstream=name
        )
    return found


def at(*instances: str) -> Place:
    scope = Scope.INSTANCE if len(instances) == 1 else Scope.SERVICE
    name = " ".join(instances)
    return Place(scope, Labels.of(instance=name), name, "chat", frozenset(instances))


def weighed(cause: str, place: Place, leads_to: tuple[str, ...] = (), level: CauseLevel = CauseLevel.FAULT) -> Weighed:
    rule: CauseRule = replace(a_rule(), cause=cause, leads_to=leads_to, level=level)
    present = Evidence("e", EvidenceState.PRESENT, "", "a", 1.0, specific=True)
    return Weighed(rule, place, (present,), 3.0, 1.0)


CRASH, BURST = weighed("crash", at("r0")), weighed("burst", at(*REPLICAS))
CHANGED = Clause("e", "a", Odds(5, 0.2), "", ClauseText("", ""), event=EventTest(EventKind.CHANGE))
ROLLOUT = replace(BURST, rule=a_rule(CHANGED))


@pytest.mark.parametrize(
    ("root", "bad", "left"),
    [
        (CRASH, [("r0", "5xx", 4.0, 0)], None),
        (CRASH, [("r0", "5xx", 4.0, 0), ("r1", "503", 4.0, 6)], {("r1", "503")}),
        (CRASH, [("r0", "5xx", 4.0, 0), ("r1", "503", 0.3, 6)], None),  # a handful: chance
        (CRASH, [("r0", "5xx", 4.0, 0), ("none", "429", 4.0, 6)], {("none", "429")}),
        (CRASH, [("r0", "5xx", 4.0, 0), ("r1", "499", 1.0, -90)], None),  # some users always hang up
        (CRASH, [("r0", "5xx", 4.0, 0), ("r1", "499", 4.0, 6)], {("r1", "499")}),
        (BURST, [(name, "503", 2.0, 0) for name in REPLICAS], None),
        (BURST, [*((name, "503", 2.0, 0) for name in REPLICAS), ("r1", "5xx", 4.0, 7)], {("r1", "5xx")}),
        (BURST, [("r1", "503", 4.0, 0), ("r0", "503", 1.0, 0)], None),  # it began with the burst
        (BURST, [*((name, "503", 2.0, 0) for name in REPLICAS), ("none", "429", 4.0, 7)], {("none", "429")}),
        (BURST, [*((name, "5xx", 2.0, 7) for name in REPLICAS)], None),  # another outcome, and of all
        (BURST, [("r0", "5xx", 4.0, 7), ("r1", "stalled", 4.0, 7)], None),
        (BURST, [("r0", "5xx", 4.0, 0), ("r1", "5xx", 4.0, 7)], {("r1", "5xx")}),  # nothing but one replica at first
        (BURST, [("r0", "5xx", 4.0, 0), ("r1", "5xx", 4.0, 7), ("r2", "5xx", 4.0, 7)], None),
        (ROLLOUT, [("r0", "5xx", 4.0, 0), ("r1", "5xx", 4.0, 7)], None),  # which reaches one after the other
    ],
)  # fmt: skip
def test_what_is_left_is_what_others_give_or_one_more_than_all(root: Weighed, bad: list, left: set | None):
    found = rest(node(*bad).scene(), [root])

    assert (None if found is None else found.kinds) == left


def test_a_kind_that_nobody_had_counted_before_is_seen():
    """A counter appears with the first answer of its kind."""
    found = node(("r0", "5xx", 4.0, 0))
    times = {BAD_S + 5.0 + t: 4.0 * t for t in range(15)}
    found.series.put("http_server_requests_total", Labels.of(service="chat", outcome="5xx", upstream="r1"), times)

    assert rest(found.scene(), [CRASH]) is not None


def test_the_rest_began_with_its_own_first_bad_answer():
    found = rest(node(("r0", "5xx", 4.0, 0), ("r1", "503", 4.0, 6)).scene(), [CRASH])

    assert found is not None
    assert found.began_s == pytest.approx(BAD_S + 6, abs=1.0)


def test_a_service_of_one_replica_has_no_rest():
    scene = node(("r1", "503", 4.0, 6)).scene()
    scene.topology = replace(scene.topology, instances=("r0",))

    assert rest(scene, [CRASH]) is None


def test_roots_at_all_replicas_explain_what_all_give():
    everywhere = [weighed("pool", at(name)) for name in REPLICAS]
    scene = node(*((name, "503", 2.0, 0) for name in REPLICAS), ("r1", "5xx", 4.0, 7)).scene()

    found = rest(scene, everywhere)
    assert found is not None
    assert (found.kinds, found.taken) == ({("r1", "5xx")}, frozenset())


def test_of_bad_answers_only_the_rest_is_seen():
    series = node(("r0", "5xx", 4.0, 0), ("r1", "503", 4.0, 6)).series
    only = Only(series, frozenset({("r1", "503")}))

    seen = {
        (w.labels.get("upstream"), w.labels.get("outcome"))
        for w in only.window("http_server_requests_total", 0.0, BAD_S + 20)
    }
    assert seen == {*((name, "ok") for name in REPLICAS), ("r1", "503")}
    assert list(only.window("gen_ai_server_up", 0.0, BAD_S + 20))


def test_how_late_the_first_ones_answers_are_is_not_seen():
    """Clients that hang up on others do so whether or not its answers take long."""
    found = Node()
    for name in REPLICAS:
        found.gauge("http_server_time_to_first_byte_seconds", 0.1, service="chat", upstream=name, quantile="0.5")
        found.counter("http_server_refusals_total", 1.0, service="chat", upstream=name, reason="timeout")
    only = Only(found.series, frozenset({("r1", "503")}), frozenset({"r0"}))

    for metric in ("http_server_time_to_first_byte_seconds", "http_server_refusals_total"):
        assert {w.labels.get("upstream") for w in only.window(metric, 0.0, BAD_S + 20)} == {"r1", "r2"}


def look(root: Weighed, other: Weighed, *others: Weighed, after_s: float = 10.0) -> list[str]:
    """What is held against one another for r1's bad answers, which began so long after the first."""
    scene = node((root.place.text if root is CRASH else "r0", "5xx", 4.0, 0), ("r1", "503", 4.0, after_s)).scene()
    return [
        w.cause
        for w in second_look(
            scene, [root], [root, other, *others], lambda _, asked: [other] if asked(other.rule) else []
        )
    ]


def test_what_happens_at_another_replica_is_looked_at():
    assert look(CRASH, weighed("xid", at("r1"))) == ["xid"]


@pytest.mark.parametrize(
    "other",
    [
        weighed("crash", at("r1")),
        weighed("xid", at("r0")),  # all is explained there
        weighed("xid", at("r2")),  # which gave no bad answer
        weighed("burst", at(*REPLICAS)),  # r2 is well
        weighed("full", at("r1"), level=CauseLevel.STATE),
    ],
    ids=["the same cause", "explained", "unhurt", "not all", "a state"],
)
def test_what_cannot_be_a_second_root_is_not(other: Weighed):
    assert look(CRASH, other) == []


def test_what_follows_from_the_first_is_no_second():
    crash = weighed("crash", at("r0"), leads_to=("queue",))

    assert look(crash, weighed("queue", at("r1"))) == []


def test_what_follows_only_over_something_of_which_nothing_is_seen_is_a_second():
    """Lost packets lead to a crash over a probe that fails; where no probe failed, the crash has a reason of its own."""
    loss = weighed("loss", at("r0"), leads_to=("probe",))
    probe = weighed("probe", at("r1"), leads_to=("crash",))
    unseen = replace(probe, evidence=())

    assert look(loss, weighed("crash", at("r1")), probe) == []
    assert look(loss, weighed("crash", at("r1")), unseen) == ["crash"]


def test_what_began_later_is_not_what_the_first_follows_from():
    blocked = weighed("blocked", at("r1"), leads_to=("crash",))

    assert look(CRASH, blocked) == ["blocked"]
    assert look(CRASH, blocked, after_s=0.0) == []


@pytest.mark.parametrize(("taken", "fits"), [({"r0"}, True), (set(), False)])
def test_a_cause_at_all_replicas_fits_where_all_others_are_hurt(taken: set[str], fits: bool):
    left = Rest(frozenset({("r1", "503"), ("r2", "503")}), BAD_S, frozenset(taken))

    assert left.fits(at(*REPLICAS), frozenset(REPLICAS)) is fits


@pytest.mark.parametrize(
    ("after_s", "again", "stands"),
    [(10.0, 5.0, True), (10.0, -1.0, False), (0.0, 5.0, False)],
    ids=["as it was", "no more without the rest", "the rest came with it"],
)
def test_what_is_named_stands_beside_what_failed_later(after_s: float, again: float, stands: bool):
    """A share of the bad answers falls, and "nothing else fails" is no longer true, when something else fails as well."""
    scene = node(("r0", "5xx", 4.0, 0), ("r1", "503", 4.0, after_s)).scene()
    scene.context = replace(scene.context, named="crash")
    strong = replace(CRASH, evidence=(*CRASH.evidence, replace(CRASH.evidence[0], id="f", family="b")), score=again)
    asked: list[Rest] = []

    def weigh(found: Rest, w: Weighed, until_s: float | None) -> Weighed:
        asked.append(found)
        return strong

    assert stood(scene, [CRASH], [], weigh) == ([strong] if stands else [])
    assert all(found.explained == {("r0", "5xx")} for found in asked)


@pytest.mark.parametrize(
    ("leading", "stands"), [([], True), (["slow"], True), (["burst"], False)], ids=["none", "what follows", "another"]
)
def test_what_faded_since_something_else_failed_is_taken_as_it_was(leading: list[str], stands: bool):
    """A card that was idle is busy again once a burst fills it; what held the loop up still does."""
    scene = node(("r0", "5xx", 4.0, 0), ("r1", "503", 4.0, 10.0)).scene()
    scene.context = replace(scene.context, named="blocked", named_at=at("r0").where, named_s=BAD_S + 5.0)
    elsewhere, here = weighed("blocked", at("r2")), weighed("blocked", at("r0"), leads_to=("slow",))
    others = [weighed(cause, at("r0")) for cause in leading]
    strong = replace(here, evidence=(*here.evidence, replace(here.evidence[0], id="f", family="b")), score=5.0)

    def weigh(_: Rest, w: Weighed, until_s: float | None) -> Weighed:
        assert w is here
        return strong if until_s == BAD_S + 5.0 else replace(strong, score=-3.0)

    assert stood(scene, [elsewhere, here, *others], others, weigh) == ([strong] if stands else [])


def test_what_nobody_named_does_not_stand():
    assert stood(node(("r1", "503", 4.0, 9)).scene(), [CRASH], [], lambda _, w, at_s: w) == []
