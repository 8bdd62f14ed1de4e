"""
Hypotheses weighed: each cause at each place against "undetermined".

A hypothesis starts from its cause's prior and gets one vote from every family of clauses: its strongest. The order of
onsets corrects by at most a factor of three, and only where intervals do not overlap. What the weights mean for the
others is decided in `verdicts`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

from aiops.correlate.evidence import examine
from aiops.correlate.scene import Scene
from aiops.correlate.topology import Place
from aiops.correlate.ways import spare, untold
from aiops.model import CauseLevel, Evidence, EvidenceState, Onset
from aiops.rulebook.causes import ANY_SYMPTOM, CauseRule
from aiops.rulebook.clauses import MetricTest
from aiops.rulebook.priors import MAX_SHOWN

MIN_TESTED = 0.6
MIN_FAMILIES = 2
MIN_PROBABILITY = 0.5
_SPEAKS = math.log(1.5)
"""Least weight of a clause that counts as a kind of evidence of its own."""
_ORDER = math.log(3.0)
_REREAD_S = 10.0
"""After the incident opened: by then collectors, which hurry, have read every page again that can be read."""
LATE_S = 5.0
"""So long after the first bad answer evidence may begin and still speak for a root: readings are some seconds apart."""


@dataclass(frozen=True)
class Weighed:
    """A cause at a place, on the scales. No slots: each is asked the same by every other, and works it out once."""

    rule: CauseRule
    place: Place
    evidence: tuple[Evidence, ...]
    score: float
    """Log odds against undetermined."""
    tested: float
    """Share of the clauses' weight that could be tested, 0 to 1."""
    waits: bool = False
    """It needs the load accounting, or pages that were read since users are hurt, and that is still coming in."""
    most_shown: float = MAX_SHOWN
    """The highest probability that may be shown."""
    late: frozenset[str] = frozenset()
    """Ids of clauses that began after users were hurt: seen, and no reason why."""

    @property
    def cause(self) -> str:
        """The cause's id."""
        return self.rule.cause

    @cached_property
    def probability(self) -> float:
        """Chance that this cause is at work, whatever others are; capped as it may be shown."""
        return min(1.0 / (1.0 + math.exp(-self.score)), self.most_shown)

    @cached_property
    def families(self) -> int:
        """Families with a present clause that speaks for the cause; what is hardly ever otherwise says nothing."""
        return len({e.family for e in self.evidence if e.state is EvidenceState.PRESENT and e.log_odds >= _SPEAKS})

    @cached_property
    def specific(self) -> bool:
        """Whether a clause specific to this cause is present, and was before users were hurt."""
        return any(e.specific and e.state is EvidenceState.PRESENT and e.id not in self.late for e in self.evidence)

    @cached_property
    def seen(self) -> bool:
        """Whether a clause specific to this cause is present, whenever it began."""
        return any(e.specific and e.state is EvidenceState.PRESENT for e in self.evidence)

    @cached_property
    def ruled_out(self) -> bool:
        """Whether a necessary clause was tested and is absent."""
        return any(e.necessary and e.state is EvidenceState.ABSENT for e in self.evidence)

    @property
    def happened(self) -> bool:
        """Whether it is there, be it that something else stands beside it which rules it out as the reason."""
        others = {clause.id for clause in self.rule.evidence if clause.happened}
        missing = {e.id for e in self.evidence if e.necessary and e.state is EvidenceState.ABSENT}
        return self.seen and missing <= others

    @cached_property
    def may_be_root(self) -> bool:
        """Whether it has what a root needs."""
        return (
            not self.ruled_out
            and not self.waits
            and self.specific
            and self.families >= MIN_FAMILIES
            and self.tested >= MIN_TESTED
            and self.probability >= MIN_PROBABILITY
        )


def weigh_all(causes: Iterable[CauseRule], scene: Scene, most_shown: float = MAX_SHOWN) -> list[Weighed]:
    """Every cause that can explain the symptoms, at every place it could be at; most likely first."""
    weighed = [weigh(rule, scene, place, most_shown) for rule, place in _asked(causes, scene)]
    return sorted(weighed, key=lambda w: -w.score)


def _asked(causes: Iterable[CauseRule], scene: Scene) -> Iterator[tuple[CauseRule, Place]]:
    explained = scene.context.explained_by | {ANY_SYMPTOM}
    for rule in causes:
        if explained & set(rule.explains):
            yield from ((rule, place) for place in scene.places(rule.scope))


def weigh_possible(causes: Iterable[CauseRule], scene: Scene, most_shown: float = MAX_SHOWN) -> list[Weighed]:
    """As `weigh_all`, less what a single necessary clause rules out: the first that does is the last that is tested."""
    weighed = [
        weigh(rule, scene, place, most_shown, known)
        for rule, place in _asked(causes, scene)
        if (known := _needed(rule, scene, place)) is not None
    ]
    return sorted(weighed, key=lambda w: -w.score)


