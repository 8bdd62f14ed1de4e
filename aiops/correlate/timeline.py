"""An incident's history in lines: symptoms, alerts beside them, changes, log classes, answers, messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aiops.correlate.findings import clean
from aiops.model import Alert, ChangeKind, Diagnosis, DiagnosisStatus, Event, LogTemplate, TimelineEntry

MAX_ENTRIES = 200
_TOLD = {
    ChangeKind.OPENED: "Message sent: incident opened.",
    ChangeKind.UPDATED: "Message sent: the answer changed.",
    ChangeKind.RESOLVED: "Message sent: resolved.",
}


def of_symptom(alert: Alert) -> TimelineEntry:
    """A symptom, at its first bad second."""
    return TimelineEntry(alert.since_s, "symptom", alert.summary or alert.rule)


def of_alert(alert: Alert) -> TimelineEntry:
    """An alert that fires beside the symptoms, at its first breach."""
    return TimelineEntry(alert.since_s, "alert", f"{alert.rule}: {alert.summary}" if alert.summary else alert.rule)


def of_event(event: Event) -> TimelineEntry:
    """A change or a device's report; labels only, its free text stays here."""
    about = ", ".join(f"{name} {clean(value)}" for name, value in event.labels.pairs if name != "host_name")
    return TimelineEntry(
        event.at_s, "event", f"{event.kind.value}: {clean(event.action)}" + (f" ({about})" * bool(about))
    )


def of_template(template: LogTemplate) -> TimelineEntry:
    """The first line of a log template that means something; told by the lexicon, never by the line."""
    return TimelineEntry(template.first_at_s, "log", template.title or f"log class {template.log_class}")


def of_answer(diagnosis: Diagnosis) -> TimelineEntry:
    """A new answer."""
    if diagnosis.status is DiagnosisStatus.NAMED:
        named = " and ".join(f"{h.title} ({h.place})" for h in diagnosis.roots)
        return TimelineEntry(diagnosis.at_s, "diagnosis", f"Cause named: {named}.")
    return TimelineEntry(diagnosis.at_s, "diagnosis", "Cause undetermined: nothing leads clearly.")


def of_message(change: ChangeKind, at_s: float) -> TimelineEntry:
    """People were told."""
    return TimelineEntry(at_s, "notification", _TOLD[change])


def extend(timeline: Sequence[TimelineEntry], entries: Iterable[TimelineEntry]) -> tuple[TimelineEntry, ...]:
    """*timeline* with those of *entries* that are not in it, by time; the first ones stay when it is full."""
    held = set(timeline)
    new = [entry for entry in dict.fromkeys(entries) if entry not in held]
    if not new:
        return tuple(timeline)
    kept = [*timeline, *new[: max(MAX_ENTRIES - len(timeline), 0)]]
    return tuple(sorted(kept, key=lambda entry: entry.at_s))
