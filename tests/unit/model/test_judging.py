"""A person's word on an answer: taken as meant, refused with a sentence where it makes no sense."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aiops.errors import JudgementError, RequestError
from aiops.model import DiagnosisStatus, Incident, Verdict, Word
from aiops.model.judging import Said, judge, with_judgement
from tests.sample_incident import sample_incident

KNOWN = {"traffic_burst", "vram_leak", "slow_node"}
NOW_S = 2_000_000_000.0


@pytest.fixture
def named() -> Incident:
    incident = sample_incident()
    assert [h.cause for h in incident.diagnosis.roots] == ["traffic_burst"]
    return incident


@pytest.fixture
def undetermined(named: Incident) -> Incident:
    told = tuple(
        replace(h, verdict=Verdict.CANDIDATE) if h.verdict is Verdict.ROOT else h for h in named.diagnosis.hypotheses
    )
    return replace(named, diagnosis=replace(named.diagnosis, status=DiagnosisStatus.UNDETERMINED, hypotheses=told))


@pytest.mark.parametrize(
    ("said", "cause", "word", "causes"),
    [
        (Said.CONFIRM, "", Word.CONFIRMED, ("traffic_burst",)),
        (Said.CONFIRM, "traffic_burst", Word.CONFIRMED, ("traffic_burst",)),
        (Said.CONFIRM, "vram_leak", Word.REJECTED, ("vram_leak",)),
        (Said.REJECT, "", Word.REJECTED, ()),
        (Said.REJECT, "vram_leak", Word.REJECTED, ("vram_leak",)),
    ],
)
def test_a_named_cause_is_confirmed_or_rejected(
    named: Incident, said: Said, cause: str, word: Word, causes: tuple[str, ...]
):
    """Who confirms another cause than the named one says that the answer was wrong."""
    judgement = judge(named, said, cause, NOW_S, KNOWN)

    assert (judgement.word, judgement.causes, judgement.named) == (word, causes, ("traffic_burst",))


def test_of_an_undetermined_incident_a_person_can_say_what_it_was(undetermined: Incident):
    """That is how priors learn of what the daemon could not tell."""
    judgement = judge(undetermined, Said.CONFIRM, "vram_leak", NOW_S, KNOWN)

    assert (judgement.word, judgement.causes, judgement.named) == (Word.TOLD, ("vram_leak",), ())


@pytest.mark.parametrize(
    ("said", "cause", "complaint"),
    [
        (Said.REJECT, "", "names no cause (undetermined): there is nothing to reject"),
        (Said.REJECT, "vram_leak", "names no cause (undetermined): there is nothing to reject"),
        (Said.CONFIRM, "", "names no cause (undetermined): there is nothing to confirm"),
    ],
)
def test_where_nothing_is_named_there_is_nothing_to_reject(
    undetermined: Incident, said: Said, cause: str, complaint: str
):
    """The refusal says what can be said instead."""
    with pytest.raises(JudgementError) as refused:
        judge(undetermined, said, cause, NOW_S, KNOWN)

    assert complaint in str(refused.value)


def test_to_reject_a_cause_for_itself_is_refused(named: Incident):
    """It can only be a slip."""
    with pytest.raises(JudgementError, match=r"is what .* names"):
        judge(named, Said.REJECT, "traffic_burst", NOW_S, KNOWN)


def test_a_misspelt_cause_is_refused_with_the_nearest_one(named: Incident):
    """Ids are typed by hand at night."""
    with pytest.raises(RequestError, match="did you mean vram_leak"):
        judge(named, Said.REJECT, "vram_leek", NOW_S, KNOWN)


def test_a_word_stands_in_the_timeline_and_the_same_word_again_changes_nothing(named: Incident):
    """A script may repeat itself, a person may press twice."""
    once = with_judgement(named, judge(named, Said.CONFIRM, "", NOW_S, KNOWN))
    twice = with_judgement(once, judge(once, Said.CONFIRM, "", NOW_S + 60, KNOWN))

    (line,) = [entry for entry in once.timeline if entry.kind == "person"]
    assert line.text.startswith("A person confirmed the cause: ")
    assert twice is once


def test_a_cause_that_was_not_weighed_is_told_by_its_title(undetermined: Incident):
    """Whoever reads the report knows no ids; where nobody knows a title, the id is better than nothing."""
    judgement = judge(undetermined, Said.CONFIRM, "vram_leak", NOW_S, KNOWN)

    for titles, told in (
        ({"vram_leak": "A process leaks GPU memory"}, "A process leaks GPU memory"),
        ({}, "vram_leak"),
    ):
        (line,) = [e for e in with_judgement(undetermined, judgement, titles).timeline if e.kind == "person"]
        assert line.text == f"A person said what it was: {told}."


def test_the_last_word_counts_and_both_stand_in_the_timeline(named: Incident):
    """What was believed when is part of the story."""
    once = with_judgement(named, judge(named, Said.CONFIRM, "", NOW_S, KNOWN))
    twice = with_judgement(once, judge(once, Said.REJECT, "slow_node", NOW_S + 60, KNOWN))

    assert twice.judgement is not None
    assert twice.judgement.causes == ("slow_node",)
    assert len([entry for entry in twice.timeline if entry.kind == "person"]) == 2


def test_who_cannot_decide_does_not_fill_the_disk(named: Incident):
    """A token is enough to say something a thousand times."""
    for number in range(100):
        said = Said.CONFIRM if number % 2 else Said.REJECT
        named = with_judgement(named, judge(named, said, "", NOW_S + number, KNOWN))

    spoken = [entry for entry in named.timeline if entry.kind == "person"]
    assert len(spoken) == 20
    assert spoken[-1].at_s == NOW_S + 99