def _needed(rule: CauseRule, scene: Scene, place: Place) -> dict[str, Evidence] | None:
    """What the clauses give without which it cannot be; None if it cannot."""
    joined = frozenset[str]().union(*rule.ways)  # of several ways the silence of one rules out nothing
    known: dict[str, Evidence] = {}
    for clause in rule.evidence:
        if clause.necessary and clause.id not in joined:
            known[clause.id] = examine(clause, rule, scene, place)
            if known[clause.id].state is EvidenceState.ABSENT:
                return None
    return known


def weigh(
    rule: CauseRule,
    scene: Scene,
    place: Place,
    most_shown: float = MAX_SHOWN,
    known: Mapping[str, Evidence] = MappingProxyType({}),
) -> Weighed:
    """Test every clause of *rule* at *place*, less what is *known* of it, and add up."""
    tested = [known.get(clause.id) or examine(clause, rule, scene, place) for clause in rule.evidence]
    late = late_ones(rule, tested, scene.context.onset)
    tested = [replace(e, log_odds=0.0) if e.id in late else e for e in tested]
    evidence, votes = vote(spare(rule, tested))
    score = math.log(rule.prior / (1.0 - rule.prior)) + votes + order(evidence, scene.context.onset)
    needs_load = any(clause.necessary and clause.load is not None for clause in rule.evidence)
    waits = (needs_load and scene.load.waits) or _unread(rule, scene, place)
    return Weighed(rule, place, evidence, score, share_tested(rule, tested), waits, most_shown, late)


def _unread(rule: CauseRule, scene: Scene, place: Place) -> bool:
    """
    Whether a series that must be read again was not, since users are hurt: what it said before says nothing of now.

    Nor does it speak for a replica that has none yet while others have: one that was just put into service.
    """
    if scene.now_s - scene.context.opened_at_s > _REREAD_S:
        return False
    tests = [clause.metric for clause in rule.evidence if clause.metric is not None and clause.metric.reread]
    return any(_unread_by(test, scene, place) for test in tests)


def _unread_by(test: MetricTest, scene: Scene, place: Place) -> bool:
    windows = [w for w in scene.view.windows(test.name, test.match) if place.covers(test.bound_by, w.labels)]
    if any(window.at_s.size and window.at_s[-1] <= scene.context.onset.by_s for window in windows):
        return True
    read = {window.labels.get(test.bound_by) for window in windows}
    return bool(read) and not (place.inside(test.bound_by) or frozenset()) <= read


def share_tested(rule: CauseRule, evidence: Sequence[Evidence]) -> float:
    """Share of the clauses' weight that could be tested; ways beside one that is present need not be."""
    left_out = untold(rule, evidence)
    known = asked = 0.0
    for clause, e in zip(rule.evidence, evidence, strict=True):
        if e.id not in left_out:
            weight = abs(math.log(clause.odds.present / clause.odds.absent))
            asked += weight
            known += weight if e.state is not EvidenceState.UNKNOWN else 0.0
    return known / asked


def late_ones(rule: CauseRule, evidence: Iterable[Evidence], symptom: Onset) -> frozenset[str]:
    """
    Ids of clauses that speak for a trigger or fault, and certainly began after users were hurt.

    What began later is what the hurt brought about: it can be seen, and is no reason why. A state lasts and grows.
    """
    if rule.level is CauseLevel.STATE:
        return frozenset()
    return frozenset(
        e.id
        for e in evidence
        if e.state is EvidenceState.PRESENT
        and e.log_odds > 0
        and e.onset is not None
        and e.onset.after_s > symptom.by_s + LATE_S
    )


def vote(evidence: Sequence[Evidence]) -> tuple[tuple[Evidence, ...], float]:
    """
    One vote a family: its strongest clause.

    Args:
        evidence: Clauses with the log odds each would add by itself.

    Returns:
        The evidence with the log odds of outvoted clauses set to 0, and the sum of the votes.
    """
    strongest: dict[str, int] = {}
    for index, found in enumerate(evidence):
        held = strongest.get(found.family)
        if held is None or _louder(found.log_odds, evidence[held].log_odds):
            strongest[found.family] = index
    chosen = set(strongest.values())
    told = tuple(
        e if index in chosen or not e.log_odds else replace(e, log_odds=0.0) for index, e in enumerate(evidence)
    )
    return told, sum(e.log_odds for e in told)


def _louder(one: float, other: float) -> bool:
    """The larger magnitude; of two alike the one that speaks for the cause."""
    return (abs(one), one) > (abs(other), other)


def order(evidence: Iterable[Evidence], symptom: Onset) -> float:
    """
    What the order of onsets takes away: at most ln 3, and never more than the late clauses themselves gave.

    Zero as soon as one present clause did not certainly begin after the symptom.
    """
    gain = 0.0
    for e in evidence:
        if e.state is EvidenceState.PRESENT and e.onset is not None and e.log_odds > 0:
            if not symptom.before(e.onset):
                return 0.0
            gain += e.log_odds
    return -min(_ORDER, gain)
