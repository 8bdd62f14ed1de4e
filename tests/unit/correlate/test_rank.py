"""Weighing: votes, order of onsets, what a root needs; and that support never hurts."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.correlate.rank import MAX_SHOWN, Weighed, late_ones, order, share_tested, vote
from aiops.correlate.topology import Place, Topology
from aiops.correlate.verdicts import Bench
from aiops.correlate.ways import spare
from aiops.model import CauseLevel, Evidence, EvidenceState, Labels, Onset, Verdict
from aiops.rulebook.causes import CauseRule, Clause, ClauseText, Odds, Scope
from aiops.rulebook.clauses import LoadTest, Term

SYMPTOM = Onset(99.0, 101.0)
ODDS = [Odds(20, 0.1), Odds(4, 0.3), Odds(0.3, 1.5), Odds(2, 0.9)]
FAMILIES = ("a", "b", "a", "c")
PRIOR = math.log(0.1 / 0.9)


def outcome(index: int, state: EvidenceState, onset: Onset | None = None) -> Evidence:
    odds = {EvidenceState.PRESENT: ODDS[index].present, EvidenceState.ABSENT: ODDS[index].absent}.get(state, 1.0)
    return Evidence(f"c{index}", state, "", FAMILIES[index], math.log(odds), specific=index == 0, onset=onset)


def score(evidence: list[Evidence]) -> float:
    told, votes = vote(evidence)
    return PRIOR + votes + order(told, SYMPTOM)


onsets = st.none() | st.sampled_from([Onset(10.0, 12.0), Onset(98.0, 103.0), Onset(110.0, 111.0)])
states = st.sampled_from(list(EvidenceState))


@given(st.lists(st.tuples(states, onsets), min_size=4, max_size=4), st.integers(0, 3), onsets)
def test_supporting_evidence_never_lowers_a_score(found, index, onset):
    """Whoever adds a sensor must not make the right answer less likely by it."""
    evidence = [
        outcome(i, state, at if state is EvidenceState.PRESENT else None) for i, (state, at) in enumerate(found)
    ]
    if ODDS[index].present < 1:  # this clause speaks against: support is that it goes away
        better = outcome(index, EvidenceState.ABSENT)
    else:
        better = outcome(
            index, EvidenceState.PRESENT, onset if evidence[index].onset is None else evidence[index].onset
        )
    if evidence[index].state is better.state:
        return

    assert score([*evidence[:index], better, *evidence[index + 1 :]]) >= score(evidence) - 1e-9


def test_a_family_has_one_vote():
    """Three views of one sensor are one witness."""
    told, votes = vote([outcome(0, EvidenceState.PRESENT), outcome(2, EvidenceState.ABSENT)])

    assert votes == pytest.approx(math.log(20))
    assert [e.log_odds for e in told] == [pytest.approx(math.log(20)), 0.0]


def test_order_counts_only_between_intervals_that_do_not_overlap():
    """Clocks of scrapes are seconds apart; what may have come first did not come last."""
    late, unclear = Onset(101.5, 102.0), Onset(100.0, 130.0)

    assert order([outcome(0, EvidenceState.PRESENT, late)], SYMPTOM) == pytest.approx(-math.log(3))
    assert order([outcome(0, EvidenceState.PRESENT, unclear)], SYMPTOM) == 0.0
    early = outcome(1, EvidenceState.PRESENT, Onset(1, 2))
    assert order([outcome(0, EvidenceState.PRESENT, late), early], SYMPTOM) == 0.0


# --- verdicts -------------------------------------------------------------------------------------------------------


def rule(cause: str, level: CauseLevel = CauseLevel.FAULT, stands_for: tuple[Term, ...] = ()) -> CauseRule:
    clauses = tuple(
        Clause(
            f"c{i}",
            family,
            ODDS[0],
            "",
            ClauseText("", ""),
            specific=i == 0,
            necessary=i == 0,
            stands_for=stands_for if i == 1 else (),
            load=LoadTest(Term.WORK),
        )
        for i, family in enumerate(("a", "b"))
    )
    return CauseRule(cause, cause.upper(), level, ("any",), Scope.SERVICE, 60.0, 0.1, clauses, "")


def weighed(
    cause: str, score: float = 5.0, *, first=EvidenceState.PRESENT, second=EvidenceState.PRESENT, tested=1.0,
    level=CauseLevel.FAULT, place: str = "p", stands_for: tuple[Term, ...] = (),
) -> Weighed:  # fmt: skip
    evidence = (
        Evidence("c0", first, f"{cause} {first}", "a", 1.0, specific=True, necessary=True),
        Evidence("c1", second, f"{cause} second", "b", 1.0),
    )
    return Weighed(
        rule(cause, level, stands_for),
        Place(Scope.SERVICE, Labels.of(service=place), place, "s"),
        evidence,
        score,
        tested,
    )


def judge(*items: Weighed, leads=None, states_may_lead=True, sharers=None, risen=None, risen_at=None):
    ordered = sorted(items, key=lambda w: -w.score)
    bench = Bench(ordered, leads or {}, states_may_lead, sharers or {}, risen or {}, risen_at or {})
    told = bench.verdicts(Topology("s", "h", ()))
    return {h.cause: h for h in told}, [h.cause for h in told if h.verdict is Verdict.ROOT]


def test_the_first_is_root_when_it_leads_by_a_factor_of_three():
    """ "Leads clearly" is a number."""
    assert judge(weighed("x", 5.0), weighed("y", 5.0 - math.log(3.1)))[1] == ["x"]
    assert judge(weighed("x", 5.0), weighed("y", 5.0 - math.log(2.9)))[1] == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"second": EvidenceState.ABSENT}, "Only one kind of evidence"),
        ({"tested": 0.5}, "Only 50 %"),
        ({"score": -1.0}, "speaks against"),
    ],
)
def test_a_root_needs_two_families_most_clauses_tested_and_more_for_than_against(change, words):
    """One loud sensor is not a diagnosis."""
    told, roots = judge(replace_one(**change))

    assert roots == []
    assert told["x"].verdict is Verdict.CANDIDATE
    assert words in told["x"].reason


def replace_one(**change) -> Weighed:
    item = weighed("x", change.get("score", 5.0), second=change.get("second", EvidenceState.PRESENT),
                   tested=change.get("tested", 1.0))  # fmt: skip
    unknown = Evidence("c2", EvidenceState.UNKNOWN, "Not testable here: no feed.", "c")
    return replace(item, evidence=(*item.evidence, unknown))


def test_what_is_hardly_ever_otherwise_is_no_kind_of_evidence():
    """ "The caches are as large as before" is true nearly always, and nobody's second witness."""
    first, second = weighed("x").evidence
    told, roots = judge(replace(weighed("x"), evidence=(first, replace(second, log_odds=math.log(1.05)))))

    assert roots == []
    assert "Only one kind of evidence" in told["x"].reason


