"""
The kernel's log, from now on: GPU driver errors, out-of-memory kills, disks and links that fail.

/dev/kmsg hands out one record a read and never blocks when asked not to. Messages go the way of all log lines; what
the GPU driver reports by number (Xid) and what the out-of-memory killer did are events besides, because they name a
card or a process. Without the right to read it, that is a blind spot with its remedy.
"""

from __future__ import annotations

import errno
import os
import re
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from aiops.document import Duration, doc
from aiops.model import Event, EventKind, Labels, LogRecord, Observation, Sight
from aiops.ports import World

_RECORD_BYTES = 16 * 2**10
"""The kernel never hands out more at once."""
_MAX_RECORDS = 1_000
"""Records of one round; the kernel's ring keeps the rest."""
_RETRY_S = 60.0
_EVENT_EVERY_S = 10.0
"""A failing card repeats itself; one event of a kind and place in this time says it."""
_MAX_PLACES = 256
_INFO = 6
"""Syslog level; what is above is debug chatter. Drivers speak of failures at any level below."""
_XID = re.compile(r"NVRM: Xid \(PCI:([0-9a-fA-F:.]{7,16})\): (\d{1,4})")
_LOST = re.compile(r"NVRM: .{0,40}?([0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}).{0,40}? has fallen off the bus")
_KILLED = re.compile(r"[Kk]illed process (\d{1,10}) \(([^)]{1,64})\)")


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of the kernel-log collector."""

    enabled: bool = field(default=True, metadata=doc("read the kernel's log"))
    interval: Duration = field(default=1.0, metadata=doc("time between readings"))
    deadline: Duration = field(default=2.0, metadata=doc("a reading that takes longer is given up"))


class KernelLog:
    """
    The collector.

    Args:
        config: Its settings.
        world: Names this host; its root holds the driver's list of cards.
        open_log: Opens the log without blocking, at its end; a read gives one record.
    """

    def __init__(self, config: Config, world: World, open_log: Callable[[], int]) -> None:
        self.interval_s = config.interval
        self.deadline_s = config.deadline
        self._host = world.host
        self._cards = world.root / "proc/driver/nvidia/gpus"
        self._labels = Labels.of(host_name=world.host, source="kernel")
        self._open_log = open_log
        self._handle = -1
        self._tried_s: float | None = None
        self._said: str | None = None
        self._told: dict[tuple[str, str], float] = {}

    def collect(self, now_s: float) -> Iterator[Observation]:
        if self._handle < 0:
            if self._tried_s is not None and 0.0 <= now_s - self._tried_s < _RETRY_S:
                return
            self._tried_s = now_s
            yield from self._open()
        for _ in range(_MAX_RECORDS if self._handle >= 0 else 0):
            record = self._read()
            if record is None:
                return
            text = _message(record)
            if text:
                yield LogRecord(now_s, self._labels, text)
                yield from self._events(text, now_s)

    def _open(self) -> Iterator[Sight]:
        problem, hint = "", ""
        try:
            self._handle = self._open_log()
            weakref.finalize(self, os.close, self._handle)
        except PermissionError:
            problem = "permission denied"
            hint = (
                "give the daemon CAP_SYSLOG (systemd: AmbientCapabilities=CAP_SYSLOG), or set kernel.dmesg_restrict=0"
            )
        except OSError as error:
            problem = (error.strerror or "cannot be opened").lower()
        if problem != self._said:
            self._said = problem
            yield Sight("kernel_log", "kernel log", seen=not problem, detail=problem or "from now on", hint=hint)

    def _read(self) -> bytes | None:
        """The next record, empty if it is unreadable; None when there is no more for now."""
        try:
            return os.read(self._handle, _RECORD_BYTES) or None
        except BlockingIOError:
            return None
        except OSError as error:
            # EPIPE: the ring was overwritten before we came, reading goes on with the oldest record left
            return b"" if error.errno in {errno.EPIPE, errno.EINVAL} else None

    def _events(self, text: str, now_s: float) -> Iterator[Event]:
        """What the driver or the memory killer said happened."""
        if found := _XID.search(text):
            pci, code = found[1].lower(), found[2]
            labels, place = self._card(pci)
            if self._is_news("xid " + code, pci, now_s):
                yield Event(EventKind.HARDWARE, "xid", now_s, labels.merge(xid=code), f"Xid {code} on {place}")
        elif found := _LOST.search(text):
            pci = found[1].lower()
            labels, place = self._card(pci)
            if self._is_news("lost", pci, now_s):
                yield Event(EventKind.HARDWARE, "gpu_lost", now_s, labels, f"{place} has fallen off the bus")
        elif found := _KILLED.search(text):
            labels = Labels.of(host_name=self._host, pid=found[1], process=found[2])
            message = f"out of memory: the kernel killed {found[2]} (pid {found[1]})"
            yield Event(EventKind.PROCESS, "oom_kill", now_s, labels, message)

    def _is_news(self, what: str, place: str, now_s: float) -> bool:
        told_s = self._told.get((what, place))
        if told_s is not None and 0.0 <= now_s - told_s < _EVENT_EVERY_S:
            return False
        if len(self._told) >= _MAX_PLACES:
            self._told.clear()
        self._told[what, place] = now_s
        return True

    def _card(self, pci: str) -> tuple[Labels, str]:
        """Labels and name of the card at a bus address; NVML numbers cards in the order of these addresses."""
        labels = Labels.of(host_name=self._host, pci=pci)
        try:
            cards = sorted(path.name.lower() for path in self._cards.iterdir())
        except OSError:
            cards = []
        for index, card in enumerate(cards):
            if card.startswith(pci):
                return labels.merge(gpu=str(index)), f"GPU {index}"
        return labels, f"the GPU at {pci}"


def _message(record: bytes) -> str:
    """The text between prefix and properties of one record; empty for none, and for debug chatter."""
    head, found, rest = record.partition(b";")
    prefix = head.split(b",", 1)[0]
    if not found or not prefix.isdigit() or len(prefix) > 6:
        return ""
    return "" if int(prefix) & 7 > _INFO else rest.partition(b"\n")[0].decode("utf-8", "replace")


def build(config: Config, world: World) -> KernelLog:
    """The collector of /dev/kmsg under *world*'s root."""
    return KernelLog(config, world, lambda: _open_at_end(world.root / "dev/kmsg"))


def _open_at_end(path: Path) -> int:
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.lseek(handle, 0, os.SEEK_END)
    except OSError:
        os.close(handle)
        raise
    return handle
