"""
The types that travel between the stages.

Everything here is a value: frozen, comparable, without behaviour that touches the world. A stage receives some of
these, returns others, and knows nothing of who made them. Times are seconds since the epoch (``…_s``); a reading that
could not be taken is an absent Sample, never a zero.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

import msgspec

T = TypeVar("T")


class Labels:
    """
    A sorted set of name-value pairs: what a series, alert or event is about. Immutable.

    Not a dataclass, so that the hash is computed once: labels are looked up far more often than made. Build them
    outside the hot path and reuse them.
    """

    __slots__ = ("_hash", "pairs")

    def __init__(self, pairs: tuple[tuple[str, str], ...] = ()) -> None:
        """Take *pairs* as they are: sorted by name, each name once. `of` and `from_mapping` sort for you."""
        self.pairs: Final = pairs
        self._hash: Final = hash(pairs)

    @classmethod
    def of(cls, **values: str) -> Labels:
        """Labels from keywords: ``Labels.of(host_name="n1", gpu="3")``."""
        return cls(tuple(sorted(values.items())))

    @classmethod
    def from_mapping(cls, values: Mapping[str, str]) -> Labels:
        """Labels from any mapping of text to text."""
        return cls(tuple(sorted(values.items())))

    def get(self, name: str, default: str = "") -> str:
        """The value under *name*, or *default*."""
        for key, value in self.pairs:
            if key == name:
                return value
        return default

    def merge(self, **values: str) -> Labels:
        """These labels with *values* added or replaced."""
        return Labels.from_mapping({**dict(self.pairs), **values})

    def only(self, names: Iterable[str]) -> Labels:
        """These labels with only *names* kept."""
        wanted = set(names)
        return Labels(tuple(pair for pair in self.pairs if pair[0] in wanted))

    def matches(self, wanted: Mapping[str, str]) -> bool:
        """Whether every name of *wanted* is here with that value."""
        return all(self.get(name) == value for name, value in wanted.items())

    def fingerprint(self) -> str:
        """Sixteen hex digits that identify this label set, the same in every process."""
        return hashlib.blake2b(repr(self.pairs).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.pairs)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Labels) and self.pairs == other.pairs

    def __repr__(self) -> str:
        return f"Labels({dict(self.pairs)!r})"

    def __reduce__(self) -> tuple[type[Labels], tuple[tuple[tuple[str, str], ...]]]:
        return Labels, (self.pairs,)


NO_LABELS = Labels()


# --- time -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Onset:
    """
    When something began, as the interval (last normal sample, first abnormal sample].

    Two onsets are ordered only when their intervals do not overlap.
    """

    after_s: float
    by_s: float

    def before(self, other: Onset) -> bool:
        """Whether this certainly began earlier than *other*."""
        return self.by_s <= other.after_s


# --- what collectors yield ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sample:
    """A metric's value at a time. For counters the running total, as the source reports it."""

    metric: str
    labels: Labels
    at_s: float
    value: float


class EventKind(StrEnum):
    """What sort of thing happened once."""

    CHANGE = "change"
    """People or automation changed something: action is deploy, rollback, config, scale, restart."""
    HARDWARE = "hardware"
    """A device reported something: action is xid, gpu_lost, ecc."""
    PROCESS = "process"
    """A process came or went: action is start, exit, oom_kill."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened once, with the labels of what it happened to."""

    kind: EventKind
    action: str
    at_s: float
    labels: Labels
    message: str = ""


@dataclass(frozen=True, slots=True)
class LogRecord:
    """
    One log line as read, before masking; or several that belong together. Never stored and never sent.

    Labels hold ``source`` (file or unit) and, where known, ``instance`` (the replica that wrote it).
    """

    at_s: float
    labels: Labels
    text: str
    truncated: bool = False
    """Whether something of it was left out, because it was too long."""
    late: bool = False
    """Whether it was written long before it could be read: what was missed during a stop is no news."""


@dataclass(frozen=True, slots=True)
class Sight:
    """
    What a collector sees or cannot see, in words for a person; yielded when it changes.

    Args:
        collector: Who says it.
        subject: The thing: "vLLM at 127.0.0.1:8000", "kernel log".
        seen: True when it is being watched; False for a blind spot.
        detail: What was found, or why it cannot be seen.
        hint: How to add or repair it; empty when nothing is to be done.
    """

    collector: str
    subject: str
    seen: bool
    detail: str
    hint: str = ""


Observation = Sample | Event | LogRecord | Sight


class Outcome(StrEnum):
    """How a request ended, as the label ``outcome`` of `http_server_requests_total` tells it."""

    OK = "ok"
    CLIENT_ERROR = "4xx"
    """The client's own mistake; 429 and 499 are told apart from it."""
    UNAVAILABLE = "503"
    SERVER_ERROR = "5xx"
    TOO_MANY = "429"
    GIVEN_UP = "499"
    """The client hung up first."""
    TRUNCATED = "truncated"
    STALLED = "stalled"

    @property
    def hurts(self) -> bool:
        """Whether a user felt it and may try again."""
        return self not in {Outcome.OK, Outcome.CLIENT_ERROR}


HURTFUL: Final = frozenset(str(outcome) for outcome in Outcome if outcome.hurts)
"""Values of the label ``outcome`` that users felt."""
NOBODY: Final = "none"
"""Value of the label ``upstream`` where the gateway passed a request to nobody."""
UNNAMED_SERVICE: Final = "inference"
"""What a service is called that nothing gave a name."""


# --- logs -----------------------------------------------------------------------------------------------------------


