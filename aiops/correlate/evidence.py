"""
Every clause of a cause, tested at a place: present, absent or unknown, told in words.

Unknown is not absent: a metric without series, a log class where no log of that place is followed, a change event
without a change feed, a pace without peers say nothing, and the text names what is missing.
"""

from __future__ import annotations

import math
from dataclasses import replace

from aiops.correlate.findings import Finding, clean, factor, name_all, stated, unknown
from aiops.correlate.holding import holding_finding
from aiops.correlate.levels import metric_finding
from aiops.correlate.lines import LOOKED_AT_S, log_finding, template_finding
from aiops.correlate.pace import against_peers, gone_at_equal_clock
from aiops.correlate.rollout import AFTER_S, LOOK_AFTER_S, Rollout, rollout, version_of
from aiops.correlate.scene import SEEN_BY_REPLICAS, Scene, is_of, rollouts, spelled
from aiops.correlate.topology import ON_CARDS, Place
from aiops.model import Event, EventKind, Evidence, EvidenceState, Onset, SeriesRef
from aiops.rulebook.causes import CauseRule, Clause, Scope
from aiops.rulebook.clauses import (
    Against,
    EventTest,
    HoldingTest,
    LoadTest,
    LogTest,
    MetricTest,
    PaceTest,
    TemplateTest,
    Term,
)
from aiops.units import format_duration

_SAME_PACE = math.log(1.1)
"""A replica that is slower by less than this at an equal clock works as before."""
_SURE_OF_EVENT = 0.98
"""Chance that a change which caused an incident is seen, where there is a change feed."""


def examine(clause: Clause, rule: CauseRule, scene: Scene, place: Place) -> Evidence:
    """The outcome of *clause* at *place*, with the log odds it would add by itself."""
    finding = _outcome(clause, rule, scene, place)
    return Evidence(
        id=clause.id,
        state=finding.state,
        text=_tell(clause, finding, scene, place),
        family=clause.family,
        log_odds=_log_odds(clause, finding),
        specific=clause.specific,
        necessary=clause.necessary,
        onset=finding.onset,
        series=finding.series,
    )


def _outcome(clause: Clause, rule: CauseRule, scene: Scene, place: Place) -> Finding:
    finding = _find(clause, rule, scene, place)
    if not clause.negated or finding.state is EvidenceState.UNKNOWN:
        return finding
    return replace(finding, state=stated(holds=finding.state is EvidenceState.ABSENT), onset=None, present_odds=None)


def _find(clause: Clause, rule: CauseRule, scene: Scene, place: Place) -> Finding:
    test = clause.test
    if isinstance(test, MetricTest):
        return metric_finding(test, scene, place)
    if isinstance(test, LogTest):
        return log_finding(test, scene, place)
    if isinstance(test, TemplateTest):
        return template_finding(test, scene, place)
    if isinstance(test, EventTest):
        return event_finding(test, rule, scene, place)
    if isinstance(test, LoadTest):
        return scene.once(id(test), lambda: load_finding(test, scene))  # the same wherever it is asked
    if isinstance(test, HoldingTest):
        return holding_finding(test, scene, place)
    return pace_finding(test, rule, scene, place)


def _log_odds(clause: Clause, finding: Finding) -> float:
    if finding.state is EvidenceState.UNKNOWN:
        return 0.0
    if finding.state is EvidenceState.ABSENT:
        return math.log(clause.odds.absent)
    present = clause.odds.present
    if finding.present_odds is not None and present > 1.0:
        present = max(min(present, finding.present_odds), 1.0)
    return math.log(present)


def _tell(clause: Clause, finding: Finding, scene: Scene, place: Place) -> str:
    if finding.state is EvidenceState.UNKNOWN:
        return f"Not testable here: {finding.missing}."
    present = finding.state is EvidenceState.PRESENT
    return (clause.text.present if present else clause.text.absent).format_map(_Spoken(finding, scene, place))


class _Spoken:
    """What a text's placeholders stand for: the finding's own words, then what holds for every clause."""

    def __init__(self, finding: Finding, scene: Scene, place: Place) -> None:
        self._finding, self._scene, self._place = finding, scene, place

    def __getitem__(self, name: str, /) -> str:
        try:
            return self._finding.words[name]
        except KeyError:
            pass
        if name == "place":
            return clean(self._place.text)
        return self._scene.when(self._finding.onset) if name == "when" else "?"


# --- events ---------------------------------------------------------------------------------------------------------


