"""A named cause does not flap: another may replace it for a reason, and later only for a better one."""

from __future__ import annotations

import itertools
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from aiops.correlate.answers import Settler, answer_of
from aiops.model import CauseLevel, Diagnosis, DiagnosisStatus, Hypothesis, Labels, Verdict

PENDING = Diagnosis(DiagnosisStatus.PENDING, 0.0)
STANDS, GONE = 0.8, 0.1


def hypothesis(cause: str, verdict: Verdict, probability: float, level: CauseLevel = CauseLevel.FAULT) -> Hypothesis:
    return Hypothesis(cause, cause, level, Labels.of(service="chat"), "service chat", probability, verdict, "", ())


def look(*leading: str, beside: dict[str, float] | None = None, level: CauseLevel = CauseLevel.FAULT) -> Diagnosis:
    """One diagnosis: who leads, and how likely others are beside it."""
    roots = [hypothesis(cause, Verdict.ROOT, 0.9, level) for cause in leading]
    others = [hypothesis(cause, Verdict.CANDIDATE, p) for cause, p in (beside or {}).items()]
    status = DiagnosisStatus.NAMED if leading else DiagnosisStatus.PENDING
    return Diagnosis(status, 0.0, (*roots, *others))


def told(*looks: Diagnosis) -> list[tuple[str, ...]]:
    """What is named, each time it changes."""
    settler, held = Settler(), PENDING
    changes: list[tuple[str, ...]] = []
    for number, fresh in enumerate(looks):
        before, held = held, settler.settle(held, fresh, give_up=number >= 45)
        if answer_of(held) != answer_of(before) and held.status is DiagnosisStatus.NAMED:
            changes.append(tuple(h.cause for h in held.roots))
    return changes


def test_one_look_names_nothing():
    """A page that lags by a second makes another cause of it."""
    assert told(look("a"), look("b"), look("a"), look("b"), look()) == []
    assert told(look("a"), look("a")) == [("a",)]


def test_what_is_named_stays_while_nothing_leads():
    """Evidence ages while an incident goes on; the cause does not."""
    assert told(*[look("a")] * 2, *[look()] * 100) == [("a",)]


def test_a_cause_that_was_ruled_out_gives_way_after_three_looks():
    """Data that came late can show that the first answer was wrong; then it must be taken back."""
    assert told(*[look("a")] * 2, *[look("b", beside={"a": GONE})] * 2) == [("a",)]
    assert told(*[look("a")] * 2, *[look("b", beside={"a": GONE})] * 3) == [("a",), ("b",)]


def test_a_cause_that_still_stands_gives_way_only_to_one_that_lasts():
    """Two faults at once: which of them leads by a little is no reason to wake somebody again."""
    assert told(*[look("a")] * 2, *[look("b", beside={"a": STANDS})] * 5) == [("a",)]
    assert told(*[look("a")] * 2, *[look("b", beside={"a": STANDS})] * 6) == [("a",), ("b",)]


def test_two_causes_that_lead_by_turns_are_not_told_by_turns():
    """The second change needs twice as long, the third four times."""
    turns = [look("b", beside={"a": GONE})] * 3 + [look("a", beside={"b": GONE})] * 3

    assert told(*[look("a")] * 2, *turns * 30) == [("a",), ("b",)]


def test_which_of_two_named_together_is_likelier_is_no_news():
    """A message that swaps two names says nothing."""
    assert told(*[look("a", "b")] * 2, *[look("b", "a"), look("a", "b")] * 20) == [("a", "b")]


def test_a_second_cause_is_added_after_three_looks_and_stays():
    """Whoever works on the first should learn of the second soon, and not hear that it is gone because its lines are old."""
    both = look("a", "b")

    assert told(*[look("a")] * 2, *[both] * 2, look("a")) == [("a",)]
    assert told(*[look("a")] * 2, *[both] * 3, *[look("a")] * 50) == [("a",), ("a", "b")]


def test_of_two_the_first_that_was_ruled_out_gives_way_and_the_second_stays():
    """Else a message that is known to be wrong stands for ever."""
    two = [*[look("a")] * 2, *[look("a", "b")] * 3]

    assert told(*two, *[look("b", beside={"a": GONE})] * 6)[-1] == ("b",)
    assert told(*two, *[look("b", beside={"a": STANDS})] * 50)[-1] == ("a", "b")


def test_a_state_never_replaces_what_led_to_it():
    """Queues stay full for a while after what filled them is gone."""
    full = look("queue", beside={"a": GONE}, level=CauseLevel.STATE)

    assert told(*[look("a")] * 2, *[full] * 100) == [("a",)]


def test_beside_what_stays_named_others_are_told_as_they_are_now():
    """A second fault that nothing tells from the first yet must be there to read, not the list of the first minute."""
    settler, held = Settler(), PENDING
    for fresh in [*[look("a", beside={"b": GONE})] * 2, look(beside={"c": STANDS, "a": GONE, "b": GONE}), look("c")]:
        held = settler.settle(held, fresh, give_up=False)

    told = [(h.cause, h.verdict) for h in held.hypotheses]
    assert told == [("a", Verdict.ROOT), ("c", Verdict.CANDIDATE)]
    assert held.hypotheses[0].probability == 0.9


def test_since_when_the_first_is_named_is_remembered():
    """What was seen then is asked for again once something else fails as well."""
    settler, held = Settler(), PENDING
    looks = [look("a"), look("a"), look(), look("a", "b"), look("a", "b"), look("a", "b"), *[look("c")] * 6]
    since = []
    for number, fresh in enumerate(looks):
        held = settler.settle(held, replace(fresh, at_s=float(number)), give_up=False)
        since.append(settler.named_s)

    assert since == [0.0] + [1.0] * 7 + [8.0] * 4


@given(st.lists(st.sampled_from(["", "a", "b", "c"]), max_size=300), st.sampled_from([STANDS, GONE]))
def test_however_the_looks_come_an_answer_changes_a_handful_of_times(leading: list[str], others: float):
    """After n changes the next takes 3 x 2^n looks: in the ten minutes an incident is looked at there is room for five."""
    looks = [look(*filter(None, [cause]), beside=dict.fromkeys({"a", "b", "c"} - {cause}, others)) for cause in leading]
    changes = told(*looks)

    assert len(changes) <= 1 + sum(1 for n in range(1, 10) if 2 + 3 * (2**n - 1) <= len(leading))
    assert all(one != other for one, other in itertools.pairwise(changes))
