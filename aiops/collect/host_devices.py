"""
The parts of the host collector that have one series per device: disks, network cards, file systems.

Devices come and go and some machines have hundreds of virtual ones, so each part keeps to what carries load (no
partitions, loop devices or container bridges) and to a fixed number.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from aiops.collect.procfs import Since, read_file
from aiops.model import Labels, Sample

_MAX_DEVICES = 128
_SPEED_AGE_S = 60.0
"""How long a link speed is believed; asking for it takes a lock in the driver."""
_SPACE_EVERY_S = 10.0
_SPACE_PATIENCE_S = 0.2

_NO_DISK = re.compile(
    rb"(?:z?ram|loop|fd|sr)\d+"  # no disks
    rb"|(?:[hsv]|xv)d[a-z]+\d+|(?:nvme\d+n\d+|mmcblk\d+|nbd\d+)p\d+"  # partitions
)
_VIRTUAL_LINK = re.compile(rb"lo|(?:veth|docker|br-|virbr|cali|cni|flannel|vxlan|cilium|lxc|tap|ifb|dummy|kube).*")
_LOCAL_FILESYSTEMS = {b"ext2", b"ext3", b"ext4", b"xfs", b"btrfs", b"zfs", b"f2fs", b"bcachefs"}
_OCTAL = re.compile(rb"\\([0-7]{3})")


class Disks:
    """Operations, waiting time and busy time of each disk."""

    subject: Final = "disks"

    def __init__(self, root: Path, labels: Labels) -> None:
        self._path = str(root / "proc/diskstats")
        self._host = labels
        self._disks: dict[bytes, tuple[Labels, Labels, Labels, Since]] = {}
        self._ignored: set[bytes] = set()

    def read(self, now_s: float) -> Iterator[Sample]:
        seen: set[bytes] = set()
        for line in read_file(self._path).splitlines():
            fields = line.split()
            if len(fields) < 14 or not self._known(fields[2]):
                continue
            seen.add(fields[2])
            yield from self._disk(fields, now_s)
        for name in self._disks.keys() - seen:
            del self._disks[name]

    def _known(self, name: bytes) -> bool:
        if name in self._disks:
            return True
        if name in self._ignored or len(self._disks) >= _MAX_DEVICES:
            return False
        if _NO_DISK.fullmatch(name):
            if len(self._ignored) < 4 * _MAX_DEVICES:
                self._ignored.add(name)
            return False
        device = self._host.merge(device=name.decode("ascii", "replace"))
        self._disks[name] = (device, device.merge(direction="read"), device.merge(direction="write"), Since())
        return True

    def _disk(self, fields: list[bytes], now_s: float) -> Iterator[Sample]:
        device, reading, writing, since = self._disks[fields[2]]
        totals = tuple(int(fields[i]) for i in (3, 6, 7, 10, 12))
        change = since.advance(now_s, totals) if any(totals) else None  # a disk never used is left out
        if change is None:
            return
        elapsed_s, (reads, read_ms, writes, write_ms, busy_ms) = change
        yield Sample("system_disk_operations_per_second", reading, now_s, reads / elapsed_s)
        yield Sample("system_disk_operations_per_second", writing, now_s, writes / elapsed_s)
        yield Sample("system_disk_utilization_ratio", device, now_s, min(busy_ms / 1e3 / elapsed_s, 1.0))
        if reads + writes:
            yield Sample("system_disk_await_seconds", device, now_s, (read_ms + write_ms) / 1e3 / (reads + writes))


class Network:
    """Traffic of each network card, and how near it is to its speed."""

    subject: Final = "network"

    def __init__(self, root: Path, labels: Labels) -> None:
        self._path = str(root / "proc/net/dev")
        self._links = root / "sys/class/net"
        self._host = labels
        self._cards: dict[bytes, tuple[Labels, Since]] = {}
        self._speeds: dict[bytes, float | None] = {}
        self._speeds_s = float("-inf")

    def read(self, now_s: float) -> Iterator[Sample]:
        if not 0.0 <= now_s - self._speeds_s < _SPEED_AGE_S:
            self._speeds, self._speeds_s = {}, now_s
        seen: set[bytes] = set()
        for line in read_file(self._path).splitlines()[2:]:
            name, _, rest = line.partition(b":")
            name = name.strip()
            if name in self._cards or (len(self._cards) < _MAX_DEVICES and not _VIRTUAL_LINK.fullmatch(name)):
                seen.add(name)
                yield from self._card(name, rest.split(), now_s)
        for name in self._cards.keys() - seen:
            del self._cards[name]

    def _card(self, name: bytes, fields: list[bytes], now_s: float) -> Iterator[Sample]:
        if name not in self._cards:
            self._cards[name] = (self._host.merge(device=name.decode("ascii", "replace")), Since())
        labels, since = self._cards[name]
        change = since.advance(now_s, (int(fields[0]), int(fields[8])))
        if change is None:
            return
        elapsed_s, (received, sent) = change
        yield Sample("system_network_receive_bytes_per_second", labels, now_s, received / elapsed_s)
        yield Sample("system_network_transmit_bytes_per_second", labels, now_s, sent / elapsed_s)
        if name not in self._speeds:
            self._speeds[name] = self._bytes_per_second(name)
        if limit := self._speeds[name]:
            busier = max(received, sent) / elapsed_s
            yield Sample("system_network_utilization_ratio", labels, now_s, busier / limit)

    def _bytes_per_second(self, name: bytes) -> float | None:
        """Speed of a link; None when unknown: -1 on virtual cards, EINVAL when the link is down."""
        try:
            megabits = int(read_file(str(self._links / os.fsdecode(name) / "speed")))
        except (OSError, ValueError):
            return None
        return megabits * 1e6 / 8 if megabits > 0 else None


class Filesystems:
    """
    How full the local file systems are.

    statvfs on a sick disk can block for ever, so it runs in a thread of its own and never twice at once; what it found
    is reported when it has ended. Network file systems are left out.
    """

    subject: Final = "file systems"

    def __init__(self, root: Path, labels: Labels) -> None:
        self._root = root
        self._mounts = str(root / "proc/self/mounts")
        self._host = labels
        self._thread: threading.Thread | None = None
        self._started_s = float("-inf")
        self._found: list[tuple[Labels, float]] = []

    def read(self, now_s: float) -> Iterator[Sample]:
        if self._thread is not None and self._thread.is_alive():
            if now_s - self._started_s > _SPACE_EVERY_S:
                raise OSError(0, "a file system does not answer", self._mounts)
            return
        if self._thread is not None:
            self._thread = None
            for labels, ratio in self._found:
                yield Sample("system_filesystem_utilization_ratio", labels, now_s, ratio)
        if 0.0 <= now_s - self._started_s < _SPACE_EVERY_S:
            return
        mounts = list(_local_mounts(read_file(self._mounts)))
        self._started_s = now_s
        self._thread = threading.Thread(target=self._measure, args=(mounts,), name="statvfs", daemon=True)
        self._thread.start()
        self._thread.join(_SPACE_PATIENCE_S)
        if not self._thread.is_alive():
            yield from self.read(now_s)

    def _measure(self, mounts: list[str]) -> None:
        found: list[tuple[Labels, float]] = []
        for mountpoint in mounts:
            try:
                space = os.statvfs(self._root / mountpoint.lstrip("/"))
            except OSError:
                continue  # unmounted meanwhile, or hidden from us
            used, free = space.f_blocks - space.f_bfree, space.f_bavail
            if used + free > 0:
                found.append((self._host.merge(mountpoint=mountpoint), used / (used + free)))
        self._found = found


def _local_mounts(table: bytes) -> Iterator[str]:
    """Mount points of local file systems, one for each device: the shortest, so that bind mounts do not repeat it."""
    shortest: dict[bytes, bytes] = {}
    for line in table.splitlines():
        fields = line.split(b" ")
        if len(fields) < 3:
            continue
        device, mountpoint, kind = fields[:3]
        # /dev/shm full stops NCCL and multi-process engines; a container's root is an overlay
        wanted = kind in _LOCAL_FILESYSTEMS or (kind, mountpoint) in {(b"tmpfs", b"/dev/shm"), (b"overlay", b"/")}
        key = device if kind in _LOCAL_FILESYSTEMS else mountpoint
        if wanted and (key not in shortest or len(mountpoint) < len(shortest[key])):
            shortest[key] = mountpoint
    for mountpoint in sorted(shortest.values())[:_MAX_DEVICES]:
        yield os.fsdecode(_OCTAL.sub(lambda code: bytes([int(code[1], 8)]), mountpoint))
