"""From what a person asks for, confirm or reject, to a judgement on an incident; what makes no sense is refused with words."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import replace
from enum import StrEnum
from types import MappingProxyType

from aiops.errors import JudgementError, RequestError
from aiops.model.incidents import Incident, TimelineEntry
from aiops.model.judgements import Judgement, Word

_NO_TITLES: Mapping[str, str] = MappingProxyType({})
_MAX_SPOKEN = 20
"""Lines of people that a timeline keeps, the newest ones."""


class Said(StrEnum):
    """What a person does with an answer."""

    CONFIRM = "confirm"
    REJECT = "reject"


def judge(incident: Incident, said: Said, cause: str, now_s: float, known: Collection[str]) -> Judgement:
    """
    The judgement in a person's word.

    Args:
        incident: As it stands.
        said: Whether its answer is right.
        cause: What it was, by its id; empty if not said.
        now_s: When it is said.
        known: Ids of all causes.

    Raises:
        RequestError: nobody knows that cause.
        JudgementError: the word does not fit the answer.
    """
    if cause and cause not in known:
        near = difflib.get_close_matches(cause, known, n=1)
        raise RequestError(f"no cause {cause!r}" + (f"; did you mean {near[0]}?" if near else ""))
    named = tuple(dict.fromkeys(h.cause for h in incident.diagnosis.roots))
    answer = f"{incident.id} names no cause ({incident.diagnosis.status.value})"
    if said is Said.REJECT:
        if not named:
            raise JudgementError(f"{answer}: there is nothing to reject; to say what it was, confirm it with a cause")
        if cause in named:
            raise JudgementError(f"{cause} is what {incident.id} names: confirm it, or reject it with another cause")
        return Judgement(Word.REJECTED, now_s, named, (cause,) if cause else ())
    if not named and not cause:
        raise JudgementError(f"{answer}: there is nothing to confirm; to say what it was, give a cause")
    causes = (cause,) if cause else named
    if not named:
        return Judgement(Word.TOLD, now_s, named, causes)
    return Judgement(Word.CONFIRMED if cause in {"", *named} else Word.REJECTED, now_s, named, causes)


def with_judgement(incident: Incident, judgement: Judgement, titles: Mapping[str, str] = _NO_TITLES) -> Incident:
    """
    *incident* with *judgement* and its line in the timeline; unchanged where that was said already.

    Args:
        incident: As it stands.
        judgement: What was said.
        titles: Of causes, by id, for those that the incident itself does not weigh.
    """
    held = incident.judgement
    if held is not None and replace(held, at_s=judgement.at_s) == judgement:
        return incident
    spoken = [entry for entry in incident.timeline if entry.kind == "person"]
    dropped = set(spoken[: max(len(spoken) + 1 - _MAX_SPOKEN, 0)])
    entries = [entry for entry in incident.timeline if entry not in dropped]
    line = TimelineEntry(judgement.at_s, "person", _told(judgement, titles, incident))
    timeline = tuple(sorted([*entries, line], key=lambda entry: entry.at_s))
    return replace(incident, judgement=judgement, timeline=timeline)


def _told(judgement: Judgement, titles: Mapping[str, str], incident: Incident) -> str:
    known = {**titles, **{h.cause: h.title for h in incident.diagnosis.hypotheses}}
    named, was = (
        " and ".join(known.get(cause, cause) for cause in causes) for causes in (judgement.named, judgement.causes)
    )
    if judgement.word is Word.CONFIRMED:
        return f"A person confirmed the cause: {was}."
    if judgement.word is Word.TOLD:
        return f"A person said what it was: {was}."
    return f"A person rejected the cause: {named}." + (f" It was: {was}." if was else "")
