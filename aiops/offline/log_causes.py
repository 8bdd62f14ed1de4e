"""
What a log alone can say of causes: the clauses that ask for log lines, weighed as the daemon weighs them.

A cause file asks for metrics of the catalogue, a gateway's log, deploys, peers. Columns of a CSV file are called
anything, so nothing of that can be tested here; each such clause is unknown and says so. One kind of evidence never
makes a root: what is listed is what the log speaks for, with the probability of prior and log, and no more.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from aiops.correlate.departures import GUARD_S
from aiops.correlate.findings import stated
from aiops.correlate.rank import vote
from aiops.correlate.ways import spare
from aiops.logs.classify import Classifier
from aiops.model import Evidence, EvidenceState
from aiops.rulebook.causes import PLACEHOLDERS, CauseRule, Clause
from aiops.rulebook.clauses import LogTest
from aiops.rulebook.priors import MAX_SHOWN
from aiops.rulebook.signatures import LogClass
from aiops.stamps import Stamps
from aiops.units import format_duration

_AFTER_S = 600.0
"""Lines written later are of the repair (as `correlate.evidence`)."""
_MAX_TIMES = 1_000_000


@dataclass(slots=True)
class _Seen:
    """Lines of one class."""

    times: array[float] = field(default_factory=lambda: array("d"))
    undated: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """
    What a clause about the log found.

    Args:
        state: Whether it holds.
        count: Lines near the alert, and those without a time.
        before: Lines in as long a time before that.
        first_s: Time of the first of them that has one.
    """

    state: EvidenceState
    count: int
    before: int
    first_s: float | None


@dataclass(frozen=True, slots=True)
class LogCause:
    """
    A cause the log speaks for.

    Args:
        rule: The cause file.
        probability: Of its prior and its log clauses, against its not being at work; 0 to `priors.MAX_SHOWN`.
        evidence: Every clause; those on anything but the log are unknown.
    """

    rule: CauseRule
    probability: float
    evidence: tuple[Evidence, ...]


class LogTally:
    """
    Counts the lines of each class of trouble, and when they were written. Guesses of the text model do not count.

    Args:
        classifier: Says what a line means.
        stamps: Reads when it was written.
    """

    def __init__(self, classifier: Classifier, stamps: Stamps) -> None:
        self._classifier, self._stamps = classifier, stamps
        self._seen: dict[LogClass, _Seen] = {}
        self._last_s: float | None = None
        self._dated: tuple[float, float] | None = None

    @property
    def span_s(self) -> tuple[float, float] | None:
        """Earliest and latest time of a line; None where no line says when it was written."""
        return self._dated

    def take(self, lines: Sequence[str]) -> None:
        """The next lines of the log."""
        for line, answer in zip(lines, self._classifier.classify(lines), strict=True):
            at_s = self._stamps.at_s(line)
            if at_s is not None:
                self._last_s = at_s
                low, high = self._dated or (at_s, at_s)
                self._dated = min(low, at_s), max(high, at_s)
            if answer.guess or answer.log_class is LogClass.BENIGN:
                continue
            seen = self._seen.setdefault(answer.log_class, _Seen())
            # the middle of a traceback has no time of its own, but that of the line above
            if self._last_s is None or len(seen.times) >= _MAX_TIMES:
                seen.undated += 1
            else:
                seen.times.append(self._last_s)

    def find(self, test: LogTest, at_s: float) -> Found:
        """Lines of a class near the alert."""
        seen = self._seen.get(test.log_class, _Seen())
        start_s = at_s - GUARD_S - test.within
        near = [t for t in seen.times if start_s <= t <= at_s + _AFTER_S]
        lasted_s = GUARD_S + test.within + _AFTER_S
        before = sum(start_s - lasted_s <= t < start_s for t in seen.times)
        enough = len(near) + seen.undated >= max(test.at_least, test.jump * before)
        # a jump is one against earlier times, and lines without a time have none
        state = stated(holds=enough) if not (test.jump and seen.undated) else EvidenceState.UNKNOWN
        return Found(state, len(near) + seen.undated, before, min(near, default=None))


def log_causes(causes: Iterable[CauseRule], tally: LogTally, at_s: float) -> tuple[LogCause, ...]:
    """The causes for which lines of the log speak, likeliest first."""
    told = []
    for rule in causes:
        found = [_find(clause, tally, at_s) for clause in rule.evidence]
        if any(each is not None and each.state is EvidenceState.PRESENT for each in found):
            tested = [_told(*pair, rule, at_s) for pair in zip(rule.evidence, found, strict=True)]
            evidence, votes = vote(spare(rule, tested))
            odds = math.log(rule.prior / (1.0 - rule.prior)) + votes
            told.append(LogCause(rule, min(1.0 / (1.0 + math.exp(-odds)), MAX_SHOWN), evidence))
    return tuple(sorted(told, key=lambda cause: -cause.probability))


def place_of(rule: CauseRule) -> str:
    """Where the cause is, as far as a log without labels tells."""
    return {"host": "this host", "service": "this service", "gpu": "a GPU of this log"}.get(
        rule.scope.value, f"the {rule.scope.value} of this log"
    )


def _find(clause: Clause, tally: LogTally, at_s: float) -> Found | None:
    return tally.find(clause.log, at_s) if clause.log is not None else None


def _told(clause: Clause, found: Found | None, rule: CauseRule, at_s: float) -> Evidence:
    state, log_odds, text = (
        EvidenceState.UNKNOWN,
        0.0,
        "Not testable here: only a log and a table of series were given.",
    )
    if clause.log is not None and found is not None and found.state is not EvidenceState.UNKNOWN:
        present = (found.state is EvidenceState.PRESENT) != clause.negated
        state = stated(holds=present)
        log_odds = math.log(clause.odds.present if present else clause.odds.absent)
        words = _words(rule, clause.log, found, at_s)
        text = (clause.text.present if present else clause.text.absent).format(**words)
        text = text[:1].upper() + text[1:]
    return Evidence(
        clause.id, state, text, clause.family, log_odds, specific=clause.specific, necessary=clause.necessary
    )


def _words(rule: CauseRule, test: LogTest, found: Found, at_s: float) -> Mapping[str, str]:
    when = "at an unknown time"
    if found.first_s is not None:
        away = format_duration(abs(at_s - found.first_s))
        when = f"{away} before the alert" if found.first_s < at_s else f"{away} after the alert"
    return dict.fromkeys(PLACEHOLDERS, "?") | {
        "place": place_of(rule),
        "count": f"{found.count:,}",
        "window": format_duration(test.within),
        "when": when,
        "who": "the log",
        "ratio": f"{found.count / found.before:.3g} times" if found.before else "many times",
    }
