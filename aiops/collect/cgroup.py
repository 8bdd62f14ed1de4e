"""
Limits and troubles of the control group a process runs in: memory, CPU quota, number of processes, pressure.

A limit may stand at any level: container, pod, slice. So for each resource the level with the tightest limit between
the process's own group and the top is found, and read for usage and events alike; without a limit, its own group's
usage is read. Whom the kernel killed is counted in the process's own group: version 1 counts there only, and in
version 2 a level above would count its neighbours too. Both hierarchies are understood; where version 2 has the
controllers it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiops.collect.procfs import Since, number_after, read_file
from aiops.model import Labels, Sample

_MAX_LEVELS = 10
_LEVELS_AGE_S = 9.5
"""How long the level with the tightest limit is believed to stay it; limits are set on running groups, too."""
_NO_LIMIT = 2**60
"""Version 1 writes "no limit" as a number near 2**63."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where one version of control groups keeps what."""

    memory_usage: str
    memory_limit: str
    memory_idle: bytes
    """The page cache that is given back first, in memory.stat."""
    memory_kills: str
    """The file, of the process's own group, that counts processes killed."""
    memory_hits: tuple[str, bytes]
    """The file, at the limit's level, that counts how often it was met, and what stands before the number."""
    cpu_cores: Callable[[str], float | None]


def _v2_cores(folder: str) -> float | None:
    quota, period = read_file(f"{folder}/cpu.max").split()
    return None if quota == b"max" else int(quota) / int(period)


def _v1_cores(folder: str) -> float | None:
    quota = int(read_file(f"{folder}/cpu.cfs_quota_us"))
    return None if quota <= 0 else quota / int(read_file(f"{folder}/cpu.cfs_period_us"))


_V2 = Files("memory.current", "memory.max", b"inactive_file ",
            "memory.events", ("memory.events", b"max "), _v2_cores)  # fmt: skip
_V1 = Files("memory.usage_in_bytes", "memory.limit_in_bytes", b"total_inactive_file ",
            "memory.oom_control", ("memory.failcnt", b""), _v1_cores)  # fmt: skip


_EVENTS = ("oom", "oom_kill", "high", "max")


