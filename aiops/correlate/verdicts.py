"""
Weighed hypotheses held against one another: root, consequence, candidate, ruled out, not testable.

A state is never named while a trigger or fault that leads to it is present; the first hypothesis is named only if it
leads the next independent one clearly; causes that share a rise in load are named together. Otherwise nothing is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from aiops.correlate.rank import LATE_S, MIN_FAMILIES, MIN_PROBABILITY, MIN_TESTED, Weighed
from aiops.correlate.topology import Place, Topology
from aiops.model import CauseLevel, Evidence, EvidenceState, Hypothesis, Onset, Verdict
from aiops.rulebook.causes import Scope
from aiops.rulebook.clauses import Term

LEAD = math.log(3.0)
"""Log odds by which the first must lead the next independent one."""
_HINTED = 0.3
"""A trigger or fault this likely, with a specific clause, keeps the states it leads to from being named."""
_MAX_PLACES = 3
"""Places of one cause that are told."""

_RANKS = {
    Verdict.ROOT: 0,
    Verdict.CANDIDATE: 1,
    Verdict.CONSEQUENCE: 2,
    Verdict.NOT_TESTABLE: 3,
    Verdict.RULED_OUT: 4,
}


@dataclass(frozen=True, slots=True)
class Bench:
    """
    All hypotheses of one diagnosis, and what decides between them.

    Args:
        weighed: Every cause at every place, most likely first.
        leads: Per cause, all it can lead to, nearest first.
        states_may_lead: False while triggers may still be on their way into the data.
        risen: Terms that hold the rise of load, as they are told; a state that stands for none of them follows from them.
        sharers: Terms that hold the rise of load together, with the causes each may come from; empty when one holds it.
    """

    weighed: Sequence[Weighed]
    leads: Mapping[str, tuple[str, ...]]
    states_may_lead: bool
    sharers: Mapping[str, frozenset[str]] = field(default_factory=dict)
    risen: Mapping[Term, str] = field(default_factory=dict)
    risen_at: Mapping[Term, Onset] = field(default_factory=dict)
    """When those terms rose, as far as it is known: what was there certainly before follows from none of them."""
    firsts: Sequence[Weighed] = ()
    """Roots, where others were looked for beside them."""
    seconds: Sequence[Weighed] = ()
    """Roots of what those leave unexplained."""

    def verdicts(self, topology: Topology) -> tuple[Hypothesis, ...]:
        """Hypotheses, best first, ruled-out ones last; the first is a root if one leads clearly."""
        roots = [*(self.firsts or self.roots()), *self.seconds]
        told = [self._tell(w, roots) for w in self._worth_telling()]
        places = Counter(w.cause for w in self.weighed)
        gathered = _gather([_widened(h, places[h.cause], topology) for h in told], topology)
        later = {w.cause for w in self.seconds}
        return tuple(sorted(gathered, key=lambda h: (_RANKS[h.verdict], h.cause in later, -h.probability)))

    def beside(self, firsts: Sequence[Weighed], rest: Sequence[Weighed]) -> Bench:
        """
        This bench, with what is at work beside *firsts*.

        Args:
            firsts: Roots.
            rest: What could be, weighed on the bad answers that *firsts* do not explain.
        """
        likely = {(w.cause, w.place.where): w for w in rest if w.may_be_root}
        leading = Bench(rest, self.leads, states_may_lead=False).roots()
        # what a whole host shows, or one replica after the other, may be the first one's doing: told, and not named
        shared = len(leading) > 1 or any(w.rule.scope in {Scope.HOST, Scope.LINK} for w in leading)
        seconds = [] if shared else leading
        following = {cause for w in firsts for cause in (w.cause, *self.leads.get(w.cause, ()))}
        if not likely or not (seconds or {w.cause for w in self.roots()} <= following):
            return self
        told = likely | {(w.cause, w.place.where): w for w in firsts}
        weighed = ({(w.cause, w.place.where): w for w in self.weighed} | told).values()
        return replace(self, weighed=sorted(weighed, key=lambda w: -w.score), firsts=firsts, seconds=seconds)

    def roots(self) -> list[Weighed]:
        """What is named: the first if it leads clearly, at every place it is at, with its equal in load."""
        fit = [
            w
            for w in self.weighed
            if w.may_be_root
            and not self._origin(w)
            and (w.rule.level is not CauseLevel.STATE or self._state_may_lead(w))
        ]
        if not fit:
            return []
        first = fit[0]
        shared = frozenset().union(*self.sharers.values())
        together = shared if first.cause in shared else frozenset({first.cause})
        following = {cause for origin in together for cause in self.leads.get(origin, ())}
        rivals = [
            w
            for w in self.weighed
            if w.cause not in together
            and not (w.cause in following and first.place.touches(w.place) and not _before(w, first))
            and w.specific
            and not w.ruled_out
        ]
        if any(first.score - rival.score < LEAD for rival in rivals):
            return []
        return [w for w in fit if w.cause in together and (w.cause != first.cause or first.score - w.score < LEAD)]

    def _state_may_lead(self, w: Weighed) -> bool:
        return self.states_may_lead and not self._moved_before(w)

    def _moved_before(self, w: Weighed) -> tuple[str, ...]:
        """What rose before a state that stands for none of it: the state follows from that."""
        if w.rule.level is not CauseLevel.STATE or stood_for(w) & self.risen.keys():
            return ()
        there = _there(w)
        later = {term for term, at in self.risen_at.items() if there is not None and _certainly_before(there, at)}
        return tuple(told for term, told in self.risen.items() if term not in later)

    def _origin(self, w: Weighed) -> Weighed | None:
        """The most likely present hypothesis that leads to *w*."""
        return next(
            (
                other
                for other in self.weighed
                if self._counts(other, w)
                and other.cause != w.cause
                and w.cause in self.leads.get(other.cause, ())
                and other.place.touches(w.place)
                and not self._shares(other, w)
                and not _before(w, other)
            ),
            None,
        )

    def _shares(self, other: Weighed, w: Weighed) -> bool:
        """Whether *other* stands for another part of the rise in load than *w* does: then *w* has its own."""
        own = {term for term, causes in self.sharers.items() if w.cause in causes}
        return bool(own) and any(other.cause in causes for term, causes in self.sharers.items() if term not in own)

    def _counts(self, w: Weighed, follower: Weighed) -> bool:
        """Whether *w* is present enough to make *follower*, to which it leads, a consequence: a hint hides states only."""
        if not w.specific or w.ruled_out:  # nearly all
            return False
        if w.rule.level is CauseLevel.STATE:
            return w.probability >= MIN_PROBABILITY
        hides = follower.rule.level is CauseLevel.STATE
        return w.may_be_root or (hides and w.probability >= _HINTED)

    def _worth_telling(self) -> list[Weighed]:
        """Of a cause that fits nowhere only the best place: a list of twelve absences helps nobody."""
        kept: dict[str, list[Weighed]] = {}
        for w in self.weighed:
            held = kept.setdefault(w.cause, [])
            if not held or (w.specific and not w.ruled_out and len(held) < _MAX_PLACES):
                held.append(w)
        return [w for held in kept.values() for w in held]

    def _tell(self, w: Weighed, roots: Sequence[Weighed]) -> Hypothesis:
        verdict, reason = self._verdict(w, roots)
        chain: tuple[str, ...] = ()
        beside = self._beside(roots) if verdict is Verdict.ROOT else ()
        if beside:
            reason += f" It holds only a part of the rise in load: no cause is named for {' and '.join(beside)}."
        if verdict is Verdict.ROOT:
            titles = {o.cause: o.rule.title for o in self.weighed if o.happened}
            chain = tuple(titles[cause] for cause in self.leads.get(w.cause, ()) if cause in titles)
        return Hypothesis(
            cause=w.cause,
            title=w.rule.title,
            level=w.rule.level,
            where=w.place.where,
            place=w.place.text,
            probability=0.0 if verdict is Verdict.RULED_OUT else round(w.probability, 4),
            verdict=verdict,
            reason=reason,
            evidence=w.evidence,
            leads_to=chain,
            beside=beside,
            advice=w.rule.advice,
            runbook_url=w.rule.runbook_url,
        )

    def _beside(self, roots: Sequence[Weighed]) -> tuple[str, ...]:
        """Terms that hold the rise of load with what is named, and that nothing named stands for."""
        named = {w.cause for w in roots}
        if not any(named & causes for causes in self.sharers.values()):
            return ()  # what is named is not about load
        return tuple(term for term, causes in self.sharers.items() if not named & causes)

    def _verdict(self, w: Weighed, roots: Sequence[Weighed]) -> tuple[Verdict, str]:
        origin = self._origin(w)
        if w.ruled_out and (origin is None or not w.happened):
            return Verdict.RULED_OUT, next(
                e.text for e in w.evidence if e.necessary and e.state is EvidenceState.ABSENT
            )
        if w in self.seconds:
            others = " and ".join(dict.fromkeys(first.rule.title for first in self.firsts))
            return (
                Verdict.ROOT,
                f"{w.families} independent kinds of evidence agree on what “{others}” does not explain.",
            )
        if w in roots:
            return Verdict.ROOT, f"{w.families} independent kinds of evidence agree, and nothing else comes near."
        if origin is not None and w.seen:
            return Verdict.CONSEQUENCE, f"Follows from: {origin.rule.title} ({origin.place.text})."
        if w.seen and (moved := self._moved_before(w)):
            return Verdict.CONSEQUENCE, f"Follows from what moved before it: {' and '.join(moved)}."
        missing = [e.text for e in w.evidence if e.state is EvidenceState.UNKNOWN]
        needed = [e.text for e in w.evidence if e.state is EvidenceState.UNKNOWN and e.necessary]
        if not w.specific and not w.waits and (needed or w.tested < MIN_TESTED):
            return Verdict.NOT_TESTABLE, (needed or missing)[0]
        return Verdict.CANDIDATE, _shortcoming(w, missing)


def _deciding(w: Weighed) -> list[Evidence]:
    """What shows *w*, and what it needs, as far as that is there."""
    return [e for e in w.evidence if e.state is EvidenceState.PRESENT and (e.specific or (e.necessary and e.onset))]


def _there(w: Weighed) -> Onset | None:
    """When the last of what shows *w* was there; None where that is not known."""
    onsets = [e.onset for e in _deciding(w)]
    known = [onset for onset in onsets if onset is not None]
    return max(known, key=lambda onset: onset.by_s) if known and len(known) == len(onsets) else None


def _before(w: Weighed, other: Weighed) -> bool:
    """Whether *w*, a state, was there certainly before the first of what shows *other*: then it does not follow from it."""
    there = _there(w) if w.rule.level is CauseLevel.STATE else None
    onsets = [e.onset for e in _deciding(other)]
    known = [onset for onset in onsets if onset is not None]
    if there is None or not known or len(known) < len(onsets):
        return False
    return all(_certainly_before(there, onset) for onset in known)


def _certainly_before(one: Onset, other: Onset) -> bool:
    return one.by_s + LATE_S < other.after_s


def stood_for(w: Weighed) -> frozenset[Term]:
    """Terms of the load that may have risen because of what was found of *w*."""
    present = {e.id for e in w.evidence if e.state is EvidenceState.PRESENT}
    return frozenset(term for clause in w.rule.evidence if clause.id in present for term in clause.stands_for)


def _widened(hypothesis: Hypothesis, places: int, topology: Topology) -> Hypothesis:
    """A cause that fits at none of several places is told of the service, not of the place it fits least badly."""
    if places < 2 or hypothesis.verdict not in {Verdict.RULED_OUT, Verdict.NOT_TESTABLE}:
        return hypothesis
    whole = _around(hypothesis, topology)
    return replace(hypothesis, where=whole.where, place=whole.text)


def _around(hypothesis: Hypothesis, topology: Topology) -> Place:
    """What holds all places of a kind: the host its links, the service all else."""
    return topology.whole(Scope.HOST if hypothesis.where.get("device") else Scope.SERVICE)


def _shortcoming(w: Weighed, missing: Sequence[str]) -> str:
    """What keeps a candidate from being named."""
    if w.waits:
        return "Too early to tell: what would show it is still under way."
    if not w.specific:
        return "Nothing was found that shows in this cause alone."
    if w.families < MIN_FAMILIES:
        return "Only one kind of evidence speaks for it; a root needs two."
    if w.tested < MIN_TESTED:
        return f"Only {w.tested * 100:.0f} % of its evidence can be tested. {missing[0]}"
    if not w.may_be_root:
        return "More speaks against it than for it."
    return "Another cause is about as likely, or it is too early to tell."


def _gather(told: Sequence[Hypothesis], topology: Topology) -> list[Hypothesis]:
    """One root for a cause at work in several places of a kind: "3 replicas", instead of three roots."""
    gathered: list[Hypothesis] = []
    for cause in dict.fromkeys(h.cause for h in told):
        group = [h for h in told if h.cause == cause]
        roots = [h for h in group if h.verdict is Verdict.ROOT]
        if len(roots) < 2:
            gathered.extend(group)
            continue
        whole = _around(roots[0], topology)
        text = f"{whole.text} ({', '.join(sorted(h.place for h in roots))})"
        gathered.append(replace(roots[0], where=whole.where, place=text))
        gathered.extend(h for h in group if h not in roots)
    return gathered