def matching_events(test: EventTest, rule: CauseRule, scene: Scene, place: Place) -> list[Event]:
    """
    Events of the kind on *place*, within the clause's time or the cause's lead, oldest first.

    What a replica's own page shows of a rollout that was reported, too, is left out: the report names its beginning.
    What is seen of it after the first bad answer is what became of the replica: a crashed server that is started anew
    with other settings was changed by no rollout, and this host's clock is the one that says so. A version that several
    replicas came to tell is a rollout, and its first replica refuses from the moment it is told to end.
    """
    start_s, end_s = scene.first_bad_s - (test.within or rule.lead), min(scene.first_bad_s + AFTER_S, scene.now_s)
    found = [
        event
        for event in scene.events
        if event.kind is test.kind
        and (not test.action or event.action in test.action)
        and start_s <= event.at_s <= end_s
        and not (_seen_late(event, scene) and not _reached_several(event, scene))
        and concerns(event, scene, place)
    ]
    reported = [event for event in found if event.labels.get("seen_by") != SEEN_BY_REPLICAS]
    return [event for event in found if event in reported or not any(is_of(event, each) for each in reported)]


def _seen_late(event: Event, scene: Scene) -> bool:
    return event.labels.get("seen_by") == SEEN_BY_REPLICAS and scene.context.onset.by_s < event.at_s


def _reached_several(event: Event, scene: Scene) -> bool:
    """Whether two replicas or more came to tell the version that *event* is about."""
    version = spelled(event.labels.get("version"))
    told = {
        other.labels.get("instance")
        for other in scene.events
        if other.labels.get("seen_by") == SEEN_BY_REPLICAS
        and spelled(other.labels.get("version")) == version
        and is_of(other, event)
    }
    return bool(version) and len(told) > 1


def concerns(event: Event, scene: Scene, place: Place) -> bool:
    """
    Whether *event* happened to *place*: a label it names must fit, one it leaves out says nothing.

    The model says which replicas are meant where none is named; a replica may tell another model since.
    """
    instance, gpu, model = event.labels.get("instance"), event.labels.get("gpu"), event.labels.get("model")
    if instance and instance not in place.instances:
        return False
    if gpu and place.scope in ON_CARDS and gpu not in place.gpus:
        return False
    if model and not instance and model not in {scene.topology.models.get(name, model) for name in place.instances}:
        return False
    service = event.labels.get("service")
    return not service or service == place.service


def event_finding(test: EventTest, rule: CauseRule, scene: Scene, place: Place) -> Finding:
    """Whether something happened to *place* shortly before; rated by how often such things happen here."""
    found = matching_events(test, rule, scene, place)
    words = {"window": format_duration(test.within or rule.lead), "count": str(len(found))}
    if not found:
        if not scene.sees(test.kind, test.within or rule.lead):
            return unknown("no deploy feed" if test.kind is EventKind.CHANGE else f"nobody tells of {test.kind} events")
        return Finding(EvidenceState.ABSENT, words)
    event = found[-1]
    # processes and cards are looked at every few seconds, changes are told
    onset = Onset(event.at_s - (1.0 if test.kind is EventKind.CHANGE else LOOKED_AT_S), event.at_s)
    version = clean(event.labels.get("version"))
    words |= {
        "action": clean(event.action) + (f" of version {version}" if version else ""),
        "when": scene.when(onset),
        "who": name_all((e.labels for e in found), "instance") or clean(place.text),
    }
    besides = len(rollouts(found)) if test.kind is EventKind.CHANGE else len(found)
    rate = scene.events_a_second(test.kind, test.action, besides=besides)
    by_chance = 1.0 - math.exp(-rate * (test.within or rule.lead))
    return Finding(EvidenceState.PRESENT, words, onset=onset, present_odds=_SURE_OF_EVENT / max(by_chance, 1e-6))


# --- load -----------------------------------------------------------------------------------------------------------


def load_finding(test: LoadTest, scene: Scene) -> Finding:
    """Whether the rise of load over capacity comes from one term."""
    load = scene.load
    term = load.terms[test.term]
    holds, share = load.holds(test.term, test.share), load.share(test.term)
    if term.change is None or share is None:
        return unknown(term.missing or f"{test.term} cannot be measured", term.series)
    change = math.exp(-term.change if test.term is Term.CAPACITY else term.change)
    if holds is None:
        others = " and ".join(f"{name} ({load.terms[name].missing})" for name in load.unknown)
        return unknown(f"{test.term} changed by {change:.2g}, but not known is {others}", term.series)
    unit = " a second" if test.term is Term.ARRIVALS else ""
    words = {
        "share": ("at least " if load.unknown and share else "") + f"{share * 100:.0f} %",
        "ratio": factor(change),
        "terms": load.in_words(),
        "baseline": "unknown" if math.isnan(term.before) else f"{term.before:.1f}{unit}",
        "value": "unknown" if math.isnan(term.after) else f"{term.after:.1f}{unit}",
        "when": scene.when(term.onset),
    }
    return Finding(stated(holds=holds), words, onset=term.onset if holds else None, series=term.series)


# --- pace -----------------------------------------------------------------------------------------------------------


