"""
The parts of the host collector that have series per device: disks and network cards.

Devices come and go and some machines have hundreds of virtual ones, so each part keeps to what carries load (no
partitions, loop devices or container bridges) and to a fixed number.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aiops.collect.procfs import Since, read_file
from aiops.model import Labels, Observation, Sample, Sight

_MAX_DISKS = 48
"""A dozen series each; an inference node has about ten, with its device mapper's."""
_MAX_CARDS = 32
"""Eight series each; what is beyond are virtual functions handed to guests."""
_SPEED_AGE_S = 60.0
"""How long a link speed is believed; asking for it takes a lock in the driver."""
_CARRIER_AGE_S = 10.0
_SECTOR_BYTES = 512
"""The unit of /proc/diskstats, whatever the disk's own sector is."""

NO_DISK = re.compile(
    rb"(?:z?ram|loop|fd|sr)\d+"  # no disks
    rb"|(?:[hsv]|xv)d[a-z]+\d+|(?:nvme\d+n\d+|mmcblk\d+|nbd\d+)p\d+"  # partitions
)
"""Names of block devices that are left out."""
VIRTUAL_LINK = re.compile(rb"lo|(?:veth|docker|br-|virbr|cali|cni|flannel|vxlan|cilium|lxc|tap|ifb|dummy|kube).*")
"""Names of network devices that are left out."""


class Bound:
    """
    Says once that there are more devices than are watched.

    Args:
        what: Devices of which kind.
        most: How many are watched.
    """

    def __init__(self, what: str, most: int) -> None:
        self._subject = f"number of {what}"
        self._most = most
        self._over = False

    def news(self, refused: int) -> Iterator[Sight]:
        """A sight if that changed; *refused* is how many are not watched."""
        if (refused > 0) != self._over:
            self._over = refused > 0
            detail = f"only the first {self._most} are watched" if self._over else "all are watched"
            yield Sight("host", self._subject, seen=not self._over, detail=detail)


class Disk:
    """What is known of one disk, and its labels."""

    __slots__ = ("device", "discard", "reading", "since", "since_flush", "writing")

    def __init__(self, labels: Labels) -> None:
        self.device = labels
        self.reading, self.writing = labels.merge(direction="read"), labels.merge(direction="write")
        self.discard = labels.merge(direction="discard")
        self.since, self.since_flush = Since(), Since()

    def read(self, fields: list[bytes], now_s: float) -> Iterator[Sample]:
        """Samples from the disk's line in /proc/diskstats."""
        totals = tuple(int(fields[i]) for i in (3, 5, 6, 7, 9, 10, 12, 13))
        change = self.since.advance(now_s, totals) if any(totals) else None  # a disk never used is left out
        if change is None:
            return
        elapsed_s, (reads, sectors_read, read_ms, writes, sectors_written, write_ms, busy_ms, weighted_ms) = change
        for labels, count, sectors, took_ms in (
            (self.reading, reads, sectors_read, read_ms),
            (self.writing, writes, sectors_written, write_ms),
        ):
            yield Sample("system_disk_operations_per_second", labels, now_s, count / elapsed_s)
            yield Sample("system_disk_io_bytes_per_second", labels, now_s, sectors * _SECTOR_BYTES / elapsed_s)
            if count:
                yield Sample("system_disk_operation_seconds", labels, now_s, took_ms / 1e3 / count)
        yield Sample("system_disk_utilization_ratio", self.device, now_s, min(busy_ms / 1e3 / elapsed_s, 1.0))
        yield Sample("system_disk_queue_length", self.device, now_s, weighted_ms / 1e3 / elapsed_s)
        if reads + writes:
            yield Sample("system_disk_await_seconds", self.device, now_s, (read_ms + write_ms) / 1e3 / (reads + writes))
        yield from self._trims_and_flushes(fields, now_s)

    def _trims_and_flushes(self, fields: list[bytes], now_s: float) -> Iterator[Sample]:
        """Discards since Linux 4.18, flushes since 5.5, on disks that ever had one."""
        if len(fields) < 20:
            return
        totals = (int(fields[14]), int(fields[18]), int(fields[19]))
        if not any(totals) or (change := self.since_flush.advance(now_s, totals)) is None:
            return
        elapsed_s, (discards, flushes, flush_ms) = change
        if totals[0]:
            yield Sample("system_disk_operations_per_second", self.discard, now_s, discards / elapsed_s)
        if flushes:
            yield Sample("system_disk_flush_seconds", self.device, now_s, flush_ms / 1e3 / flushes)