class Cgroup:
    """
    The control group of one process.

    Args:
        root: Where the file system begins.
        pid: The process.
        labels: Of its series.
    """

    def __init__(self, root: Path, pid: int, labels: Labels) -> None:
        self._top = root / "sys/fs/cgroup"
        self._of_process = str(root / f"proc/{pid}/cgroup")
        self._of_us = str(root / "proc/self/cgroup")
        self._labels = labels
        self._files = _V2
        self._tightest: dict[str, str] = {}
        self._own: dict[str, str] = {}
        """The process's own group, by controller."""
        self._listed_s = float("-inf")
        self._throttled = Since()
        self._throttled_folder: str | None = None
        self._event_labels = {name: labels.merge(event=name) for name in _EVENTS}
        self._pressure = {
            (resource, share): (labels.merge(resource=resource, share=share.decode()), Since())
            for resource in ("cpu", "memory", "io")
            for share in (b"some", b"full")
        }

    def read(self, uptime_s: float, now_s: float) -> Iterator[Sample]:
        """
        What the group says of itself now; files that are not there give nothing.

        Raises:
            OSError: the group cannot be found or read.
            ValueError: its files are not in the kernel's form.
        """
        if not 0.0 <= uptime_s - self._listed_s < _LEVELS_AGE_S:
            self._find()
            self._listed_s = uptime_s
        yield from self.memory(now_s)
        yield from self._cpu(uptime_s, now_s)
        yield from self._pids(now_s)
        if self._files is _V2:
            yield from self._stalls(uptime_s, now_s)

    def _find(self) -> None:
        groups, ours = _groups(read_file(self._of_process)), _groups(_text(self._of_us))
        v2 = (self._top / "cgroup.controllers").exists()
        self._files = _V2 if v2 else _V1
        self._tightest, self._own = {}, {}
        for controller, limit in (("memory", self._memory_limit), ("cpu", self._files.cpu_cores), ("pids", _pids_max)):
            mount = "" if v2 else controller
            path = groups.get(mount)
            folders = levels(self._top, mount, path, ours=path == ours.get(mount))
            if not folders:
                continue
            limits = {folder: found for folder in folders if (found := _quietly(limit, folder)) is not None}
            # at the same limit the lower level: its counts are of this process's own group
            self._tightest[controller] = min(limits, key=lambda folder: limits[folder]) if limits else folders[0]
            self._own[controller] = folders[0]
        if not self._tightest:
            raise FileNotFoundError(2, "its control group is not to be seen from here", self._of_process)

    def _memory_limit(self, folder: str) -> float | None:
        return _limit(f"{folder}/{self._files.memory_limit}")

    def memory(self, now_s: float) -> Iterator[Sample]:
        """Use, limit and events of its memory, at the level found last: a leak may fill a group within seconds."""
        folder, files = self._tightest.get("memory"), self._files
        if folder is None or (usage := _number(f"{folder}/{files.memory_usage}")) is None:
            return  # the top group has no such file
        yield Sample("process_cgroup_memory_usage_bytes", self._labels, now_s, float(usage))
        if limit := self._memory_limit(folder):
            yield Sample("process_cgroup_memory_limit_bytes", self._labels, now_s, limit)
            idle = number_after(_text(f"{folder}/memory.stat"), files.memory_idle) or 0
            ratio = max(usage - idle, 0) / limit
            yield Sample("process_cgroup_memory_utilization_ratio", self._labels, now_s, ratio)
        if files is _V2 and (high := _limit(f"{folder}/memory.high")):
            yield Sample("process_cgroup_memory_high_bytes", self._labels, now_s, high)
        yield from self._memory_events(folder, now_s)

    def _memory_events(self, folder: str, now_s: float) -> Iterator[Sample]:
        files, own = self._files, self._own["memory"]
        kills = _text(f"{own}/{files.memory_kills}")
        hit_file, hit_mark = files.memory_hits
        hits = _text(f"{folder}/{hit_file}")
        counts = {"oom_kill": number_after(kills, b"oom_kill "), "max": number_after(hits, hit_mark) if hits else None}
        if files is _V2:
            events = kills if own == folder else hits
            counts |= {name: number_after(events, name.encode() + b" ") for name in ("oom", "high")}
        for name, count in counts.items():
            if count is not None:
                yield Sample("process_cgroup_memory_events_total", self._event_labels[name], now_s, float(count))

    def _cpu(self, uptime_s: float, now_s: float) -> Iterator[Sample]:
        ratio = self.throttled(uptime_s)
        folder = self._tightest.get("cpu")
        if folder is None or (cores := _quietly(self._files.cpu_cores, folder)) is None:
            return
        yield Sample("process_cgroup_cpu_limit_cores", self._labels, now_s, cores)
        if ratio is not None:
            yield Sample("process_cgroup_cpu_throttled_ratio", self._labels, now_s, ratio)

    def throttled(self, uptime_s: float) -> float | None:
        """
        Share of its CPU periods since the last look that were cut short; None without a quota, or at the first look.

        Counts are kept without a quota, too: one that is set on a running group tells at the next look.

        Raises:
            OSError, ValueError: as `read`.
        """
        if not 0.0 <= uptime_s - self._listed_s < _LEVELS_AGE_S:
            self._find()
            self._listed_s = uptime_s
        folder = self._tightest.get("cpu")
        if folder != self._throttled_folder:  # another group's counts
            self._throttled_folder, self._throttled = folder, Since()
        return None if folder is None else self._throttled_ratio(folder, uptime_s)

    def _throttled_ratio(self, folder: str, uptime_s: float) -> float | None:
        text = _text(f"{folder}/cpu.stat")
        periods, throttled = number_after(text, b"nr_periods "), number_after(text, b"nr_throttled ")
        if periods is None or throttled is None:
            return None
        change = self._throttled.advance(uptime_s, (periods, throttled))
        if change is None or change[1][0] <= 0:
            return None
        ran, cut = change[1]
        return min(cut / ran, 1.0)

    def _pids(self, now_s: float) -> Iterator[Sample]:
        folder = self._tightest.get("pids")
        if folder is None or (count := _number(f"{folder}/pids.current")) is None:
            return
        yield Sample("process_cgroup_tasks", self._labels, now_s, float(count))
        if limit := _quietly(_pids_max, folder):
            yield Sample("process_cgroup_tasks_utilization_ratio", self._labels, now_s, count / limit)

    def _stalls(self, uptime_s: float, now_s: float) -> Iterator[Sample]:
        own = next(iter(self._own.values()))  # version 2 has one hierarchy
        for resource in ("cpu", "memory", "io"):
            for line in _text(f"{own}/{resource}.pressure").splitlines():
                share, _, rest = line.partition(b" ")
                _, mark, total = rest.partition(b"total=")
                if not mark or (resource, share) not in self._pressure:
                    continue
                labels, since = self._pressure[resource, share]
                if change := since.advance(uptime_s, (int(total),)):
                    ratio = min(change[1][0] / 1e6 / change[0], 1.0)
                    yield Sample("process_cgroup_pressure_stalled_ratio", labels, now_s, ratio)


def _groups(text: bytes) -> dict[str, str]:
    """Controller to path in its hierarchy, from /proc/<pid>/cgroup; the empty name is version 2's."""
    found: dict[str, str] = {}
    for line in text.decode("utf-8", "surrogateescape").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            found[controller] = path
    return found


def levels(top: Path, mount: str, path: str | None, *, ours: bool) -> Sequence[str]:
    """
    Folders of a group and of those above it, lowest first; none if it lies outside of what is mounted here.

    Args:
        top: /sys/fs/cgroup.
        mount: The hierarchy's folder in it; empty for version 2.
        path: The group's path in its hierarchy.
        ours: Whether this program is in the same group.
    """
    parts = [part for part in (path or "/..").split("/") if part]
    base = top / mount if mount else top
    if ".." in parts:  # the group of a process outside of our control group namespace
        return []
    folders = [str(base.joinpath(*parts[:depth])) for depth in range(len(parts), -1, -1)]
    if Path(folders[0]).is_dir():
        return folders[:_MAX_LEVELS]
    # in a container the path may be the host's while what is mounted begins at the container's own group
    return [str(base)] if ours and base.is_dir() else []


def _pids_max(folder: str) -> float | None:
    return _limit(f"{folder}/pids.max")


def _limit(path: str) -> float | None:
    """A limit; None where there is none."""
    text = _text(path).strip()
    if not text or text == b"max" or int(text) >= _NO_LIMIT:
        return None
    return float(int(text))


def _number(path: str) -> int | None:
    text = _text(path)
    return int(text) if text else None


def _text(path: str) -> bytes:
    """The content of a file; empty where it is not there: each kernel and each level has only some."""
    try:
        return read_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return b""


def _quietly(limit: Callable[[str], float | None], folder: str) -> float | None:
    try:
        return limit(folder)
    except FileNotFoundError:
        return None
