"""
The small protocols through which the stages meet.

A stage implements some of these and is handed others; `app.py` introduces them. No protocol has more than four
methods. Implementations live in their stage; contract tests in tests/contract run over every one of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar, runtime_checkable

from aiops.cards import CardBook
from aiops.clock import Clock
from aiops.model import (
    Alert,
    Breach,
    ChangeSet,
    Event,
    Incident,
    IncidentState,
    Labels,
    LogRecord,
    LogTemplate,
    Notification,
    Observation,
    Sample,
    Sight,
    TemplateNote,
)

if TYPE_CHECKING:
    import httpx
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

T = TypeVar("T")

# --- collect --------------------------------------------------------------------------------------------------------


@runtime_checkable
class Collector(Protocol):
    """
    Reads one kind of source. Blocking, so the runner calls it in a private thread with a deadline.

    It also has ``interval_s`` and ``deadline_s`` (seconds). It emits only catalogued metrics, yields a `Sight` when
    what it can see changes, and raises `SourceError` when the source as a whole fails.
    """

    interval_s: float
    deadline_s: float

    def collect(self, now_s: float) -> Iterable[Observation]:
        """Everything observed since the last call."""
        ...


@runtime_checkable
class AsyncCollector(Protocol):
    """A collector that speaks HTTP or to a child process: a coroutine on the loop, otherwise as `Collector`."""

    interval_s: float
    deadline_s: float

    async def gather(self, now_s: float) -> Iterable[Observation]:
        """Everything observed since the last call."""
        ...


@runtime_checkable
class Closeable(Protocol):
    """A collector that holds a child process or another resource beyond a run."""

    def close(self) -> None:
        """Let go of it; the collector is not run again."""
        ...


@runtime_checkable
class Acknowledging(Protocol):
    """A collector that keeps checkpoints: it may only move on from what has arrived."""

    def acknowledge(self, now_s: float) -> None:
        """Everything handed over so far was taken in. Never called while the collector runs; must not block."""
        ...


class Source(Protocol):
    """A collector with its runner around it."""

    async def run(self, now_s: float, *, hastened: bool = False) -> Sequence[Observation]:
        """Observations of one run; never raises for a sick source."""
        ...

    def acknowledge(self, now_s: float) -> None:
        """What was observed so far is taken in: the source may move its checkpoints on."""
        ...


class Checkpoints(Protocol):
    """Small named values that survive a restart; writes reach the disk within seconds, and at a clean stop."""

    def get(self, name: str) -> bytes | None:
        """The last value put under *name*, or None."""
        ...

    def put(self, name: str, value: bytes) -> None:
        """Remember *value* under *name*; at most 64 KiB."""
        ...


class Inbox(Protocol):
    """Where pushed observations wait for the next tick. Bounded."""

    def offer(self, observation: Observation) -> bool:
        """Take it; False when the box is full and it was counted instead."""
        ...

    def drain(self) -> Sequence[Observation]:
        """Everything offered since the last drain, in order."""
        ...


@dataclass(frozen=True, slots=True)
class World:
    """What a plug-in may touch, handed to its ``build(config, world)``; a test hands in another world."""

    host: str
    """This node's name: the value of ``host_name``."""
    root: Path
    """Where the file system begins: ``/``, or a recorded tree in tests."""
    clock: Clock
    http: httpx.AsyncClient
    checkpoints: Checkpoints
    inbox: Inbox
    cards: CardBook = field(default_factory=CardBook)
    """What collectors tell one another about the GPUs."""


# --- store ----------------------------------------------------------------------------------------------------------


class Window(NamedTuple):
    """A series cut to a time range, oldest first; the arrays have equal length and must not be written to."""

    labels: Labels
    at_s: Floats
    values: Floats


