"""
The ticks of the daemon, in the order the data flows: collect, evaluate, tidy, keep. (Sending has its own.)

Everything here is a port: which store, which detectors, which receivers is decided in `app.py`. An evaluation ends in
one `ChangeSet`, which the saver commits; once it is committed, what it promised will be sent.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from aiops.errors import StateError
from aiops.model import Alert, Breach, Event, Incident, LogRecord, Sample, Sight, Spoken
from aiops.ports import (
    AlertBook,
    Correlator,
    Detector,
    Docket,
    EventSink,
    Exposition,
    Keeper,
    Ledger,
    LogSink,
    Part,
    RunBlocking,
    Series,
    Source,
    Tape,
)
from aiops.saving import Saver
from aiops.selfstat import SelfStat

log = structlog.get_logger(__name__)

_EXPIRE_S = 60.0
"""Series end after an hour; looking at each of them costs as much as storing their samples."""
_FED_AT_ONCE = 2_000
"""Log records that take some tens of milliseconds."""


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
        if self._sights.get(key) == sight:
            return
        if key not in self._sights and len(self._sights) >= self._MAX_SIGHTS and not self._made_room():
            return
        self._sights.pop(key, None)  # the latest news stand last
        self._sights[key] = sight
        log.info(
            "watching" if sight.seen else "not watching",
            collector=sight.collector,
            subject=sight.subject,
            detail=sight.detail,
            **({"hint": sight.hint} if sight.hint else {}),
        )

    def _made_room(self) -> bool:
        """Take down what was last seen to be gone, longest ago: servers and files come and go for months."""
        gone = next((key for key, sight in self._sights.items() if not sight.seen), None)
        if gone is not None:
            del self._sights[gone]
        return gone is not None

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


class NoTape:
    """Nobody records; implements `ports.Tape`."""

    def evaluating(self, now_s: float, *, steady: bool) -> None:
        pass

    def took(self, part: Part, samples: Sequence[Sample], now_s: float) -> None:
        pass

    def heard(self, event: Event) -> None:
        pass

    def judged(self, spoken: Spoken) -> None:
        pass

    def ticked(self, tick: str, now_s: float) -> None:
        pass


class NoDocket:
    """Nobody says anything; implements `ports.Docket`."""

    def take(self) -> Sequence[Spoken]:
        return ()

    def settle(self, incidents: Iterable[Incident], *, saved: bool) -> None:
        pass


@dataclass(slots=True)
class Pipeline:
    """The ticks, over ports."""

    series: Series
    events: EventSink
    logs: LogSink
    urgent: Sequence[Detector]
    """Detectors of what answers tell one by one: evaluated every time."""
    steady: Sequence[Detector]
    """All others: evaluated every `steady_every_s`."""
    book: AlertBook
    correlator: Correlator
    saver: Saver
    keeper: Keeper
    board: Board
    exposition: Exposition
    stat: SelfStat
    run_blocking: RunBlocking
    """Runs a blocking call on the thread that owns the state file."""
    promised: Callable[[], None]
    """Called when notifications wait to be sent."""
    hurry: Callable[[], None] = lambda: None
    """Called when collectors should run at once: users began to be hurt."""
    ledgers: Sequence[Ledger] = ()
    """What is reckoned from series over hours and days, for detectors to read."""
    tape: Tape = field(default_factory=NoTape)
    """Hears what goes in."""
    docket: Docket = field(default_factory=NoDocket)
    """What people say of answers."""
    steady_every_s: float = 5.0
    hastened: bool = False
    """Whether every collector should hurry."""
    _steady_at_s: float = float("-inf")
    _steady_breaches: tuple[Breach, ...] = ()
    _kept_badly: bool = False
    _expired_s: float = float("-inf")
    _covered: Mapping[str, bytes] = field(default_factory=dict)
    """Checkpoints behind which every event is on the disk: only these are written, for no source tells an event twice."""

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
        self.tape.took(Part.COLLECTED, samples, now_s)
        self.series.extend(samples)
        source.acknowledge(now_s)

    def _take_event(self, event: Event) -> None:
        self.tape.heard(event)
        self.events.remember(event)
        self.saver.add(event)

    async def evaluate(self, now_s: float) -> None:
        """Detect, correlate, commit."""
        steady = now_s - self._steady_at_s >= self.steady_every_s or now_s < self._steady_at_s
        self.tape.evaluating(now_s, steady=steady)
        spoken = self.docket.take()
        for word in spoken:
            self.tape.judged(word)
        self._take_in(Part.LOGS, self.logs.samples(now_s), now_s)
        breaches = [breach for detector in self.urgent for breach in self._breaches_of(detector, now_s)]
        if steady:
            self._steady_at_s = now_s
            for ledger in self.ledgers:
                self._take_in(Part.LEDGER, self._reckoned(ledger, now_s), now_s)
            self._steady_breaches = tuple(
                breach for detector in self.steady for breach in self._breaches_of(detector, now_s)
            )
        self.tape.ticked("evaluate", now_s)
        changed = self.book.step([*breaches, *self._steady_breaches], now_s)
        found = self.correlator.step(self.book.firing(), now_s, spoken)
        was_calm, self.hastened = not self.hastened, self.correlator.in_doubt(now_s)
        if was_calm and self.hastened:
            self.hurry()
        checkpoints = self.keeper.changed_checkpoints()
        await self.saver.save(replace(found, alerts=tuple(changed)), now_s)
        if self.saver.is_clear:
            self._covered = checkpoints
        self.docket.settle(found.incidents, saved=self.saver.is_clear)
        if found.notifications:
            self.promised()

    def _take_in(self, part: Part, samples: Iterable[Sample], now_s: float) -> None:
        taken = tuple(samples)
        self.tape.took(part, taken, now_s)
        self.series.extend(taken)

    def _breaches_of(self, detector: Detector, now_s: float) -> Iterable[Breach]:
        try:
            return list(detector.evaluate(self.series, now_s))
        except Exception:  # one rule on odd data must not silence the others
            self.stat.internal_errors.labels("detect").inc()
            log.exception("detector failed", detector=repr(detector))
            return ()

    def _reckoned(self, ledger: Ledger, now_s: float) -> Iterable[Sample]:
        try:
            return list(ledger.samples(self.series, now_s))
        except Exception:  # odd data in one book must not silence the detectors
            self.stat.internal_errors.labels("ledger").inc()
            log.exception("ledger failed", ledger=repr(ledger))
            return ()

    async def tidy(self, now_s: float) -> None:
        """Let /metrics show today's samples; forget what ended."""
        if not 0.0 <= now_s - self._expired_s < _EXPIRE_S:  # at once when the clock was set back
            self._expired_s = now_s
            self.tape.ticked("expire", now_s)
            self.series.expire(now_s)
        self.exposition.renew(functools.partial(self.series.snapshot, now_s))

    async def keep(self, now_s: float) -> None:
        """Write checkpoints and history: what may be lost for a few seconds, but not for good."""
        samples, covered = list(self.series.snapshot(now_s)), self._covered

        def work() -> None:
            self.keeper.write_checkpoints(covered)
            self.keeper.roll_up(samples, now_s)
            self.stat.outbox_waiting.set(self.keeper.waiting_count())

        if self.saver.hangs:
            return
        try:
            async with asyncio.timeout(self.saver.deadline_s):
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
