"""
The ticks of the daemon, in the order the data flows: collect, evaluate, tidy, keep. (Sending has its own.)

Everything here is a port: which store, which detectors, which receivers is decided in `app.py`. An evaluation ends in
one `ChangeSet`; once it is committed, what it promised will be sent. If the state disk refuses or hangs, pages go out
from memory and say so, and the change set is offered to the disk again at every evaluation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import structlog

from aiops.errors import StateError
from aiops.model import (
    Alert,
    Breach,
    ChangeSet,
    Event,
    Incident,
    LogRecord,
    Notification,
    Observation,
    Sample,
    Sight,
)
from aiops.ports import AlertBook, Correlator, Detector, LogSink, SeriesReader, SeriesWriter, StateWriter
from aiops.selfstat import SelfStat

log = structlog.get_logger(__name__)

T = TypeVar("T")
RunBlocking = Callable[[Callable[[], T]], Awaitable[T]]

_COMMIT_DEADLINE_S = 5.0
"""A commit that takes longer means a sick disk: the page must not wait for it."""
_MAX_EVENTS_WAITING = 1_000
_FED_AT_ONCE = 2_000
"""Log records that take some tens of milliseconds."""


class Source(Protocol):
    """A collector with its runner around it."""

    async def run(self, now_s: float, *, hastened: bool = False) -> Sequence[Observation]:
        """Observations of one run; never raises for a sick source."""
        ...

    def acknowledge(self, now_s: float) -> None:
        """What was observed so far is taken in: the source may move its checkpoints on."""
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


class Exposition(Protocol):
    """The cached page of node samples."""

    def render(self, samples: Iterable[Sample]) -> None:
        """Make *samples* what /metrics shows."""
        ...


class EmergencyOutbox(Protocol):
    """Takes notifications the state file would not."""

    def put(self, notification: Notification, now_s: float) -> None:
        """Hold it in memory until it is sent."""
        ...


class Keeper(Protocol):
    """The housekeeping side of the state."""

    def flush_checkpoints(self) -> None:
        """Write changed checkpoints."""
        ...

    def roll_up(self, samples: Iterable[Sample], now_s: float) -> None:
        """Add the minute's samples to history."""
        ...

    def waiting_count(self) -> int:
        """Notifications not acknowledged yet."""
        ...


class Board:
    """What is watched, what is not, what fires: the daemon's view of itself (`ports.StatusReader`)."""

    _MAX_SIGHTS = 500

    def __init__(self, book: AlertBook, collectors: Iterable[str]) -> None:
        self._book = book
        self._sights: dict[tuple[str, str], Sight] = {}
        self._waiting = set(collectors)

    def post(self, sight: Sight) -> None:
        """Put up *sight*, and log it when it says something new."""
        key = (sight.collector, sight.subject)
        if self._sights.get(key) == sight or (key not in self._sights and len(self._sights) >= self._MAX_SIGHTS):
            return
        self._sights[key] = sight
        log.info(
            "watching" if sight.seen else "not watching",
            collector=sight.collector,
            subject=sight.subject,
            detail=sight.detail,
            **({"hint": sight.hint} if sight.hint else {}),
        )

    def ran(self, collector: str) -> None:
        """A run of *collector* has ended, well or badly."""
        self._waiting.discard(collector)

    def unready(self) -> Sequence[str]:
        """What the daemon waits for before it calls itself ready."""
        return [f"the first run of {collector} has not ended" for collector in sorted(self._waiting)]

    def sights(self) -> Sequence[Sight]:
        return [self._sights[key] for key in sorted(self._sights)]

    def ready(self) -> bool:
        return not self._waiting

    def firing(self) -> Sequence[Alert]:
        return self._book.firing()


