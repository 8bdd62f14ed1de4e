"""
The same runs on a node where people have said of answers whether they were right. Pure, but for the playing.

A fresh daemon shows nothing above 90 %; once 30 answers were confirmed it may sound as sure as it proved to be, and its
priors move with what incidents turned out to be. So the runs are halved, every other one: each half is played by a daemon
whose people judged the answers of the other half, by the truth. Nothing is judged by what it was learned from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiops.model import Judgement, Tally, Word
from aiops.rulebook.priors import CONFIRMED_BEFORE


def judgement(row: Mapping) -> Judgement | None:
    """What a person who knows the truth says of a run's answer; nothing where no incident was told."""
    if row.get("status") is None:
        return None
    causes = tuple(row["causes"])
    if row["answer"] is None:
        return Judgement(Word.TOLD, 0.0, (), causes) if causes else None
    return Judgement(Word.CONFIRMED if row["right"] else Word.REJECTED, 0.0, (row["answer"],), causes)


def tallies(rows: Sequence[Mapping]) -> tuple[Tally, Tally] | None:
    """For the first, third, … of *rows* and for those between: what was said of the others. None where that is too little."""
    said = [judgement(row) for row in rows]
    first, second = (Tally.of(word for word in said[start::2] if word is not None) for start in (1, 0))
    return (first, second) if min(first.confirmed, second.confirmed) >= CONFIRMED_BEFORE else None
