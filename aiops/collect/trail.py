"""
The files a log consists of: the one that has the name, and older ones as long as they are not read to their end.

Rotation by rename shows as another inode under the name: the old file is read until nothing more comes, then any rotation
that came between, then the new file. Truncation in place shows as a size below the offset, or as other bytes where known
ones stood; where the tool has made a copy first (copytruncate), what was not read yet is read from the copy. After a stop the
file is looked for by what is in it, among the log and its rotations, and reading goes on from there through every
rotation since. So each byte is read once, under whatever name and however packed it lies.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from aiops.collect.place import GUARD_BYTES, HEAD_BYTES, Place
from aiops.collect.rotated import FLAGS, OpenFile, PackedFile, PlainFile, Rotation, rotations
from aiops.ports import Checkpoints

MISSING = os.strerror(errno.ENOENT).lower()
"""What is said of a log that is not there."""
_REFRESH_S = 30.0
"""How often the checkpoint of a silent file is written again, since it says when the file was last followed."""


class _Ended(NamedTuple):
    """A file that was read to its end."""

    place: Place
    """Its end."""
    written_ns: int


class Trail:
    """
    The open file of one log and the place in it; knows which file comes next.

    Args:
        path: The log's name.
        checkpoints: Where the place is kept over restarts.
        name: Under which name it is kept.
        max_away_s: Resume only where reading stopped at most this long ago.
        from_start: The log is known to be new: without a checkpoint of it, read it from its beginning.
    """

    def __init__(self, path: str, checkpoints: Checkpoints, *, name: str, max_away_s: float, from_start: bool) -> None:
        self.path = path
        self.problem = ""
        """Why the log cannot be read; empty when it can."""
        self.file: OpenFile | None = None
        self.offset = 0
        """Everything before it is done with."""
        self.begins_amid_line = False
        """Whether the file was begun in the middle of a line."""
        self.lost_files = 0
        """Times the rest of a file could not be found or read any more."""
        self.changes = 0
        """Times another file was begun, or the same one anew."""
        self.behind_since_s: float | None = None
        """When what is being read was the newest, while catching up after a stop; None otherwise."""
        self._checkpoints = checkpoints
        self._name = name
        self._max_away_s = max_away_s
        self._from_start = from_start
        self._is_log = False
        """Whether the open file is the one that has the name, not an older one."""
        self._head = b""
        self._guard = b""
        self._changed_ns = 0
        """When the log was written to last, when it was last looked at."""
        self._expected: Place | None = None
        """What must stand before the offset of a packed file, as far as it is not unpacked yet."""
        self._behind_end: tuple[tuple[int, int], int] | None = None
        self._noted: Place | None = None
        self._noted_where = (0, 0)
        self._saved: Place | None = None
        self._resume: Place | None = None
        """Where to go on in this process after an error."""
        self._previous: _Ended | None = None
        """The file that was read before, until something of the log is read."""
        self._has_begun = False
        """Whether the checkpoint was used: what appears under the name from then on is new."""

    # --- for the reader ---------------------------------------------------------------------------------------------

    def look(self, now_s: float) -> bool:
        """Make sure that a file is open and is still what it was; False if there is none."""
        if self.file is None and not self._open(now_s):
            return False
        if self._is_log and self._is_truncated():
            self._begin_again()
        elif self._is_log and self._previous is not None and self._has_data():
            # whole files may have come and gone since: copied away and emptied before anything of them was read
            previous, self._previous = self._previous, None
            if self.offset == 0 and (older := self._after(previous)):
                self._use_first(older, None)
        return self.file is not None

    def is_passed(self) -> bool:
        """Whether the log has gone on in another file than the open one."""
        return not self._is_log or self._is_replaced()

    def turn(self) -> None:
        """The open file is read to its end: go on with the one that came after it."""
        file = self.file
        if file is None:
            return
        self.lost_files += isinstance(file, PackedFile) and file.is_damaged
        if not (self._is_log and self.offset == 0 and self._previous is not None):  # else nothing of the log was read
            self._previous = _Ended(Place.of(file.key, file.read, self.offset, 0.0), file.status().st_mtime_ns)
        self._use_first(self._after(self._previous), self._open_log())

    def is_another(self, chunk: bytes) -> bool:
        """
        Whether the open file, of which *chunk* was read at the offset, is not the one it looked like.

        What stands before the offset of a packed file is not known until it is unpacked so far. If it turns out to be
        another, the file is lost, and reading goes on with the first one written after it.
        """
        file, expected = self.file, self._expected
        if expected is None or not isinstance(file, PackedFile) or not (chunk or file.has_ended(self.offset)):
            return False
        self._expected = None
        if expected.leads_to(file.read):
            return False
        self.lost_files += 1
        later = [each for each in rotations(self._rotations_of()) if each.written_ns > expected.at_s * 1e9]
        self._use_first(later, self._open_log())
        return True

    def remember(self) -> None:
        """Keep the bytes that tell whether the file is still what it was; to be called when the offset has moved."""
        if isinstance(self.file, PlainFile):
            start = max(0, self.offset - GUARD_BYTES)
            self._guard = self.file.read(start, self.offset - start)
            self._head = self.file.read(0, HEAD_BYTES)
        if self.behind_since_s is None or not self._is_log or self.file is None:
            return
        if self._behind_end is None or self._behind_end[0] != self.file.key or self.offset >= self._behind_end[1]:
            self.behind_since_s = None

    def note(self, now_s: float, offset: int) -> None:
        """
        Make out where to go on after a restart.

        Args:
            now_s: Wall time.
            offset: In the open file; everything before it was handed out.
        """
        if self.file is None or self._expected is not None:
            return
        noted, where = self._noted, (self.changes, offset)
        if noted is not None and self._noted_where == where and 0.0 <= now_s - noted.at_s < _REFRESH_S:
            return
        with contextlib.suppress(OSError):
            if offset == 0 and self._is_log and self._previous is not None:
                # of an empty file nothing is known: what comes after the one before is to be read
                self._noted = replace(self._previous.place, at_s=now_s)
            else:
                self._noted = Place.of(self.file.key, self.file.read, offset, now_s)
            self._noted_where = where

    def save(self) -> None:
        """What was handed out before the last `note` has arrived: go on from there after a restart."""
        if self._noted is not self._saved and self._noted is not None:
            self._saved = self._noted
            self._checkpoints.put(self._name, self._saved.dump())

    def fail(self, error: OSError, now_s: float) -> None:
        """A sick disk, a stale network file: let go, and begin anew next time, where reading stood."""
        self.problem = (error.strerror or "cannot be read").lower()
        if self.file is not None:
            head = self.file.read(0, HEAD_BYTES) if isinstance(self.file, PackedFile) else self._head
            self._resume = Place.from_memory(self.file.key, head, self.offset, now_s)
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self.file is not None:
            self.file.close()
            self.file = None

    # --- which file -------------------------------------------------------------------------------------------------

    def _open(self, now_s: float) -> bool:
        """Open what is to be read first: the log, or an older file whose rest was not read before a stop."""
        log = self._open_log()
        if log is None and self.problem != MISSING:
            return False  # what was read of it is not known to be lost
        self._from_start = self._from_start or log is None or self._has_begun
        saved = self._resume or (None if self._has_begun else Place.load(self._checkpoints.get(self._name)))
        if saved is None and self._previous is not None:
            self._use_first(self._after(self._previous), log)
        elif saved is None or now_s - saved.at_s > self._max_away_s:
            if log is not None:
                self._use(log, 0 if self._from_start else log.status().st_size)
        else:
            if self._resume is None:
                self.behind_since_s = saved.at_s
                self._behind_end = (log.key, log.status().st_size) if log is not None else None
            self._go_on(saved, log)
        if self.file is None:
            return False
        self._resume, self._has_begun = None, True
        return True

    def _go_on(self, saved: Place, log: PlainFile | None) -> None:
        """Find the file of *saved*; if it is lost, go on with the first one written after it."""
        if log is not None and log.key == saved.key and saved.is_in(log.read):
            self._use(log, saved.offset)
            return
        found = rotations(self._rotations_of())
        if (old := _find(saved, found)) is not None:
            self._use(old, saved.offset, is_log=False)
            self._expected = saved if old.is_packed else None
            if log is not None:
                log.close()
        elif log is not None and saved.offset and saved.is_in(log.read):
            self._use(log, saved.offset)
        else:
            later = [rotation for rotation in found if rotation.written_ns > saved.at_s * 1e9]
            if later or log is not None:  # else it may yet come back
                self.lost_files += saved.offset > 0
                self._use_first(later, log)

    def _open_log(self) -> PlainFile | None:
        try:
            handle = os.open(self.path, FLAGS)
        except OSError as error:
            self.problem = (error.strerror or "cannot be opened").lower()
            return None
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            self.problem = "not a regular file"
            return None
        self.problem = ""
        return PlainFile(handle)

    def _use(self, file: OpenFile, offset: int, *, is_log: bool = True) -> None:
        """Read on in *file*."""
        self.close()
        self.file, self._is_log, self.offset, self._expected = file, is_log, offset, None
        self.changes += 1
        self.remember()
        self.begins_amid_line = isinstance(file, PlainFile) and offset > 0 and self._guard[-1:] != b"\n"

    def _use_first(self, older: list[Rotation], log: PlainFile | None) -> None:
        """Begin the first of *older* that can be opened, or else *log*."""
        for rotation in older:
            file = rotation.open()
            if file is not None:
                if log is not None:
                    log.close()
                self._use(file, 0, is_log=False)
                return
            self.lost_files += 1
        self.close()
        if log is not None:
            self._use(log, 0)

    def _after(self, ended: _Ended) -> list[Rotation]:
        """Rotations that came after the file *ended*, oldest first."""
        found = rotations(self._rotations_of())
        place = ended.place
        for number, rotation in enumerate(found):  # its inode may be another's by now
            if rotation.key == place.key and _is_same(rotation, place):
                return found[number + 1 :]
        # packed meanwhile; of several that begin alike one as long, or else the newest, or we would go in circles
        packed = [number for number in reversed(range(len(found))) if found[number].is_packed]
        for as_long in (True, False):
            for number in packed:
                if _is_same(found[number], place, as_long=as_long):
                    return found[number + 1 :]
        return [rotation for rotation in found if rotation.written_ns > ended.written_ns]

    def _rotations_of(self) -> str:
        """The name whose rotations are meant; none for a file seen through a process's handle."""
        return "" if self.path.startswith("/proc/") else self.path

    def _is_replaced(self) -> bool:
        """Whether the name stands for another file by now."""
        if not isinstance(self.file, PlainFile):
            return True
        try:
            named = Path(self.path).stat()
        except OSError as error:
            gone = isinstance(error, FileNotFoundError)
            self.problem = MISSING if gone else ""
            # a deleted file must not keep its disk space because we look at it; a renamed one is still written to
            return gone and self.file.status().st_nlink == 0
        self.problem = ""
        return (named.st_dev, named.st_ino) != self.file.key

    def _has_data(self) -> bool:
        return self.file is not None and self.file.status().st_size > 0

    def _is_truncated(self) -> bool:
        """Whether the open log was emptied in place, and perhaps filled again."""
        file = self.file
        if not isinstance(file, PlainFile):
            return False
        status = file.status()
        size, changed = status.st_size, status.st_mtime_ns != self._changed_ns
        if size == self.offset and not changed:
            return False
        self._changed_ns = status.st_mtime_ns
        guard = file.read(self.offset - len(self._guard), len(self._guard))
        return size < self.offset or guard != self._guard or not file.read(0, HEAD_BYTES).startswith(self._head)

    def _begin_again(self) -> None:
        """The open log was emptied: read what was not read yet from the copy, if one was made, then from the beginning."""
        file = self.file
        if not isinstance(file, PlainFile):
            return
        known = Place.of(file.key, self._known, self.offset, math.inf)
        copy = _find(known, rotations(self._rotations_of())) if self.offset else None
        if copy is not None:
            self._use(copy, self.offset, is_log=False)
            self._expected = known if copy.is_packed else None
            return
        self.offset, self.begins_amid_line = 0, False
        self.changes += 1
        self.remember()

    def _known(self, offset: int, size: int) -> bytes:
        """What stood in the open log, as far as it is remembered."""
        return self._head if offset == 0 and size == HEAD_BYTES else self._guard


def _find(saved: Place, found: list[Rotation]) -> OpenFile | None:
    """The file of *saved* among its rotations, open; the same inode goes first, then the newest."""
    same = [rotation for rotation in found if rotation.key == saved.key]
    for rotation in (*same, *reversed(found)):
        file = rotation.open()
        if file is not None:
            was_empty = saved.head_bytes == 0 and rotation.key == saved.key and not file.is_packed
            if was_empty or _holds(file, saved):
                return file
            file.close()
    return None


def _is_same(rotation: Rotation, place: Place, *, as_long: bool = False) -> bool:
    """Whether *place* is the end of the file in *rotation*."""
    file = rotation.open()
    if file is None:
        return False
    if isinstance(file, PackedFile):
        same = (not as_long or file.told_bytes == place.offset % 2**32) and _holds(file, place)
    else:
        same = _holds(file, place) if place.head_bytes else file.status().st_size == 0
    file.close()
    return same


def _holds(file: OpenFile, place: Place) -> bool:
    """Whether *file* is the one of *place*, as far as it can be told before it is unpacked."""
    try:
        return place.begins(file.read) and (file.is_packed or place.leads_to(file.read))
    except OSError:  # one that cannot be read must not hide the others
        return False
