"""
What became of a log: its rotations beside it, oldest first, plain or compressed by gzip, and how to read either.

logrotate, Docker, kubelet and Python's handlers all leave ``a.log.1``, ``a.log-20261124``, ``a-20261124.log`` and their
like in the same folder, perhaps compressed. A compressed one is the same file: it is read by offsets of what it unpacks
to, as a stream, so much a call, and never held. Where a plain and a compressed one of the same name lie side by side, gzip
is still at work and the plain one is whole.
"""

from __future__ import annotations

import gzip
import os
import re
import stat
import zlib
from dataclasses import dataclass
from pathlib import Path

from aiops.collect.place import GUARD_BYTES, HEAD_BYTES

_MAX_ROTATIONS = 64
_PACKED = ".gz"
_ALL_PACKED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".Z")
_AFTER = re.compile(r"[.\-_](\d[\d.\-_:T]{0,40})\Z")
_WITHIN = re.compile(r"[.\-_](\d{4}[\d.\-_:T]{4,40})\Z")
"""Before the extension only a date is a rotation: ``a-1.log`` may be the log of another replica."""
_COUNT_DIGITS = 4
"""With more digits it is a date, not a count."""
_STEP_BYTES = 64 * 2**10
_SKIP_BYTES = 16 * 2**20
"""Unpacked at most in one call to reach an offset."""

FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""A pipe of that name must not block, a terminal not become ours."""


class PlainFile:
    """An open regular file."""

    is_packed = False

    def __init__(self, handle: int) -> None:
        status = os.fstat(handle)
        self.key = (status.st_dev, status.st_ino)
        self._handle = handle

    def status(self) -> os.stat_result:
        """As the file system has it."""
        return os.fstat(self._handle)

    def read(self, offset: int, size: int) -> bytes:
        """Up to *size* bytes from *offset*."""
        return os.pread(self._handle, size, offset)

    def first_data(self, offset: int) -> int:
        """The first offset from *offset* on that is not in a hole; *offset* where holes are not told."""
        try:
            return os.lseek(self._handle, offset, os.SEEK_DATA)
        except OSError:
            return offset

    def close(self) -> None:
        """Let go of it."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __del__(self) -> None:
        self.close()


class PackedFile:
    """
    An open gzip file, read from front to back.

    Offsets are those of the unpacked bytes. Those before the last read, but for a few, are gone; the first ones stay.
    """

    is_packed = True

    def __init__(self, handle: int) -> None:
        status = os.fstat(handle)
        self.key = (status.st_dev, status.st_ino)
        self.is_damaged = False
        # the last four bytes say how much it unpacks to, as far as anybody may be believed
        self.told_bytes = int.from_bytes(os.pread(handle, 4, max(0, status.st_size - 4)), "little")
        self._raw = os.fdopen(handle, "rb")
        self._stream = gzip.GzipFile(fileobj=self._raw, mode="rb")
        self._ended = False
        self._start = 0
        self._held = b""
        self._head = b""
        self._head = self._filled(HEAD_BYTES)[:HEAD_BYTES]

    def status(self) -> os.stat_result:
        """As the file system has it."""
        return os.fstat(self._raw.fileno())

    def read(self, offset: int, size: int) -> bytes:
        """Up to *size* bytes from *offset*; none also while that is still far away, see `has_ended`."""
        if offset + size <= len(self._head) or offset < self._start:
            return self._head[offset : offset + size]
        passed_bytes = 0
        while offset - GUARD_BYTES > self._start + len(self._held) and not self._ended:
            if passed_bytes >= _SKIP_BYTES:
                return b""
            passed_bytes += len(self._held)
            self._drop(self._start + len(self._held) - GUARD_BYTES)
            self._filled(GUARD_BYTES + _STEP_BYTES)
        self._drop(offset - GUARD_BYTES)
        place = offset - self._start
        return self._filled(place + size)[place : place + size]

    def has_ended(self, offset: int) -> bool:
        """Whether nothing comes from *offset* on any more."""
        return self._ended and offset >= self._start + len(self._held)

    def close(self) -> None:
        """Let go of it."""
        self._ended = True
        self._raw.close()

    def __del__(self) -> None:
        self.close()

    def _drop(self, offset: int) -> None:
        """Forget what stands before *offset*."""
        passed = min(max(0, offset - self._start), len(self._held))
        self._held = self._held[passed:]
        self._start += passed

    def _filled(self, size: int) -> bytes:
        """What is held, at least *size* bytes of it if there are as many."""
        parts, held_bytes = [self._held], len(self._held)
        while held_bytes < size and not self._ended:
            try:
                part = self._stream.read1(_STEP_BYTES)
            except (OSError, EOFError, zlib.error):  # cut short or no gzip at all: what came before it counts
                part, self.is_damaged = b"", True
            self._ended = not part
            parts.append(part)
            held_bytes += len(part)
        self._held = b"".join(parts)
        return self._held