def test_ruled_out_needs_a_necessary_clause_that_was_tested():
    """ "Not testable here" and "ruled out" are different answers."""
    assert judge(weighed("x", first=EvidenceState.ABSENT))[0]["x"].verdict is Verdict.RULED_OUT
    told = judge(weighed("x", 0.0, first=EvidenceState.UNKNOWN))[0]["x"]
    assert (told.verdict, told.reason) == (Verdict.NOT_TESTABLE, "x unknown")


@pytest.mark.parametrize(
    ("other", "necessary"),
    [(EvidenceState.PRESENT, False), (EvidenceState.UNKNOWN, False), (EvidenceState.ABSENT, True)],
)
def test_a_necessary_clause_that_another_stands_in_for_rules_out_only_when_both_are_absent(other, necessary):
    """ "An allocation failed, or another process took the memory": one silence is not both."""
    whole = rule("x")
    either = replace(whole, evidence=(replace(whole.evidence[0], unless=("c1",)), whole.evidence[1]))
    found = weighed("x", first=EvidenceState.ABSENT, second=other).evidence

    told = spare(either, found)

    assert [e.necessary for e in told] == [necessary, False]
    assert Weighed(either, Place(Scope.SERVICE, Labels(), "p", "s"), tuple(told), 0.0, 1.0).ruled_out is necessary