class Disks:
    """Operations, bytes, waiting time, queue and busy time of each disk."""

    subject: Final = "disks"

    def __init__(self, root: Path, labels: Labels) -> None:
        self._path = str(root / "proc/diskstats")
        self._host = labels
        self._disks: dict[bytes, Disk] = {}
        self._ignored: set[bytes] = set()
        self._bound = Bound("disks", _MAX_DISKS)
        self._refused = 0

    def read(self, now_s: float) -> Iterator[Observation]:
        seen: set[bytes] = set()
        self._refused = 0
        for line in read_file(self._path).splitlines():
            fields = line.split()
            if len(fields) < 14 or not self._known(fields[2]):
                continue
            seen.add(fields[2])
            yield from self._disks[fields[2]].read(fields, now_s)
        for name in self._disks.keys() - seen:
            del self._disks[name]
        yield from self._bound.news(self._refused)

    def _known(self, name: bytes) -> bool:
        if name in self._disks:
            return True
        if name in self._ignored:
            return False
        if NO_DISK.fullmatch(name):
            if len(self._ignored) < 4 * _MAX_DISKS:
                self._ignored.add(name)
            return False
        if len(self._disks) >= _MAX_DISKS:
            self._refused += 1
            return False
        self._disks[name] = Disk(self._host.merge(device=name.decode("ascii", "replace")))
        return True


@dataclass(slots=True)
class Card:
    """What is known of one network card."""

    labels: Labels
    receive: Labels
    transmit: Labels
    since: Since = field(default_factory=Since)
    bytes_per_second: float | None = None
    speed_read_s: float = float("-inf")
    carrier_read_s: float = float("-inf")


class Network:
    """Traffic, errors and drops of each network card, lost links, and how near it is to its speed."""

    subject: Final = "network"

    def __init__(self, root: Path, labels: Labels) -> None:
        self._path = str(root / "proc/net/dev")
        self._links = root / "sys/class/net"
        self._host = labels
        self._cards: dict[bytes, Card] = {}
        self._bound = Bound("network cards", _MAX_CARDS)

    def read(self, now_s: float) -> Iterator[Observation]:
        seen: set[bytes] = set()
        refused = 0
        for line in read_file(self._path).splitlines()[2:]:
            name, _, rest = line.partition(b":")
            name = name.strip()
            if name not in self._cards:
                if VIRTUAL_LINK.fullmatch(name):
                    continue
                if len(self._cards) >= _MAX_CARDS:
                    refused += 1
                    continue
            seen.add(name)
            yield from self._card(name, rest.split(), now_s)
        for name in self._cards.keys() - seen:
            del self._cards[name]
        yield from self._bound.news(refused)

    def _card(self, name: bytes, fields: list[bytes], now_s: float) -> Iterator[Sample]:
        card = self._cards.get(name)
        if card is None:
            labels = self._host.merge(device=name.decode("ascii", "replace"))
            card = Card(labels, labels.merge(direction="receive"), labels.merge(direction="transmit"))
            self._cards[name] = card
        yield from self._lost_links(name, card, now_s)
        change = card.since.advance(now_s, tuple(int(fields[i]) for i in (0, 8, 2, 3, 10, 11)))
        if change is None:
            return
        elapsed_s, (received, sent, bad_in, dropped_in, bad_out, dropped_out) = change
        yield Sample("system_network_receive_bytes_per_second", card.labels, now_s, received / elapsed_s)
        yield Sample("system_network_transmit_bytes_per_second", card.labels, now_s, sent / elapsed_s)
        for labels, bad, dropped in ((card.receive, bad_in, dropped_in), (card.transmit, bad_out, dropped_out)):
            yield Sample("system_network_errors_per_second", labels, now_s, bad / elapsed_s)
            yield Sample("system_network_dropped_packets_per_second", labels, now_s, dropped / elapsed_s)
        if not 0.0 <= now_s - card.speed_read_s < _SPEED_AGE_S:
            card.bytes_per_second, card.speed_read_s = self._bytes_per_second(name), now_s
        if limit := card.bytes_per_second:
            yield Sample(
                "system_network_utilization_ratio", card.labels, now_s, max(received, sent) / elapsed_s / limit
            )

    def _lost_links(self, name: bytes, card: Card, now_s: float) -> Iterator[Sample]:
        if 0.0 <= now_s - card.carrier_read_s < _CARRIER_AGE_S:
            return
        card.carrier_read_s = now_s
        try:
            changes = int(read_file(str(self._links / os.fsdecode(name) / "carrier_changes")))
        except (OSError, ValueError):
            return  # a container may see no /sys; traffic is known all the same
        yield Sample("system_network_carrier_changes_total", card.labels, now_s, float(changes))

    def _bytes_per_second(self, name: bytes) -> float | None:
        """Speed of a link; None when unknown: -1 on virtual cards, EINVAL when the link is down."""
        try:
            megabits = int(read_file(str(self._links / os.fsdecode(name) / "speed")))
        except (OSError, ValueError):
            return None
        return megabits * 1e6 / 8 if megabits > 0 else None
