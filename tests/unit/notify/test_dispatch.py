from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from aiops.errors import PermanentSendError, StateError, TransientSendError
from aiops.model import ChangeSet, Notification
from aiops.notify import dispatch as module
from aiops.notify.dispatch import GIVE_UP_S, LEASE_S, MAX_DELAY_S, Dispatcher, backoff_s
from aiops.notify.memory_outbox import MemoryOutbox
from aiops.ports import Notifier, Outbox
from aiops.selfstat import SelfStat
from aiops.store.state_sqlite import StateSqlite
from tests.unit.notify.messages import PAGE, page

T = TypeVar("T")


class Crash(BaseException):
    """The process is killed here."""


class FakeChat:
    """Takes messages, or fails as told."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.keys: list[str] = []

    async def send(self, notification: Notification) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.keys.append(notification.key)


class HangingChat:
    """Answers when it is let go."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.keys: list[str] = []

    async def send(self, notification: Notification) -> None:
        await self.let_go.wait()
        self.keys.append(notification.key)


class Recording:
    """An outbox that notes what it is told; claims are scripted."""

    def __init__(self, *rows: Notification) -> None:
        self.rows = list(rows)
        self.acked: list[str] = []
        self.retried: list[tuple[str, float, str]] = []
        self.buried: list[tuple[str, str]] = []

    def claim(self, now_s: float, lease_s: float, limit: int) -> list[Notification]:
        rows, self.rows = self.rows[:limit], self.rows[limit:]
        return rows

    def ack(self, key: str, now_s: float) -> None:
        self.acked.append(key)

    def retry(self, key: str, at_s: float, error: str) -> None:
        self.retried.append((key, at_s, error))

    def bury(self, key: str, now_s: float, error: str) -> None:
        self.buried.append((key, error))


class DiesBeforeAck:
    """The process is killed after the chat has accepted the message."""

    def __init__(self, outbox: Outbox) -> None:
        self.claim = outbox.claim
        self.retry = outbox.retry
        self.bury = outbox.bury

    def ack(self, key: str, now_s: float) -> None:
        raise Crash


async def at_once(work: Callable[[], T]) -> T:
    return work()


def make(outbox: Outbox, notifiers: Mapping[str, Notifier], stat: SelfStat | None = None) -> Dispatcher:
    return Dispatcher(outbox, notifiers, stat or SelfStat(CollectorRegistry()), random.Random(7), at_once)


def dispatch(outbox: Outbox, notifiers: Mapping[str, Notifier], now_s: float) -> int:
    return asyncio.run(make(outbox, notifiers).dispatch(now_s))


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE_S", 0.3)
    monkeypatch.setattr(module, "_FAREWELL_S", 0.05)


@pytest.fixture
def outbox(tmp_path: Path):
    state = StateSqlite(tmp_path / "state.db", now_s=0.0)
    yield state
    state.close()


def put(outbox: StateSqlite, *notifications: Notification) -> None:
    outbox.commit(ChangeSet(notifications=notifications))


def test_a_crash_before_ack_repeats_the_page_under_the_same_key(outbox: StateSqlite):
    """Delivery is at least once; the same key lets the chat drop the copy."""
    chat = FakeChat()
    put(outbox, PAGE)
    with pytest.raises(Crash):
        dispatch(DiesBeforeAck(outbox), {"oncall": chat}, now_s=0.0)

    while_leased = dispatch(outbox, {"oncall": chat}, now_s=LEASE_S - 1.0)
    after_lease = dispatch(outbox, {"oncall": chat}, now_s=LEASE_S + 1.0)

    assert (while_leased, after_lease) == (0, 1)
    assert chat.keys == [PAGE.key, PAGE.key]


def test_a_sent_page_is_not_sent_again(outbox: StateSqlite):
    """Nobody trusts a pager that rings twice for one thing."""
    chat = FakeChat()
    put(outbox, PAGE)
    assert [dispatch(outbox, {"oncall": chat}, now_s) for now_s in (0.0, 100.0, 10_000.0)] == [1, 0, 0]
    assert chat.keys == [PAGE.key]