@dataclass(slots=True)
class Pipeline:
    """The ticks, over ports."""

    series: Series
    events: EventSink
    logs: LogSink
    urgent: Sequence[Detector]
    """Detectors of symptoms: evaluated every time."""
    steady: Sequence[Detector]
    """All others: evaluated every `steady_every_s`."""
    book: AlertBook
    correlator: Correlator
    state: StateWriter
    keeper: Keeper
    board: Board
    exposition: Exposition
    emergency: EmergencyOutbox
    stat: SelfStat
    run_blocking: RunBlocking[None]
    """Runs a blocking call on the thread that owns the state file."""
    promised: Callable[[], None]
    """Called when notifications wait to be sent."""
    hurry: Callable[[], None] = lambda: None
    """Called when collectors should run at once: users began to be hurt."""
    steady_every_s: float = 5.0
    hastened: bool = False
    """Whether every collector should hurry."""
    _steady_at_s: float = float("-inf")
    _steady_breaches: tuple[Breach, ...] = ()
    _events_waiting: list[Event] = field(default_factory=list)
    _unsaved: ChangeSet = field(default_factory=ChangeSet)
    _commit: asyncio.Future[None] | None = None
    _kept_badly: bool = False

    async def collect(self, source: Source, now_s: float) -> None:
        """Run one collector and take in what it saw."""
        observations = await source.run(now_s, hastened=self.hastened)
        samples: list[Sample] = []
        records: list[LogRecord] = []
        for observation in observations:
            if isinstance(observation, Sample):
                samples.append(observation)
            elif isinstance(observation, LogRecord):
                records.append(observation)
            elif isinstance(observation, Event):
                self._take_event(observation)
            else:
                self.board.post(observation)
        for start in range(0, len(records), _FED_AT_ONCE):
            if start:
                await asyncio.sleep(0)  # a flood of lines must not hold up every other tick
            self.logs.feed(records[start : start + _FED_AT_ONCE])
        self.series.extend(samples)
        source.acknowledge(now_s)

    def _take_event(self, event: Event) -> None:
        self.events.remember(event)
        if len(self._events_waiting) < _MAX_EVENTS_WAITING:
            self._events_waiting.append(event)

    async def evaluate(self, now_s: float) -> None:
        """Detect, correlate, commit."""
        self.series.extend(self.logs.samples(now_s))
        breaches = [breach for detector in self.urgent for breach in self._breaches_of(detector, now_s)]
        if now_s - self._steady_at_s >= self.steady_every_s or now_s < self._steady_at_s:
            self._steady_at_s = now_s
            self._steady_breaches = tuple(
                breach for detector in self.steady for breach in self._breaches_of(detector, now_s)
            )
        changed = self.book.step([*breaches, *self._steady_breaches], now_s)
        found = self.correlator.step(self.book.firing(), now_s)
        was_calm, self.hastened = not self.hastened, self.correlator.in_doubt(now_s)
        if was_calm and self.hastened:
            self.hurry()
        events, self._events_waiting = tuple(self._events_waiting), []
        await self._save(replace(found, alerts=tuple(changed), events=events), now_s)

    def _breaches_of(self, detector: Detector, now_s: float) -> Iterable[Breach]:
        try:
            return list(detector.evaluate(self.series, now_s))
        except Exception:  # one rule on odd data must not silence the others
            self.stat.internal_errors.labels("detect").inc()
            log.exception("detector failed", detector=repr(detector))
            return ()

    async def _save(self, changes: ChangeSet, now_s: float) -> None:
        """Commit *changes* and whatever could not be committed before."""
        merged = merge(self._unsaved, changes)
        if not merged:
            return
        try:
            if self._commit is not None and not self._commit.done():
                raise StateError("the previous commit still hangs")
            self._commit = asyncio.ensure_future(self.run_blocking(lambda: self.state.commit(merged)))
            self._commit.add_done_callback(_retrieve)
            async with asyncio.timeout(_COMMIT_DEADLINE_S):
                await asyncio.shield(self._commit)
        except (StateError, TimeoutError) as error:
            if not self._unsaved:
                log.error("state cannot be saved; pages go out from memory", error=str(error) or "commit hangs")
            self.stat.state_errors.inc()
            for notification in changes.notifications:
                self.emergency.put(notification, now_s)
            # sent from memory, so not promised a second time by a later commit
            self._unsaved = replace(merged, notifications=())
        else:
            if self._unsaved:
                log.info("state can be saved again")
            self._unsaved = ChangeSet()
        if changes.notifications:
            self.promised()

    async def tidy(self, now_s: float) -> None:
        """Render /metrics, forget what ended."""
        self.series.expire(now_s)
        self.exposition.render(self.series.snapshot(now_s))

    async def keep(self, now_s: float) -> None:
        """Write checkpoints and history: what may be lost for a few seconds, but not for good."""
        samples = list(self.series.snapshot(now_s))

        def work() -> None:
            self.keeper.flush_checkpoints()
            self.keeper.roll_up(samples, now_s)
            self.stat.outbox_waiting.set(self.keeper.waiting_count())

        if self._commit is not None and not self._commit.done():
            return  # the disk hangs; nothing may queue behind it
        try:
            async with asyncio.timeout(_COMMIT_DEADLINE_S):
                await self.run_blocking(work)
        except (StateError, TimeoutError) as error:
            self.stat.state_errors.inc()
            if not self._kept_badly:
                log.error("checkpoints and history cannot be saved", error=str(error) or "the disk hangs")
            self._kept_badly = True
        else:
            if self._kept_badly:
                log.info("checkpoints and history can be saved again")
            self._kept_badly = False


def _retrieve(commit: asyncio.Future[None]) -> None:
    """Look at the outcome of a commit that nobody waits for any more, so that asyncio does not complain of it."""
    if not commit.cancelled():
        commit.exception()


def merge(older: ChangeSet, newer: ChangeSet) -> ChangeSet:
    """Both change sets as one: of an alert or incident the newer state, of events and notifications all."""
    if not older:
        return newer
    alerts = {alert.fingerprint: alert for alert in (*older.alerts, *newer.alerts)}
    incidents: dict[str, Incident] = {incident.id: incident for incident in (*older.incidents, *newer.incidents)}
    return ChangeSet(
        alerts=tuple(alerts.values()),
        incidents=tuple(incidents.values()),
        notifications=(*older.notifications, *newer.notifications),
        events=(*older.events, *newer.events)[-_MAX_EVENTS_WAITING:],
    )