def pace_finding(test: PaceTest, rule: CauseRule, scene: Scene, place: Place) -> Finding:
    """Whether the place's replicas work slower than the test's comparison allows."""
    refs = tuple(scene.paces[name].series for name in sorted(place.instances) if name in scene.paces)
    if not refs:
        return unknown("no page of the inference server, no upstream latency", refs)
    if test.against is Against.PEERS:
        return _against_peers(test, scene, place, refs)
    if test.against is Against.BASELINE:
        return _against_baseline(test, scene, place, refs)
    if test.against is Against.CLOCK:
        return _at_equal_clock(test, rule, scene, place, refs)
    return _since_change(test, rule, scene, place, refs)


def _against_peers(test: PaceTest, scene: Scene, place: Place, refs: tuple[SeriesRef, ...]) -> Finding:
    start_s, end_s = scene.first_bad_s - 10.0, min(scene.now_s, scene.first_bad_s + LOOK_AFTER_S)
    found = {name: against_peers(scene.paces, name, start_s, end_s) for name in place.instances}
    gaps = {name: gap for name, gap in found.items() if gap is not None}
    if not gaps:
        return unknown("fewer than two peers", refs)
    name = max(gaps, key=lambda key: gaps[key])
    holds = gaps[name] >= math.log(test.above)
    onset = next((s.step.onset for s in scene.load.shifts if s.instance == name and s.step is not None), None)
    words = {"ratio": factor(math.exp(gaps[name])), "limit": factor(test.above), "who": clean(name)}
    return Finding(stated(holds=holds), words, onset=onset if holds else None, series=refs)


def _against_baseline(test: PaceTest, scene: Scene, place: Place, refs: tuple[SeriesRef, ...]) -> Finding:
    shifts = [shift for shift in scene.load.shifts if shift.instance in place.instances]
    if not shifts:
        return unknown("too little history of its pace", refs)
    worst = max(shifts, key=lambda shift: shift.residual)
    holds = worst.residual >= math.log(test.above)
    words = {
        "ratio": factor(math.exp(worst.residual)),
        "limit": factor(test.above),
        "who": clean(worst.instance),
    }
    onset = worst.step.onset if worst.step is not None and holds else None
    return Finding(stated(holds=holds), words, onset=onset, series=refs)


def _at_equal_clock(
    test: PaceTest, rule: CauseRule, scene: Scene, place: Place, refs: tuple[SeriesRef, ...]
) -> Finding:
    """Slower as measured, and no longer once the SM clock is allowed for: the clock is what slows it down."""
    paces = [scene.paces[name] for name in sorted(place.instances) if name in scene.paces]
    known = [pace for pace in paces if pace.clock_known]
    if not known:
        return unknown("SM clocks are not known", refs)
    earliest_s, latest_s = scene.first_bad_s - rule.lead, scene.first_bad_s + AFTER_S
    slow = [f for pace in known if (f := gone_at_equal_clock(pace, earliest_s=earliest_s, latest_s=latest_s))]
    if not slow:
        return Finding(EvidenceState.ABSENT, {"ratio": factor(1.0), "limit": factor(test.above)}, series=refs)
    measured, left, onset = max(slow, key=lambda found: found[0])
    holds = measured >= math.log(test.above) and left <= _SAME_PACE
    words = {"ratio": factor(math.exp(measured)), "baseline": factor(math.exp(left)), "limit": factor(test.above)}
    return Finding(stated(holds=holds), words, onset=onset if holds else None, series=refs)


def _since_change(test: PaceTest, rule: CauseRule, scene: Scene, place: Place, refs: tuple[SeriesRef, ...]) -> Finding:
    """
    Replicas that a change covers against themselves before it, and against those it does not cover.

    All replicas are asked, whatever the place: what a change covers it explains where it covers the place, too.
    """
    if not scene.sees_changes(rule.lead):
        return unknown("no deploy feed", refs)
    wanted = next((c.event for c in rule.evidence if c.event is not None), EventTest(EventKind.CHANGE))
    service = scene.whole(Scope.SERVICE)
    events = matching_events(wanted, rule, scene, service)
    versions = {version_of(e) for e in events}
    found = [r for name in versions if (r := rollout(name, events, scene, service)) is not None]
    if events and not found:
        return unknown("too little of the pace before and after the change", refs)
    here = [r for r in found if r.covered & place.instances]
    worst = max(here, key=lambda r: r.residual, default=Rollout(0.0, place.instances))
    holds = worst.residual >= math.log(test.above)
    words = {
        "ratio": factor(math.exp(max(worst.residual, 0.0))),
        "limit": factor(test.above),
        "who": f"{len(worst.covered)} of {len(service.instances)} replicas",
        "clocks": _clocks_told(scene, place),
    }
    return Finding(stated(holds=holds), words, onset=worst.onset if holds else None, series=refs)


def _clocks_told(scene: Scene, place: Place) -> str:
    """Whether the comparison of paces could allow for SM clocks."""
    known = all(scene.paces[name].clock_known for name in place.instances if name in scene.paces)
    return "SM clocks allowed for" if known else "SM clocks not known"
