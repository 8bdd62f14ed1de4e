"""Nothing on its way to the state file is lost: not when the disk is sick, not when a reload comes in between."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace

from prometheus_client import CollectorRegistry

from aiops.errors import StateError
from aiops.model import (
    Alert,
    AlertState,
    ChangeKind,
    ChangeSet,
    Diagnosis,
    DiagnosisStatus,
    Event,
    EventKind,
    Incident,
    IncidentState,
    Labels,
    Message,
    Notification,
    Severity,
)
from aiops.saving import Saver, merge
from aiops.selfstat import SelfStat

DEPLOY = Event(EventKind.CHANGE, "deploy", 1.0, Labels.of(service="chat"))


def page(revision: int = 0) -> Notification:
    message = Message(ChangeKind.OPENED, Severity.PAGE, "503 on chat", ("Users get 503.",))
    return Notification(f"inc:opened:{revision}:oncall", "inc", "oncall", 0.0, message)


def alert(rule: str, state: AlertState = AlertState.FIRING) -> Alert:
    return Alert(rule, Labels.of(service="chat"), Severity.PAGE, True, state, 0.0, 0.0, 1.0, 0.5, rule)


def incident(name: str, state: IncidentState = IncidentState.OPEN) -> Incident:
    return Incident(name, "chat", state, 0.0, 0.0, 0.0, (), Diagnosis(DiagnosisStatus.PENDING, 0.0))


class Disk:
    """A state file that may be full, or hang until it is let go."""

    def __init__(self) -> None:
        self.saved: list[ChangeSet] = []
        self.full = False
        self.free = threading.Event()
        self.free.set()
        self.begun = threading.Event()

    def commit(self, changes: ChangeSet) -> None:
        self.begun.set()
        self.free.wait(10.0)
        if self.full:
            raise StateError("disk full")
        self.saved.append(changes)


class Emergency:
    def __init__(self) -> None:
        self.held: list[Notification] = []

    def put(self, notification: Notification, now_s: float) -> None:
        self.held.append(notification)


async def in_thread(work: Callable[[], None]) -> None:
    await asyncio.to_thread(work)


class House:
    def __init__(self, deadline_s: float = 5.0) -> None:
        self.disk, self.emergency = Disk(), Emergency()
        self.saver = Saver(self.disk, self.emergency, SelfStat(CollectorRegistry()), in_thread, deadline_s)

    async def cut_off(self, changes: ChangeSet) -> None:
        """A session is ended while its commit is under way."""
        self.disk.free.clear()
        evaluation = asyncio.create_task(self.saver.save(changes, 1.0))
        await asyncio.to_thread(self.disk.begun.wait, 10.0)
        evaluation.cancel()
        await asyncio.gather(evaluation, return_exceptions=True)


def test_a_commit_that_hangs_holds_back_no_page():
    """fsync on a dying disk can take minutes; the second page must not queue behind the first commit."""
    house = House(deadline_s=0.02)

    async def scene() -> None:
        house.disk.free.clear()
        await house.saver.save(ChangeSet(notifications=(page(0),)), 1.0)
        assert house.saver.hangs
        await house.saver.save(ChangeSet(notifications=(page(1),)), 2.0)
        assert house.emergency.held == [page(0), page(1)]
        house.disk.free.set()

    asyncio.run(scene())


def test_what_a_full_disk_refused_is_saved_when_it_is_well_and_pages_went_out_meanwhile():
    """The page matters more than the record of it; the record is made up for."""
    house = House()

    async def scene() -> None:
        house.disk.full = True
        house.saver.add(DEPLOY)
        await house.saver.save(ChangeSet(alerts=(alert("A"),), notifications=(page(),)), 1.0)
        house.disk.full = False
        await house.saver.save(ChangeSet(), 2.0)
        await house.saver.save(ChangeSet(), 3.0)

    asyncio.run(scene())
    assert house.emergency.held == [page()]
    assert house.disk.saved == [ChangeSet(alerts=(alert("A"),), events=(DEPLOY,))], "once, the page not a second time"


def test_a_reload_in_the_middle_of_a_commit_waits_for_it():
    """Otherwise the new session reads the state as it was, and opens the same incident again."""
    house = House()
    changes = ChangeSet(alerts=(alert("A"),), notifications=(page(),))

    async def scene() -> None:
        await house.cut_off(changes)
        asyncio.get_running_loop().call_later(0.02, house.disk.free.set)
        await house.saver.settle(2.0)
        assert house.disk.saved == [changes]
        await house.saver.save(ChangeSet(), 3.0)

    asyncio.run(scene())
    assert house.disk.saved == [changes], "saved once"
    assert house.emergency.held == []


def test_a_reload_in_the_middle_of_a_commit_that_fails_loses_nothing():
    """A page nobody waited for any more is a page that must go out all the same."""
    house = House()
    changes = ChangeSet(alerts=(alert("A"),), incidents=(incident("i"),), notifications=(page(),))

    async def scene() -> None:
        house.disk.full = True
        await house.cut_off(changes)
        house.disk.free.set()
        await house.saver.settle(2.0)
        assert house.emergency.held == [page()]
        house.disk.full = False
        await house.saver.save(ChangeSet(), 3.0)

    asyncio.run(scene())
    assert house.disk.saved == [replace(changes, notifications=())]


def test_events_that_wait_are_saved_before_another_session_begins():
    """A deploy pushed in the second before a reload is the deploy that broke it."""
    house = House()
    house.saver.add(DEPLOY)
    asyncio.run(house.saver.settle(1.0))

    assert house.disk.saved == [ChangeSet(events=(DEPLOY,))]


def test_a_new_session_goes_on_from_what_is_known_and_not_from_what_is_saved():
    """With a full disk the file says that nothing fires; a session begun from it would page a second time."""
    house = House()

    async def scene() -> None:
        house.disk.full = True
        gone, opened = alert("Gone", AlertState.RESOLVED), alert("New")
        over = incident("over", IncidentState.RESOLVED)
        await house.saver.save(ChangeSet(alerts=(gone, opened), incidents=(over, incident("new"))), 1.0)

    asyncio.run(scene())
    assert [a.rule for a in house.saver.alerts([alert("Gone"), alert("Old")])] == ["Old", "New"]
    assert [i.id for i in house.saver.open_incidents([incident("over"), incident("old")])] == ["old", "new"]


def test_merging_keeps_the_newest_state_and_every_notification():
    """What waits for a sick disk is folded together, not piled up."""
    older = ChangeSet(alerts=(alert("A", AlertState.PENDING), alert("B")), notifications=(page(0),))
    newer = ChangeSet(alerts=(alert("A"),), notifications=(page(1),))
    merged = merge(older, newer)

    assert {a.rule: a.state for a in merged.alerts} == {"A": AlertState.FIRING, "B": AlertState.FIRING}
    assert merged.notifications == (page(0), page(1))