class LogSeverity(StrEnum):
    """How bad a line is by its own words."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class NewsKind(StrEnum):
    """What is new about a template."""

    NEW = "new"
    """Never seen before, in a log that seldom says anything new."""
    MORE = "more"
    """Seen far more often than before."""


@dataclass(frozen=True, slots=True)
class TemplateNews:
    """What is new about a template in a window of time."""

    kind: NewsKind
    onset: Onset
    """Of its first line, or of the jump."""
    ratio: float
    """Of a jump: lines a second over those before it; else 0."""


@dataclass(frozen=True, slots=True)
class LogTemplate:
    """
    The constant part of many log lines.

    ``distinct`` counts lines behind it that differ in more than digits, up to a cap of 20: below 20 the template may still hold somebody's
    text and leaves this host only if ``title`` (lexicon text) can stand for it.
    """

    id: str
    """Given when its first line was seen; stays while the template becomes more general, and over restarts."""
    template: str
    count: int
    """Lines within the window that was asked for."""
    log_class: str
    severity: LogSeverity
    first_at_s: float
    """First line within the window."""
    last_at_s: float
    distinct: int = 1
    title: str = ""
    labels: Labels = NO_LABELS
    values: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """What masks hid and matters, by name, the last seen first: ``("xid", ("79", "31"))``."""
    news: TemplateNews | None = None


# --- detection ------------------------------------------------------------------------------------------------------


class Severity(StrEnum):
    """What a person must do about an alert."""

    PAGE = "page"
    """Wake somebody."""
    TICKET = "ticket"
    """One quiet, grouped chat message."""
    INFO = "info"
    """Page and Grafana only."""


@dataclass(frozen=True, slots=True)
class Breach:
    """One evaluation's finding that a rule's condition holds for one label set. Has no memory."""

    rule: str
    labels: Labels
    at_s: float
    value: float
    limit: float
    since_s: float | None = None
    """When the condition began, if the detector can tell better than the evaluation time."""
    text: str = ""
    """The finding in words."""
    starts: bool = True
    """False for a value between the clearing and the firing limit: it keeps a firing alert, and starts none."""


class AlertState(StrEnum):
    """Where an alert stands; inactive alerts are not kept."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Alert:
    """A breach with memory."""

    rule: str
    labels: Labels
    severity: Severity
    symptom: bool
    state: AlertState
    since_s: float
    """First breach of this spell (for a symptom: the first bad second)."""
    last_breach_s: float
    value: float
    limit: float
    summary: str
    fired_at_s: float | None = None
    resolved_at_s: float | None = None

    @property
    def fingerprint(self) -> str:
        """Identity of the alert: rule and labels."""
        return self.labels.merge(alertname=self.rule).fingerprint()


# --- correlation ----------------------------------------------------------------------------------------------------


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


# --- delivery -------------------------------------------------------------------------------------------------------


class ChangeKind(StrEnum):
    """Why a notification is sent."""

    OPENED = "opened"
    UPDATED = "updated"
    """The answer changed."""
    RESOLVED = "resolved"
    TICKET = "ticket"
    """Quiet rows of the threshold table, grouped."""
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Message:
    """
    What a person is told, free of any vendor's format. Holds nothing that may not leave the host.

    ``paragraphs`` are plain sentences; ``fields`` are short name-value pairs shown as a table where the vendor can.
    """

    change: ChangeKind
    severity: Severity
    title: str
    paragraphs: tuple[str, ...]
    fields: tuple[tuple[str, str], ...] = ()
    url: str = ""
    """The incident page."""
    runbook_url: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    """For machines (generic webhook): incident, state, service, cause, place, probability, opened_at, first_bad_at,
    resolved_at; numbers as text, absent ones left out."""
    language: str = "en"
    """What the texts are written in; a vendor's own words (buttons) follow it."""


@dataclass(frozen=True, slots=True)
class Notification:
    """One message to one receiver; ``key`` is the same on every retry, so that a receiver can drop a copy."""

    key: str
    """``<subject>:<change>:<revision>:<receiver>``."""
    subject: str
    """Incident id, or ``tickets`` for grouped rows; notifications of one subject and receiver keep their order."""
    receiver: str
    created_at_s: float
    message: Message
    attempts: int = 0
    """Failed sends so far."""
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """What one evaluation changed: committed in a single transaction, or not at all."""

    alerts: tuple[Alert, ...] = ()
    """Alerts whose state changed; RESOLVED ones are removed."""
    incidents: tuple[Incident, ...] = ()
    notifications: tuple[Notification, ...] = ()
    events: tuple[Event, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.alerts or self.incidents or self.notifications or self.events)


# --- as JSON --------------------------------------------------------------------------------------------------------


def _encode_hook(value: Any) -> Any:
    if isinstance(value, Labels):
        return dict(value.pairs)
    message = f"{type(value).__name__} is not a model type"
    raise NotImplementedError(message)  # the exception msgspec asks hooks for


def _decode_hook(kind: type, value: Any) -> Any:
    if kind is Labels and isinstance(value, dict):
        return Labels.from_mapping({str(name): str(text) for name, text in value.items()})
    message = f"cannot read {kind.__name__}"
    raise NotImplementedError(message)


_ENCODER = msgspec.json.Encoder(enc_hook=_encode_hook)


def to_json(value: Any) -> bytes:
    """Any model value, or containers of them, as JSON; labels become objects."""
    return _ENCODER.encode(value)


def from_json(data: bytes | str, kind: type[T]) -> T:
    """
    The model value of type *kind* that `to_json` wrote.

    Raises:
        msgspec.DecodeError: *data* is no JSON, or (ValidationError) not of that type.
    """
    return msgspec.json.decode(data, type=kind, dec_hook=_decode_hook)
