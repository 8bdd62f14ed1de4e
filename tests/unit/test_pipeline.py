"""The pipeline loses no page: not when a rule breaks, not when the state disk does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from aiops.errors import StateError
from aiops.model import (
    Alert,
    AlertState,
    Breach,
    ChangeKind,
    ChangeSet,
    Event,
    EventKind,
    Labels,
    LogRecord,
    Message,
    Notification,
    Observation,
    Sample,
    Severity,
    Sight,
    Spoken,
)
from aiops.pipeline import Board, Pipeline
from aiops.ports import SeriesReader
from aiops.saving import Saver
from aiops.selfstat import SelfStat
from tests.fakes import FakeSeries

LABELS = Labels.of(service="chat")


def page(revision: int = 0) -> Notification:
    message = Message(ChangeKind.OPENED, Severity.PAGE, "503 on chat", ("Users get 503.",))
    return Notification(f"inc:opened:{revision}:oncall", "inc", "oncall", 0.0, message)


def alert(rule: str, state: AlertState = AlertState.FIRING) -> Alert:
    return Alert(rule, LABELS, Severity.PAGE, True, state, 0.0, 0.0, 1.0, 0.5, rule)


class Rings(FakeSeries):
    def snapshot(self, now_s: float) -> Iterable[Sample]:
        return [
            Sample(name, labels, max(points), points[max(points)])
            for name, s in self.held.items()
            for labels, points in s.items()
        ]

    def expire(self, now_s: float) -> None:
        pass


class Events(list[Event]):
    def remember(self, event: Event) -> None:
        self.append(event)


class Logs:
    def __init__(self) -> None:
        self.fed: list[LogRecord] = []

    def feed(self, records: Iterable[LogRecord]) -> None:
        self.fed.extend(records)

    def samples(self, now_s: float) -> Iterable[Sample]:
        return [Sample("log_records_total", LABELS, now_s, float(len(self.fed)))]


class Book:
    def __init__(self) -> None:
        self.seen: list[Breach] = []

    def step(self, breaches: Iterable[Breach], now_s: float) -> Sequence[Alert]:
        self.seen = list(breaches)
        return [alert(breach.rule) for breach in self.seen]

    def firing(self) -> Sequence[Alert]:
        return [alert(breach.rule) for breach in self.seen]


class Correlator:
    """Opens an incident's worth of pages whenever anything fires."""

    def __init__(self) -> None:
        self.pages: list[Notification] = []
        self.doubt = False

    def step(self, firing: Sequence[Alert], now_s: float, spoken: Sequence[Spoken] = ()) -> ChangeSet:
        pages, self.pages = tuple(self.pages), []
        return ChangeSet(notifications=pages)

    def in_doubt(self, now_s: float) -> bool:
        return self.doubt


class State:
    def __init__(self) -> None:
        self.saved: list[ChangeSet] = []
        self.sick = False

    def commit(self, changes: ChangeSet) -> None:
        if self.sick:
            raise StateError("disk full")
        self.saved.append(changes)

    def changed_checkpoints(self) -> Mapping[str, bytes]:
        return {}

    def write_checkpoints(self, values: Mapping[str, bytes]) -> None:
        pass

    def roll_up(self, samples: Iterable[Sample], now_s: float) -> None:
        pass

    def waiting_count(self) -> int:
        return 3


class Emergency:
    def __init__(self) -> None:
        self.held: list[Notification] = []

    def put(self, notification: Notification, now_s: float) -> None:
        self.held.append(notification)


class Shown:
    def __init__(self) -> None:
        self.samples: list[Sample] = []

    def renew(self, samples: Callable[[], Iterable[Sample]]) -> None:
        self.samples = list(samples())


class Broken:
    def evaluate(self, series: SeriesReader, now_s: float) -> Iterable[Breach]:
        raise ZeroDivisionError


class Steady:
    def __init__(self, rule: str = "Spike") -> None:
        self.rule, self.asked = rule, 0

    def evaluate(self, series: SeriesReader, now_s: float) -> Iterable[Breach]:
        self.asked += 1
        yield Breach(self.rule, LABELS, now_s, 1.0, 0.5)


class Source:
    def __init__(self, *observations: Observation) -> None:
        self.observations = observations

    async def run(self, now_s: float, *, hastened: bool = False) -> Sequence[Observation]:
        return self.observations

    def acknowledge(self, now_s: float) -> None:
        self.acknowledged_s = now_s


def refuse(*_: object) -> None:
    raise StateError("disk full")