def test_one_subject_arrives_in_order_and_in_one_call(outbox: StateSqlite):
    """A resolve that overtakes its page leaves a chat red for ever."""
    chat = FakeChat()
    keys = [f"i1:updated:{n}:oncall" for n in range(5)]
    put(outbox, *(page(key) for key in keys))
    assert dispatch(outbox, {"oncall": chat}, 0.0) == 5
    assert chat.keys == keys


def test_a_failed_page_holds_back_its_resolve_but_not_other_incidents(outbox: StateSqlite):
    """Order is per subject: one stuck incident must not silence the next."""
    chat = FakeChat(TransientSendError("503"))
    put(outbox, page("i1:opened:1:oncall"), page("i1:resolved:2:oncall"), page("i2:opened:1:oncall", subject="i2"))
    dispatcher = make(outbox, {"oncall": chat})
    run(dispatcher.dispatch(0.0))
    assert chat.keys == ["i2:opened:1:oncall"]
    assert dispatch(outbox, {"oncall": chat}, 10.0) == 2
    assert chat.keys[1:] == ["i1:opened:1:oncall", "i1:resolved:2:oncall"]


def test_a_hanging_receiver_delays_no_other(outbox: StateSqlite):
    """The chat of another team may be down for an hour."""

    async def scene() -> None:
        sick, well = HangingChat(), FakeChat()
        dispatcher = make(outbox, {"sick": sick, "well": well})
        put(outbox, page("i1:opened:1:sick", receiver="sick"), page("i1:opened:1:well", receiver="well"))
        assert await dispatcher.dispatch(0.0) == 1
        put(outbox, page("i1:resolved:2:well", receiver="well"))
        assert await dispatcher.dispatch(1.0) == 1
        assert well.keys == ["i1:opened:1:well", "i1:resolved:2:well"]
        sick.let_go.set()
        assert await dispatcher.dispatch(2.0) == 1
        assert sick.keys == ["i1:opened:1:sick"]

    run(scene())


def test_a_receiver_is_asked_at_most_four_things_at_once():
    """A sick receiver must not collect connections."""

    class Counting:
        now = peak = 0

        async def send(self, notification: Notification) -> None:
            self.now += 1
            self.peak = max(self.peak, self.now)
            await asyncio.sleep(0)
            self.now -= 1

    chat = Counting()
    rows = [page(f"i{n}:opened:1:oncall", subject=f"i{n}") for n in range(20)]
    assert dispatch(Recording(*rows), {"oncall": chat}, 0.0) == 20
    assert chat.peak == 4


def test_a_send_that_never_ends_is_given_up_at_its_deadline(monkeypatch: pytest.MonkeyPatch):
    """A connection can stay open and silent for ever."""
    monkeypatch.setattr(module, "SEND_DEADLINE_S", 0.01)
    outbox = Recording(PAGE)

    async def scene() -> None:
        assert await make(outbox, {"oncall": HangingChat()}).dispatch(0.0) == 0

    run(scene())
    assert outbox.retried[0][2] == "no answer within 0.01 s"


def test_retry_after_is_obeyed_by_everything_for_that_receiver():
    """A limited bot that is asked again stays limited, for whatever incident."""

    async def scene() -> tuple[Recording, FakeChat]:
        chat = FakeChat(TransientSendError("429", retry_after_s=30.0))
        outbox = Recording(PAGE)
        dispatcher = make(outbox, {"oncall": chat})
        await dispatcher.dispatch(0.0)
        outbox.rows = [page("i2:opened:1:oncall", subject="i2")]
        await dispatcher.dispatch(0.0)
        return outbox, chat

    outbox, chat = run(scene())
    assert chat.keys == []
    assert [key for key, _, _ in outbox.retried] == [PAGE.key, "i2:opened:1:oncall"]
    assert all(29.5 <= at_s <= 32.0 for _, at_s, _ in outbox.retried)


