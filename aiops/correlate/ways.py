"""
One cause, several ways it comes about: which silences of its clauses say something.

Sockets run out for want of ports, or of tracked connections, or of files; a disk is full by bytes or by inodes. Clauses
that `unless` joins are such ways. The way that is present is the evidence, and the silence of the others is what is to
be expected. The cause is ruled out only when every way was tested and none was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from aiops.model import Evidence, EvidenceState
from aiops.rulebook.causes import CauseRule


def spare(rule: CauseRule, evidence: Sequence[Evidence]) -> list[Evidence]:
    """
    *evidence* without silences that say nothing.

    Beside a way that is present a silence has no weight; beside one that nobody looked at it no longer rules out.
    """
    found = {e.id: e.state for e in evidence}
    kept = list(evidence)
    for ways in rule.ways:
        states = {found[way] for way in ways}
        if states != {EvidenceState.ABSENT}:
            outdone = EvidenceState.PRESENT in states
            kept = [_spared(e, outdone=outdone) if e.id in ways else e for e in kept]
    return kept


def _spared(evidence: Evidence, *, outdone: bool) -> Evidence:
    if evidence.state is not EvidenceState.ABSENT:
        return evidence
    return replace(evidence, necessary=False, log_odds=0.0 if outdone else evidence.log_odds)


def untold(rule: CauseRule, evidence: Sequence[Evidence]) -> frozenset[str]:
    """Ids of clauses that need not be known: ways beside one that is present."""
    found = {e.id: e.state for e in evidence}
    present = EvidenceState.PRESENT
    return frozenset(
        way
        for ways in rule.ways
        if any(found[each] is present for each in ways)
        for way in ways
        if found[way] is not present
    )
