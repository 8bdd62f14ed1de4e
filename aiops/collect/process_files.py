"""
What the files of one process under /proc say.

Rates are taken over the machine's uptime and not over wall time, so that setting the clock changes none. Reading
/proc/<pid>/smaps_rollup for the proportional share of memory took 17 ms for 2 GiB on this machine, with the process's
memory map locked meanwhile, and servers hold hundreds; so memory is told as resident, of its own, and shared.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from aiops.collect.procfs import Since, number_after, read_file
from aiops.model import Labels, Sample

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_KIB = 1024.0
_TOO_LARGE = 2**64
_MEMORY = (
    (b"VmRSS:", "process_memory_usage_bytes"),
    (b"RssAnon:", "process_memory_anonymous_bytes"),
    (b"RssShmem:", "process_memory_shared_bytes"),
    (b"VmSwap:", "process_memory_swap_bytes"),
)
_SWITCHES = ((b"voluntary_ctxt_switches:", "voluntary"), (b"nonvoluntary_ctxt_switches:", "involuntary"))


@dataclass(frozen=True, slots=True)
class Stat:
    """The parts that are wanted of /proc/<pid>/stat, or of a thread's."""

    name: str
    state: str
    parent: int
    major_faults: int
    cpu_ticks: int
    threads: int
    start_ticks: int
    """When it started, since the machine did; with the id, a process's identity."""


def read_stat(path: str) -> Stat:
    """
    The stat file at *path*.

    Raises:
        OSError: the process has ended, or hides.
        ValueError: it is not in the kernel's form.
    """
    text = read_file(path)
    start, end = text.find(b"("), text.rfind(b")")  # names may hold spaces and parentheses
    fields = text[end + 1 :].split(None, 21)
    if start < 0 or len(fields) < 20:
        raise ValueError(f"{path}: not in the form of a stat file")
    parent, major_faults, user, system, threads, started = (int(fields[i]) for i in (1, 9, 11, 12, 17, 19))
    if max(parent, major_faults, user, system, threads, started) >= _TOO_LARGE:
        raise ValueError(f"{path}: a number larger than the kernel has")
    return Stat(
        name=text[start + 1 : end].decode("utf-8", "replace"),
        state=fields[0].decode("ascii", "replace"),
        parent=parent,
        major_faults=major_faults,
        cpu_ticks=user + system,
        threads=threads,
        start_ticks=started,
    )


def seconds(ticks: int) -> float:
    """Clock ticks, as the kernel counts CPU and start times, in seconds."""
    return ticks / _TICKS_A_SECOND


def read_uptime(root: Path) -> float:
    """
    Seconds since the machine started.

    Raises:
        OSError: /proc/uptime cannot be read.
        ValueError: it holds no finite number.
        LookupError: it is empty.
    """
    uptime_s = float(read_file(str(root / "proc/uptime")).split(maxsplit=1)[0])
    if not isfinite(uptime_s):
        raise ValueError("uptime is no number")
    return uptime_s


class OpenFiles:
    """
    Counts open files; since Linux 6.2 the size of the folder says how many, without listing it.

    Args:
        proc: Where /proc is.
    """

    def __init__(self, proc: str) -> None:
        self._by_size = False
        own = f"{proc}/self/fd"
        try:
            # listing opens the folder itself, which is one more
            self._by_size = os.stat(own).st_size == len(os.listdir(own)) - 1  # noqa: PTH116, PTH208 (as below)
        except OSError:
            return

    def count(self, process: str) -> int:
        """
        Open files of the process whose folder is *process*.

        Raises:
            OSError: it has ended, or is another user's.
        """
        folder = f"{process}/fd"
        if self._by_size and (size := os.stat(folder).st_size):  # noqa: PTH116 (a Path each costs more than the call)
            return size
        return len(os.listdir(folder))  # noqa: PTH208

    @staticmethod
    def limit(process: str) -> int | None:
        """The soft limit of the process whose folder is *process*; None if there is none."""
        for line in read_file(f"{process}/limits").split(b"\n"):
            if line.startswith(b"Max open files"):
                soft = line[len(b"Max open files") :].split()[0]
                return None if soft == b"unlimited" else int(soft)
        return None


class Readings:
    """
    Samples of one process; counters turn into rates against the last reading.

    Args:
        folder: /proc/<pid>.
        labels: Of its series.
        files: Counts its open files.
    """

    def __init__(self, folder: str, labels: Labels, files: OpenFiles) -> None:
        self._folder = folder
        self._labels = labels
        self._files = files
        self._kinds = [(mark, labels.merge(kind=kind)) for mark, kind in _SWITCHES]
        self._cpu, self._faults, self._reads = Since(), Since(), Since()
        self._switches = [Since() for _ in _SWITCHES]

    def often(self, stat: Stat, uptime_s: float, now_s: float) -> Iterator[Sample]:
        """CPU, faults, threads and age, from a reading of its stat file."""
        yield Sample("process_uptime_seconds", self._labels, now_s, max(uptime_s - seconds(stat.start_ticks), 0.0))
        yield Sample("process_thread_count", self._labels, now_s, float(stat.threads))
        if change := self._cpu.advance(uptime_s, (stat.cpu_ticks,)):
            yield Sample("process_cpu_usage_cores", self._labels, now_s, seconds(change[1][0]) / change[0])
        if change := self._faults.advance(uptime_s, (stat.major_faults,)):
            rate = change[1][0] / change[0]
            yield Sample("process_paging_major_faults_per_second", self._labels, now_s, rate)

    def seldom(self, uptime_s: float, now_s: float) -> Iterator[Sample]:
        """Memory and context switches."""
        text = read_file(f"{self._folder}/status")
        for mark, metric in _MEMORY:
            if (kib := number_after(text, mark)) is not None:
                yield Sample(metric, self._labels, now_s, kib * _KIB)
        for (mark, labels), since in zip(self._kinds, self._switches, strict=True):
            count = number_after(text, mark)
            if count is not None and (change := since.advance(uptime_s, (count,))):
                yield Sample("process_context_switches_per_second", labels, now_s, change[1][0] / change[0])

    def guarded_reads(self, uptime_s: float, now_s: float) -> Iterator[Sample]:
        """What was read from disks, and in all; other users' are not shown (PermissionError)."""
        text = read_file(f"{self._folder}/io")
        everything, disk = number_after(text, b"rchar:"), number_after(text, b"read_bytes:")
        if everything is None or disk is None:
            return
        if change := self._reads.advance(uptime_s, (everything, disk)):
            elapsed_s, (read, from_disk) = change
            yield Sample("process_read_bytes_per_second", self._labels, now_s, read / elapsed_s)
            yield Sample("process_disk_read_bytes_per_second", self._labels, now_s, from_disk / elapsed_s)

    def guarded_files(self, now_s: float) -> Iterator[Sample]:
        """Open files and their share of the limit; other users' may not be shown (PermissionError)."""
        count = self._files.count(self._folder)
        yield Sample("process_open_files", self._labels, now_s, float(count))
        if limit := self._files.limit(self._folder):
            yield Sample("process_open_files_utilization_ratio", self._labels, now_s, count / limit)