OpenFile = PlainFile | PackedFile


@dataclass(frozen=True, slots=True)
class Rotation:
    """A file that once had the log's name."""

    path: str
    order: tuple[int, int]
    """By name, oldest first."""
    key: tuple[int, int]
    """Device and inode."""
    written_ns: int

    @property
    def is_packed(self) -> bool:
        """Whether it is compressed."""
        return self.path.endswith(_PACKED)

    def open(self) -> OpenFile | None:
        """None if it cannot be read, or is no regular file."""
        handle = -1
        try:
            handle = os.open(self.path, FLAGS)
            if stat.S_ISREG(os.fstat(handle).st_mode):
                return PackedFile(handle) if self.is_packed else PlainFile(handle)
        except OSError:
            pass
        if handle >= 0:
            os.close(handle)
        return None


def rotations(path: str) -> list[Rotation]:
    """Rotations of the log *path* that can be read here, oldest first, the newest 64 of them."""
    log = Path(os.path.realpath(path))
    found: dict[str, Rotation] = {}
    try:
        entries = list(os.scandir(log.parent))
    except OSError:
        return []
    for entry in entries:
        plain, packed = _unpacked(entry.name)
        number = _number(plain, log.name) if packed in {"", _PACKED} else None
        if number is None:
            continue
        try:
            status = entry.stat()
        except OSError:
            continue
        if packed and plain in found:
            continue
        counts = len(number) <= _COUNT_DIGITS
        # counts go up with age, dates go down; where both are used, only the time of writing compares
        order = (0, -int(number)) if counts else (1, int(number.ljust(20, "0")[:20]))
        found[plain] = Rotation(entry.path, order, (status.st_dev, status.st_ino), status.st_mtime_ns)
    one_way = len({rotation.order[0] for rotation in found.values()}) < 2
    ordered = sorted(found.values(), key=lambda each: each.order if one_way else (each.written_ns, 0))
    return ordered[-_MAX_ROTATIONS:]


def is_rotation(path: str, logs: set[str]) -> bool:
    """Whether *path* is a rotation of a log in *logs* or of one beside it; whatever is compressed is."""
    name, packed = _unpacked(Path(path).name)
    if packed:
        return True
    folder = Path(path).parent
    return any(str(folder / log) in logs or (folder / log).is_file() for log in _logs_of(name))


def _unpacked(name: str) -> tuple[str, str]:
    """A file's name without, and the end that says, how it is packed."""
    end = next((end for end in _ALL_PACKED if name.endswith(end)), "")
    return name.removesuffix(end), end


def _logs_of(name: str) -> list[str]:
    """Names that the log of a rotation called *name* may have."""
    found = []
    if after := _AFTER.search(name):
        found.append(name[: after.start()])
    stem, dot, extension = name.rpartition(".")
    if within := _WITHIN.search(stem):
        found.append(stem[: within.start()] + dot + extension)
    return [log for log in found if log]


def _number(name: str, log: str) -> str | None:
    """The digits in *name* that make it a rotation of *log*; None if it is none."""
    if log not in _logs_of(name):
        return None
    stem, dot, extension = log.rpartition(".")
    part = name[len(log) :] if name.startswith(log) else name[len(stem) : -len(dot + extension) or None]
    return "".join(letter for letter in part if letter in "0123456789")