@given(attempts=st.integers(0, 5_000), seed=st.integers())
def test_backoff_is_bounded(attempts: int, seed: int):
    """Whatever the count, a page is tried again within five minutes."""
    delay_s = backoff_s(attempts, random.Random(seed))
    assert 0.0 <= delay_s <= min(MAX_DELAY_S, 2.0 ** min(attempts, 10))


def test_backoff_spreads_over_the_whole_range():
    """A thousand nodes that failed together must not come back together."""
    rng = random.Random(1)
    delays = [backoff_s(5, rng) for _ in range(2_000)]
    assert statistics.mean(delays) == pytest.approx(16.0, rel=0.05)
    assert min(delays) < 1.0
    assert max(delays) > 31.0


def test_a_permanent_error_is_a_dead_letter_at_once():
    """A revoked token will not heal; the failure must be seen, not retried all day."""
    outbox, stat = Recording(PAGE), SelfStat(CollectorRegistry())
    with structlog.testing.capture_logs() as logs:
        run(make(outbox, {"oncall": FakeChat(PermanentSendError("status 403"))}, stat).dispatch(0.0))
    assert outbox.buried == [(PAGE.key, "status 403")]
    assert [(entry["log_level"], entry["event"]) for entry in logs] == [("error", "notification given up")]
    assert stat.registry.get_sample_value(
        "aiops_notifications_total", {"receiver": "oncall", "result": "dead"}
    ) == 1.0  # fmt: skip


def test_a_receiver_removed_from_the_settings_buries_its_rows():
    """Otherwise they would be claimed for ever."""
    outbox = Recording(page(receiver="gone"))
    assert dispatch(outbox, {}, 0.0) == 0
    assert outbox.buried == [(PAGE.key, "no receiver of this name in the settings")]


@pytest.mark.parametrize(
    ("age_s", "attempts", "dead"),
    [(GIVE_UP_S + 1, 9, True), (GIVE_UP_S + 1, 2, False), (GIVE_UP_S - 1, 200, False), (0.0, 999, True)],
)
def test_a_message_dies_after_a_day_of_trying(age_s: float, attempts: int, dead: bool):
    """Yesterday's page helps nobody; but a clock set forward must not bury what was tried twice."""
    outbox = Recording(replace(PAGE, attempts=attempts))
    dispatch(outbox, {"oncall": FakeChat(TransientSendError("503"))}, age_s)
    assert bool(outbox.buried) is dead
    assert bool(outbox.retried) is not dead


def test_a_broken_sender_is_isolated_and_its_words_are_not_repeated():
    """An exception of a library may hold the URL, which is a password."""
    outbox, stat = Recording(PAGE), SelfStat(CollectorRegistry())
    chat = FakeChat(RuntimeError("https://hooks.example.org/T0KEN"))
    with structlog.testing.capture_logs() as logs:
        run(make(outbox, {"oncall": chat}, stat).dispatch(0.0))
    assert outbox.retried[0][2] == "the sender failed: RuntimeError"
    assert "T0KEN" not in repr(logs)
    assert stat.registry.get_sample_value("aiops_internal_errors_total", {"where": "notify"}) == 1.0


def test_what_was_sent_but_could_not_be_acknowledged_is_not_sent_again():
    """A sick state disk must not turn one page into one a minute."""

    class CannotWrite(Recording):
        sick = True

        def ack(self, key: str, now_s: float) -> None:
            if self.sick:
                raise StateError("disk full")
            super().ack(key, now_s)

    async def scene() -> None:
        outbox, chat = CannotWrite(PAGE), FakeChat()
        dispatcher = make(outbox, {"oncall": chat})
        assert await dispatcher.dispatch(0.0) == 1
        outbox.rows, outbox.sick = [PAGE], False
        assert await dispatcher.dispatch(61.0) == 0
        assert (chat.keys, outbox.acked) == ([PAGE.key], [PAGE.key])

    run(scene())