@pytest.mark.parametrize("third", [EvidenceState.ABSENT, EvidenceState.UNKNOWN])
def test_of_several_that_may_stand_in_one_that_is_not_known_absent_is_enough(third):
    """An Xid, a lost card or an ECC error: any of them makes a broken card."""
    names = ("one", "two", "three")
    clauses = tuple(
        Clause(name, name, ODDS[0], "", ClauseText("", ""), specific=True, load=LoadTest(Term.WORK)) for name in names
    )
    broken = replace(
        rule("x"), evidence=(replace(clauses[0], necessary=True, unless=("two", "three")), clauses[1], clauses[2])
    )
    states = (EvidenceState.ABSENT, EvidenceState.ABSENT, third)
    found = [
        Evidence(name, state, "", name, necessary=name == "one") for name, state in zip(names, states, strict=True)
    ]

    assert spare(broken, found)[0].necessary is (third is EvidenceState.ABSENT)


def test_the_way_that_is_present_is_not_outvoted_by_the_silence_of_the_others():
    """A disk without inodes is full, whatever share of its bytes is in use; and nobody need look at the bytes."""
    names = ("bytes", "inodes")
    clauses = tuple(
        Clause(name, "space", Odds(6, 0.05), "", ClauseText("", ""), specific=True, load=LoadTest(Term.WORK))
        for name in names
    )
    other = replace(rule("y").evidence[0], specific=False)
    full = replace(rule("x"), evidence=(replace(clauses[0], necessary=True, unless=("inodes",)), clauses[1], other))
    found = [
        Evidence("bytes", EvidenceState.ABSENT, "", "space", math.log(0.05), necessary=True),
        Evidence("inodes", EvidenceState.PRESENT, "", "space", math.log(6)),
        Evidence(other.id, EvidenceState.UNKNOWN, "", "other"),
    ]

    assert vote(spare(full, found))[1] == pytest.approx(math.log(6))
    unknown = replace(found[0], state=EvidenceState.UNKNOWN, log_odds=0.0)
    absent = replace(found[1], state=EvidenceState.ABSENT, log_odds=math.log(0.05))
    assert share_tested(full, [unknown, *found[1:]]) > share_tested(full, [unknown, absent, found[2]])
    silent = [found[0], absent, found[2]]
    assert vote(spare(full, silent))[1] == pytest.approx(math.log(0.05))


def test_ways_are_joined_over_several_clauses():
    """One clause may name another that names a third: all of them are ways to the same."""
    clauses = tuple(
        Clause(name, name, ODDS[0], "", ClauseText("", ""), specific=True, unless=unless, load=LoadTest(Term.WORK))
        for name, unless in (("a", ("b",)), ("b", ()), ("c", ("b",)), ("d", ()))
    )

    assert replace(rule("x"), evidence=clauses).ways == (frozenset("abc"),)


@pytest.mark.parametrize(
    ("level", "onset", "late"),
    [
        (CauseLevel.FAULT, Onset(120.0, 121.0), True),
        (CauseLevel.TRIGGER, Onset(120.0, 121.0), True),
        (CauseLevel.STATE, Onset(120.0, 121.0), False),
        (CauseLevel.FAULT, Onset(103.0, 130.0), False),
        (CauseLevel.FAULT, None, False),
    ],
)
def test_what_began_after_users_were_hurt_is_no_reason_why(level, onset, late):
    """Lost packets that rise twenty seconds into a failure follow from it; a queue is a state and may come late."""
    found = outcome(0, EvidenceState.PRESENT, onset)

    assert ("c0" in late_ones(rule("x", level), [found], SYMPTOM)) is late


