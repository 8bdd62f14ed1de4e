"""The runner keeps one collector from hurting anything but itself, and tells what became of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from aiops.clock import ManualClock
from aiops.collect.runner import Runner
from aiops.errors import SourceMalformed, SourceUnavailable
from aiops.model import NO_LABELS, Observation, Sample, Sight
from aiops.selfstat import SelfStat

SAMPLE = Sample("system_cpu_load_average_1m", NO_LABELS, 1.0, 1.0)


class Blocking:
    """A collector that does what it is told."""

    interval_s = 5.0
    deadline_s = 5.0

    def __init__(self, act: Callable[[], Iterable[Observation]], deadline_s: float = 5.0) -> None:
        self.act = act
        self.deadline_s = deadline_s
        self.calls = 0

    def collect(self, now_s: float) -> Iterable[Observation]:
        self.calls += 1
        return self.act()


class Speaking(Blocking):
    """The same as a coroutine."""

    collect = None  # type: ignore[assignment]

    async def gather(self, now_s: float) -> Iterable[Observation]:
        self.calls += 1
        return self.act()


class Stage:
    """A runner with everything it needs."""

    def __init__(self, collector: Blocking, executor: ThreadPoolExecutor) -> None:
        self.clock = ManualClock()
        self.stat = SelfStat(CollectorRegistry())
        self.runner = Runner("odd", collector, executor, self.stat, self.clock)  # type: ignore[arg-type]

    def count(self, result: str) -> float:
        return (
            self.stat.registry.get_sample_value("aiops_collector_runs_total", {"collector": "odd", "result": result})
            or 0.0
        )


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def up(observations: Iterable[Observation]) -> float:
    return next(o.value for o in observations if isinstance(o, Sample) and o.metric == "aiops_collector_up")


def raising(error: Exception) -> Callable[[], Iterable[Observation]]:
    def act() -> Iterable[Observation]:
        raise error

    return act


@pytest.mark.parametrize("kind", [Blocking, Speaking])
def test_observations_come_with_the_collector_s_own_state(kind, executor):
    """`aiops_collector_up` is how a dashboard knows that silence is good news."""
    stage = Stage(kind(lambda: iter([SAMPLE])), executor)
    seen = asyncio.run(stage.runner.run(1.0))
    assert SAMPLE in seen
    assert up(seen) == 1.0
    assert stage.count("ok") == 1.0


@pytest.mark.parametrize("kind", [Blocking, Speaking])
@pytest.mark.parametrize(
    "error", [SourceUnavailable("no driver"), SourceMalformed("HTML"), ZeroDivisionError("bug"), TimeoutError()]
)
def test_a_failing_collector_is_down_and_raises_nothing(kind, error, executor):
    """One broken collector must not end the round of the others."""
    stage = Stage(kind(raising(error)), executor)
    seen = asyncio.run(stage.runner.run(1.0))
    assert up(seen) == 0.0
    assert [(o.collector, o.seen) for o in seen if isinstance(o, Sight)] == [("odd", False)]


def test_a_generator_that_fails_halfway_is_a_failure(executor):
    """Most collectors are generators: their errors come while they are drained."""

    def halfway() -> Iterator[Observation]:
        yield SAMPLE
        raise SourceUnavailable("gone")

    stage = Stage(Blocking(halfway), executor)
    assert up(asyncio.run(stage.runner.run(1.0))) == 0.0


def test_the_same_trouble_is_said_once_and_counted_always(executor):
    """A log that repeats itself every second hides what is new."""
    stage = Stage(Blocking(raising(ZeroDivisionError("bug"))), executor)

    async def scene() -> list[Observation]:
        seen: list[Observation] = []
        for _ in range(3):
            seen += await stage.runner.run(1.0)
            stage.clock.advance(100.0)
        return seen

    with capture_logs() as logs:
        seen = asyncio.run(scene())

    assert len([o for o in seen if isinstance(o, Sight)]) == 1
    assert [entry["event"] for entry in logs] == ["collector failed"]
    assert logs[0]["exc_info"] is not None
    assert stage.count("error") == 3.0
    assert stage.stat.registry.get_sample_value("aiops_internal_errors_total", {"where": "collect odd"}) == 3.0


def test_recovery_is_a_sight(executor):
    """The page must not show a blind spot that is none any more."""
    collector = Blocking(raising(SourceUnavailable("gone")))
    stage = Stage(collector, executor)

    async def scene() -> list[Observation]:
        await stage.runner.run(1.0)
        collector.act = lambda: [SAMPLE]
        return list(await stage.runner.run(2.0))

    seen = asyncio.run(scene())
    assert [o.seen for o in seen if isinstance(o, Sight)] == [True]
    assert up(seen) == 1.0


def test_a_source_that_stays_away_is_asked_ever_more_rarely(executor):
    """Asking a dead source every second costs the CPU it would need to come back; a minute is the longest wait."""
    collector = Blocking(raising(SourceUnavailable("gone")))
    stage = Stage(collector, executor)

    async def scene(*, hastened: bool, rounds: int) -> int:
        before = collector.calls
        for _ in range(rounds):
            await stage.runner.run(stage.clock.now_s(), hastened=hastened)
            stage.clock.advance(5.0)
        return collector.calls - before

    first = asyncio.run(scene(hastened=False, rounds=24))  # two minutes
    later = asyncio.run(scene(hastened=False, rounds=24))
    in_an_incident = asyncio.run(scene(hastened=True, rounds=24))
    assert first <= 7
    assert later == 2
    assert in_an_incident == 24


def test_one_failure_alone_costs_no_round(executor):
    """A single dropped connection is no outage."""
    collector = Blocking(raising(SourceUnavailable("gone")))
    stage = Stage(collector, executor)

    async def scene() -> None:
        await stage.runner.run(1.0)
        stage.clock.advance(5.0)
        await stage.runner.run(6.0)

    asyncio.run(scene())
    assert collector.calls == 2


def test_a_hung_call_is_given_up_never_stacked_and_its_findings_come_late(executor):
    """One dead NFS mount must not take every thread; log lines read after the deadline must not be lost."""
    gate = threading.Event()

    def blocked() -> Iterator[Observation]:
        gate.wait(10.0)
        yield SAMPLE

    collector = Blocking(blocked, deadline_s=0.02)
    stage = Stage(collector, executor)

    async def scene() -> tuple[list[float], list[Observation]]:
        ups = [up(await stage.runner.run(1.0)) for _ in range(3)]
        gate.set()
        stage.clock.advance(100.0)
        executor.submit(int).result()  # the other thread is free all the time
        while stage.runner._late is None or not stage.runner._late.done():
            await asyncio.sleep(0.001)
        collector.act = list
        return ups, list(await stage.runner.run(2.0))

    ups, seen = asyncio.run(scene())
    assert ups == [0.0, 0.0, 0.0]
    assert collector.calls == 2
    assert stage.count("timeout") == 1.0
    assert stage.count("skipped") == 2.0
    assert SAMPLE in seen
    assert up(seen) == 1.0


def test_a_hung_coroutine_is_cancelled_at_its_deadline(executor):
    """A target that never answers must free its connection."""

    class Hanging(Speaking):
        async def gather(self, now_s: float) -> Iterable[Observation]:
            await asyncio.Event().wait()
            return ()

    stage = Stage(Hanging(list, deadline_s=0.02), executor)
    assert up(asyncio.run(stage.runner.run(1.0))) == 0.0
    assert stage.count("timeout") == 1.0


def test_a_flood_of_observations_is_cut(executor):
    """A collector without an end must not fill the memory."""

    def endless() -> Iterator[Observation]:
        while True:
            yield SAMPLE

    stage = Stage(Blocking(endless), executor)
    seen = asyncio.run(stage.runner.run(1.0))
    assert len(seen) == 50_001
    assert stage.stat.registry.get_sample_value("aiops_samples_dropped_total", {"reason": "run_limit"}) == 1.0


class Keeping(Blocking):
    """One that keeps checkpoints."""

    def __init__(self, act: Callable[[], Iterable[Observation]], deadline_s: float = 5.0) -> None:
        super().__init__(act, deadline_s)
        self.acknowledged: list[float] = []

    def acknowledge(self, now_s: float) -> None:
        self.acknowledged.append(now_s)


def test_what_arrived_is_acknowledged_to_a_collector_that_keeps_checkpoints(executor):
    """Only then may it move on: what it read may still be lost until it is counted."""
    collector = Keeping(lambda: iter([SAMPLE]))
    stage = Stage(collector, executor)
    asyncio.run(stage.runner.run(1.0))
    assert collector.acknowledged == []
    stage.runner.acknowledge(1.0)
    assert collector.acknowledged == [1.0]
    Stage(Blocking(lambda: iter([])), executor).runner.acknowledge(1.0)  # others do not care


def test_a_late_call_is_not_acknowledged_before_its_observations_were_handed_on(executor):
    """Killed between the two, a checkpoint would have skipped lines that nobody has seen."""
    go_on = threading.Event()

    def slow() -> Iterable[Observation]:
        go_on.wait(10.0)
        return iter([SAMPLE])

    collector = Keeping(slow, deadline_s=0.01)
    stage = Stage(collector, executor)

    async def story() -> None:
        await stage.runner.run(1.0)
        stage.runner.acknowledge(1.0)
        assert collector.acknowledged == [], "it still runs"
        go_on.set()
        assert stage.runner._late is not None
        await asyncio.wait([stage.runner._late])
        stage.runner.acknowledge(2.0)
        assert collector.acknowledged == [], "it has ended, and nobody has what it saw"
        assert SAMPLE in await stage.runner.run(3.0)
        stage.runner.acknowledge(3.0)

    asyncio.run(story())
    assert collector.acknowledged == [3.0]
