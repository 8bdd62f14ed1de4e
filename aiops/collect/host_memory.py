"""
How much memory is left, what the want of it does (swapping, major faults, kills), and what waits to be written.

The two files are searched for the names wanted and not parsed: /proc/vmstat alone has two hundred lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from aiops.collect.procfs import Since, number_after, read_file
from aiops.model import Labels, Sample

_KIB = 1024.0


class Memory:
    """Available memory, dirty pages, swap and huge pages in use, faults and kills."""

    subject: Final = "memory"

    def __init__(self, root: Path, labels: Labels) -> None:
        self._meminfo = str(root / "proc/meminfo")
        self._vmstat = str(root / "proc/vmstat")
        self._labels = labels
        self._paging = Paging(labels)

    def read(self, now_s: float) -> Iterator[Sample]:
        text = read_file(self._meminfo)
        total, available = _bytes(text, b"MemTotal:"), _bytes(text, b"MemAvailable:")
        if total is None or available is None:
            raise ValueError("no MemTotal or no MemAvailable")
        yield Sample("system_memory_limit_bytes", self._labels, now_s, total)
        yield Sample("system_memory_available_bytes", self._labels, now_s, available)
        yield Sample("system_memory_utilization_ratio", self._labels, now_s, 1.0 - available / max(total, 1.0))
        yield from self._parts(text, now_s)
        yield from self._paging.read(read_file(self._vmstat), now_s)

    def _parts(self, text: bytes, now_s: float) -> Iterator[Sample]:
        for name, metric in (
            (b"Dirty:", "system_memory_dirty_bytes"),
            (b"Writeback:", "system_memory_writeback_bytes"),
        ):
            if (size := _bytes(text, name)) is not None:
                yield Sample(metric, self._labels, now_s, size)
        swap, swap_free = _bytes(text, b"SwapTotal:"), _bytes(text, b"SwapFree:")
        if swap and swap_free is not None:
            yield Sample("system_paging_utilization_ratio", self._labels, now_s, 1.0 - swap_free / swap)
        pages, free = number_after(text, b"HugePages_Total:"), number_after(text, b"HugePages_Free:")
        if pages and free is not None:
            yield Sample("system_memory_hugepages_utilization_ratio", self._labels, now_s, 1.0 - free / pages)


class Paging:
    """What /proc/vmstat counts of swapping, faults that went to a disk, and kills."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._rates = (
            (b"pgmajfault ", "system_paging_major_faults_per_second", labels, Since()),
            (b"pswpin ", "system_paging_operations_per_second", labels.merge(direction="in"), Since()),
            (b"pswpout ", "system_paging_operations_per_second", labels.merge(direction="out"), Since()),
        )

    def read(self, text: bytes, now_s: float) -> Iterator[Sample]:
        """Samples from the content of /proc/vmstat; names an old kernel lacks are absent."""
        if (kills := number_after(text, b"oom_kill ")) is not None:  # since Linux 4.13
            yield Sample("system_memory_oom_kills_total", self._labels, now_s, float(kills))
        for name, metric, labels, since in self._rates:
            count = number_after(text, name)
            if count is not None and (change := since.advance(now_s, (count,))):
                yield Sample(metric, labels, now_s, change[1][0] / change[0])


def _bytes(text: bytes, name: bytes) -> float | None:
    kib = number_after(text, name)
    return None if kib is None else kib * _KIB
