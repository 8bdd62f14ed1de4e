"""What testing a clause yields, before it is weighed and told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from aiops.model import EvidenceState, Labels, Onset, SeriesRef

_MAX_NAME = 80
_MAX_NAMED = 3


class Words(Protocol):
    """A word for each placeholder that a clause's text may hold; a mapping, or whoever finds them when they are asked for."""

    def __getitem__(self, name: str, /) -> str:
        """The word for that placeholder; KeyError where there is none."""


@dataclass(frozen=True, slots=True)
class Finding:
    """
    A clause's outcome.

    Args:
        state: Present, absent or unknown.
        words: Values for the clause's text template.
        missing: If unknown, what would be needed: "no deploy feed".
        onset: When it began, if present.
        series: What to look at.
        present_odds: Odds that replace the file's, where data say better (change events on a busy node).
    """

    state: EvidenceState
    words: Words = field(default_factory=dict[str, str])
    missing: str = ""
    onset: Onset | None = None
    series: tuple[SeriesRef, ...] = ()
    present_odds: float | None = None


def unknown(missing: str, series: tuple[SeriesRef, ...] = ()) -> Finding:
    """Nothing to test it on."""
    return Finding(EvidenceState.UNKNOWN, missing=missing, series=series)


def stated(*, holds: bool) -> EvidenceState:
    """Present or absent."""
    return EvidenceState.PRESENT if holds else EvidenceState.ABSENT


def name_all(labels: Iterable[Labels], by: str) -> str:
    """Up to three places by name, the rest counted."""
    names = sorted({clean(found.get(by)) for found in labels} - {""})
    shown = ", ".join(names[:_MAX_NAMED])
    return f"{shown} and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else shown


def clean(text: str) -> str:
    """A label value fit for a sentence: printable, short. Labels come from other people's pages and logs."""
    printable = text if text.isprintable() else "".join(char if char.isprintable() else "·" for char in text)
    return printable if len(printable) <= _MAX_NAME else printable[: _MAX_NAME - 1] + "…"


def factor(ratio: float) -> str:
    """A ratio in words: "2.3 times"."""
    if ratio >= 100:
        return "over 100 times"
    return f"{ratio:.1f} times" if ratio < 10 else f"{ratio:.0f} times"
