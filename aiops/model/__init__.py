"""
The types that travel between the stages.

Everything here is a value: frozen, comparable, without behaviour that touches the world. A stage receives some of
these, returns others, and knows nothing of who made them. Times are seconds since the epoch (``…_s``); a reading that
could not be taken is an absent Sample, never a zero.
"""

from aiops.model.alerts import Alert, AlertState, Breach, HeldAlert, Severity
from aiops.model.delivery import ChangeKind, ChangeSet, Message, Notification
from aiops.model.encoding import from_json, to_json
from aiops.model.incidents import (
    CauseLevel,
    Chart,
    Diagnosis,
    DiagnosisStatus,
    Evidence,
    EvidenceState,
    Hypothesis,
    Impact,
    Incident,
    IncidentState,
    Line,
    Mover,
    SeriesRef,
    Spoken,
    TimelineEntry,
    Verdict,
)
from aiops.model.judgements import Judgement, Tally, Word
from aiops.model.labels import NO_LABELS, Labels
from aiops.model.logs import LogSeverity, LogTemplate, NewsKind, TemplateNews, TemplateNote
from aiops.model.observations import (
    HURTFUL,
    NOBODY,
    UNNAMED_SERVICE,
    Event,
    EventKind,
    LogRecord,
    Observation,
    Outcome,
    Sample,
    Sight,
)
from aiops.model.times import Onset

__all__ = [
    "HURTFUL",
    "NOBODY",
    "NO_LABELS",
    "UNNAMED_SERVICE",
    "Alert",
    "AlertState",
    "Breach",
    "CauseLevel",
    "ChangeKind",
    "ChangeSet",
    "Chart",
    "Diagnosis",
    "DiagnosisStatus",
    "Event",
    "EventKind",
    "Evidence",
    "EvidenceState",
    "HeldAlert",
    "Hypothesis",
    "Impact",
    "Incident",
    "IncidentState",
    "Judgement",
    "Labels",
    "Line",
    "LogRecord",
    "LogSeverity",
    "LogTemplate",
    "Message",
    "Mover",
    "NewsKind",
    "Notification",
    "Observation",
    "Onset",
    "Outcome",
    "Sample",
    "SeriesRef",
    "Severity",
    "Sight",
    "Spoken",
    "Tally",
    "TemplateNews",
    "TemplateNote",
    "TimelineEntry",
    "Verdict",
    "Word",
    "from_json",
    "to_json",
]
