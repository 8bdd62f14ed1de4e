"""
The daemon killed between each pair of steps from evaluating to acknowledging.

An incident is played in simulated time through the real pipeline, detector, alert book, incident desk, state file and
dispatcher. Each thing that changes the world or the disk is a step: evaluate, commit, claim, send, acknowledge, each
with a "before" and, where it does something, an "after". A first play counts the steps; then the same incident is
played once for every step, with the process killed exactly there and started again on the same state file.
"""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from prometheus_client import CollectorRegistry

from aiops import correlate
from aiops.detect import build_detectors
from aiops.detect.alerts import AlertBook
from aiops.model import (
    ChangeKind,
    ChangeSet,
    Event,
    EventKind,
    Incident,
    IncidentState,
    Labels,
    LogRecord,
    Message,
    Notification,
    Sample,
    Severity,
)
from aiops.notify import dispatch as dispatch_module
from aiops.notify.dispatch import Dispatcher
from aiops.notify.memory_outbox import MemoryOutbox
from aiops.pipeline import Board, Pipeline
from aiops.rulebook.alerts import AlertRule, load_alert_rules
from aiops.rulebook.places import rules_dirs
from aiops.saving import Saver
from aiops.selfstat import SelfStat
from aiops.store.rings import Rings
from aiops.store.state_sqlite import StateSqlite
from tests.fakes import FakeTemplates

T = TypeVar("T")

T0 = 1_795_467_901.0  # 2026-11-23T21:05:01Z
BAD_FROM_S, BAD_TO_S = T0 + 4, T0 + 10
TOO_LONG_S = T0 + 400
LABELS = Labels.of(host_name="n1", service="chat", upstream="10.0.0.1:8000", answered_by="upstream")


class Crash(BaseException):
    """The process is killed here."""


@dataclass
class Fate:
    """Counts the steps of all lives together, and ends a life at some of them."""

    deadly: frozenset[int] = frozenset()
    steps: list[str] = field(default_factory=list)

    def step(self, name: str) -> None:
        self.steps.append(name)
        if len(self.steps) - 1 in self.deadly:
            raise Crash(name)


class SteppedState:
    """The real state file; its writes are steps."""

    def __init__(self, state: StateSqlite, fate: Fate) -> None:
        self._state, self._fate = state, fate
        self.retry, self.bury = state.retry, state.bury

    def commit(self, changes: ChangeSet) -> None:
        self._fate.step("commit")
        self._state.commit(changes)
        self._fate.step("committed")

    def claim(self, now_s: float, lease_s: float, limit: int) -> Sequence[Notification]:
        if not self._state.waiting_count():
            return ()
        self._fate.step("claim")
        claimed = self._state.claim(now_s, lease_s, limit)
        self._fate.step("claimed")
        return claimed

    def ack(self, key: str, now_s: float) -> None:
        self._fate.step("acknowledge")
        self._state.ack(key, now_s)
        self._fate.step("acknowledged")


class SteppedChat:
    """Outlives the daemon; taking a message is a step."""

    def __init__(self, fate: Fate) -> None:
        self._fate = fate
        self.taken: list[Notification] = []

    async def send(self, notification: Notification) -> None:
        self._fate.step("send")
        self.taken.append(notification)
        self._fate.step("sent")


class NoLogs:
    def feed(self, records: Iterable[LogRecord]) -> None:
        pass

    def samples(self, now_s: float) -> Iterable[Sample]:
        return ()


class NoPage:
    def renew(self, samples: Callable[[], Iterable[Sample]]) -> None:
        pass


async def at_once(work: Callable[[], T]) -> T:
    return work()


def compose(incident: Incident, change: ChangeKind) -> Message:
    return Message(change, Severity.PAGE, f"{change.value}: {incident.service}", (f"since {incident.first_bad_s:.0f}",))


def compose_tickets(rows: Sequence[Any]) -> Message:
    raise AssertionError("no quiet rows here")


