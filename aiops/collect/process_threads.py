"""
The busiest thread of a process: an interpreter lock held, a tokenizer or an event loop is one full thread.

A server has hundreds of threads, and a reading costs ten microseconds each, so only the eight busiest are read. Who
they are is found by reading all of them twice, and anew when those eight no longer explain the CPU the process takes,
ever more seldom. A process that takes less than half a core has no full thread, and is not looked into.
"""

from __future__ import annotations

import contextlib
import heapq
import os
from collections.abc import Iterable
from dataclasses import dataclass

from aiops.collect.process_files import read_stat, seconds

_QUIET_CORES = 0.5
"""Below this no thread can be near a whole core."""
_WATCHED = 8
_MAX_THREADS = 512
_AGAIN_S = 60.0
_MAX_AGAIN_S = 900.0


@dataclass(frozen=True, slots=True)
class Busiest:
    """What a look found."""

    ratio: float | None
    """CPU of the busiest thread over one core; of a quiet process at most this; None if not known yet."""
    blocked: int
    """Threads in uninterruptible sleep, of those looked at."""


class Threads:
    """
    Watches the threads of one process.

    Args:
        folder: /proc/<pid>.
        pid: Its id, which is its main thread's too.
    """

    def __init__(self, folder: str, pid: int) -> None:
        self._folder = f"{folder}/task"
        self._pid = pid
        self._watched: set[int] = set()
        """Those that were busiest when all were read."""
        self._before: dict[int, int] = {}
        """Ticks of the threads read at the last look."""
        self._before_s = 0.0
        self._baseline: tuple[float, dict[int, int]] | None = None
        """The first of the two readings of all threads."""
        self._scan_after_s = float("-inf")
        self._pause_s = _AGAIN_S

    def look(self, cores: float, uptime_s: float) -> Busiest:
        """
        The busiest thread since the last look.

        Args:
            cores: CPU the whole process took lately, in cores.
            uptime_s: Time of this look.
        """
        if cores < _QUIET_CORES:
            self._before, blocked = self._read([self._pid])
            self._before_s = uptime_s
            return Busiest(cores, blocked)
        ticks, blocked = self._read({self._pid, *self._watched})
        ratios = self._ratios(ticks, uptime_s)
        self._watched &= ticks.keys()
        compared = self._watched <= ratios.keys()
        self._before, self._before_s = ticks, uptime_s
        if compared and cores - sum(ratios.values()) >= _QUIET_CORES:
            if self._baseline is not None or uptime_s >= self._scan_after_s:
                ratios |= self._scan(uptime_s)
        elif compared:
            self._pause_s = _AGAIN_S
        unexplained = cores - sum(heapq.nlargest(_WATCHED, ratios.values()))
        known = ratios and (max(ratios.values()) >= _QUIET_CORES or unexplained < _QUIET_CORES)
        return Busiest(min(max(ratios.values()), 1.0) if known else None, blocked)

    def _ratios(self, ticks: dict[int, int], uptime_s: float) -> dict[int, float]:
        elapsed_s = uptime_s - self._before_s
        if elapsed_s <= 0.0:
            return {}
        common = ticks.keys() & self._before.keys()
        return {tid: seconds(max(ticks[tid] - self._before[tid], 0)) / elapsed_s for tid in common}

    def _scan(self, uptime_s: float) -> dict[int, float]:
        """Read all threads; the second time, watch those that grew most and return their shares."""
        try:
            names = os.listdir(self._folder)[:_MAX_THREADS]  # noqa: PTH208 (names only)
        except OSError:
            return {}
        ticks, _ = self._read(int(name) for name in names if name.isdecimal())
        first, self._baseline = self._baseline, (uptime_s, ticks)
        if first is None or not 0.0 < uptime_s - first[0] < _AGAIN_S:
            return {}
        self._baseline = None
        self._scan_after_s, self._pause_s = uptime_s + self._pause_s, min(2 * self._pause_s, _MAX_AGAIN_S)
        grown = {tid: count - first[1].get(tid, 0) for tid, count in ticks.items()}
        busiest = heapq.nlargest(_WATCHED, grown, key=lambda tid: grown[tid])
        self._watched = set(busiest)
        self._before = {tid: ticks[tid] for tid in {self._pid, *busiest} & ticks.keys()}
        return {tid: seconds(grown[tid]) / (uptime_s - first[0]) for tid in busiest}

    def _read(self, tids: Iterable[int]) -> tuple[dict[int, int], int]:
        ticks: dict[int, int] = {}
        blocked = 0
        for tid in tids:
            with contextlib.suppress(OSError, ValueError):  # threads end at any time
                stat = read_stat(f"{self._folder}/{tid}/stat")
                ticks[tid] = stat.cpu_ticks
                blocked += stat.state == "D"
        return ticks, blocked