def test_what_is_only_late_can_be_a_consequence_and_no_root():
    """A crashed server loads its weights again: cold start is seen, and the crash is why."""
    crash, late = weighed("crash", 3.0), replace(weighed("start", 2.0), late=frozenset({"c0"}))

    told, order_told = judge(crash, late, leads={"crash": ("start",)})
    assert told["start"].verdict is Verdict.CONSEQUENCE
    assert order_told == ["crash"]
    assert judge(late)[0]["start"].verdict is Verdict.CANDIDATE


def test_a_state_is_a_consequence_of_the_trigger_that_leads_to_it():
    """A full KV cache in a burst is how the burst hurts, however loud it is."""
    told, roots = judge(
        weighed("burst", 3.0), weighed("kv", 9.0, level=CauseLevel.STATE), leads={"burst": ("kv",), "kv": ()}
    )

    assert roots == ["burst"]
    assert told["kv"].verdict is Verdict.CONSEQUENCE
    assert told["burst"].leads_to == ("KV",)


@pytest.mark.parametrize(("other", "verdict"), [("r1", Verdict.CONSEQUENCE), ("r2", Verdict.CANDIDATE)])
def test_what_follows_is_where_its_cause_is(other, verdict):
    """A blocked server is slow itself; another one that is slow beside it is a second fault."""
    blocked, slow = weighed("blocked", 6.0), weighed("slow", 5.0)
    at = Place(Scope.INSTANCE, Labels.of(instance="r1"), "r1", "s", frozenset({"r1"}))
    there = Place(Scope.INSTANCE, Labels.of(instance=other), other, "s", frozenset({other}))

    told, _ = judge(replace(blocked, place=at), replace(slow, place=there), leads={"blocked": ("slow",)})

    assert told["slow"].verdict is verdict


def test_a_state_is_not_named_while_its_trigger_is_likely_or_may_still_show():
    """Better "not yet known" than the wrong name."""
    burst = replace(weighed("burst", -0.5, second=EvidenceState.ABSENT))
    kv = weighed("kv", 9.0, level=CauseLevel.STATE)

    assert judge(burst, kv, leads={"burst": ("kv",)})[1] == []
    assert judge(kv, states_may_lead=False)[1] == []
    assert judge(kv)[1] == ["kv"]


@pytest.mark.parametrize(("score", "root"), [(-0.5, "cold"), (0.5, "crash")])
def test_a_fault_is_named_though_one_that_may_lead_to_it_is_not_likely_enough_to_be_named(score: float, root: str):
    """A replica that reads its weights does so, whatever ended the one before it."""
    assert judge(weighed("crash", score), weighed("cold", 6.0), leads={"crash": ("cold",)})[1] == [root]


def test_a_state_is_no_root_while_something_that_feeds_it_rose():
    """A full queue behind twice the work a request is a consequence, also when nobody wrote down of what."""
    kv = weighed("kv", level=CauseLevel.STATE)
    told, roots = judge(kv, risen={Term.WORK: "work a request grew to x2"})

    assert roots == []
    assert told["kv"].verdict is Verdict.CONSEQUENCE
    assert "work a request grew to x2" in told["kv"].reason


def test_a_state_is_named_for_what_its_own_evidence_stands_for():
    """A stranger on the card is why a token takes longer; that no clause shows it is no reason."""
    risen = {Term.PACE: "the time a token rose to x2"}
    state = CauseLevel.STATE

    assert judge(weighed("gpu", level=state, stands_for=(Term.PACE,)), risen=risen)[1] == ["gpu"]
    assert judge(weighed("gpu", level=state, stands_for=(Term.WORK,)), risen=risen)[1] == []
    unseen = weighed("gpu", level=state, stands_for=(Term.PACE,), second=EvidenceState.ABSENT)
    assert judge(unseen, risen=risen)[1] == []


