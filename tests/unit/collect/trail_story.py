"""A log under logrotate, and a daemon that follows it: what tests of `trail` are told with."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

from aiops.collect.sampling import Ration
from aiops.collect.tail import Follower
from tests.fakes import FakeCheckpoints

NOW_S = 1_800_000_000.0


class Tailer:
    """A daemon's view of one log: it can be stopped, killed and started again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = FakeCheckpoints()
        self.now_s = NOW_S
        self.follower = self.start()

    def start(self, *, from_start: bool = False) -> Follower:
        self.follower = Follower(
            str(self.path), self.checkpoints, name="log", max_away_s=86_400.0, from_start=from_start
        )
        return self.follower

    def round(self, ration: Ration | None = None) -> list[bytes]:
        """One round, whose lines arrive."""
        lines = list(self.follower.lines(self.now_s, ration))
        self.follower.note(self.now_s)
        self.follower.save()
        self.now_s += 1.0
        return lines

    def rounds(self, count: int = 4) -> list[bytes]:
        """What comes in *count* rounds."""
        return [line for _ in range(count) for line in self.round()]

    def kill(self) -> list[bytes]:
        """One more round, whose lines arrive nowhere, and the end; what was read in vain."""
        lines = list(self.follower.lines(self.now_s))
        self.follower.close()
        return lines

    def away(self, seconds: float = 60.0) -> None:
        """Stopped, and started again after a while."""
        self.follower.close()
        self.now_s += seconds
        self.start()


def append(path: Path, data: bytes, at_s: float | None = None) -> None:
    with path.open("ab") as file:
        file.write(data)
    if at_s is not None:
        os.utime(path, (at_s, at_s))


def shift(path: Path) -> None:
    """Make room for another x.log.1."""
    for number in range(20, 0, -1):
        for end in ("", ".gz"):
            older = path.with_name(f"{path.name}.{number}{end}")
            if older.exists():
                older.rename(path.with_name(f"{path.name}.{number + 1}{end}"))


def rotate(path: Path) -> None:
    """As logrotate does by rename: x.log.1 is the newest."""
    shift(path)
    path.rename(path.with_name(f"{path.name}.1"))


def compress(path: Path) -> Path:
    """As gzip does: another inode, the same time, the plain file gone."""
    packed = path.with_name(path.name + ".gz")
    status = path.stat()
    packed.write_bytes(gzip.compress(path.read_bytes()))
    os.utime(packed, ns=(status.st_atime_ns, status.st_mtime_ns))
    path.unlink()
    return packed


def copy_and_truncate(path: Path) -> None:
    shutil.copyfile(path, path.with_name(path.name + ".1"))
    os.truncate(path, 0)
