"""From lines to samples, from samples to alerts, from alerts to incidents; and who listens to it for a recording."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Protocol

from aiops.model import Alert, Breach, ChangeSet, Event, Incident, LogRecord, Sample, Spoken, TemplateNote
from aiops.ports.store import SeriesReader


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


class Correlator(Protocol):
    """Firing alerts into incidents with causes."""

    def step(self, firing: Sequence[Alert], now_s: float, spoken: Sequence[Spoken] = ()) -> ChangeSet:
        """What changed: incidents opened, answered anew, judged or resolved, and whom to tell."""
        ...

    def in_doubt(self, now_s: float) -> bool:
        """Whether an incident is young or not explained yet: then every collector should hurry."""
        ...


class Docket(Protocol):
    """Where what people say of answers waits for the next evaluation."""

    def take(self) -> Sequence[Spoken]:
        """What waits; it is settled when this evaluation has been saved."""
        ...

    def settle(self, incidents: Iterable[Incident], *, saved: bool) -> None:
        """What was taken is in *incidents*, or was not heard; *saved* if those are on the disk."""
        ...


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

    def judged(self, spoken: Spoken) -> None:
        """The evaluation that has begun takes in what somebody said of an answer."""
        ...

    def ticked(self, tick: str, now_s: float) -> None:
        """Everything the tick (``evaluate`` or ``expire``) depends on has been told."""
        ...