def test_a_state_with_a_part_of_its_own_is_named_beside_what_leads_to_it():
    """A burst meets a cache that became smaller: neither alone would have hurt."""
    burst, kv = weighed("burst", 5.0), weighed("kv", 3.0, level=CauseLevel.STATE, stands_for=(Term.CAPACITY,))
    leads = {"burst": ("kv",)}
    risen = {Term.ARRIVALS: "first attempts rose", Term.CAPACITY: "less is ready"}
    parts = {"arrivals": frozenset({"burst"}), "capacity": frozenset({"kv"})}

    assert judge(burst, kv, leads=leads, risen=risen, sharers=parts)[1] == ["burst", "kv"]
    assert judge(burst, kv, leads=leads, risen={Term.ARRIVALS: "first attempts rose"})[1] == ["burst"]


def since(w: Weighed, at_s: float) -> Weighed:
    return replace(w, evidence=tuple(replace(e, onset=Onset(at_s - 1.0, at_s)) for e in w.evidence))


@pytest.mark.parametrize(("full_since_s", "roots"), [(60.0, []), (92.0, ["burst"]), (101.0, ["burst"])])
def test_a_state_that_was_there_before_a_trigger_is_no_consequence_of_it(full_since_s: float, roots: list[str]):
    """A link that a copy filled half a minute before the surge was not filled by the surge."""
    burst, nic = since(weighed("burst", 4.0), 95.0), since(weighed("nic", 4.5, level=CauseLevel.STATE), full_since_s)
    rose = {"risen": {Term.ARRIVALS: "first attempts rose"}, "risen_at": {Term.ARRIVALS: Onset(94.0, 95.0)}}

    assert judge(burst, nic, leads={"burst": ("nic",)}, **rose)[1] == roots


def test_a_state_that_was_there_before_what_rose_may_be_the_root():
    """What is full for a minute when demand begins to rise was not filled by that."""
    nic, rose = since(weighed("nic", level=CauseLevel.STATE), 60.0), {Term.ARRIVALS: "first attempts rose"}

    assert judge(nic, risen=rose, risen_at={Term.ARRIVALS: Onset(94.0, 95.0)})[1] == ["nic"]
    assert judge(nic, risen=rose, risen_at={Term.ARRIVALS: Onset(61.0, 62.0)})[1] == []
    assert judge(nic, risen=rose)[1] == []


def test_a_fault_is_named_whatever_rose():
    """A card may fail during a surge."""
    assert judge(weighed("xid"), risen={Term.ARRIVALS: "first attempts rose to x2"})[1] == ["xid"]


def test_causes_that_share_the_load_are_named_together():
    """Neither alone would have hurt."""
    told, roots = judge(
        weighed("x", 5.0), weighed("y", 2.0), sharers={"arrivals": frozenset("x"), "pace": frozenset("y")}
    )

    assert roots == ["x", "y"]
    assert told["x"].beside == ()


def test_a_term_that_shares_the_load_and_has_no_cause_is_told_beside_the_one_that_has():
    """Half an answer that sounds whole sends people to the wrong place."""
    told, roots = judge(weighed("x", 5.0), sharers={"arrivals": frozenset("x"), "work": frozenset()})

    assert roots == ["x"]
    assert told["x"].beside == ("work",)
    assert "only a part" in told["x"].reason


def test_a_cause_that_is_not_about_load_says_nothing_of_terms():
    """A card out of memory does not need load to hurt."""
    told, _ = judge(weighed("vram", 5.0), sharers={"arrivals": frozenset("x"), "work": frozenset()})

    assert told["vram"].beside == ()