def test_an_outbox_that_cannot_be_read_is_said_once():
    """The dispatcher runs every few seconds; its complaint must not fill the log."""

    class CannotRead(Recording):
        def claim(self, now_s: float, lease_s: float, limit: int) -> list[Notification]:
            raise StateError("disk gone")

    dispatcher = make(CannotRead(), {})
    with structlog.testing.capture_logs() as logs:
        assert [run(dispatcher.dispatch(now_s)) for now_s in (0.0, 1.0, 2.0)] == [0, 0, 0]
    assert [entry["event"] for entry in logs] == ["outbox cannot be read"]


def test_stop_leaves_an_unfinished_send_to_the_next_start(outbox: StateSqlite):
    """A restart in the middle of a send repeats it; it never forgets it."""

    async def scene() -> None:
        put(outbox, PAGE)
        dispatcher = make(outbox, {"oncall": HangingChat()})
        await dispatcher.dispatch(0.0)
        await dispatcher.stop()

    run(scene())
    chat = FakeChat()
    assert dispatch(outbox, {"oncall": chat}, 2.0) == 1, "at once: a page does not wait out the lease of a clean stop"


def test_stop_lets_a_send_that_is_nearly_done_end(outbox: StateSqlite):
    """A stop that cuts every send repeats a page at every restart."""

    async def scene() -> None:
        put(outbox, PAGE)
        chat = HangingChat()
        dispatcher = make(outbox, {"oncall": chat})
        await dispatcher.dispatch(0.0)
        chat.let_go.set()
        await dispatcher.stop()
        assert chat.keys == [PAGE.key]

    run(scene())
    assert dispatch(outbox, {"oncall": FakeChat()}, LEASE_S + 1.0) == 0


def test_messages_in_memory_keep_order_lease_and_attempts():
    """The emergency way has the same promises while the process lives."""
    outbox = MemoryOutbox()
    outbox.put(page("i1:opened:1:oncall"), 0.0)
    outbox.put(page("i1:resolved:2:oncall"), 0.0)
    outbox.put(page("i1:opened:1:oncall"), 0.0)
    (first,) = outbox.claim(0.0, LEASE_S, 10)
    assert outbox.claim(1.0, LEASE_S, 10) == []
    outbox.retry(first.key, 5.0, "503")
    assert outbox.claim(4.0, LEASE_S, 10) == []
    (again,) = outbox.claim(5.0, LEASE_S, 10)
    assert (again.key, again.attempts, again.last_error) == ("i1:opened:1:oncall", 1, "503")
    outbox.ack(again.key, 5.0)
    assert [n.key for n in outbox.claim(5.0, LEASE_S, 10)] == ["i1:resolved:2:oncall"]
    outbox.bury("i1:resolved:2:oncall", 6.0, "403")
    assert outbox.claim(1_000.0, LEASE_S, 10) == []


def test_a_message_from_memory_says_that_it_could_not_be_saved():
    """Whoever reads it must know that the next message may not come."""
    outbox = MemoryOutbox()
    outbox.put(PAGE, 0.0)
    (told,) = outbox.claim(0.0, LEASE_S, 1)
    assert told.message.paragraphs[:-1] == PAGE.message.paragraphs
    assert "could not save its state" in told.message.paragraphs[-1]


def test_memory_is_bounded_and_quiet_messages_go_first():
    """A disk that is full for a day must not fill the memory too."""
    from aiops.model import Severity
    from aiops.notify.memory_outbox import MAX_HELD

    outbox = MemoryOutbox()
    outbox.put(page("tickets:ticket:1:oncall", subject="tickets", severity=Severity.TICKET), 0.0)
    for n in range(MAX_HELD):
        outbox.put(page(f"i{n}:opened:1:oncall", subject=f"i{n}"), 0.0)
    keys = [n.key for n in outbox.claim(0.0, LEASE_S, 10_000)]
    assert len(keys) == MAX_HELD
    assert "tickets:ticket:1:oncall" not in keys
    outbox.put(page("new:opened:1:oncall", subject="new"), 0.0)
    assert [n.key for n in outbox.claim(0.0, LEASE_S, 10)] == ["new:opened:1:oncall"]
    assert "i0:opened:1:oncall" not in [n.key for n in outbox.claim(LEASE_S + 1, LEASE_S, 10_000)]
