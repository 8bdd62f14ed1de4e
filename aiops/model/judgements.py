"""What people say of an answer, and the count of it: how often each cause was at work here, and how often we were right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Word(StrEnum):
    """What a person's word makes of an answer."""

    CONFIRMED = "confirmed"
    """What was named is right."""
    REJECTED = "rejected"
    """What was named is wrong."""
    TOLD = "told"
    """Nothing was named; a person said what it was."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A person's word on one incident; the last one counts."""

    word: Word
    at_s: float
    named: tuple[str, ...]
    """Causes the daemon named when it was spoken."""
    causes: tuple[str, ...] = ()
    """What it was; empty if all that is known is what it was not."""


@dataclass(frozen=True, slots=True)
class Tally:
    """All judgements, counted."""

    confirmed: int = 0
    rejected: int = 0
    known: int = 0
    """Incidents of which it is known what they were."""
    was: Mapping[str, int] = field(default_factory=dict)
    """Of those, how many were which cause's."""
    was_not: Mapping[str, int] = field(default_factory=dict)
    """Incidents of which it is known only that they were not this cause's."""

    @classmethod
    def of(cls, judgements: Iterable[Judgement]) -> Tally:
        """The count of *judgements*, one an incident."""
        tally = cls()
        for judgement in judgements:
            tally = tally.changed(None, judgement)
        return tally

    def changed(self, before: Judgement | None, now: Judgement) -> Tally:
        """The count once *now* stands where *before* stood."""
        return _moved(self if before is None else _moved(self, before, -1), now, 1)

    def counted(self, cause: str) -> tuple[int, int]:
        """How many incidents were *cause*'s, of how many of which that is known."""
        was = self.was.get(cause, 0)
        return was, self.known + self.was_not.get(cause, 0)


def _moved(tally: Tally, judgement: Judgement, by: int) -> Tally:
    return Tally(
        confirmed=tally.confirmed + by * (judgement.word is Word.CONFIRMED),
        rejected=tally.rejected + by * (judgement.word is Word.REJECTED),
        known=tally.known + by * bool(judgement.causes),
        was=_added(tally.was, judgement.causes, by),
        was_not=_added(tally.was_not, () if judgement.causes else judgement.named, by),
    )


def _added(counts: Mapping[str, int], causes: Iterable[str], by: int) -> Mapping[str, int]:
    added = dict(counts)
    for cause in causes:
        added[cause] = added.get(cause, 0) + by
    return {cause: count for cause, count in sorted(added.items()) if count}