def test_a_cause_at_several_places_is_one_root():
    """Three replicas with one leak are one story."""
    told, roots = judge(weighed("x", 5.0, place="r1"), weighed("x", 5.0, place="r2"), weighed("x", 4.9, place="r3"))

    assert roots == ["x"]
    assert told["x"].where == Labels.of(service="s")
    assert told["x"].place == "service s (r1, r2, r3)"


def test_a_cause_that_needs_the_load_accounting_waits_for_it():
    """Before all arrivals are counted, a slower pace may be a burst's doing."""
    told, roots = judge(replace(weighed("x"), waits=True))

    assert roots == []
    assert (told["x"].verdict, told["x"].reason[:9]) == (Verdict.CANDIDATE, "Too early")


def test_no_probability_above_nine_tenths_is_shown():
    """Certainty has to be earned by confirmed incidents."""
    assert judge(weighed("x", 30.0))[0]["x"].probability == MAX_SHOWN


# --- two at once ----------------------------------------------------------------------------------------------------


def beside(first: Weighed, *rest: Weighed) -> tuple[dict[str, Verdict], list[str]]:
    """Verdicts, and all causes in their order, where *rest* is weighed on what *first* does not explain."""
    bench = Bench([first, *(replace(w, score=w.score - 10.0) for w in rest)], {}, states_may_lead=True)
    told = bench.beside([first], sorted(rest, key=lambda w: -w.score)).verdicts(Topology("s", "h", ()))
    return {h.cause: h.verdict for h in told}, [h.cause for h in told]


def test_what_leads_on_the_rest_is_a_second_root_and_stands_behind_the_first():
    """People look at the first name first: that of what began."""
    told, order_told = beside(weighed("crash", 1.0), weighed("xid", 5.0))

    assert told == {"crash": Verdict.ROOT, "xid": Verdict.ROOT}
    assert order_told == ["crash", "xid"]


def test_of_two_that_are_as_likely_on_the_rest_neither_is_a_root():
    told, order_told = beside(weighed("crash", 1.0), weighed("xid", 5.0), weighed("leak", 4.9))

    assert told == {"crash": Verdict.ROOT, "xid": Verdict.CANDIDATE, "leak": Verdict.CANDIDATE}
    assert order_told == ["crash", "xid", "leak"]


def test_what_is_measured_of_a_whole_host_is_told_beside_the_first_and_not_named():
    """A server that is blocked drops connections, and the host sends packets again."""
    loss = weighed("loss", 5.0)
    told, order_told = beside(weighed("crash", 1.0), replace(loss, rule=replace(loss.rule, scope=Scope.HOST)))

    assert told == {"crash": Verdict.ROOT, "loss": Verdict.CANDIDATE}
    assert order_told == ["crash", "loss"]


def test_what_several_replicas_show_beside_the_first_is_told_and_not_named():
    """A server that is blocked in a transaction holds what the others wait for."""
    pools = [replace(weighed("pool", 5.0, place=name)) for name in ("r1", "r2")]
    told, _ = beside(weighed("blocked", 1.0), *pools)

    assert told == {"blocked": Verdict.ROOT, "pool": Verdict.CANDIDATE}


def test_what_could_not_be_named_alone_changes_nothing_beside_the_first():
    weak = weighed("xid", 5.0, second=EvidenceState.ABSENT)
    bench = Bench([weighed("crash", 1.0)], {}, states_may_lead=True)

    assert bench.beside(bench.roots(), [weak]) is bench


def test_what_is_beside_something_that_is_no_root_by_itself_is_named_only_with_a_second():
    """What was named before may have lost its share of the bad answers to the second."""
    bench = Bench([weighed("leak", 5.0), weighed("crash", -1.0)], {}, states_may_lead=True)
    again = weighed("crash", 3.0)

    both = bench.beside([again], [weighed("leak", 5.0)])
    assert [w.cause for w in (*both.firsts, *both.seconds)] == ["crash", "leak"]
    assert again in both.weighed
    assert bench.beside([again], [weighed("leak", 5.0), weighed("xid", 4.9)]) is bench
