"""
When things run: ticks on a monotonic asyncio loop, calendar work on APScheduler.

A tick is a coroutine with a cadence. Each has its own task, so that a slow one delays no other; runs it missed while it
was busy are merged into the next and counted, never stacked. Cadences are measured on the monotonic clock: setting the
wall clock back an hour stops nothing, which is why APScheduler (it follows the wall clock) only gets the work that
belongs to the calendar: purges, reports, refits.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from aiops.clock import Clock
from aiops.selfstat import SelfStat

log = structlog.get_logger(__name__)

Job = Callable[[float], Awaitable[object]]
"""A coroutine function of the wall time, seconds since the epoch."""


@dataclass(slots=True)
class Tick:
    """One recurring job; `nudge` makes it due at once."""

    name: str
    job: Job
    interval_s: Callable[[], float]
    deadline_s: float
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    complaint: str = ""

    def nudge(self) -> None:
        """Run as soon as the current run, if any, has ended."""
        self.wake.set()


class Schedule:
    """
    Runs ticks until stopped.

    Args:
        clock: Source of both times.
        stat: Counts merged runs, durations and errors.
    """

    def __init__(self, clock: Clock, stat: SelfStat) -> None:
        self._clock = clock
        self._stat = stat
        self._tasks: list[asyncio.Task[None]] = []

    def every(self, name: str, job: Job, interval_s: float | Callable[[], float], *, deadline_s: float) -> Tick:
        """
        Start running *job* at once and then every *interval_s*.

        Args:
            name: For metrics and log events.
            job: Called with the wall time; one run at a time.
            interval_s: Seconds between starts, or a function asked after every run.
            deadline_s: A run is cancelled after this many seconds.

        Returns:
            The tick, to nudge it.
        """
        interval = interval_s if callable(interval_s) else functools.partial(float, interval_s)
        tick = Tick(name, job, interval, deadline_s)
        self._tasks.append(asyncio.create_task(self._run(tick), name=f"tick {name}"))
        return tick

    async def stop(self) -> None:
        """Cancel every tick and wait until none runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _run(self, tick: Tick) -> None:
        due_s = self._clock.monotonic_s()
        while True:
            await self._until(tick, due_s)
            started_s = self._clock.monotonic_s()
            await self._once(tick)
            ended_s = self._clock.monotonic_s()
            self._stat.tick_seconds.labels(tick.name).observe(ended_s - started_s)
            interval_s = tick.interval_s()
            due_s = min(due_s, started_s) + interval_s
            if due_s <= ended_s:
                missed = math.floor((ended_s - due_s) / interval_s) + 1
                due_s += missed * interval_s
                self._stat.ticks_merged.labels(tick.name).inc(missed)

    async def _until(self, tick: Tick, due_s: float) -> None:
        while (wait_s := due_s - self._clock.monotonic_s()) > 0:
            if tick.wake.is_set():
                break
            try:
                async with asyncio.timeout(min(wait_s, 5.0)):
                    await tick.wake.wait()
            except TimeoutError:
                # a cadence that became faster meanwhile counts from now
                if due_s - self._clock.monotonic_s() > tick.interval_s():
                    break
        tick.wake.clear()

    async def _once(self, tick: Tick) -> None:
        complaint = ""
        try:
            async with asyncio.timeout(tick.deadline_s):
                await tick.job(self._clock.now_s())
        except TimeoutError:
            complaint = f"no end within {tick.deadline_s:g} s"
            self._complain(tick, complaint)
        except Exception as error:  # noqa: BLE001 (one broken tick must not end the others)
            complaint = repr(error)
            self._complain(tick, complaint, exc_info=True)
        tick.complaint = complaint

    def _complain(self, tick: Tick, complaint: str, *, exc_info: bool = False) -> None:
        self._stat.internal_errors.labels(tick.name).inc()
        if complaint != tick.complaint:
            log.error("tick failed", tick=tick.name, error=complaint, exc_info=exc_info)


class Calendar:
    """Work that belongs to the wall clock, on APScheduler 3."""

    def __init__(self, clock: Clock, stat: SelfStat) -> None:
        # imported here: 16 MB and 0.2 s that the first answer on /metrics need not wait for
        from apscheduler.schedulers.asyncio import AsyncIOScheduler  # noqa: PLC0415

        self._clock = clock
        self._stat = stat
        self._scheduler: Any = AsyncIOScheduler(
            job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1}
        )
        self._scheduler.start()

    def daily(self, name: str, job: Job, *, hour: int, minute: int, deadline_s: float) -> None:
        """Run *job* once a day at local *hour*:*minute*."""
        self._scheduler.add_job(
            self._guarded, "cron", args=(name, job, deadline_s), hour=hour, minute=minute, id=name, jitter=300
        )

    async def _guarded(self, name: str, job: Job, deadline_s: float) -> None:
        try:
            async with asyncio.timeout(deadline_s):
                await job(self._clock.now_s())
        except Exception:  # a calendar job that fails runs again tomorrow
            self._stat.internal_errors.labels(name).inc()
            log.exception("calendar job failed", job=name)

    def stop(self) -> None:
        """Forget all jobs."""
        self._scheduler.shutdown(wait=False)
