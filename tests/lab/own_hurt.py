"""
Whose bad answers they are, where two faults are at work: counted in the gateway's log, by replica and outcome.

A fault's own are those that came more often than they would have without it: than before it began, and, where it is at
one replica, than at the replicas that nothing happened to.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

LEAST_OWN = 10
"""Fewer bad answers of its own, and a fault has not hurt."""
_BY_CHANCE = 2.0
"""Times as often as without it: more is its own."""
_BAD_STATUS = frozenset({429, 499})
_BROKEN = "broken off"


@dataclass(frozen=True, slots=True)
class BadAnswer:
    """One that a user of a healthy house hardly gets."""

    at_s: float
    upstream: str
    """The replica as the gateway spells it; empty when the gateway answered by itself."""
    outcome: str


def read_bad(lines: Iterable[str]) -> list[BadAnswer]:
    """Of the gateway's log, in its order; a line that is not whole yet is left out."""
    found = []
    for line in lines:
        try:
            told = json.loads(line)
        except ValueError:
            continue
        status, whole = int(told["st"]), told["rc"] == "OK"
        if status >= 500 or status in _BAD_STATUS or not whole:
            outcome = str(status) if status != 200 else _BROKEN
            found.append(BadAnswer(float(told["t"]), told["ua"].rpartition(",")[2].strip(), outcome))
    return found


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of time, and the bad answers in it."""

    start_s: float
    end_s: float
    bad: tuple[BadAnswer, ...]

    def rates(self) -> dict[tuple[str, str], float]:
        """Bad answers a second by replica and outcome."""
        length_s = max(self.end_s - self.start_s, 1.0)
        return {kind: count / length_s for kind, count in Counter((b.upstream, b.outcome) for b in self.bad).items()}


def span(bad: Iterable[BadAnswer], start_s: float, end_s: float) -> Span:
    """What of *bad* came between."""
    return Span(start_s, end_s, tuple(b for b in bad if start_s <= b.at_s < end_s))


@dataclass(frozen=True, slots=True)
class Own:
    """What a fault did."""

    count: int
    """Bad answers more than without it."""
    kinds: dict[str, int]
    """Bad answers by replica and outcome, of those kinds that came more often."""
    first_s: float | None

    @property
    def hurts(self) -> bool:
        """Whether that is more than chance."""
        return self.count >= LEAST_OWN


def own(during: Span, before: Iterable[Span], *, at: str, taken: str, replicas: Collection[str]) -> Own:
    """
    What a fault did while *during*.

    Args:
        during: From its beginning on.
        before: When it was not at work, each other fault as now.
        at: The replica it is at; empty when it is at none alone.
        taken: The replica where another fault is, whose bad answers are that one's.
        replicas: All there are.
    """
    spans = [each.rates() for each in before]
    rates, length_s = during.rates(), max(during.end_s - during.start_s, 1.0)
    untouched = [name for name in replicas if name not in {at, taken}]
    kinds: dict[tuple[str, str], int] = {}
    count = 0.0
    for (upstream, outcome), rate in rates.items():
        if upstream == taken != "" or (at and upstream != at):
            continue
        usual = [each.get((upstream, outcome), 0.0) for each in spans]
        if at and untouched:
            usual.append(sum(rates.get((name, outcome), 0.0) for name in untouched) / len(untouched))
        more = (rate - _BY_CHANCE * max(usual, default=0.0)) * length_s
        if more > 0.0:
            count += more
            kinds[upstream, outcome] = round(rate * length_s)
    first_s = min((b.at_s for b in during.bad if (b.upstream, b.outcome) in kinds), default=None)
    told = {f"{upstream or 'gateway'} {outcome}": number for (upstream, outcome), number in sorted(kinds.items())}
    return Own(int(count + 0.5), told, first_s)
