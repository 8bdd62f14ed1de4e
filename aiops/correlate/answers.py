"""
What is said of an incident's cause, from one diagnosis to the next.

A single look can err: pages lag, requests are still under way, a node may be half read. So a root is named when it led
in two looks in a row, stays named while it leads or nothing else does (evidence ages while an incident goes on), and
is replaced only when another led three times. A state never replaces a trigger or fault: queues and caches stay full
for a while after what filled them is gone. Nobody is woken twice for a flicker.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from aiops.model import CauseLevel, Diagnosis, DiagnosisStatus, Hypothesis, Verdict

_TO_NAME = 2
_TO_REPLACE = 3

Answer = tuple[DiagnosisStatus, tuple[tuple[str, str], ...]]
"""Status, and cause and place of each root: when this changes, people are told."""


def answer_of(diagnosis: Diagnosis) -> Answer:
    """What a person would call the answer."""
    return diagnosis.status, tuple((h.cause, str(h.where)) for h in diagnosis.roots)


@dataclass(slots=True)
class Settler:
    """
    The memory between diagnoses of one incident.

    Args:
        give_up_s: After this long without a clear lead the answer is "undetermined"; it may still be named later.
    """

    give_up_s: float
    _leading: tuple[tuple[str, str], ...] = ()
    _streak: int = 0

    def settle(self, held: Diagnosis, fresh: Diagnosis, open_for_s: float) -> Diagnosis:
        """The diagnosis to show after *fresh* came in beside the *held* one."""
        leading = tuple((h.cause, str(h.where)) for h in fresh.roots)
        self._streak = self._streak + 1 if leading and leading == self._leading else 1
        self._leading = leading
        if held.status is DiagnosisStatus.NAMED:
            confirmed = self._streak >= _TO_REPLACE and not _falls_back(held, fresh)
            replaces = leading == answer_of(held)[1] or (leading and confirmed)
            return fresh if replaces else held
        if leading and self._streak >= _TO_NAME:
            return fresh
        given_up = held.status is DiagnosisStatus.UNDETERMINED or open_for_s >= self.give_up_s
        status = DiagnosisStatus.UNDETERMINED if given_up else DiagnosisStatus.PENDING
        return replace(fresh, status=status, hypotheses=tuple(_unnamed(h) for h in fresh.hypotheses))


def _falls_back(held: Diagnosis, fresh: Diagnosis) -> bool:
    """Whether *fresh* names only states where *held* named a trigger or fault."""
    was_state = all(h.level is CauseLevel.STATE for h in held.roots)
    return not was_state and all(h.level is CauseLevel.STATE for h in fresh.roots)


def _unnamed(hypothesis: Hypothesis) -> Hypothesis:
    """A root that has led once is a candidate until it leads again."""
    if hypothesis.verdict is not Verdict.ROOT:
        return hypothesis
    return replace(
        hypothesis, verdict=Verdict.CANDIDATE, reason="It leads, and is being confirmed.", leads_to=(), beside=()
    )
