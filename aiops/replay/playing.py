"""
A recording through the pipeline of the daemon, with today's rules.

Memory, detectors, alert book, correlator and the wording of messages are the daemon's own. What a recording does not
hold, the lines of logs and the book of the error budget's month, is replaced by what it holds of them: the samples they
gave, and notes on templates. Time is an argument, so an hour takes as long as its evaluations do.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from prometheus_client import CollectorRegistry

from aiops import correlate, narrative
from aiops.detect import build_detectors
from aiops.detect.alerts import AlertBook
from aiops.export.tape import Beginning, Ruling
from aiops.logs.notes import NotedTemplates
from aiops.model import Alert, ChangeSet, Incident, LogRecord, Notification, Sample, Severity, Spoken
from aiops.narrative.withheld import publishable
from aiops.pipeline import Board, Pipeline
from aiops.ports import Part, SeriesReader
from aiops.replay.reading import Heard, Held, Noted, Recording, Step, Ticked
from aiops.rulebook.alerts import load_alert_rules
from aiops.rulebook.causes import load_causes
from aiops.saving import Saver
from aiops.selfstat import SelfStat
from aiops.store.event_memory import EventMemory
from aiops.store.rings import Rings

T = TypeVar("T")


@dataclass(slots=True)
class Outcome:
    """What came of a recording; implements what the pipeline saves to."""

    incidents: dict[str, Incident] = field(default_factory=dict)
    """By id, as they stood last; without what may not leave the host."""
    notifications: list[Notification] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    """Every change of an alert, in order."""

    def commit(self, changes: ChangeSet) -> None:
        for incident in changes.incidents:
            self.incidents[incident.id] = publishable(incident)
        self.notifications.extend(changes.notifications)
        self.alerts.extend(changes.alerts)

    def changed_checkpoints(self) -> Mapping[str, bytes]:
        return {}

    def write_checkpoints(self, values: Mapping[str, bytes]) -> None:
        pass

    def roll_up(self, samples: Iterable[Sample], now_s: float) -> None:
        pass

    def waiting_count(self) -> int:
        return 0


async def play(recording: Recording, rules: Sequence[Path]) -> Outcome:
    """
    Play *recording* through the rules of these folders.

    Raises:
        ConfigError: the rules are wrong.
        RecordingError: the recording is damaged.
    """
    stage = _Stage(recording.beginning, rules)
    for step in recording.steps():
        await stage.play(step)
    return stage.outcome


class _Told:
    """Samples that the recording has in place of what reckoned them: `ports.LogSink` and `ports.Ledger`."""

    def __init__(self) -> None:
        self._next: tuple[Sample, ...] = ()

    def put(self, samples: tuple[Sample, ...]) -> None:
        """What the next evaluation is told."""
        self._next += samples

    def take(self) -> Sequence[Sample]:
        """All of it, once."""
        taken, self._next = self._next, ()
        return taken


class _Logs(_Told):
    def feed(self, records: Iterable[LogRecord]) -> None:
        pass

    def samples(self, now_s: float) -> Iterable[Sample]:
        return self.take()


class _Ledger(_Told):
    def samples(self, series: SeriesReader, now_s: float) -> Iterable[Sample]:
        return self.take()


class _Docket:
    """What people said, for the next evaluation (`ports.Docket`)."""

    def __init__(self) -> None:
        self._waiting: list[Spoken] = []

    def put(self, spoken: Spoken) -> None:
        self._waiting.append(spoken)

    def take(self) -> Sequence[Spoken]:
        taken, self._waiting = self._waiting, []
        return taken

    def settle(self, incidents: Iterable[Incident], *, saved: bool) -> None:
        pass


class _NoPage:
    def renew(self, samples: Callable[[], Iterable[Sample]]) -> None:
        pass


class _NoOutbox:
    def put(self, notification: Notification, now_s: float) -> None:
        pass


async def _at_once(work: Callable[[], T]) -> T:
    return work()


class _Stage:
    """The daemon's parts, without a world around them."""

    def __init__(self, begin: Beginning, rules: Sequence[Path]) -> None:
        self.outcome = Outcome()
        stat = SelfStat(CollectorRegistry())
        self._series = Rings(stat)
        self._events = EventMemory(has_change_feed=begin.has_change_feed)
        self._templates = NotedTemplates()
        self._logs, self._ledger, self._docket = _Logs(), _Ledger(), _Docket()
        self._known = {incident.id: incident for incident in begin.incidents}
        alerts = load_alert_rules(rules)
        urgent, steady = build_detectors(alerts)
        book = AlertBook.going_on(alerts, begin.alerts)
        self._correlator = correlator = correlate.build(
            causes=load_causes(rules),
            series=self._series,
            events=self._events,
            templates=self._templates,
            stat=stat,
            compose=functools.partial(narrative.compose, base_url=begin.url, language=begin.language),
            compose_tickets=functools.partial(narrative.compose_tickets, base_url=begin.url, language=begin.language),
            receivers=[(name, frozenset(map(Severity, wanted))) for name, wanted in begin.receivers],
            restored=begin.incidents,
            tally=begin.tally,
        )
        run: Callable[[Callable[[], T]], Awaitable[T]] = _at_once
        self._pipeline = Pipeline(
            series=self._series, events=self._events, logs=self._logs, urgent=urgent, steady=steady, book=book,
            correlator=correlator, saver=Saver(self.outcome, _NoOutbox(), stat, run), keeper=self.outcome,
            board=Board(book, ()), exposition=_NoPage(), stat=stat, run_blocking=run, promised=_nothing,
            ledgers=(self._ledger,), docket=self._docket,
        )  # fmt: skip

    async def play(self, step: Step) -> None:
        """One step."""
        if isinstance(step, Ticked):
            if step.tick == "expire":
                self._series.expire(step.now_s)
            else:
                await self._pipeline.evaluate(step.now_s)
        elif isinstance(step, Heard):
            self._events.remember(step.event)
        elif isinstance(step, Ruling):
            self._judge(step)
        elif isinstance(step, Noted):
            self._templates.take(step.notes)
        elif isinstance(step, Held) or step.part is Part.COLLECTED:
            self._series.extend(step.samples)
        else:
            (self._logs if step.part is Part.LOGS else self._ledger).put(step.samples)

    def _judge(self, ruling: Ruling) -> None:
        """An incident that ended before the recording began is not in it; what was said of it counts all the same."""
        incident = self.outcome.incidents.get(ruling.incident) or self._known.get(ruling.incident)
        if incident is None:
            self._correlator.count(ruling.before, ruling.now)
        else:
            self._docket.put(Spoken(incident, ruling.now))


def _nothing() -> None:
    pass
