"""
CPU time, the queue for it, and pressure (PSI) of this host.

A machine has up to a few hundred CPUs, and one of them full (a tokenizer, an interrupt) hides in the mean of all. A
series each would flood the rings, so there are the busiest one and the number of full ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Final

from aiops.collect.procfs import Since, number_after, read_file
from aiops.model import Labels, Sample

_FULL_RATIO = 0.95
"""A CPU this busy counts as full: ticks of 10 ms leave a few percent of idle time that is none."""


class Cpu:
    """Shares of CPU time, tasks that want it, load, number of CPUs."""

    subject: Final = "CPU"

    def __init__(self, root: Path, labels: Labels) -> None:
        self._stat = str(root / "proc/stat")
        self._loadavg = str(root / "proc/loadavg")
        self._labels = labels
        self._modes = [labels.merge(mode=mode) for mode in ("user", "nice", "system", "interrupt")]
        self._since, self._since_iowait = Since(), Since()
        self._each = BusyCpus()

    def read(self, now_s: float) -> Iterator[Sample]:
        text = read_file(self._stat)
        end = text.find(b"\nintr")
        lines = text[: end if end >= 0 else len(text)].split(b"\n")
        # user nice system idle iowait irq softirq steal; guest times are inside user and nice
        user, nice, system, idle, iowait, irq, softirq, steal = map(int, lines[0].split()[1:9])
        yield Sample("system_cpu_logical_count", self._labels, now_s, float(text.count(b"\ncpu")))
        load = float(read_file(self._loadavg).split(maxsplit=1)[0])
        if not isfinite(load):
            raise ValueError("a load that is no number")
        yield Sample("system_cpu_load_average_1m", self._labels, now_s, load)
        yield from self._queue(text, now_s)
        # iowait may run backwards, says proc(5); together with idle time it does not
        change = self._since.advance(now_s, (user, nice, system, idle + iowait, irq + softirq, steal))
        waited = self._since_iowait.advance(now_s, (iowait,))
        if change:
            yield from self._shares(change[1], waited[1][0] if waited else None, now_s)
        if busy := self._each.advance([line for line in lines if line.startswith(b"cpu") and line[3:4].isdigit()]):
            yield Sample("system_cpu_busiest_utilization_ratio", self._labels, now_s, max(busy))
            full = sum(ratio >= _FULL_RATIO for ratio in busy)
            yield Sample("system_cpu_full_cpus", self._labels, now_s, float(full))

    def _queue(self, text: bytes, now_s: float) -> Iterator[Sample]:
        for name, metric in (
            (b"procs_running ", "system_cpu_runnable_tasks"),
            (b"procs_blocked ", "system_blocked_tasks"),
        ):
            if (count := number_after(text, name)) is not None:
                # the reader itself runs while it reads
                yield Sample(metric, self._labels, now_s, float(max(count - (name == b"procs_running "), 0)))

    def _shares(self, increases: tuple[int, ...], iowait: int | None, now_s: float) -> Iterator[Sample]:
        total = sum(increases)
        if total == 0:
            return
        user, nice, system, idle, interrupt, steal = increases
        yield Sample("system_cpu_utilization_ratio", self._labels, now_s, 1.0 - idle / total)
        yield Sample("system_cpu_steal_ratio", self._labels, now_s, steal / total)
        if iowait is not None:
            yield Sample("system_cpu_iowait_ratio", self._labels, now_s, min(iowait / total, 1.0))
        for labels, ticks in zip(self._modes, (user, nice, system, interrupt), strict=True):
            yield Sample("system_cpu_mode_ratio", labels, now_s, ticks / total)


class BusyCpus:
    """How busy each CPU was since the last look; CPUs come and go."""

    def __init__(self) -> None:
        self._before: dict[bytes, tuple[int, int]] = {}

    def advance(self, lines: list[bytes]) -> list[float]:
        """Busy shares of all CPUs that can be told, from their lines in /proc/stat; in no order."""
        now: dict[bytes, tuple[int, int]] = {}
        busy: list[float] = []
        for line in lines:
            name, *times = line.split()[:9]
            ticks = list(map(int, times))
            idle, total = ticks[3] + ticks[4], sum(ticks)
            now[name] = (idle, total)
            if (last := self._before.get(name)) is not None:
                idle_change, total_change = idle - last[0], total - last[1]
                # a CPU that was off starts anew
                if total_change > 0 and 0 <= idle_change <= total_change:
                    busy.append(1.0 - idle_change / total_change)
        self._before = now
        return busy


class Pressure:
    """Share of time tasks waited for one resource (PSI)."""

    def __init__(self, root: Path, labels: Labels, resource: str) -> None:
        self.subject: Final = f"pressure of {resource}"
        self._path = str(root / "proc/pressure" / resource)
        # "full" of the CPU is defined for control groups only; the kernel writes zeros
        shares = ("some",) if resource == "cpu" else ("some", "full")
        self._rows = {share.encode(): (labels.merge(resource=resource, share=share), Since()) for share in shares}

    def read(self, now_s: float) -> Iterator[Sample]:
        for line in read_file(self._path).splitlines():
            share, _, rest = line.partition(b" ")
            if share not in self._rows:
                continue
            labels, since = self._rows[share]
            stalled_us = int(rest[rest.index(b"total=") + 6 :])
            if change := since.advance(now_s, (stalled_us,)):
                elapsed_s, (increase_us,) = change
                yield Sample("system_pressure_stalled_ratio", labels, now_s, min(increase_us / 1e6 / elapsed_s, 1.0))