class SeriesReader(Protocol):
    """Recent samples."""

    def window(
        self, metric: str, start_s: float, end_s: float, match: Mapping[str, str] | None = None
    ) -> Iterator[Window]:
        """Every series of *metric* whose labels contain *match*, cut to [start_s, end_s]; series empty there are left out."""
        ...

    def latest(
        self, metric: str, now_s: float, match: Mapping[str, str] | None = None, max_age_s: float = 30.0
    ) -> Iterator[Sample]:
        """The newest sample at or before *now_s* of every matching series, if at most *max_age_s* old."""
        ...

    def metrics(self) -> Sequence[str]:
        """Names of all metrics held."""
        ...


class SeriesWriter(Protocol):
    """Takes samples in. Per series: a newer time appends; a time already there is replaced; an unknown older one is dropped and counted."""

    def extend(self, samples: Iterable[Sample]) -> None:
        """Store *samples*."""
        ...


class Series(SeriesReader, SeriesWriter, Protocol):
    """The rings, as the pipeline uses them."""

    def snapshot(self, now_s: float) -> Iterable[Sample]:
        """The newest sample of every live series."""
        ...

    def expire(self, now_s: float) -> None:
        """Forget series that ended."""
        ...


class EventSink(Protocol):
    """Remembers events for the correlator."""

    def remember(self, event: Event) -> None:
        """Make *event* visible to readers at once; it is saved with the next commit."""
        ...


class EventReader(Protocol):
    """Recent events."""

    def events(self, start_s: float, end_s: float) -> Sequence[Event]:
        """Events of [start_s, end_s], oldest first."""
        ...

    def has_change_feed(self) -> bool:
        """Whether anybody ever reported a change here; what this daemon saw of itself (``seen_by``) does not count."""
        ...


class TemplateReader(Protocol):
    """Log templates seen recently."""

    def templates(self, start_s: float, end_s: float) -> Sequence[LogTemplate]:
        """Templates with lines in [start_s, end_s], counts within it, non-benign and most frequent first; at most 50."""
        ...


class StateWriter(Protocol):
    """The transactional state."""

    def commit(self, changes: ChangeSet) -> None:
        """
        Save all of *changes* in one transaction; returns when it is on the disk.

        Raises:
            StateError: nothing of it was saved.
        """
        ...


class Keeper(Protocol):
    """The housekeeping side of the state."""

    def changed_checkpoints(self) -> Mapping[str, bytes]:
        """Those that were put and are not on the disk."""
        ...

    def write_checkpoints(self, values: Mapping[str, bytes]) -> None:
        """Write *values*, which `changed_checkpoints` gave."""
        ...

    def roll_up(self, samples: Iterable[Sample], now_s: float) -> None:
        """Add the minute's samples to history."""
        ...

    def waiting_count(self) -> int:
        """Notifications not acknowledged yet."""
        ...


class IncidentLog(Protocol):
    """Incidents as last committed."""

    def incident(self, incident_id: str) -> Incident | None:
        """One incident, whole."""
        ...

    def incidents(self, limit: int = 100, state: IncidentState | None = None) -> Sequence[Incident]:
        """The newest, of one state if given, newest first; charts and templates left out."""
        ...

    def open_incidents(self) -> Sequence[Incident]:
        """Incidents not resolved, whole."""
        ...


class Outbox(Protocol):
    """Notifications committed and not yet acknowledged."""

    def claim(self, now_s: float, lease_s: float, limit: int) -> Sequence[Notification]:
        """Up to *limit* due notifications, leased for *lease_s*; of one subject and receiver only the oldest."""
        ...

    def ack(self, key: str, now_s: float) -> None:
        """The receiver has it."""
        ...

    def retry(self, key: str, at_s: float, error: str) -> None:
        """Not now; make it due again at *at_s* and count the attempt."""
        ...

    def bury(self, key: str, now_s: float, error: str) -> None:
        """Give up: a dead letter, kept and visible."""
        ...


class EmergencyOutbox(Protocol):
    """Takes notifications the state file would not."""

    def put(self, notification: Notification, now_s: float) -> None:
        """Hold it in memory until it is sent."""
        ...


