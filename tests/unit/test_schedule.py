"""The schedule keeps every tick going, whatever another does."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry

from aiops.clock import SystemClock
from aiops.schedule import Schedule
from aiops.selfstat import SelfStat


def counted(stat: SelfStat, metric: str, **labels: str) -> float:
    return stat.registry.get_sample_value(metric, labels) or 0.0


class BackwardClock(SystemClock):
    """Wall time goes back an hour at every reading; monotonic time is honest."""

    def __init__(self) -> None:
        self.readings = 0

    def now_s(self) -> float:
        self.readings += 1
        return 1e9 - 3600.0 * self.readings


async def _until(condition, limit_s: float = 5.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.002)


def test_a_tick_that_raises_runs_again_and_is_counted():
    """One bug in one rule at 3 a.m. must not end the watch."""
    stat = SelfStat(CollectorRegistry())
    runs: list[float] = []

    async def broken(now_s: float) -> None:
        runs.append(now_s)
        raise RuntimeError("odd data")

    async def scene() -> None:
        schedule = Schedule(SystemClock(), stat)
        schedule.every("broken", broken, 0.01, deadline_s=1.0)
        await _until(lambda: len(runs) >= 3)
        await schedule.stop()

    asyncio.run(scene())
    assert len(runs) >= 3
    assert counted(stat, "aiops_internal_errors_total", where="broken") == len(runs)


def test_a_hung_tick_is_cancelled_at_its_deadline_and_delays_no_other():
    """A source that never answers is the normal case, not the exception."""
    stat = SelfStat(CollectorRegistry())
    hung: list[float] = []
    healthy: list[float] = []

    async def hangs(now_s: float) -> None:
        hung.append(now_s)
        await asyncio.Event().wait()

    async def runs(now_s: float) -> None:
        healthy.append(now_s)

    async def scene() -> None:
        schedule = Schedule(SystemClock(), stat)
        schedule.every("hangs", hangs, 0.01, deadline_s=0.05)
        schedule.every("runs", runs, 0.01, deadline_s=1.0)
        await _until(lambda: len(hung) >= 2)
        await schedule.stop()

    asyncio.run(scene())
    assert len(healthy) > len(hung)
    assert counted(stat, "aiops_ticks_merged_total", tick="hangs") >= 1, "missed runs are merged, not stacked"


def test_a_nudge_runs_a_slow_tick_at_once():
    """A page leaves when it is committed, not at the next five-second mark."""
    runs: list[float] = []

    async def dispatch(now_s: float) -> None:
        runs.append(now_s)

    async def scene() -> None:
        schedule = Schedule(SystemClock(), SelfStat(CollectorRegistry()))
        tick = schedule.every("dispatch", dispatch, 3600.0, deadline_s=1.0)
        await _until(lambda: len(runs) == 1)
        tick.nudge()
        await _until(lambda: len(runs) == 2)
        await schedule.stop()

    asyncio.run(scene())
    assert len(runs) == 2


def test_a_wall_clock_set_back_stops_nothing():
    """NTP steps and operators set clocks; cadences are measured on the monotonic one."""
    runs: list[float] = []

    async def tick(now_s: float) -> None:
        runs.append(now_s)

    async def scene() -> None:
        schedule = Schedule(BackwardClock(), SelfStat(CollectorRegistry()))
        schedule.every("tick", tick, 0.01, deadline_s=1.0)
        await _until(lambda: len(runs) >= 3)
        await schedule.stop()

    asyncio.run(scene())
    assert runs[1] < runs[0]
    assert len(runs) >= 3


def test_an_interval_that_became_shorter_is_obeyed_without_waiting_out_the_old_one():
    """While users are hurt every collector hurries; the change must not take a full old interval."""
    runs: list[float] = []
    interval_s = [3600.0]

    async def tick(now_s: float) -> None:
        runs.append(now_s)

    async def scene() -> None:
        schedule = Schedule(SystemClock(), SelfStat(CollectorRegistry()))
        handle = schedule.every("collect", tick, lambda: interval_s[0], deadline_s=1.0)
        await _until(lambda: len(runs) == 1)
        interval_s[0] = 0.01
        handle.nudge()
        await _until(lambda: len(runs) >= 4)
        await schedule.stop()

    asyncio.run(scene())
    assert len(runs) >= 4
