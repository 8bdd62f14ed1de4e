"""
The control groups of a server's processes: its own, and those that children of it have for themselves.

An engine's tokenizer or a worker may run under a quota of its own, and the server stands still whichever of its
processes is throttled; so throttling is told of the group that suffers most. Memory is that of the server's own group.
Both are read at every round: a leak may fill a group within seconds, and a quota hurts users as soon as it is met.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from aiops.collect.cgroup import Cgroup
from aiops.collect.procfs import read_file
from aiops.model import Labels, Sample

_THROTTLED = "process_cgroup_cpu_throttled_ratio"
_MAX_OTHERS = 4
"""Groups of children, per server."""
_UNREADABLE = (OSError, ValueError, LookupError, ArithmeticError)


class ServerGroups:
    """
    The control groups of one server.

    Args:
        root: Where the file system begins.
        labels: Of the server's series.
    """

    def __init__(self, root: Path, labels: Labels) -> None:
        self._root = root
        self._labels = labels
        self._server: tuple[int, Cgroup] | None = None
        self._others: dict[bytes, Cgroup] = {}

    def read(self, pids: Sequence[int], uptime_s: float, now_s: float) -> Iterator[Sample]:
        """
        What the groups say of themselves now.

        Args:
            pids: Processes of the server, itself first.
            uptime_s: Seconds since the machine started.
            now_s: Wall time, for the samples.

        Raises:
            OSError: the server's group cannot be found or read.
            ValueError: its files are not in the kernel's form.
        """
        if self._server is None or self._server[0] != pids[0]:
            self._server = (pids[0], Cgroup(self._root, pids[0], self._labels))
        self._find(pids)
        ratios = self._children(uptime_s)
        for sample in self._server[1].read(uptime_s, now_s):
            if sample.metric == _THROTTLED:
                ratios.append(sample.value)
            else:
                yield sample
        yield from self._worst(ratios, now_s)

    def often(self, uptime_s: float, now_s: float) -> list[Sample]:
        """Memory and throttling, between two readings of everything; nothing if they cannot be read."""
        if self._server is None:
            return []
        server = self._server[1]
        try:
            ratio = server.throttled(uptime_s)
            ratios = [*self._children(uptime_s), *([] if ratio is None else [ratio])]
            return [*server.memory(now_s), *self._worst(ratios, now_s)]
        except _UNREADABLE:
            return []  # told of at the next reading of everything

    def _worst(self, ratios: list[float], now_s: float) -> list[Sample]:
        return [Sample(_THROTTLED, self._labels, now_s, max(ratios))] if ratios else []

    def _find(self, pids: Sequence[int]) -> None:
        """Groups of children that are not the server's own."""
        places = {place: pid for pid in reversed(pids) if (place := self._place(pid))}
        places.pop(self._place(pids[0]), None)
        self._others = {place: group for place, group in self._others.items() if place in places}
        new = [place for place in places if place not in self._others]
        for place in new[: _MAX_OTHERS - len(self._others)]:
            self._others[place] = Cgroup(self._root, places[place], self._labels)

    def _children(self, uptime_s: float) -> list[float]:
        """How much those groups are throttled."""
        ratios: list[float] = []
        for place, group in list(self._others.items()):
            try:
                ratio = group.throttled(uptime_s)
            except _UNREADABLE:
                del self._others[place]  # its process has ended, or it cannot be seen: looked for anew
            else:
                ratios += [] if ratio is None else [ratio]
        return ratios

    def _place(self, pid: int) -> bytes:
        try:
            return read_file(str(self._root / f"proc/{pid}/cgroup"))
        except OSError:
            return b""
