"""
Incidents and quiet alerts as messages: short enough for a phone at three in the morning.

What users feel comes first, then the cause with its strongest evidence, the chain, what it was not, and what to do.
Every length is bounded, so that no vendor's limit is met by surprise. Nothing raw goes in: evidence texts, titles and
advice are the program's or a reviewed file's own words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from aiops.model import (
    Alert,
    AlertState,
    ChangeKind,
    DiagnosisStatus,
    Hypothesis,
    Incident,
    IncidentState,
    Message,
    Severity,
)
from aiops.narrative import sentences
from aiops.narrative.phrases import say, span

MAX_TITLE = 140
MAX_PARAGRAPH = 600
MAX_PARAGRAPHS = 12
_MAX_VALUE = 120
_MAX_ROWS = 8
_URGENCY = (Severity.INFO, Severity.TICKET, Severity.PAGE)


def compose(incident: Incident, change: ChangeKind, *, base_url: str, language: str = "en") -> Message:
    """
    What people are told about *incident*.

    Args:
        incident: As it stands now.
        change: Why they are told; RESOLVED tells how long it lasted, everything else how it stands.
        base_url: Where the incident page is served; empty for no link.
        language: "en" or "zh".
    """
    over = change is ChangeKind.RESOLVED
    paragraphs = _over(incident, language) if over else _open(incident, language)
    roots = incident.diagnosis.roots
    return Message(
        change=change,
        severity=max((a.severity for a in incident.symptoms), key=_URGENCY.index, default=Severity.PAGE),
        title=sentences.clean(_title(incident, language, over=over), MAX_TITLE),
        paragraphs=_bounded(paragraphs),
        fields=_fields(incident, language, over=over),
        url=f"{base_url.rstrip('/')}/incidents/{incident.id}" if base_url else "",
        runbook_url=next((root.runbook_url for root in roots if root.runbook_url), ""),
        facts=_facts(incident),
        language=language,
    )


def compose_tickets(alerts: Sequence[Alert], *, base_url: str, language: str = "en") -> Message:
    """
    One quiet message about *alerts*, at least one; resolved ones are told as over.

    Args:
        alerts: What changed, most important first.
        base_url: Where the page is served; empty for no link.
        language: "en" or "zh".
    """
    firing = [alert for alert in alerts if alert.state is not AlertState.RESOLVED]
    rows = [_row(alert, language) for alert in alerts[:_MAX_ROWS]]
    if len(alerts) > _MAX_ROWS:
        rows.append(say(language, "ticket.more", count=len(alerts) - _MAX_ROWS))
    first = sentences.clean((firing or alerts)[0].summary, 80)
    key = "title.tickets.over" if not firing else "title.tickets" if len(firing) > 1 else "title.ticket"
    return Message(
        change=ChangeKind.TICKET,
        severity=Severity.TICKET,
        title=sentences.clean(say(language, key, count=len(firing), first=first), MAX_TITLE),
        paragraphs=_bounded(rows),
        url=f"{base_url.rstrip('/')}/" if base_url else "",
        facts=(("state", "firing" if firing else "resolved"), ("alerts", ", ".join(_rules(alerts)))),
        language=language,
    )


def compose_test(receiver: str, *, language: str = "en") -> Message:
    """A message that says it is only a test."""
    text = say(language, "test.text", receiver=sentences.clean(receiver, _MAX_VALUE))
    return Message(ChangeKind.TEST, Severity.TICKET, say(language, "title.test"), (text,), language=language)


def from_memory(message: Message) -> Message:
    """*message*, saying that it could not be saved before it was sent."""
    return replace(message, paragraphs=(*message.paragraphs, say(message.language, "unsaved")))


def links(message: Message) -> tuple[tuple[str, str], ...]:
    """Name and address of the pages *message* leads to: the incident's, and the runbook; only web addresses."""
    pairs = (("link.page", message.url), ("link.runbook", message.runbook_url))
    return tuple((say(message.language, key), url) for key, url in pairs if url.startswith(("http://", "https://")))


def _title(incident: Incident, language: str, *, over: bool) -> str:
    if not over:
        return sentences.headline(incident, language)
    named = sentences.causes_named(incident, language)
    key = "title.resolved" if named else "title.resolved.unknown"
    felt, where = sentences.symptom(incident, language), sentences.service(incident, language)
    return say(language, key, symptom=felt, service=where, cause=named)


