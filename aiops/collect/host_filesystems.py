"""
How full file systems are, whether they answer, and whether one became read-only.

statvfs on a sick disk or a dead NFS server can block for ever, and nothing ends a thread that does. So the questions
are asked in threads: one for all local file systems, one for each network file system. A thread that has not come back
by the next round is stuck at one mount point: that one is named and not asked again while it hangs, the rest of its
list goes to a new thread. There is never a second thread at the same mount point, and at most a few in all.
"""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiops.collect.procfs import read_file
from aiops.model import Event, EventKind, Labels, Observation, Sample, Sight

_MAX_LOCAL = 32
_MAX_REMOTE = 16
"""Mount points watched, with five series each; a node has its disks, /dev/shm and a few shares."""
_MAX_HUNG = 8
"""Threads that may hang at once; beyond that network file systems are not asked."""
_MAX_LABEL = 200
_PATIENCE_S = 0.2
"""How long a round waits for answers; those of healthy file systems take microseconds."""

_LOCAL = {b"ext2", b"ext3", b"ext4", b"xfs", b"btrfs", b"zfs", b"f2fs", b"bcachefs"}
_REMOTE = {
    b"nfs", b"nfs4", b"cifs", b"smb3", b"ceph", b"lustre", b"gpfs", b"beegfs", b"wekafs", b"glusterfs", b"pvfs2",
    b"afs", b"9p", b"virtiofs", b"gfs2", b"ocfs2",
}  # fmt: skip
_REMOTE_FUSE = (b"s3fs", b"gcsfuse", b"juicefs", b"sshfs", b"glusterfs", b"ceph", b"goofys", b"rclone", b"blobfuse",
                b"mountpoint-s3", b"geesefs", b"alluxio", b"goosefs", b"seaweedfs", b"mfs", b"dfuse")  # fmt: skip
_BROKEN = {errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT,
           errno.EREMOTEIO, errno.ENXIO, errno.ENODEV, errno.ESHUTDOWN}  # fmt: skip
"""What a file system answers that is there no more; other failures are ours: unmounted meanwhile, hidden from us."""
_OCTAL = re.compile(rb"\\([0-7]{3})")

Statvfs = Callable[[bytes], os.statvfs_result]
Answers = dict[str, os.statvfs_result | OSError]


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the mount table."""

    name: str
    """The mount point as labels have it."""
    path: bytes
    remote: bool
    read_only: bool


class Asker:
    """A thread that asks one mount point after the other."""

    def __init__(self, mounts: Sequence[Mount], root: bytes, statvfs: Statvfs) -> None:
        self._root = root
        self._statvfs = statvfs
        self._mounts = mounts
        self._place = 0
        self._given_up = False
        self.answers: Answers = {}
        self._thread = threading.Thread(target=self._ask, name="statvfs", daemon=True)
        self._thread.start()

    def wait(self, patience_s: float) -> None:
        """Give it *patience_s* to end."""
        self._thread.join(patience_s)

    def is_alive(self) -> bool:
        """Whether answers are still missing."""
        return self._thread.is_alive()

    def give_up(self) -> tuple[Mount, Sequence[Mount]]:
        """Where it is stuck, and those it will not ask any more."""
        self._given_up = True
        place = min(self._place, len(self._mounts) - 1)
        return self._mounts[place], self._mounts[place + 1 :]

    def _ask(self) -> None:
        for place, mount in enumerate(self._mounts):
            if self._given_up:
                return
            self._place = place
            try:
                self.answers[mount.name] = self._statvfs(self._root + mount.path)
            except OSError as error:
                self.answers[mount.name] = error


class Filesystems:
    """
    Space, inodes and health of each file system that carries data.

    Args:
        root: Where the file system begins.
        labels: Of this host.
        statvfs: Asks one mount point; may block.
    """

    subject: Final = "file systems"

    def __init__(self, root: Path, labels: Labels, statvfs: Statvfs = os.statvfs) -> None:
        self._root = os.fsencode(root).rstrip(b"/")
        self._mounts = str(root / "proc/self/mounts")
        self._host = labels
        self._statvfs = statvfs
        self._labels: dict[str, Labels] = {}
        self._askers: list[Asker] = []
        self._hung: dict[str, Asker] = {}
        self._writable: dict[str, bool] = {}
        """Whether it can be written to, of those that once could."""
        self._broken: dict[str, str] = {}
        """What is wrong with those that do not answer as they should."""

    def read(self, now_s: float) -> Iterator[Observation]:
        mounts = watched(read_file(self._mounts))
        self._labels = {m.name: self._labels.get(m.name) or self._host.merge(mountpoint=m.name) for m in mounts}
        yield from self._read_only(mounts, now_s)
        answers = self._late_answers()
        self._ask([mount for mount in mounts if mount.name not in answers])
        for asker in self._askers:
            if not asker.is_alive():
                answers.update(asker.answers)
        self._askers = [asker for asker in self._askers if asker.is_alive()]
        yield from self._report(answers, now_s)

    def _late_answers(self) -> Answers:
        """Answers to the last round's questions; who still waits for one hangs."""
        answers: Answers = {}
        rest: list[Mount] = []
        for asker in self._askers:
            if asker.is_alive():
                stuck, left = asker.give_up()
                self._hung[stuck.name] = asker
                rest.extend(left)
            answers.update(asker.answers)
        for name, asker in list(self._hung.items()):
            if not asker.is_alive():
                if name in asker.answers:  # what it was told of others before it hung is old
                    answers[name] = asker.answers[name]
                del self._hung[name]
        self._askers = []
        return answers

    def _ask(self, mounts: list[Mount]) -> None:
        free = [mount for mount in mounts if mount.name not in self._hung]
        groups = [[mount for mount in free if not mount.remote]]
        if len(self._hung) < _MAX_HUNG:
            groups += [[mount] for mount in free if mount.remote]
        self._askers = [Asker(group, self._root, self._statvfs) for group in groups if group]
        for asker in self._askers:
            asker.wait(_PATIENCE_S / len(self._askers))

    def _report(self, answers: Answers, now_s: float) -> Iterator[Observation]:
        for name, labels in self._labels.items():
            answer = answers.get(name)
            trouble = self._broken.get(name, "")
            if name in self._hung:
                trouble = "does not answer"
            elif isinstance(answer, OSError):
                trouble = str(answer.strerror) if answer.errno in _BROKEN else ""
            elif answer is not None:
                trouble = ""
                yield from _space(answer, labels, now_s)
            yield from self._health(name, trouble, now_s)
            if trouble or (answer is not None and not isinstance(answer, OSError)):
                yield Sample("system_filesystem_responding", labels, now_s, 0.0 if trouble else 1.0)

    def _health(self, name: str, trouble: str, now_s: float) -> Iterator[Observation]:
        if trouble == self._broken.get(name, ""):
            return
        if trouble:
            self._broken[name] = trouble
        else:
            self._broken.pop(name, None)
        yield Sight("host", f"file system {name}", seen=not trouble, detail=trouble or "answers again")

    def _read_only(self, mounts: Sequence[Mount], now_s: float) -> Iterator[Observation]:
        for mount in mounts:
            writable, before = not mount.read_only, self._writable.get(mount.name)
            if before is None and not writable:
                continue  # mounted so on purpose, as far as anybody can tell
            self._writable[mount.name] = writable
            labels = self._labels[mount.name]
            yield Sample("system_filesystem_read_only", labels, now_s, float(mount.read_only))
            if before and not writable:
                yield Event(EventKind.HARDWARE, "read_only", now_s, labels, f"{mount.name} became read-only")
        self._writable = {name: writable for name, writable in self._writable.items() if name in self._labels}
        self._broken = {name: trouble for name, trouble in self._broken.items() if name in self._labels}


