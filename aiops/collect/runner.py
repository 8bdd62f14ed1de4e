"""
One collector, kept on a leash: deadline, isolation, back-off, and what it says about itself.

The pipeline calls `Runner.run` at the collector's interval and always gets an answer: what was observed, plus whether
the collector is up. A blocking collector runs in the executor that is passed in, at most one call at a time: if its
last call still hangs there, the run is skipped and counted, so that one sick disk can never occupy every thread. What
a call observed after its deadline is not lost; it comes with the next run.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from typing import cast

import structlog

from aiops.clock import Clock
from aiops.errors import SourceError, SourceUnavailable
from aiops.futures import look_away
from aiops.model import Labels, Observation, Sample, Sight
from aiops.ports import Acknowledging, AsyncCollector, Collector
from aiops.selfstat import SelfStat

log = structlog.get_logger(__name__)

_MAX_OBSERVATIONS = 50_000
"""A run that sees more is cut: nothing honest sees as much within seconds."""
_MAX_WAIT_S = 60.0
_MAX_WAIT_HASTENED_S = 5.0
"""Users are being hurt: a source that comes back must be noticed soon."""


class Runner:
    """
    Runs one collector.

    Args:
        name: The plug-in's name.
        collector: What is run.
        executor: Where blocking collectors run; needs a thread for each of them, since a hung one keeps its own.
        stat: Counts runs by result.
        clock: For durations and back-off.
    """

    def __init__(
        self, name: str, collector: Collector | AsyncCollector, executor: Executor, stat: SelfStat, clock: Clock
    ) -> None:
        self.name = name
        self._collector = collector
        # asked once: looking a protocol up costs as much as a short run
        self._gather = collector.gather if isinstance(collector, AsyncCollector) else None
        self._acknowledge = collector.acknowledge if isinstance(collector, Acknowledging) else None
        self._clock = clock
        self._executor = executor
        self._stat = stat
        self._labels = Labels.of(collector=name)
        self._late: asyncio.Future[list[Observation]] | None = None
        self._up: bool | None = None
        self._complaint = ""
        self._failures = 0
        self._failed_s = 0.0

    @property
    def interval_s(self) -> float:
        """Seconds between runs when nobody is in a hurry."""
        return self._collector.interval_s

    @property
    def deadline_s(self) -> float:
        """Seconds after which `run` stops waiting for the collector."""
        return self._collector.deadline_s

    async def run(self, now_s: float, *, hastened: bool = False) -> Sequence[Observation]:
        """
        What the collector observes at *now_s*; never raises for a sick source.

        Args:
            now_s: Wall time.
            hastened: An incident is open; back off by seconds only.
        """
        late = self._take_late()
        if late is None or self._backing_off(hastened=hastened):
            self._stat.collector_runs.labels(self.name, "skipped").inc()
            return [*(late or ()), self._up_sample(now_s)]
        started_s = self._clock.monotonic_s()
        observations: list[Observation] = late
        try:
            observations += await self._observe(now_s)
        except TimeoutError:
            observations += self._failed("timeout", f"no answer within {self._collector.deadline_s:g} s")
        except SourceError as error:
            observations += self._failed("error", str(error), error)
        except Exception as error:  # noqa: BLE001 (a bug in one collector must not end the others)
            observations += self._failed("error", repr(error), error)
        else:
            observations += self._succeeded()
        self._stat.collector_seconds.labels(self.name).set(self._clock.monotonic_s() - started_s)
        observations.append(self._up_sample(now_s))
        return observations

    def acknowledge(self, now_s: float) -> None:
        """
        What `run` returned was taken in.

        Told to a collector that keeps checkpoints, unless a late call of it still runs, whose observations nobody has.
        """
        if self._late is None and self._acknowledge is not None:
            self._acknowledge(now_s)

    async def _observe(self, now_s: float) -> list[Observation]:
        """One call of the collector, within its deadline."""
        if self._gather is not None:
            async with asyncio.timeout(self._collector.deadline_s):
                return self._bounded(await self._gather(now_s))
        call = asyncio.get_running_loop().run_in_executor(self._executor, self._collect, now_s)
        try:
            async with asyncio.timeout(self._collector.deadline_s):
                return await asyncio.shield(call)
        except (TimeoutError, asyncio.CancelledError):
            if not call.done():
                self._late = call
                look_away(call)
            raise

    def _collect(self, now_s: float) -> list[Observation]:
        """What runs in the thread; observations are often a generator, which must be drained there."""
        return self._bounded(cast("Collector", self._collector).collect(now_s))

    def _bounded(self, observations: Iterable[Observation]) -> list[Observation]:
        taken = list(itertools.islice(observations, _MAX_OBSERVATIONS + 1))
        if len(taken) > _MAX_OBSERVATIONS:
            taken.pop()
            self._stat.samples_dropped.labels("run_limit").inc()
            log.warning("collector saw too much; the rest is dropped", collector=self.name, limit=_MAX_OBSERVATIONS)
        return taken

    def _take_late(self) -> list[Observation] | None:
        """What a call observed that ended after its deadline; None while it still runs."""
        if self._late is None:
            return []
        if not self._late.done():
            return None
        call, self._late = self._late, None
        return [] if call.cancelled() or call.exception() else call.result()

    def _backing_off(self, *, hastened: bool) -> bool:
        if self._failures < 2:  # a single failure is no pattern
            return False
        longest_s = _MAX_WAIT_HASTENED_S if hastened else _MAX_WAIT_S
        wait_s = min(self._collector.interval_s * 2.0 ** min(self._failures - 1, 16), longest_s)
        # half an interval of tolerance: a tick that comes a moment early must not cost a whole interval
        return self._clock.monotonic_s() - self._failed_s < wait_s - 0.5 * min(self._collector.interval_s, 1.0)

    def _failed(self, result: str, complaint: str, error: Exception | None = None) -> list[Observation]:
        self._stat.collector_runs.labels(self.name, result).inc()
        if error is not None and not isinstance(error, SourceError):
            self._stat.internal_errors.labels(f"collect {self.name}").inc()
        self._failures += 1
        self._failed_s = self._clock.monotonic_s()
        self._up = False
        if complaint == self._complaint:
            return []
        self._complaint = complaint
        self._complain(complaint, error)
        return [Sight(self.name, self.name, seen=False, detail=complaint)]

    def _complain(self, complaint: str, error: Exception | None) -> None:
        """Say it once: expected absences quietly, bugs with their traceback."""
        if isinstance(error, SourceUnavailable):
            log.info("collector has no source", collector=self.name, error=complaint)
        elif error is None or isinstance(error, SourceError):
            log.warning("collector failed", collector=self.name, error=complaint)
        else:
            log.error("collector failed", collector=self.name, error=complaint, exc_info=error)

    def _succeeded(self) -> list[Observation]:
        self._stat.collector_runs.labels(self.name, "ok").inc()
        news = [Sight(self.name, self.name, seen=True, detail="answers again")] if self._up is False else []
        self._up = True
        self._failures = 0
        self._complaint = ""
        return list(news)

    def _up_sample(self, now_s: float) -> Sample:
        return Sample("aiops_collector_up", self._labels, now_s, 1.0 if self._up else 0.0)
