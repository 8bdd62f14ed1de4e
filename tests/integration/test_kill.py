"""
kill -9 of the real daemon at every stage of an incident.

Each story has a daemon, a gateway's log and a chat of its own and is mostly waiting, so all are told at the same time.
What must hold in every one: after the restart the incident is there, and only once; each message about it comes at
least once, and its copies carry the same key. The steps between two commits are killed one by one in
tests/unit/test_crash_steps.py.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from aiops.notify.dispatch import LEASE_S
from aiops.store.state_sqlite import StateSqlite
from tests.chat_server import Answer, ChatServer, Request
from tests.integration.daemon import Daemon, wait_for, webhook
from tests.integration.gateway_log import GatewayLog

pytestmark = pytest.mark.timeout(300)

REFUSES = Answer(503, b"try again")


class Stage:
    """One daemon under attack."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.chat = ChatServer()
        self.chat.start()
        self.log = GatewayLog(folder / "access.log")
        self.daemon = Daemon(
            folder,
            collect={"access_log": {"paths": [str(self.log.path)], "service": "chat"}, "host": {"enabled": False}},
            receivers=[webhook(self.chat.url)],
        )
        self.before: list[Any] = []
        """What a story noted before the kill."""
        self.killed_s = 0.0
        """When it was killed last, wall time."""
        self.incidents: list[dict[str, Any]] = []
        """At the end."""
        self.status: dict[str, Any] = {}
        """At the end."""

    def told(self, change: str, *, after_s: float = 0.0) -> list[Request]:
        """Messages about one change, copies and refused ones included."""
        return [r for r in list(self.chat.requests) if r.json["change"] == change and r.at_s > after_s]

    def wait_told(self, change: str, within_s: float, *, after_s: float = 0.0) -> None:
        wait_for(lambda: self.told(change, after_s=after_s), within_s, f"a message: {change}")

    def kill(self) -> None:
        self.daemon.kill()
        self.killed_s = time.time()

    def begin(self) -> None:
        self.daemon.start()
        time.sleep(3.0)

    def restart(self, pause_s: float = 1.0) -> None:
        time.sleep(pause_s)
        self.daemon.start()

    def recover(self, within_s: float) -> None:
        self.log.bad = False
        self.wait_told("resolved", within_s)

    def end(self) -> None:
        """Note what there is, once nothing waits to be sent."""
        wait_for(lambda: self.daemon.json("/api/v1/status")["outbox_waiting"] == 0, 90.0, "an empty outbox")
        self.incidents, self.status = self.daemon.incidents(), self.daemon.json("/api/v1/status")

    def close(self) -> None:
        self.daemon.close()
        self.log.stop()
        self.chat.stop()


# --- the stories ----------------------------------------------------------------------------------------------------


def before_the_commit(stage: Stage) -> None:
    """Three 503s were read, which are not enough to page."""
    stage.begin()
    for _ in range(3):
        stage.log.write(503)
    time.sleep(2.0)
    stage.kill()
    state = StateSqlite(stage.daemon.state / "state.db", time.time())
    stage.before = [state.incidents()]
    state.close()
    stage.log.bad = True
    stage.restart()
    stage.wait_told("opened", 30.0)
    stage.recover(90.0)


def between_commit_and_send(stage: Stage) -> None:
    """The chat is down, so the message waits in the outbox."""
    stage.begin()
    stage.chat.answer = REFUSES
    stage.log.bad = True
    stage.wait_told("opened", 30.0)
    stage.before = stage.daemon.incidents()
    stage.kill()
    stage.chat.answer = Answer()
    stage.restart()
    stage.wait_told("opened", 90.0, after_s=stage.killed_s)


def between_send_and_ack(stage: Stage) -> None:
    """The chat has the message and has not answered yet."""
    stage.begin()
    answer = threading.Event()
    stage.chat.answer = Answer(wait=answer)
    stage.log.bad = True
    stage.wait_told("opened", 30.0)
    stage.before = stage.daemon.incidents()
    stage.kill()
    stage.chat.answer = Answer()
    answer.set()
    stage.restart()
    stage.wait_told("opened", LEASE_S + 30.0, after_s=stage.killed_s)


def while_open(stage: Stage) -> None:
    """Told, acknowledged, and still going on."""
    stage.begin()
    stage.log.bad = True
    stage.wait_told("opened", 30.0)
    time.sleep(2.0)
    stage.before = stage.daemon.incidents()
    stage.kill()
    stage.restart(pause_s=5.0)
    time.sleep(10.0)
    stage.before += stage.daemon.incidents()
    stage.recover(90.0)


def before_the_resolve(stage: Stage) -> None:
    """Users no longer feel it, but the end is not told yet."""
    stage.begin()
    stage.log.bad = True
    stage.wait_told("opened", 30.0)
    stage.log.bad = False
    time.sleep(15.0)
    stage.before = stage.daemon.incidents()
    stage.kill()
    stage.restart()
    stage.recover(120.0)


def while_the_resolve_waits(stage: Stage) -> None:
    """The end is committed, and the chat was down when it should have been told."""
    stage.begin()
    stage.log.bad = True
    stage.wait_told("opened", 30.0)
    stage.wait_told("updated", 60.0)  # that the cause is undetermined: what waits before the end would be tried first
    stage.chat.answer = REFUSES
    stage.recover(90.0)
    stage.before = stage.daemon.incidents()
    stage.kill()
    stage.chat.answer = Answer()
    stage.restart()
    stage.wait_told("resolved", 120.0, after_s=stage.killed_s)