class Life:
    """One process from its start on a state file to its end, with everything that is not on the disk."""

    def __init__(self, path: Path, now_s: float, chat: SteppedChat, fate: Fate, rules: Sequence[AlertRule]) -> None:
        self.now_s = now_s
        self.state = StateSqlite(path, now_s)
        self._fate = fate
        self._rings = Rings(SelfStat(CollectorRegistry()))
        self._counts: Counter[str] = Counter()
        self._promised = True
        stat = SelfStat(CollectorRegistry())
        stepped = SteppedState(self.state, fate)
        urgent, _ = build_detectors(rules)
        book = AlertBook(rules, self.state.alerts())
        desk = correlate.build(
            causes=(), series=self._rings, events=self.state, templates=FakeTemplates(), compose=compose,
            stat=stat, compose_tickets=compose_tickets, receivers=[("chat", frozenset(Severity))],
            restored=self.state.open_incidents(),
        )  # fmt: skip
        self._dispatcher = Dispatcher(stepped, {"chat": chat}, stat, random.Random(1), at_once)
        self._pipeline = Pipeline(
            series=self._rings, events=self.state, logs=NoLogs(), urgent=urgent, steady=(), book=book, correlator=desk,
            saver=Saver(stepped, MemoryOutbox(), stat, at_once), keeper=SteppedKeeper(self.state, fate), board=Board(book, []),
            exposition=NoPage(), stat=stat, run_blocking=at_once, promised=self._promise,
        )  # fmt: skip

    def _promise(self) -> None:
        self._promised = True

    async def live(self) -> None:
        """Until the incident is over and told, or the process is killed."""
        self._count(self.now_s - 1)  # the collector writes zeros first
        while not self.is_over():
            assert self.now_s < TOO_LONG_S, "the end was never told"
            self._answer()
            self._count(self.now_s)
            self._fate.step("evaluate")
            await self._pipeline.evaluate(self.now_s)
            if self._promised or self.now_s % 5 == 0:
                self._promised = False
                await self._dispatcher.dispatch(self.now_s)
            self.now_s += 1

    def is_over(self) -> bool:
        incidents = self.state.incidents()
        resolved = bool(incidents) and all(incident.state is IncidentState.RESOLVED for incident in incidents)
        return resolved and not self.state.waiting_count()

    def _answer(self) -> None:
        bad = BAD_FROM_S <= self.now_s < BAD_TO_S
        self._counts.update({"ok": 10, "503": 10} if bad else {"ok": 20})

    def _count(self, at_s: float) -> None:
        self._rings.extend(
            Sample("http_server_requests_total", LABELS.merge(outcome=outcome), at_s, float(self._counts[outcome]))
            for outcome in ("ok", "503")
        )

    def end(self) -> None:
        """Let go of the file without writing anything more: a killed process does not."""
        self.state._database.close()


@dataclass
class Outcome:
    """What is left when an incident is over."""

    fate: Fate
    taken: list[Notification]
    incidents: Sequence[Incident]
    dead: Sequence[Notification]
    killed_at: list[str]

    @property
    def copies(self) -> int:
        """Messages taken more than once."""
        return len(self.taken) - len({n.key for n in self.taken})


def play(path: Path, rules: Sequence[AlertRule], deadly: Iterable[int] = ()) -> Outcome:
    """The whole incident, over as many lives as it takes."""
    fate = Fate(frozenset(deadly))
    chat, now_s, killed_at = SteppedChat(fate), T0, []
    while True:
        life = Life(path, now_s, chat, fate, rules)
        try:
            asyncio.run(life.live())
        except Crash as crash:
            killed_at.append(str(crash))
            now_s = life.now_s + 1
        else:
            return Outcome(fate, chat.taken, life.state.incidents(), life.state.dead_letters(), killed_at)
        finally:
            life.end()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch_module, "_PATIENCE_S", 0.05)


@pytest.fixture(scope="module")
def rules() -> Sequence[AlertRule]:
    return [rule for rule in load_alert_rules(rules_dirs(None)) if rule.alert == "ServiceUnavailable"]


def check(outcome: Outcome) -> None:
    """What holds whenever the process was killed."""
    (incident,) = outcome.incidents
    assert incident.state is IncidentState.RESOLVED
    assert incident.first_bad_s <= BAD_TO_S
    assert outcome.dead == []
    told = list(dict.fromkeys(n.key for n in outcome.taken))
    assert len({(n.key, n.message) for n in outcome.taken}) == len(told), "a copy says something else"
    assert {n.subject for n in outcome.taken} == {incident.id}
    changes = [key.split(":")[1] for key in told]
    # the longer it takes, the more there is to say: that the cause stays undetermined
    assert [change for change in changes if change != "updated"] == ["opened", "resolved"]
    assert changes.count("updated") <= 1