class RunBlocking(Protocol):
    """Runs a blocking call where it may block."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """What *work* returns."""
        ...


# --- logs -----------------------------------------------------------------------------------------------------------


class LogSink(Protocol):
    """Turns log records into samples; keeps templates."""

    def feed(self, records: Iterable[LogRecord]) -> None:
        """Mask, cluster and classify *records*."""
        ...

    def samples(self, now_s: float) -> Iterable[Sample]:
        """Counters that changed since the last call (with their previous value one step earlier when new)."""
        ...


class TemplateNotes(Protocol):
    """What is counted of log templates, noted for a recording."""

    def begin_notes(self) -> None:
        """From now on remember which templates change; all of them have."""
        ...

    def notes(self) -> Sequence[TemplateNote]:
        """On every template that changed since the last call."""
        ...

    def end_notes(self) -> None:
        """Nobody asks any more."""
        ...


# --- detect ---------------------------------------------------------------------------------------------------------


class Detector(Protocol):
    """One rule's method; pure: the same series and time give the same breaches."""

    def evaluate(self, series: SeriesReader, now_s: float) -> Iterable[Breach]:
        """Breaches that hold at *now_s*; nothing when there is too little history to say."""
        ...


class Ledger(Protocol):
    """Keeps account of series for longer than memory holds them."""

    def samples(self, series: SeriesReader, now_s: float) -> Iterable[Sample]:
        """What follows from the account, once what is new in *series* is booked; nothing when it is not time for it."""
        ...


class AlertBook(Protocol):
    """Breaches with memory."""

    def step(self, breaches: Iterable[Breach], now_s: float) -> Sequence[Alert]:
        """Alerts whose state changed."""
        ...

    def firing(self) -> Sequence[Alert]:
        """Alerts firing now."""
        ...


# --- record ---------------------------------------------------------------------------------------------------------


class Part(StrEnum):
    """Where samples came from that go into memory."""

    COLLECTED = "collected"
    LOGS = "logs"
    LEDGER = "ledger"


class Tape(Protocol):
    """Hears everything that an evaluation's answer depends on, in the order in which it came."""

    def evaluating(self, now_s: float, *, steady: bool) -> None:
        """An evaluation begins; *steady* if it asks every detector."""
        ...

    def took(self, part: Part, samples: Sequence[Sample], now_s: float) -> None:
        """*samples* are about to go into memory."""
        ...

    def heard(self, event: Event) -> None:
        """*event* is remembered."""
        ...

    def ticked(self, tick: str, now_s: float) -> None:
        """Everything the tick (``evaluate`` or ``expire``) depends on has been told."""
        ...


# --- correlate ------------------------------------------------------------------------------------------------------


class Correlator(Protocol):
    """Firing alerts into incidents with causes."""

    def step(self, firing: Sequence[Alert], now_s: float) -> ChangeSet:
        """What changed: incidents opened, answered anew or resolved, and whom to tell."""
        ...

    def in_doubt(self, now_s: float) -> bool:
        """Whether an incident is young or not explained yet: then every collector should hurry."""
        ...


# --- notify ---------------------------------------------------------------------------------------------------------


class Notifier(Protocol):
    """Speaks one vendor's format to one receiver."""

    async def send(self, notification: Notification) -> None:
        """
        Deliver it.

        Raises:
            TransientSendError: try again later.
            PermanentSendError: never try again.
        """
        ...


# --- export ---------------------------------------------------------------------------------------------------------


class Exposition(Protocol):
    """The cached page of node samples."""

    def renew(self, samples: Callable[[], Iterable[Sample]]) -> None:
        """Let /metrics show what *samples* gives, asked for once when the page is."""
        ...


class StatusReader(Protocol):
    """What the daemon knows of itself, for the page and the API."""

    def sights(self) -> Sequence[Sight]:
        """What is watched and what is not, collectors in order."""
        ...

    def ready(self) -> bool:
        """Whether every part has started and a first round of collection has ended."""
        ...

    def firing(self) -> Sequence[Alert]:
        """Alerts firing now."""
        ...
