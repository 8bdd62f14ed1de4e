"""
Which programs hold most of this machine's memory.

When memory runs out, the culprit need not be a server: a notebook, a data loader, a log shipper. Processes are summed by
the name of their program, and only the largest few are told, so that a machine with hundreds costs a few series.
"""

from __future__ import annotations

import contextlib
import heapq
import os
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path

from aiops.collect.process_table import Process
from aiops.collect.procfs import read_file
from aiops.model import Labels, Sample

_TOLD = 3
_MAX_NAMES = 16
"""Different names told in this program's life; then new ones are called other."""
_MAX_NAME = 32
_EVERY_S = 59.5
"""A minute, less what a round may come early: a reading takes some milliseconds for hundreds of processes."""
_MAX_PAGES = 2**40
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Largest:
    """
    The programs with the most resident memory.

    Args:
        proc: /proc.
        labels: Of this host.
    """

    def __init__(self, proc: Path, labels: Labels) -> None:
        self._proc = str(proc)
        self._host = labels
        self._names: dict[str, Labels] = {}
        self._read_s = float("-inf")

    def read(self, processes: Collection[Process], uptime_s: float, now_s: float) -> Iterator[Sample]:
        """Samples of the largest, if it is time again."""
        if 0.0 <= uptime_s - self._read_s < _EVERY_S:
            return
        self._read_s = uptime_s
        pages: defaultdict[str, int] = defaultdict(int)
        for process in processes:
            if process.program:
                with contextlib.suppress(OSError, ValueError, LookupError):  # ended, or hidden
                    resident = read_file(f"{self._proc}/{process.pid}/statm").split(None, 2)[1]
                    pages[process.program[:_MAX_NAME]] += min(int(resident), _MAX_PAGES)
        told: defaultdict[Labels, int] = defaultdict(int)
        for name in heapq.nlargest(_TOLD, pages, key=lambda name: pages[name]):
            told[self._labels(name)] += pages[name]
        for labels, count in told.items():
            yield Sample("system_memory_program_usage_bytes", labels, now_s, float(count * _PAGE_BYTES))

    def _labels(self, name: str) -> Labels:
        if name not in self._names and len(self._names) >= _MAX_NAMES:
            name = "other"
        return self._names.setdefault(name, self._host.merge(program=name))
