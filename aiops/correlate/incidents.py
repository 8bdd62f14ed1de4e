"""
Incidents from open to resolved, and whom to tell.

A firing symptom opens an incident at once, whether or not its cause is known yet. While it is open it is diagnosed
again and again; people are told when the answer changes, and once when users no longer feel it. What an evaluation
changed leaves as one change set. Restored incidents continue where they stood: their answer was told, so they are not
announced again, and their resolve still comes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog

from aiops.correlate import timeline
from aiops.correlate.answers import Settler, answer_of
from aiops.correlate.beliefs import Beliefs
from aiops.correlate.grouping import beside, merged, symptoms_by_service
from aiops.correlate.impact import NO_IMPACT, add, count_impact
from aiops.correlate.lingering import Afterglow, holding
from aiops.correlate.scene import IncidentContext
from aiops.correlate.tempo import Tempo
from aiops.correlate.tickets import TicketDesk
from aiops.model import (
    Alert,
    AlertState,
    ChangeKind,
    ChangeSet,
    Diagnosis,
    DiagnosisStatus,
    Impact,
    Incident,
    IncidentState,
    Judgement,
    Message,
    Mover,
    Notification,
    Severity,
    Spoken,
    Tally,
    TimelineEntry,
    Word,
)
from aiops.model.judging import with_judgement
from aiops.ports import EventReader, SeriesReader
from aiops.selfstat import SelfStat

log = structlog.get_logger(__name__)

Compose = Callable[[Incident, ChangeKind], Message]
ComposeTickets = Callable[[Sequence[Alert]], Message]
Receivers = Sequence[tuple[str, frozenset[Severity]]]
Ask = Callable[[IncidentContext, float, bool, tuple[Mover, ...]], Diagnosis]
"""Context, now, whether to be thorough, the movers found last."""

_EVENTS_BEFORE_S = 900.0
_NEW_SPIKE_S = 60.0
"""The first page this long after a quiet incident's first bad second has its own onset."""
_NEW_QUESTION_S = 300.0
"""A page that joins another one this long after what is diagnosed has its own onset: load accounting looks no further back."""
_ROLL_S = 300.0
"""How often counted impact is put by: the rings forget after some ten minutes."""


@dataclass(slots=True)
class _Case:
    """One open incident and what is remembered of it between evaluations."""

    incident: Incident
    settler: Settler
    anchor_s: float
    """The first bad second that is diagnosed; moves when a quiet incident becomes a page, or another page joins late."""
    began_s: float
    """Since when an answer is owed."""
    counted: Impact = NO_IMPACT
    counted_to_s: float = 0.0
    failed_s: float | None = None
    """When a failed request was last counted."""
    quiet_since_s: float | None = None
    looked_s: float = float("-inf")
    thorough_s: float = float("-inf")
    saved_s: float = float("-inf")
    noted: set[str] = field(default_factory=set)
    """Fingerprints of alerts that stand in the timeline."""
    entries: list[TimelineEntry] = field(default_factory=list)