async def in_thread(work: Callable[[], None]) -> None:
    await asyncio.to_thread(work)


class House:
    """A pipeline with everything around it faked, and within reach."""

    def __init__(self, urgent=(), steady=()) -> None:
        self.series, self.events, self.logs, self.book = Rings(), Events(), Logs(), Book()
        self.correlator, self.state, self.emergency, self.shown = Correlator(), State(), Emergency(), Shown()
        self.board = Board(self.book, [])
        self.promises = 0
        self.now_s = 0.0
        stat = SelfStat(CollectorRegistry())
        self.saver = Saver(self.state, self.emergency, stat, in_thread)
        self.pipeline = Pipeline(
            series=self.series, events=self.events, logs=self.logs, urgent=urgent, steady=steady, book=self.book,
            correlator=self.correlator, saver=self.saver, keeper=self.state, board=self.board, exposition=self.shown,
            stat=stat, run_blocking=in_thread, promised=self.promise,
        )  # fmt: skip

    def promise(self) -> None:
        self.promises += 1


def test_every_kind_of_observation_reaches_its_stage():
    """A collector yields a mixture; nothing of it may fall between two stages."""
    house = House()
    sample = Sample("hw_gpu_count", LABELS, 1.0, 8.0)
    event = Event(EventKind.CHANGE, "deploy", 1.0, LABELS)
    record = LogRecord(1.0, LABELS, "CUDA out of memory")
    sight = Sight("host", "PSI", seen=False, detail="no /proc/pressure")
    asyncio.run(house.pipeline.collect(Source(sample, event, record, sight), 1.0))

    assert house.series.held["hw_gpu_count"][LABELS] == {1.0: 8.0}
    assert list(house.events) == [event]
    asyncio.run(house.pipeline.evaluate(2.0))
    assert house.state.saved[0].events == (event,)
    assert house.logs.fed == [record]
    assert list(house.board.sights()) == [sight]


def test_a_source_is_told_when_what_it_saw_has_arrived():
    """Its checkpoint moves on then, and not before: a kill in between must repeat lines, not lose them."""
    house = House()
    fed_then: list[int] = []

    class Watching(Source):
        def acknowledge(self, now_s: float) -> None:
            fed_then.append(len(house.logs.fed))

    records = [LogRecord(1.0, LABELS, f"line {number}") for number in range(5_000)]
    asyncio.run(house.pipeline.collect(Watching(*records), 1.0))

    assert fed_then == [5_000]
    assert house.logs.fed == records


def test_a_flood_of_lines_lets_other_ticks_run_in_between():
    """The loop that feeds them is the loop that answers /metrics and sends pages."""
    house = House()
    fed: list[int] = []

    async def story() -> None:
        feeding = asyncio.create_task(house.pipeline.collect(Source(*[LogRecord(1.0, LABELS, "line")] * 10_000), 1.0))
        while not feeding.done():
            fed.append(len(house.logs.fed))
            await asyncio.sleep(0)

    asyncio.run(story())
    assert len({count for count in fed if 0 < count < 10_000}) >= 3


def test_checkpoints_the_disk_refuses_are_complained_of_once_and_tried_again():
    """A full disk is said once, counted each time, and over when it is over."""
    house = House()
    house.state.write_checkpoints = refuse  # type: ignore[method-assign]
    with capture_logs() as said:
        for second in range(3):
            asyncio.run(house.pipeline.keep(float(second)))
        del house.state.write_checkpoints
        asyncio.run(house.pipeline.keep(4.0))

    assert [entry["event"] for entry in said] == [
        "checkpoints and history cannot be saved",
        "checkpoints and history can be saved again",
    ]
    assert house.pipeline.stat.registry.get_sample_value("aiops_state_errors_total") == 3


def test_a_broken_detector_does_not_silence_the_others():
    """A rule that divides by zero on odd data must not hide the spike beside it."""
    house = House(urgent=[Broken(), Steady()])
    asyncio.run(house.pipeline.evaluate(1.0))
    assert [breach.rule for breach in house.book.seen] == ["Spike"]
    assert house.pipeline.stat.registry.get_sample_value("aiops_internal_errors_total", {"where": "detect"}) == 1


def test_slow_rules_are_asked_every_five_seconds_and_hold_in_between():
    """The threshold table need not be read every second, and its breaches must not flicker for it."""
    slow = Steady("GpuHot")
    house = House(urgent=[Steady()], steady=[slow])

    async def scene() -> None:
        for second in range(10):
            await house.pipeline.evaluate(float(second))
            assert [breach.rule for breach in house.book.seen] == ["Spike", "GpuHot"]

    asyncio.run(scene())
    assert slow.asked == 2