def test_without_a_kill_every_message_is_sent_once(tmp_path: Path, rules: Sequence[AlertRule]):
    """The steps that the next test kills between are really taken, and in this order."""
    outcome = play(tmp_path / "state.db", rules)

    check(outcome)
    assert len(outcome.taken) == 3, "opened, undetermined, resolved"
    way = ["commit", "committed", "claim", "claimed", "send", "sent", "acknowledge", "acknowledged"]
    around = [name for name in outcome.fate.steps if name != "evaluate"]
    assert [around[i : i + len(way)] for i in range(len(around))].count(way) == 3


def test_a_kill_between_any_two_steps_loses_no_message_and_no_incident(tmp_path: Path, rules: Sequence[AlertRule]):
    """Never zero times; and twice only when the kill fell between the chat's taking it and our noting that."""
    steps = play(tmp_path / "whole.db", rules).fate.steps

    for number in range(len(steps)):
        outcome = play(tmp_path / f"{number}.db", rules, [number])

        assert outcome.killed_at == [steps[number]]
        check(outcome)
        assert outcome.copies == (1 if steps[number] in {"sent", "acknowledge"} else 0), (number, steps[number])


@pytest.mark.parametrize("seed", range(5))
def test_a_daemon_that_is_killed_again_and_again_still_tells_everything(
    tmp_path: Path, rules: Sequence[AlertRule], seed: int
):
    """An OOM killer comes back. Each kill may cost a lease, and never a message."""
    length = len(play(tmp_path / "whole.db", rules).fate.steps)
    deadly = random.Random(seed).sample(range(length // 2), 4)

    outcome = play(tmp_path / "state.db", rules, deadly)

    check(outcome)
    assert len(outcome.killed_at) == 4
    assert outcome.copies <= 4


WRITTEN = {T0 + 2: "Xid 79", T0 + 3: "OOM kill", T0 + 5: "Xid 31"}


class SteppedKeeper:
    """The real state file's housekeeping; writing checkpoints is a step."""

    def __init__(self, state: StateSqlite, fate: Fate) -> None:
        self._state, self._fate = state, fate
        self.changed_checkpoints, self.roll_up = state.changed_checkpoints, state.roll_up
        self.waiting_count = state.waiting_count

    def write_checkpoints(self, values: Mapping[str, bytes]) -> None:
        self._fate.step("write checkpoints")
        self._state.write_checkpoints(values)
        self._fate.step("checkpoints written")


class Ring:
    """A kernel log that outlives the daemon: what is behind the checkpoint is never read again."""

    def __init__(self, state: StateSqlite) -> None:
        self._state = state
        self._passed = float(state.get("ring") or 0)

    async def run(self, now_s: float, *, hastened: bool = False) -> Sequence[Event]:
        passed, self._passed = self._passed, now_s
        return [
            Event(EventKind.HARDWARE, "xid", at_s, Labels.of(host_name="n1"), text)
            for at_s, text in WRITTEN.items()
            if passed < at_s <= now_s
        ]

    def acknowledge(self, now_s: float) -> None:
        self._state.put("ring", str(self._passed).encode())


def read_ring(path: Path, rules: Sequence[AlertRule], deadly: Iterable[int] = ()) -> tuple[Fate, list[str]]:
    """Ten seconds of it, over as many lives as it takes; the steps, and the events that are on the disk at the end."""
    fate, now_s = Fate(frozenset(deadly)), T0

    async def live(life: Life, ring: Ring) -> None:
        nonlocal now_s
        while (now_s := now_s + 1) < T0 + 10:
            await life._pipeline.collect(ring, now_s)
            fate.step("collected")
            await life._pipeline.keep(now_s)
            await life._pipeline.evaluate(now_s)

    while now_s < T0 + 10:
        life = Life(path, now_s, SteppedChat(fate), fate, rules)
        try:
            asyncio.run(live(life, Ring(life.state)))
        except Crash:
            continue
        finally:
            life.end()
    rows = sqlite3.connect(path).execute("SELECT document FROM events ORDER BY at_s").fetchall()
    return fate, [json.loads(row[0])["message"] for row in rows]


def test_a_kill_between_any_two_steps_loses_no_event_that_a_checkpoint_has_passed(
    tmp_path: Path, rules: Sequence[AlertRule]
):
    """An Xid is told once by the kernel; a checkpoint behind it that is on the disk before it is would hide it for ever."""
    everything = list(WRITTEN.values())
    fate, told = read_ring(tmp_path / "whole.db", rules)

    assert told == everything
    assert "checkpoints written" in fate.steps
    for number in range(len(fate.steps)):
        assert read_ring(tmp_path / f"{number}.db", rules, [number])[1] == everything, (number, fate.steps[number])