class IncidentDesk:
    """
    Firing alerts into incidents with causes; implements `ports.Correlator`.

    Args:
        ask: Makes a diagnosis.
        beliefs: What it goes by of what people said; told of every further word.
        series: For counting the impact.
        events: For the timeline.
        compose: An incident and its change as a message.
        compose_tickets: Quiet rows as a message.
        receivers: Names, with the severities each wants.
        restored: Incidents that were open when the daemon stopped.
        stat: Counts diagnoses that failed.
        tempo: How patient it is.
    """

    def __init__(  # noqa: PLR0913 - everything it touches comes in here
        self,
        *,
        ask: Ask,
        beliefs: Beliefs,
        series: SeriesReader,
        events: EventReader,
        compose: Compose,
        compose_tickets: ComposeTickets,
        receivers: Receivers,
        restored: Iterable[Incident],
        stat: SelfStat,
        tempo: Tempo,
    ) -> None:
        self._stat = stat
        self._ask, self._beliefs, self._series, self._events = ask, beliefs, series, events
        self._compose, self._compose_tickets = compose, compose_tickets
        self._receivers, self._tempo = tuple(receivers), tempo
        self._tickets = TicketDesk()
        self._afterglow = Afterglow()
        self._last_error = ""
        self._cases: dict[str, _Case] = {}
        for incident in restored:
            case = self._case(incident)
            case.counted, case.counted_to_s = incident.diagnosis.impact, incident.updated_at_s
            case.saved_s = incident.updated_at_s
            self._cases[incident.service] = case

    @property
    def tally(self) -> Tally:
        """What people have said of answers so far."""
        return self._beliefs.tally

    def count(self, before: Judgement | None, now: Judgement) -> None:
        """Count a word on an incident that is not here."""
        self._beliefs.count(before, now)

    def in_doubt(self, now_s: float) -> bool:
        hurry_s, doubt_s = self._tempo.hurry_s, self._tempo.doubt_s
        return any(
            now_s - case.began_s < (hurry_s if case.incident.diagnosis.status is DiagnosisStatus.NAMED else doubt_s)
            for case in self._cases.values()
        )

    def step(self, firing: Sequence[Alert], now_s: float, spoken: Sequence[Spoken] = ()) -> ChangeSet:
        judged = self._hear(spoken)
        symptoms = self._symptoms(firing, now_s)
        others = beside(firing)
        incidents: list[Incident] = [each for each in judged.values() if each.state is IncidentState.RESOLVED]
        notifications: list[Notification] = []
        for service in sorted(self._cases.keys() | symptoms.keys()):
            case = self._cases.get(service)
            if case is None and not self._afterglow.begins(service, symptoms[service]):
                continue
            if case is None:
                case = self._cases[service] = self._open(service, symptoms[service], now_s)
            change = self._advance(case, symptoms.get(service, ()), others, now_s)
            told = self._due(case, change, now_s)
            if told is not None:
                notifications.extend(self._tell(case, told, now_s))
            if told is not None or self._worth_saving(case, now_s) or case.incident.id in judged:
                incidents.append(self._saved(case, now_s))
            if case.incident.state is IncidentState.RESOLVED:
                ended_s = case.incident.resolved_at_s
                self._afterglow.ended(service, symptoms.get(service, ()), now_s if ended_s is None else ended_s)
                del self._cases[service]
        gathers = any(self._gathers(case, now_s) for case in self._cases.values())
        rows = self._tickets.due(firing, now_s, incident_open=gathers)
        if rows:
            notifications.extend(
                self._notify("tickets", ChangeKind.TICKET, int(now_s), self._compose_tickets(rows), now_s)
            )
        return ChangeSet(incidents=tuple(incidents), notifications=tuple(notifications))

    def _hear(self, spoken: Sequence[Spoken]) -> dict[str, Incident]:
        """Take in what people said; the incidents with it, by id. One that was resolved meanwhile is left out."""
        open_now = {case.incident.id: case for case in self._cases.values()}
        judged: dict[str, Incident] = {}
        for word in spoken:
            case = open_now.get(word.incident.id)
            if case is None and word.incident.state is IncidentState.OPEN:
                continue
            held = case.incident if case is not None else judged.get(word.incident.id, word.incident)
            fresh = judged[held.id] = with_judgement(held, word.judgement, self._beliefs.titles)
            if case is not None:
                case.incident = fresh
            if fresh is not held:
                self._beliefs.count(held.judgement, word.judgement)
        return judged

    def _symptoms(self, firing: Sequence[Alert], now_s: float) -> dict[str, tuple[Alert, ...]]:
        held = {alert.fingerprint: name for name, case in self._cases.items() for alert in case.incident.symptoms}
        return symptoms_by_service(self._afterglow.without(firing, held, now_s), held, self._series, now_s)

    def _gathers(self, case: _Case, now_s: float) -> bool:
        """Whether rows are evidence of *case*: a latency that is high all day must not keep other rows from being told."""
        woke = any(alert.severity is Severity.PAGE for alert in case.incident.symptoms)
        return woke or now_s - case.began_s <= self._tempo.freeze_after_s

    def _due(self, case: _Case, change: ChangeKind | None, now_s: float) -> ChangeKind | None:
        """What people are told now. The first thing they hear is that it opened, also after a restart in between."""
        if case.incident.revision > 0 or change is ChangeKind.RESOLVED:
            return change
        answered = case.incident.diagnosis.status is not DiagnosisStatus.PENDING
        return ChangeKind.OPENED if answered or now_s - case.began_s >= self._tempo.hold_s else None

    # --- life of an incident ----------------------------------------------------------------------------------------

    def _open(self, service: str, symptoms: tuple[Alert, ...], now_s: float) -> _Case:
        first_bad_s = min(alert.since_s for alert in symptoms)
        incident = Incident(
            id=incident_id(service, first_bad_s, now_s),
            service=service,
            state=IncidentState.OPEN,
            opened_at_s=now_s,
            first_bad_s=first_bad_s,
            updated_at_s=now_s,
            symptoms=symptoms,
            diagnosis=Diagnosis(DiagnosisStatus.PENDING, now_s),
        )
        return self._case(incident)

    def _case(self, incident: Incident) -> _Case:
        return _Case(incident, Settler(), incident.first_bad_s, incident.opened_at_s, counted_to_s=incident.first_bad_s)

    def _advance(
        self, case: _Case, symptoms: tuple[Alert, ...], others: tuple[Alert, ...], now_s: float
    ) -> ChangeKind | None:
        """One evaluation of an open incident; what people should be told, if anything."""
        before = answer_of(case.incident.diagnosis)
        escalated = self._take_symptoms(case, symptoms, now_s)
        if holding(symptoms, case.incident.symptoms):
            case.quiet_since_s = None
        elif case.quiet_since_s is None:
            case.quiet_since_s = now_s
        self._count(case, now_s)
        if self._should_look(case, now_s):
            self._look(case, now_s)
        self._write(case, others, now_s)
        if case.quiet_since_s is not None and now_s - case.quiet_since_s >= self._tempo.resolve_after_s:
            return self._resolve(case, now_s)
        if answer_of(case.incident.diagnosis) != before:
            case.entries.append(timeline.of_answer(case.incident.diagnosis))
            return ChangeKind.UPDATED
        return ChangeKind.UPDATED if escalated else None

    def _resolve(self, case: _Case, now_s: float) -> ChangeKind:
        """Users no longer feel it; a cause still sought stays undetermined."""
        diagnosis = case.incident.diagnosis
        if diagnosis.status is DiagnosisStatus.PENDING:
            diagnosis = replace(diagnosis, status=DiagnosisStatus.UNDETERMINED)
        # users stopped feeling it at the last failure or slow answer; the wait since then was only to be sure
        slow = [a.last_breach_s for a in case.incident.symptoms if not (a.lingers or a.labels.get("outcome"))]
        ended_s = max([*slow, *([] if case.failed_s is None else [case.failed_s])], default=now_s)
        case.incident = replace(case.incident, state=IncidentState.RESOLVED, resolved_at_s=ended_s, diagnosis=diagnosis)
        return ChangeKind.RESOLVED

    def _take_symptoms(self, case: _Case, symptoms: tuple[Alert, ...], now_s: float) -> bool:
        """Bring the symptoms up to date; whether an incident that woke nobody now has to."""
        held = case.incident.symptoms
        case.incident = replace(case.incident, symptoms=merged(held, symptoms, now_s))
        firing = {alert.fingerprint for alert in held if alert.state is AlertState.FIRING}
        pages = [a for a in symptoms if a.severity is Severity.PAGE and a.fingerprint not in firing]
        if not pages:
            return False
        woke = any(alert.severity is Severity.PAGE for alert in held)
        # a long window says nothing of when it began
        since_s = min((alert.since_s for alert in pages if not alert.lingers), default=case.anchor_s)
        if since_s > case.anchor_s + (_NEW_QUESTION_S if woke else _NEW_SPIKE_S):
            case.anchor_s, case.began_s = since_s, now_s
        return not woke

    def _should_look(self, case: _Case, now_s: float) -> bool:
        incident = case.incident
        if now_s - case.anchor_s > self._tempo.freeze_after_s or _is_settled(incident):
            return False
        named = incident.diagnosis.status is DiagnosisStatus.NAMED
        if named and case.failed_s is not None and now_s - case.failed_s > self._tempo.spared_s:
            return False
        calm = named or now_s - case.began_s > self._tempo.eager_s
        pause_s = self._tempo.calm_look_every_s if calm else self._tempo.look_every_s
        return now_s - case.looked_s >= pause_s - 0.05  # ticks are not exactly a second apart

    def _look(self, case: _Case, now_s: float) -> None:
        held = case.incident.diagnosis
        context = IncidentContext(case.incident.service, case.incident.symptoms, case.anchor_s, case.began_s)
        if held.roots:
            first = held.roots[0]
            context = replace(context, named=first.cause, named_at=first.where, named_s=case.settler.named_s)
        pause_s = self._tempo.thorough_every_s * (3.0 if held.status is DiagnosisStatus.NAMED else 1.0)
        thorough = now_s - case.thorough_s >= pause_s - 0.05
        case.looked_s = now_s
        try:
            fresh = self._ask(context, now_s, thorough, held.movers)
        except Exception as error:  # odd data in one clause must never keep the page from going out
            self._stat.internal_errors.labels("diagnose").inc()
            if repr(error) != self._last_error:
                log.exception("diagnosis failed", incident=case.incident.id)
            self._last_error = repr(error)
            return
        if thorough:
            case.thorough_s = now_s
        else:
            fresh = replace(fresh, charts=held.charts, templates=held.templates)
        # what users no longer feel is told as undetermined when it is resolved
        give_up = case.quiet_since_s is None and self._tempo.gives_up(now_s - case.began_s, now_s - case.anchor_s)
        settled = case.settler.settle(held, fresh, give_up=give_up)
        named_now = settled.status is DiagnosisStatus.NAMED and held.status is not DiagnosisStatus.NAMED
        if named_now and not thorough:
            case.thorough_s = float("-inf")  # its charts come with the next look
        # the desk's own count goes further back than the rings
        case.incident = replace(case.incident, diagnosis=replace(settled, impact=held.impact))

    def _count(self, case: _Case, now_s: float) -> None:
        impact = add(case.counted, count_impact(self._series, case.incident.service, case.counted_to_s, now_s))
        if impact.failed > case.incident.diagnosis.impact.failed:
            case.failed_s = now_s
        if now_s - case.counted_to_s > _ROLL_S:
            case.counted, case.counted_to_s = impact, now_s
        case.incident = replace(case.incident, diagnosis=replace(case.incident.diagnosis, impact=impact))

    def _write(self, case: _Case, others: tuple[Alert, ...], now_s: float) -> None:
        """Bring the timeline up to date."""
        incident = case.incident
        for alert in (*incident.symptoms, *others):
            if alert.fingerprint not in case.noted:  # once: its summary may name the value of the moment
                case.noted.add(alert.fingerprint)
                case.entries.append(timeline.of_symptom(alert) if alert.symptom else timeline.of_alert(alert))
        events = self._events.events(incident.first_bad_s - _EVENTS_BEFORE_S, now_s)
        case.entries.extend(timeline.of_event(event) for event in events)
        case.entries.extend(
            timeline.of_template(template)
            for template in incident.diagnosis.templates
            if template.log_class != "benign"
        )

    # --- telling and saving -----------------------------------------------------------------------------------------

    def _tell(self, case: _Case, change: ChangeKind, now_s: float) -> list[Notification]:
        case.entries.append(timeline.of_message(change, now_s))
        incident = replace(
            case.incident,
            revision=case.incident.revision + 1,
            updated_at_s=now_s,
            timeline=timeline.extend(case.incident.timeline, case.entries),
        )
        case.incident, case.entries = incident, []
        return self._notify(incident.id, change, incident.revision, self._compose(incident, change), now_s)

    def _notify(
        self, subject: str, change: ChangeKind, revision: int, message: Message, now_s: float
    ) -> list[Notification]:
        return [
            Notification(f"{subject}:{change.value}:{revision}:{name}", subject, name, now_s, message)
            for name, wanted in self._receivers
            if message.severity in wanted
        ]

    def _worth_saving(self, case: _Case, now_s: float) -> bool:
        """Whether a person could see a difference, or it is time anyway."""
        extended = timeline.extend(case.incident.timeline, case.entries)
        case.entries = []
        grown = len(extended) > len(case.incident.timeline)
        case.incident = replace(case.incident, timeline=extended)
        return grown or now_s - case.saved_s >= self._tempo.commit_every_s

    def _saved(self, case: _Case, now_s: float) -> Incident:
        case.incident = replace(case.incident, updated_at_s=now_s)
        case.saved_s = now_s
        return case.incident


def incident_id(service: str, first_bad_s: float, opened_at_s: float) -> str:
    """The same id for the same service and time, in every process: "inc-20261123T210501Z-3f9a"."""
    stamp = datetime.fromtimestamp(opened_at_s, UTC).strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.blake2b(f"{service}\n{first_bad_s:.3f}".encode("utf-8", "surrogatepass"), digest_size=2)
    return f"inc-{stamp}-{digest.hexdigest()}"


def _is_settled(incident: Incident) -> bool:
    """Whether a person said that what is named is right: then nothing else need be."""
    named = tuple(dict.fromkeys(h.cause for h in incident.diagnosis.roots))
    said = incident.judgement
    return said is not None and said.word is Word.CONFIRMED and said.named == named