class Ledger:
    """Reckons one sample, or breaks."""

    def __init__(self, *, sick: bool = False) -> None:
        self.sick = sick

    def samples(self, series: SeriesReader, now_s: float) -> Iterable[Sample]:
        if self.sick:
            raise ZeroDivisionError
        yield Sample("slo_burn_rate", LABELS, now_s, 20.0)


def test_what_a_ledger_reckons_is_there_for_the_slow_rules_of_the_same_look():
    """And a ledger that breaks silences neither the others nor the rules."""
    house = House(steady=[Steady()])
    house.pipeline.ledgers = (Ledger(sick=True), Ledger())
    with capture_logs() as logs:
        asyncio.run(house.pipeline.evaluate(7.0))

    assert house.series.held["slo_burn_rate"][LABELS] == {7.0: 20.0}
    assert [breach.rule for breach in house.book.seen] == ["Spike"]
    assert [entry["event"] for entry in logs] == ["ledger failed"]


def test_a_page_is_committed_with_its_alerts_and_then_announced():
    """The dispatcher is woken only after the promise is on the disk."""
    house = House(urgent=[Steady()])
    house.correlator.pages = [page()]
    asyncio.run(house.pipeline.evaluate(1.0))
    (saved,) = house.state.saved
    assert saved.notifications == (page(),)
    assert [a.rule for a in saved.alerts] == ["Spike"]
    assert house.promises == 1
    assert house.emergency.held == []


def test_a_full_disk_sends_the_page_from_memory_and_saves_the_rest_later():
    """The page matters more than the record of it; the record is made up for when the disk is well."""
    house = House(urgent=[Steady()])

    async def scene() -> None:
        house.state.sick = True
        house.correlator.pages = [page()]
        await house.pipeline.evaluate(1.0)
        assert house.emergency.held == [page()]
        assert house.promises == 1
        house.state.sick = False
        await house.pipeline.evaluate(2.0)

    asyncio.run(scene())
    (saved,) = house.state.saved
    assert [a.rule for a in saved.alerts] == ["Spike"]
    assert saved.notifications == (), "already sent from memory"


def test_collectors_hurry_when_users_begin_to_be_hurt_and_only_then():
    """The diagnosis must not wait for a five-second cadence, nor be paid for all day."""
    house = House()
    hurried: list[float] = []
    house.pipeline.hurry = lambda: hurried.append(house.now_s)

    async def scene() -> None:
        for second, doubt in enumerate([False, True, True, False, True]):
            house.now_s, house.correlator.doubt = float(second), doubt
            await house.pipeline.evaluate(house.now_s)
            assert house.pipeline.hastened is doubt

    asyncio.run(scene())
    assert hurried == [1.0, 4.0], "once at each beginning"


def test_the_daemon_is_ready_when_every_collector_ran_once():
    """A probe that turns green before the first round would hide a collector that never ends."""
    board = Board(Book(), ["host", "inference"])
    board.ran("host")
    assert (board.ready(), board.unready()) == (False, ["the first run of inference has not ended"])
    board.ran("inference")
    assert (board.ready(), board.unready()) == (True, [])


def test_of_too_many_things_that_are_gone_the_oldest_are_taken_down():
    """A daemon of months has seen hundreds of servers come and go, and must still say what it sees today."""
    board = Board(Book(), [])
    board.post(Sight("host", "this host", seen=True, detail="CPU"))
    for number in range(600):
        board.post(Sight("inference", f"server at {number}", seen=False, detail="refused"))
    subjects = {sight.subject for sight in board.sights()}

    assert len(subjects) == 500
    assert {"this host", "server at 599"} <= subjects
    assert "server at 0" not in subjects


def test_tidying_shows_the_newest_samples():
    """/metrics serves the cached page of the last tick."""
    house = House()
    house.series.extend([Sample("hw_gpu_count", LABELS, 1.0, 7.0), Sample("hw_gpu_count", LABELS, 2.0, 8.0)])
    asyncio.run(house.pipeline.tidy(2.0))
    assert house.shown.samples == [Sample("hw_gpu_count", LABELS, 2.0, 8.0)]


def test_keeping_shows_how_many_messages_wait():
    """A receiver that has been down for an hour must show on a dashboard, not only in the chat that is down."""
    house = House()
    asyncio.run(house.pipeline.keep(1.0))
    assert house.pipeline.stat.registry.get_sample_value("aiops_outbox_waiting") == 3