def again_and_again(stage: Stage) -> None:
    """Killed at random moments, its start included, through the whole incident."""
    stage.begin()
    stage.log.bad = True
    moments = random.Random(503)
    for number in range(10):
        time.sleep(moments.uniform(0.2, 7.0))
        if number == 6:
            stage.wait_told("opened", 60.0)  # a busy machine may not come so far between two kills
        stage.kill()
        stage.daemon.launch()
        if number == 7:
            stage.log.bad = False
    stage.kill()
    stage.restart()
    stage.wait_told("resolved", LEASE_S + 120.0)


STORIES: tuple[Callable[[Stage], None], ...] = (
    before_the_commit, between_commit_and_send, between_send_and_ack, while_open, before_the_resolve,
    while_the_resolve_waits, again_and_again,
)  # fmt: skip


def tell(story: Callable[[Stage], None], folder: Path) -> Stage:
    stage = Stage(folder / story.__name__)
    try:
        story(stage)
        stage.end()
    finally:
        stage.close()
    return stage


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Stage]]]:
    folder = tmp_path_factory.mktemp("kill")
    with ThreadPoolExecutor(len(STORIES)) as pool:
        yield {story.__name__: pool.submit(tell, story, folder) for story in STORIES}


@pytest.fixture
def told(request: pytest.FixtureRequest, stories: dict[str, Future[Stage]]) -> Stage:
    """The story a test is named after by its parameter."""
    return stories[request.param].result(280.0)


def story(told: Callable[[Stage], None]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("told", [told.__name__], indirect=True)


# --- what must hold -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [story.__name__ for story in STORIES], indirect=True)
def test_one_incident_and_every_message_of_it_under_one_key(told: Stage):
    """Whenever it was killed: nothing is lost, nothing doubled, and copies can be told from news."""
    (incident,) = told.incidents
    assert told.status["dead_letters"] == 0
    keys = {change: {r.headers["idempotency-key"] for r in told.told(change)} for change in ("opened", "resolved")}
    assert all(key.startswith(incident["id"]) for found in keys.values() for key in found)
    assert len(keys["opened"]) <= 1
    assert len(keys["resolved"]) == (incident["state"] == "resolved")


@pytest.mark.parametrize("told", [story.__name__ for story in STORIES], indirect=True)
def test_a_copy_says_what_the_original_said(told: Stage):
    """A receiver that drops copies by their key must not drop news."""
    bodies: dict[str, set[bytes]] = {}
    for request in told.chat.requests:
        bodies.setdefault(request.headers["idempotency-key"], set()).add(request.body)

    assert [key for key, found in bodies.items() if len(found) > 1] == []


@story(before_the_commit)
def test_killed_before_the_commit_it_pages_after_the_restart(told: Stage):
    """Nothing was promised yet, but users are still being hurt."""
    assert told.before == [[]]
    assert len(told.told("opened")) == 1
    assert told.told("opened")[0].json["title"].startswith("503 on chat")


@story(between_commit_and_send)
def test_killed_between_commit_and_send_it_sends_what_it_promised(told: Stage):
    """What is committed is sent, by whichever process comes next."""
    (incident,) = told.before
    (sent,) = told.told("opened", after_s=told.killed_s)
    assert sent.json["incident"]["incident"] == incident["id"]
    assert len(told.told("opened")) > 1  # the refused ones, under the same key


@story(between_send_and_ack)
def test_killed_between_send_and_ack_it_repeats_the_page_once_its_lease_is_over(told: Stage):
    """Whether the chat has it nobody knows; twice is better than never, and not before the lease ends."""
    first, copy = told.told("opened")

    assert copy.headers["idempotency-key"] == first.headers["idempotency-key"]
    assert LEASE_S - 5.0 <= copy.at_s - first.at_s <= LEASE_S + 15.0


@story(while_open)
def test_killed_while_open_it_goes_on_with_the_same_incident(told: Stage):
    """Whoever got the page must not get it again, and must still get the end."""
    before, after = told.before

    assert (after["id"], after["state"]) == (before["id"], "open")
    assert after["first_bad_s"] == before["first_bad_s"]
    assert len(told.told("opened")) == 1
    assert len(told.told("resolved")) == 1


@story(before_the_resolve)
def test_killed_before_the_end_was_told_it_still_tells_it(told: Stage):
    """An incident that never turns green is looked into at night for nothing."""
    (before,) = told.before

    assert before["state"] == "open"
    assert len(told.told("opened")) == 1
    assert len(told.told("resolved")) == 1


@story(while_the_resolve_waits)
def test_killed_while_the_end_waits_it_is_told_and_the_incident_stays_closed(told: Stage):
    """The end is a promise like the page."""
    (before,) = told.before

    assert before["state"] == "resolved"
    assert told.told("opened", after_s=told.killed_s) == []
    assert len(told.told("resolved", after_s=told.killed_s)) == 1
    assert len(told.told("resolved")) > 1  # the refused ones, under the same key


@story(again_and_again)
def test_killed_ten_times_it_opens_and_closes_one_incident(told: Stage):
    """No moment of it, start included, is one at which a kill may cost a page."""
    assert len(told.told("opened")) >= 1
    assert len(told.told("resolved")) >= 1
    assert [incident["state"] for incident in told.incidents] == ["resolved"]
