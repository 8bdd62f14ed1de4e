"""
Kernel tables and queues that run out or overflow without a word: conntrack, open files, the queue of each CPU for
packets; and how TCP is set up to treat a lossy path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from aiops.collect.procfs import Since, read_file
from aiops.model import Labels, Sample

_NAME = re.compile(rb"[A-Za-z0-9_-]{1,32}")
"""How a congestion control or a queue is called."""


class Softnet:
    """Packets dropped at a full backlog, and rounds ended before their packets did, of all CPUs together."""

    subject: Final = "packet backlog"

    def __init__(self, root: Path, labels: Labels) -> None:
        self._path = str(root / "proc/net/softnet_stat")
        self._labels = labels
        self._since = Since()

    def read(self, now_s: float) -> Iterator[Sample]:
        rows = [line.split(None, 3)[:3] for line in read_file(self._path).splitlines()]
        totals = (sum(int(row[1], 16) for row in rows), sum(int(row[2], 16) for row in rows))
        if change := self._since.advance(now_s, totals):
            elapsed_s, (dropped, squeezed) = change
            yield Sample("system_network_softnet_dropped_per_second", self._labels, now_s, dropped / elapsed_s)
            yield Sample("system_network_softnet_squeezed_per_second", self._labels, now_s, squeezed / elapsed_s)


class Conntrack:
    """How full the table of tracked connections is; new connections are dropped when it is. Absent without one."""

    subject: Final = "connection tracking"

    def __init__(self, root: Path, labels: Labels) -> None:
        self._folder = root / "proc/sys/net/netfilter"
        self._count, self._max = str(self._folder / "nf_conntrack_count"), str(self._folder / "nf_conntrack_max")
        self._labels = labels

    def read(self, now_s: float) -> Iterator[Sample]:
        try:
            count, limit = int(read_file(self._count)), int(read_file(self._max))
        except FileNotFoundError:
            return  # no such module: nothing is tracked, and nothing can be full
        yield Sample("system_network_conntrack_entries", self._labels, now_s, float(count))
        if limit > 0:
            yield Sample("system_network_conntrack_utilization_ratio", self._labels, now_s, count / limit)


class FileHandles:
    """Open files of the whole machine over what the kernel allows."""

    subject: Final = "open files"

    def __init__(self, root: Path, labels: Labels) -> None:
        self._path = str(root / "proc/sys/fs/file-nr")
        self._labels = labels

    def read(self, now_s: float) -> Iterator[Sample]:
        taken, _, limit = map(int, read_file(self._path).split())
        yield Sample("system_open_files", self._labels, now_s, float(taken))
        if limit > 0:
            yield Sample("system_open_files_utilization_ratio", self._labels, now_s, taken / limit)


class TcpSettings:
    """Which congestion control and queue new connections get."""

    subject: Final = "TCP settings"

    def __init__(self, root: Path, labels: Labels) -> None:
        net = root / "proc/sys/net"
        self._labels = labels
        self._settings = (
            ("system_network_congestion_control_info", "algorithm", str(net / "ipv4/tcp_congestion_control")),
            ("system_network_qdisc_info", "qdisc", str(net / "core/default_qdisc")),
        )

    def read(self, now_s: float) -> Iterator[Sample]:
        for metric, name, path in self._settings:
            try:
                value = read_file(path).strip()
            except FileNotFoundError:
                if name == "qdisc":
                    continue  # not shown in a container
                raise
            if _NAME.fullmatch(value):
                yield Sample(metric, self._labels.merge(**{name: value.decode("ascii")}), now_s, 1.0)
