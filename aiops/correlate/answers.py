"""
What is said of an incident's cause, from one diagnosis to the next.

A single look can err: pages lag, requests are still under way, a node may be half read. So a root is named when it led
in two looks in a row, and stays named while it leads or nothing else does (evidence ages while an incident goes on).

Another answer may replace it in two cases. Either what was named no longer stands: it is ruled out, follows from
something else, or has lost what made it likely; then another must lead three times in a row. Or it stands as it did and
another merely leads it; then six times. Each replacement doubles both, so that two causes of which now one leads and
now the other cannot take turns: whoever is paged learns of the first, and of a second that lasted. One that leads beside
what is named is added after three looks; what was added stays while the rest does. A state never
replaces a trigger or fault: queues and caches stay full for a while after what filled them is gone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from aiops.model import CauseLevel, Diagnosis, DiagnosisStatus, Hypothesis, Verdict

_TO_NAME = 2
_TO_REPLACE = 3
_TO_REPLACE_STANDING = 6
_STANDS = 0.5
"""Probability from which on a cause that no longer leads still stands."""
_CONFIRMED = "It leads, and is being confirmed."

Answer = tuple[DiagnosisStatus, tuple[tuple[str, str], ...]]
"""Status, and cause and place of each root: when this changes, people are told."""


def answer_of(diagnosis: Diagnosis) -> Answer:
    """What a person would call the answer."""
    return diagnosis.status, _leaders(diagnosis)


def _leaders(diagnosis: Diagnosis) -> tuple[tuple[str, str], ...]:
    """Sorted: which of two that are named together is a little likelier is no news."""
    return tuple(sorted((h.cause, str(h.where)) for h in diagnosis.roots))


@dataclass(slots=True)
class Settler:
    """The memory between diagnoses of one incident."""

    _leading: tuple[tuple[str, str], ...] = ()
    _streak: int = 0
    _replaced: int = 0
    """Answers that gave way to another."""
    named_s: float = 0.0
    """Since when the first root is the one that it is; long ago where that was before a restart."""

    def settle(self, held: Diagnosis, fresh: Diagnosis, *, give_up: bool) -> Diagnosis:
        """
        The diagnosis to show after *fresh* came in beside the *held* one.

        Args:
            held: What is shown.
            fresh: What was found now.
            give_up: Without a clear lead the answer is "undetermined" from now on; it may still be named later.
        """
        settled = self._settled(held, fresh, give_up=give_up)
        if _first(settled) != _first(held):
            self.named_s = fresh.at_s
        return settled

    def _settled(self, held: Diagnosis, fresh: Diagnosis, *, give_up: bool) -> Diagnosis:
        leading = _leaders(fresh)
        self._streak = self._streak + 1 if leading and leading == self._leading else 1
        self._leading = leading
        if held.status is DiagnosisStatus.NAMED:
            if leading == _leaders(held):
                return fresh
            if _is_part(held, fresh) or _falls_back(held, fresh) or self._streak < self._needed(held, fresh):
                return _kept(held, fresh)
            self._replaced += not set(_leaders(held)) < set(leading)
            return fresh
        if leading and self._streak >= _TO_NAME:
            return fresh
        given_up = held.status is DiagnosisStatus.UNDETERMINED or give_up
        status = DiagnosisStatus.UNDETERMINED if given_up else DiagnosisStatus.PENDING
        return replace(fresh, status=status, hypotheses=tuple(_unnamed(h, _CONFIRMED) for h in fresh.hypotheses))

    def _needed(self, held: Diagnosis, fresh: Diagnosis) -> int:
        """Looks in a row that another must lead to replace what is *held*, or lead beside it."""
        if set(_leaders(held)) < set(_leaders(fresh)):
            return _TO_REPLACE
        once = _TO_REPLACE_STANDING if _stands(held, fresh) else _TO_REPLACE
        return int(once * 2**self._replaced)


def _first(diagnosis: Diagnosis) -> tuple[str, str] | None:
    return next(((h.cause, str(h.where)) for h in diagnosis.roots), None)


def _kept(held: Diagnosis, fresh: Diagnosis) -> Diagnosis:
    """What is *held* as it led last, and beside it all others as they are now: one of them may be at work as well."""
    roots = held.roots
    named = {h.cause for h in roots}
    others = (_unnamed(h, "It leads now, and has yet to last.") for h in fresh.hypotheses if h.cause not in named)
    return replace(held, at_s=fresh.at_s, hypotheses=(*roots, *others), movers=fresh.movers, templates=fresh.templates)


def _is_part(held: Diagnosis, fresh: Diagnosis) -> bool:
    """Whether *fresh* only names less than *held*, and nothing is wrong with the first of it."""
    leading, first = set(_leaders(fresh)), held.roots[0]
    if not leading < set(_leaders(held)):
        return False
    still = (first.cause, str(first.where)) in leading
    return not leading or still or _stands(replace(held, hypotheses=(first,)), fresh)


def _stands(held: Diagnosis, fresh: Diagnosis) -> bool:
    """Whether what was named is by *fresh* still as likely as not, and no consequence."""
    named = {h.cause for h in held.roots}
    return any(
        h.cause in named and h.verdict in {Verdict.ROOT, Verdict.CANDIDATE} and h.probability >= _STANDS
        for h in fresh.hypotheses
    )


def _falls_back(held: Diagnosis, fresh: Diagnosis) -> bool:
    """Whether *fresh* names only states where *held* named a trigger or fault."""
    was_state = all(h.level is CauseLevel.STATE for h in held.roots)
    return not was_state and all(h.level is CauseLevel.STATE for h in fresh.roots)


def _unnamed(hypothesis: Hypothesis, reason: str) -> Hypothesis:
    """What leads is a candidate until it has led for long enough."""
    if hypothesis.verdict is not Verdict.ROOT:
        return hypothesis
    return replace(hypothesis, verdict=Verdict.CANDIDATE, reason=reason, leads_to=(), beside=())