def _open(incident: Incident, language: str) -> Iterable[str]:
    diagnosis = incident.diagnosis
    yield sentences.impact_sentence(incident, language)
    for root in diagnosis.roots[:2]:
        yield sentences.cause_sentence(incident, root, language)
    if not diagnosis.roots:
        yield sentences.unnamed_sentence(incident, language)
    if diagnosis.status is DiagnosisStatus.PENDING:
        return  # what is ruled out and what moved first is still settling: a first message takes nothing back
    if not diagnosis.roots:
        yield sentences.movers_sentence(incident, language)
    yield sentences.chain_sentence(incident, language)
    if diagnosis.hypotheses:
        yield sentences.ruled_out_sentence(diagnosis, language)
    for root in diagnosis.roots[:2]:
        yield _advice(root, language)
    if diagnosis.notes:
        yield say(language, "notes", note=sentences.clean(diagnosis.notes[0]))


def _advice(root: Hypothesis, language: str) -> str:
    advice = sentences.clean(root.advice, MAX_PARAGRAPH - 40)
    return say(language, "advice", advice=advice) if advice else ""


def _over(incident: Incident, language: str) -> Iterable[str]:
    yield sentences.over_sentence(incident, language)
    for root in incident.diagnosis.roots[:2]:
        yield sentences.cause_sentence(incident, root, language)
    if incident.diagnosis.roots:
        yield sentences.chain_sentence(incident, language)
    else:
        yield say(language, "cause.stayed")
        yield sentences.movers_sentence(incident, language)


def _row(alert: Alert, language: str) -> str:
    key = "ticket.over" if alert.state is AlertState.RESOLVED else "ticket.since"
    summary, since = sentences.clean(alert.summary), sentences.clock(alert.since_s, language)
    return say(language, key, summary=summary.rstrip("."), clock=since)


def _rules(alerts: Sequence[Alert]) -> list[str]:
    return list(dict.fromkeys(alert.rule for alert in alerts))[:_MAX_ROWS]


def _bounded(paragraphs: Iterable[str]) -> tuple[str, ...]:
    said = (sentences.clean(paragraph, MAX_PARAGRAPH) for paragraph in paragraphs)
    return tuple([paragraph for paragraph in said if paragraph][:MAX_PARAGRAPHS])


def _fields(incident: Incident, language: str, *, over: bool) -> tuple[tuple[str, str], ...]:
    impact, roots = incident.diagnosis.impact, incident.diagnosis.roots
    pairs = [("service", sentences.service(incident, language))]
    if impact.requests > 0:
        pairs.append(("failing", sentences.percent(impact.failed / impact.requests)))
    pairs.append(("first", sentences.clock(incident.first_bad_s, language)))
    if roots:
        pairs.append(("place", roots[0].place))
        pairs.append(("probability", sentences.probability(roots[0])))
    if over:
        end_s = incident.resolved_at_s or incident.updated_at_s
        pairs.append(("lasted", span(max(0.0, end_s - incident.first_bad_s), language)))
    pairs.append(("incident", incident.id))
    return tuple((say(language, f"field.{name}"), sentences.clean(value, _MAX_VALUE)) for name, value in pairs if value)


def _facts(incident: Incident) -> tuple[tuple[str, str], ...]:
    """The incident for machines: never translated, numbers as text, absent ones left out."""
    root = incident.diagnosis.root
    resolved_at_s = incident.resolved_at_s if incident.state is IncidentState.RESOLVED else None
    facts = {
        "incident": incident.id,
        "state": incident.state.value,
        "diagnosis": incident.diagnosis.status.value,
        "service": incident.service,
        "symptom": sentences.symptom_kind(incident),
        "cause": root.cause if root else "",
        "place": root.place if root else "",
        "probability": f"{root.probability:.4f}" if root else "",
        "opened_at": f"{incident.opened_at_s:.3f}",
        "first_bad_at": f"{incident.first_bad_s:.3f}",
        "resolved_at": f"{resolved_at_s:.3f}" if resolved_at_s is not None else "",
    }
    return tuple((name, sentences.clean(value, _MAX_VALUE)) for name, value in facts.items() if value)
