"""
CPU, memory, pressure, disks, file systems, network and TCP of this host, from /proc and /sys.

Each part reads one or two files with plain reads (psutil costs three times as much) and turns counters into rates
against its own last reading; the first round gives only what needs no difference. A part whose file is missing or
unreadable is a blind spot, said once, and the others go on. All paths stand under an injected root.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from aiops.collect.host_devices import Disks, Filesystems, Network
from aiops.collect.procfs import Since, read_file
from aiops.document import Duration, doc
from aiops.model import Labels, Observation, Sample, Sight
from aiops.ports import World

_MIN_SEGMENTS = 100
"""Below this many sent segments a retransmit ratio says nothing."""


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of the host collector."""

    enabled: bool = field(default=True, metadata=doc("watch CPU, memory, disks and network of this host"))
    interval: Duration = field(default=2.0, metadata=doc("time between readings"))
    deadline: Duration = field(default=2.0, metadata=doc("a reading that takes longer is given up"))


class Part(Protocol):
    """One kind of reading."""

    @property
    def subject(self) -> str:
        """What a person would call it; the subject of its blind spot."""
        ...

    def read(self, now_s: float) -> Iterator[Sample]:
        """Samples of this round; OSError, ValueError or LookupError when its file is not there or not as expected."""
        ...


class Host:
    """The collector: asks every part and survives each."""

    def __init__(self, config: Config, parts: tuple[Part, ...]) -> None:
        self.interval_s = config.interval
        self.deadline_s = config.deadline
        self._parts = parts
        self._blind: dict[str, str] | None = None

    def collect(self, now_s: float) -> Iterator[Observation]:
        first, self._blind = self._blind is None, self._blind or {}
        for part in self._parts:
            reason = ""
            try:
                yield from part.read(now_s)
            except OSError as error:
                reason = f"{error.filename or part.subject}: {error.strerror}"
            except (ValueError, LookupError) as error:
                reason = f"not in the expected form: {error}"
            if reason != self._blind.get(part.subject, ""):
                self._blind[part.subject] = reason
                yield Sight("host", part.subject, seen=not reason, detail=reason or "readable")
        if first:
            watched = [part.subject for part in self._parts if not self._blind.get(part.subject)]
            yield Sight("host", "this host", seen=bool(watched), detail=", ".join(watched))


class Cpu:
    """Shares of CPU time, load, number of CPUs."""

    subject: Final = "CPU"

    def __init__(self, root: Path, labels: Labels) -> None:
        self._stat = str(root / "proc/stat")
        self._loadavg = str(root / "proc/loadavg")
        self._labels = labels
        self._since = Since()

    def read(self, now_s: float) -> Iterator[Sample]:
        text = read_file(self._stat)
        # user nice system idle iowait irq softirq steal; guest times are inside user and nice
        times = tuple(map(int, text[: text.index(b"\n")].split()[1:9]))
        yield Sample("system_cpu_logical_count", self._labels, now_s, float(text.count(b"\ncpu")))
        load = float(read_file(self._loadavg).split(maxsplit=1)[0])
        yield Sample("system_cpu_load_average_1m", self._labels, now_s, load)
        change = self._since.advance(now_s, times)
        total = sum(change[1]) if change else 0
        if change is None or total == 0:
            return
        _, (_, _, _, idle, iowait, *_, steal) = change
        yield Sample("system_cpu_utilization_ratio", self._labels, now_s, 1.0 - (idle + iowait) / total)
        yield Sample("system_cpu_iowait_ratio", self._labels, now_s, iowait / total)
        yield Sample("system_cpu_steal_ratio", self._labels, now_s, steal / total)


class Memory:
    """How much memory is left, and who was killed for want of it."""

    subject: Final = "memory"

    def __init__(self, root: Path, labels: Labels) -> None:
        self._meminfo = str(root / "proc/meminfo")
        self._vmstat = str(root / "proc/vmstat")
        self._labels = labels

    def read(self, now_s: float) -> Iterator[Sample]:
        text = read_file(self._meminfo)
        total, available = _meminfo_bytes(text, b"MemTotal:"), _meminfo_bytes(text, b"MemAvailable:")
        yield Sample("system_memory_limit_bytes", self._labels, now_s, total)
        yield Sample("system_memory_available_bytes", self._labels, now_s, available)
        yield Sample("system_memory_utilization_ratio", self._labels, now_s, 1.0 - available / max(total, 1.0))
        text = read_file(self._vmstat)
        start = text.find(b"oom_kill ")
        if start >= 0:  # since Linux 4.13
            kills = float(text[start:].split(maxsplit=2)[1])
            yield Sample("system_memory_oom_kills_total", self._labels, now_s, kills)


def _meminfo_bytes(text: bytes, name: bytes) -> float:
    start = text.index(name) + len(name)
    return float(text[start : text.index(b"kB", start)]) * 1024.0


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


class Tcp:
    """Retransmits and drops at full listen queues."""

    subject: Final = "TCP"

    def __init__(self, root: Path, labels: Labels) -> None:
        self._snmp = str(root / "proc/net/snmp")
        self._netstat = str(root / "proc/net/netstat")
        self._labels = labels
        self._segments, self._drops = Since(), Since()

    def read(self, now_s: float) -> Iterator[Sample]:
        sent = _columns(read_file(self._snmp), b"Tcp:", (b"OutSegs", b"RetransSegs"))
        if change := self._segments.advance(now_s, sent):
            segments, again = change[1]
            if segments >= _MIN_SEGMENTS:
                yield Sample("system_network_tcp_retransmit_ratio", self._labels, now_s, min(again / segments, 1.0))
        # drops count overflows of the accept queue and of the SYN queue alike
        drops = _columns(read_file(self._netstat), b"TcpExt:", (b"ListenDrops",))
        if change := self._drops.advance(now_s, drops):
            rate = change[1][0] / change[0]
            yield Sample("system_network_tcp_listen_drops_per_second", self._labels, now_s, rate)


def _columns(text: bytes, table: bytes, names: tuple[bytes, ...]) -> tuple[int, ...]:
    """Values of *names* in a table of two lines, the first holding the names."""
    head, values = (line.split() for line in text.splitlines() if line.startswith(table))
    return tuple(int(values[head.index(name)]) for name in names)


def build(config: Config, world: World) -> Host:
    """The collector over *world*'s root."""
    labels = Labels.of(host_name=world.host)
    return Host(
        config,
        (
            Cpu(world.root, labels),
            Memory(world.root, labels),
            *(Pressure(world.root, labels, resource) for resource in ("cpu", "memory", "io")),
            Disks(world.root, labels),
            Network(world.root, labels),
            Tcp(world.root, labels),
            Filesystems(world.root, labels),
        ),
    )
