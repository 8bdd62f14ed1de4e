"""Model values for the tests of the store."""

from __future__ import annotations

from aiops.model import (
    Alert,
    AlertState,
    ChangeKind,
    Chart,
    Diagnosis,
    DiagnosisStatus,
    Event,
    EventKind,
    Incident,
    IncidentState,
    Labels,
    Line,
    LogSeverity,
    LogTemplate,
    Message,
    Notification,
    Severity,
)


def alert(rule: str = "Http503Spike", state: AlertState = AlertState.FIRING, value: float = 0.4) -> Alert:
    return Alert(
        rule=rule,
        labels=Labels.of(host_name="n1", service="chat"),
        severity=Severity.PAGE,
        symptom=True,
        state=state,
        since_s=90.0,
        last_breach_s=100.0,
        value=value,
        limit=0.05,
        summary="503 for 40 % of requests",
    )


def incident(
    incident_id: str = "i1",
    state: IncidentState = IncidentState.OPEN,
    opened_at_s: float = 100.0,
    service: str = "chat",
) -> Incident:
    chart = Chart("KV cache", "ratio", (Line("a", (1.0, 2.0), (0.5, 0.9)),))
    template = LogTemplate("t1", "CUDA out of memory <*>", 3, "vram_exhaustion", LogSeverity.ERROR, 1.0, 2.0)
    return Incident(
        id=incident_id,
        service=service,
        state=state,
        opened_at_s=opened_at_s,
        first_bad_s=opened_at_s - 5.0,
        updated_at_s=opened_at_s,
        symptoms=(alert(),),
        diagnosis=Diagnosis(DiagnosisStatus.PENDING, opened_at_s, charts=(chart,), templates=(template,)),
    )


def notification(
    key: str = "i1:opened:1:oncall", subject: str = "i1", receiver: str = "oncall", created_at_s: float = 100.0
) -> Notification:
    message = Message(ChangeKind.OPENED, Severity.PAGE, "503 on chat", ("Cause not yet known.",))
    return Notification(key, subject, receiver, created_at_s, message)


def deploy(at_s: float = 50.0, version: str = "v2") -> Event:
    return Event(EventKind.CHANGE, "deploy", at_s, Labels.of(service="chat", version=version))