def _space(answer: os.statvfs_result, labels: Labels, now_s: float) -> Iterator[Sample]:
    used, free = answer.f_blocks - answer.f_bfree, answer.f_bavail
    if used + free > 0:
        yield Sample("system_filesystem_utilization_ratio", labels, now_s, used / (used + free))
        yield Sample("system_filesystem_free_bytes", labels, now_s, float(free * answer.f_frsize))
    inodes = answer.f_files - answer.f_ffree + answer.f_favail
    if answer.f_files > 0 and inodes > 0:  # btrfs and most network file systems have no number of inodes
        ratio = (answer.f_files - answer.f_ffree) / inodes
        yield Sample("system_filesystem_inodes_utilization_ratio", labels, now_s, ratio)


def watched(table: bytes) -> list[Mount]:
    """
    What is watched of a mount table: local file systems once a device, network ones once a source.

    Of several mount points of a device the shortest stands for it, so that bind mounts do not repeat it.
    """
    shortest: dict[bytes, tuple[bytes, bool, bool]] = {}
    for line in table.splitlines():
        fields = line.split(b" ")
        if len(fields) < 4:
            continue
        device, mountpoint, kind, options = fields[:4]
        remote = kind in _REMOTE or (kind.startswith(b"fuse.") and kind[5:].startswith(_REMOTE_FUSE))
        # /dev/shm full stops NCCL and multi-process engines; a container's root is an overlay
        special = (kind, mountpoint) in {(b"tmpfs", b"/dev/shm"), (b"overlay", b"/")}
        if not (remote or special or kind in _LOCAL):
            continue
        key = mountpoint if special else device
        if key not in shortest or len(mountpoint) < len(shortest[key][0]):
            shortest[key] = (mountpoint, remote, bool({b"ro", b"emergency_ro"} & set(options.split(b","))))
    mounts = [_mount(*found) for found in sorted(shortest.values())]
    unique = list({mount.name: mount for mount in mounts}.values())
    local = [mount for mount in unique if not mount.remote][:_MAX_LOCAL]
    return local + [mount for mount in unique if mount.remote][:_MAX_REMOTE]


def _mount(escaped: bytes, remote: bool, read_only: bool) -> Mount:  # noqa: FBT001 (a row of the table)
    path = _OCTAL.sub(lambda code: bytes([int(code[1], 8) & 0xFF]), escaped)
    return Mount(path.decode("utf-8", "replace")[:_MAX_LABEL], path, remote, read_only)
