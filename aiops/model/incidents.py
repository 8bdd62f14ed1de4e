"""Incidents: symptoms, hypotheses with evidence, the answer as it stands, and their history."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from aiops.model.alerts import Alert
from aiops.model.judgements import Judgement
from aiops.model.labels import Labels
from aiops.model.logs import LogTemplate
from aiops.model.times import Onset


class EvidenceState(StrEnum):
    """What testing a clause on the data said."""

    PRESENT = "present"
    ABSENT = "absent"
    UNKNOWN = "unknown"
    """There was no data to test it on; never the same as absent."""


@dataclass(frozen=True, slots=True)
class SeriesRef:
    """A series somebody may want to look at."""

    metric: str
    labels: Labels


@dataclass(frozen=True, slots=True)
class Evidence:
    """A clause of a cause, tested on data."""

    id: str
    state: EvidenceState
    text: str
    """What was found, with numbers and units, fit to be sent: never raw log text."""
    family: str = ""
    """Clauses of one family share one vote."""
    log_odds: float = 0.0
    """What this clause added to the hypothesis; 0 when another clause of its family spoke louder."""
    specific: bool = False
    necessary: bool = False
    onset: Onset | None = None
    series: tuple[SeriesRef, ...] = ()


class CauseLevel(StrEnum):
    """How near a cause is to the root."""

    TRIGGER = "trigger"
    FAULT = "fault"
    STATE = "state"
    """How it hurts; named as root only when no trigger or fault that leads to it is present."""


class Verdict(StrEnum):
    """What became of a hypothesis."""

    ROOT = "root"
    CONSEQUENCE = "consequence"
    """Present, but a root that leads to it is present too."""
    CANDIDATE = "candidate"
    """Has support, but not enough to be named."""
    RULED_OUT = "ruled_out"
    """A necessary clause was tested and is absent."""
    NOT_TESTABLE = "not_testable"
    """What it would show in is not collected here."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A cause bound to one place in one incident."""

    cause: str
    title: str
    level: CauseLevel
    where: Labels
    place: str
    """The place in words: "GPU 3", "replica 127.0.0.1:8001", "service chat"."""
    probability: float
    verdict: Verdict
    reason: str
    """Why this verdict, in a sentence."""
    evidence: tuple[Evidence, ...]
    leads_to: tuple[str, ...] = ()
    """Titles of the states it led to here, in order: the chain that is shown."""
    advice: str = ""
    runbook_url: str = ""
    beside: tuple[str, ...] = ()
    """Terms of the load (arrivals, work, pace, capacity) that hold the rise with it, and that no named cause stands for."""


@dataclass(frozen=True, slots=True)
class Mover:
    """A series that left its normal, without a cause file: how far and when."""

    series: SeriesRef
    score: float
    """Robust standard deviations from its normal, 0 or more; higher is stranger."""
    onset: Onset | None
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """One series of a chart; NaN-free, oldest first, times and values of equal length."""

    name: str
    at_s: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture of evidence, kept with the incident because rings forget."""

    title: str
    unit: str
    lines: tuple[Line, ...]
    onset: Onset | None = None


@dataclass(frozen=True, slots=True)
class Impact:
    """Blast radius: how many requests were hurt since the incident began."""

    requests: int
    failed: int
    by_gateway: int
    """Failures the gateway answered itself."""
    by_upstream: int
    """Failures an upstream answered."""
    outcomes: tuple[tuple[str, int], ...] = ()
    """Failures per symptom kind ("503", "5xx", "429", "499", "truncated", "stalled"), most first."""


class DiagnosisStatus(StrEnum):
    """How far the search for the cause has come."""

    PENDING = "pending"
    """Too early to say."""
    NAMED = "named"
    UNDETERMINED = "undetermined"
    """Enough was seen, and nothing leads clearly."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The answer as it stands: hypotheses best first, ruled-out ones last."""

    status: DiagnosisStatus
    at_s: float
    hypotheses: tuple[Hypothesis, ...] = ()
    movers: tuple[Mover, ...] = ()
    templates: tuple[LogTemplate, ...] = ()
    charts: tuple[Chart, ...] = ()
    impact: Impact = Impact(0, 0, 0, 0)
    notes: tuple[str, ...] = ()
    """What limits this answer: "no gateway log: 503 and 500 cannot be told apart"."""

    @property
    def root(self) -> Hypothesis | None:
        """The hypothesis named as root cause, if one is."""
        if self.status is not DiagnosisStatus.NAMED:
            return None
        return next((h for h in self.hypotheses if h.verdict is Verdict.ROOT), None)

    @property
    def roots(self) -> tuple[Hypothesis, ...]:
        """All hypotheses named as root: two when the load rise is shared."""
        if self.status is not DiagnosisStatus.NAMED:
            return ()
        return tuple(h for h in self.hypotheses if h.verdict is Verdict.ROOT)


class IncidentState(StrEnum):
    """Whether users still feel it."""

    OPEN = "open"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One line of an incident's history."""

    at_s: float
    kind: str
    """One of "symptom", "alert", "event", "log", "diagnosis", "notification" or "person"."""
    text: str


@dataclass(frozen=True, slots=True)
class Incident:
    """Symptoms that belong together, from open to resolved."""

    id: str
    service: str
    state: IncidentState
    opened_at_s: float
    """When the symptom alert fired."""
    first_bad_s: float
    """First bad second of the spike: the first 503 as far as is known."""
    updated_at_s: float
    symptoms: tuple[Alert, ...]
    diagnosis: Diagnosis
    timeline: tuple[TimelineEntry, ...] = ()
    resolved_at_s: float | None = None
    revision: int = 0
    """How many changes of this incident people were told about."""
    judgement: Judgement | None = None
    """What a person said of the answer."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """A person's word, on its way to an incident."""

    incident: Incident
    """As it stood when the word was spoken."""
    judgement: Judgement
