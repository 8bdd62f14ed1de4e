"""
The kernel's log: GPU driver errors, out-of-memory kills, disks and links that fail.

/dev/kmsg hands out one record a read and never blocks when asked not to. Records are numbered: after a restart of ours in
the same boot, reading goes on behind the last one that arrived, and numbers that are missing (the ring was overwritten
before we came) are counted. Messages go the way of all log lines; what
the GPU driver reports by number (Xid) and what the out-of-memory killer did are events besides, because they name a
card or a process. Without the right to read it, that is a blind spot with its remedy.
"""

from __future__ import annotations

import errno
import json
import os
import re
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from aiops.cards import Spot
from aiops.collect.losses import Losses
from aiops.document import Duration, doc
from aiops.model import Event, EventKind, Labels, LogRecord, Observation, Sight
from aiops.ports import World

_RECORD_BYTES = 16 * 2**10
"""The kernel never hands out more at once."""
_MAX_RECORDS = 1_000
"""Records of one round; the kernel's ring keeps the rest."""
_RETRY_S = 60.0
_LATE_S = 120.0
_CHECKPOINT = "kernel_log"
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
        open_log: Opens the log without blocking, at its beginning if it is told so, else at its end; a read gives one
            record.
    """

    def __init__(self, config: Config, world: World, open_log: Callable[[bool], int]) -> None:
        self.interval_s = config.interval
        self.deadline_s = config.deadline
        self._host = world.host
        self._cards = world.root / "proc/driver/nvidia/gpus"
        self._book = world.cards
        self._labels = Labels.of(host_name=world.host, source="kernel")
        self._open_log = open_log
        self._handle = -1
        self._tried_s: float | None = None
        self._said: str | None = None
        self._clock = world.clock
        self._checkpoints = world.checkpoints
        self._boot = _boot_of(world.root)
        self._losses = Losses(world.host, "kernel")
        self._number: int | None = None
        """Of the last record read."""
        self._saved: int | None = None
        self._behind: int | None = None
        """Records up to this one arrived before we were started."""

    def collect(self, now_s: float) -> Iterator[Observation]:
        if self._handle < 0:
            if self._tried_s is not None and 0.0 <= now_s - self._tried_s < _RETRY_S:
                return
            self._tried_s = now_s
            yield from self._open()
        for _ in range(_MAX_RECORDS if self._handle >= 0 else 0):
            record = self._read()
            if record is None:
                self._behind = None  # what comes from now on is new
                break
            number, written_s, text = _parts(record)
            if not self._is_next(number) or not text:
                continue
            at_s = now_s
            if self._behind is not None and written_s is not None:
                at_s -= max(0.0, self._clock.monotonic_s() - written_s)
            yield LogRecord(at_s, self._labels, text, late=at_s < now_s - _LATE_S)
            yield from self._events(text, at_s)
        yield from self._losses.samples(now_s)
        yield from self._book.totals(now_s)

    def acknowledge(self, now_s: float) -> None:
        if self._number != self._saved and self._number is not None:
            self._saved = self._number
            self._checkpoints.put(_CHECKPOINT, json.dumps([self._boot, self._number]).encode())

    def _is_next(self, number: int | None) -> bool:
        """Whether a record is new; counts those missing before it."""
        if number is None:
            return True
        if self._behind is not None and number <= self._behind:
            return False
        last = self._number if self._number is not None else self._behind
        if last is not None and number > last + 1:
            self._losses.counts["overwritten"] += number - last - 1
        self._number = number
        return True

    def _open(self) -> Iterator[Sight]:
        problem, hint = "", ""
        self._behind = self._arrived()
        try:
            self._handle = self._open_log(self._behind is not None)
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
            yield Sight("kernel_log", "kernel log", seen=not problem, detail=problem or "followed", hint=hint)

    def _arrived(self) -> int | None:
        """The last record of this boot that arrived before we were started."""
        try:
            boot, number = json.loads(self._checkpoints.get(_CHECKPOINT) or b"null")
            return int(number) if boot == self._boot and boot else None
        except (ValueError, TypeError):
            return None

    def _read(self) -> bytes | None:
        """The next record, empty if it is unreadable; None when there is no more for now."""
        try:
            return os.read(self._handle, _RECORD_BYTES) or None
        except BlockingIOError:
            return None
        except OSError as error:
            # EPIPE: the ring was overwritten before we came, reading goes on with the oldest record left
            return b"" if error.errno in {errno.EPIPE, errno.EINVAL} else None

    def _events(self, text: str, now_s: float) -> Iterator[Observation]:
        """What the driver or the memory killer said happened."""
        if found := _XID.search(text):
            yield from self._book.xid("kernel_log", self._card(found[1]), now_s, int(found[2]))
        elif found := _LOST.search(text):
            card = self._card(found[1])
            yield from self._book.lost("kernel_log", card, now_s, f"{card.name} has fallen off the bus")
        elif found := _KILLED.search(text):
            labels = Labels.of(host_name=self._host, pid=found[1], process=found[2])
            message = f"out of memory: the kernel killed {found[2]} (pid {found[1]})"
            yield Event(EventKind.PROCESS, "oom_kill", now_s, labels, message)

    def _card(self, address: str) -> Spot:
        """The card at a bus address; NVML numbers cards in the order of these addresses."""
        if known := self._book.labels_at(address):
            return Spot(known, address)
        pci = address.lower()
        labels = Labels.of(host_name=self._host, hw_id=pci)
        try:
            cards = sorted(path.name.lower() for path in self._cards.iterdir())
        except OSError:
            cards = []
        for index, card in enumerate(cards):
            if card.startswith(pci):
                return Spot(labels.merge(gpu=str(index)), address)
        return Spot(labels, address)


def _parts(record: bytes) -> tuple[int | None, float | None, str]:
    """Number, seconds since the start of the machine, and text of one record; text is empty for debug chatter."""
    head, found, rest = record.partition(b";")
    level, number, written, *_ = *head.split(b",", 3), b"", b""
    if not found or not level.isdigit() or len(level) > 6:
        return None, None, ""
    text = "" if int(level) & 7 > _INFO else rest.partition(b"\n")[0].decode("utf-8", "replace")
    numbered = number.isdigit() and len(number) < 20
    stamped = written.isdigit() and len(written) < 20
    return int(number) if numbered else None, int(written) / 1e6 if stamped else None, text


def _boot_of(root: Path) -> str:
    """What tells this run of the machine from others; empty if nothing does."""
    try:
        return (root / "proc/sys/kernel/random/boot_id").read_text(encoding="ascii", errors="replace").strip()[:64]
    except OSError:
        return ""


def build(config: Config, world: World) -> KernelLog:
    """The collector of /dev/kmsg under *world*'s root."""
    return KernelLog(config, world, lambda whole: _open_log(world.root / "dev/kmsg", whole=whole))


def _open_log(path: Path, *, whole: bool) -> int:
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.lseek(handle, 0, os.SEEK_SET if whole else os.SEEK_END)
    except OSError:
        os.close(handle)
        raise
    return handle
