"""
Following one growing file by its name: rotation, truncation, absurd lines and restarts survived.

The follower keeps a file handle and an offset, and reads with `pread`; a line is consumed when its newline is there,
so a half-written one is simply read again. Rotation by rename shows as another inode under the name: the old file is
read to its end before the new one is begun. Truncation in place shows as a size below the offset, or, when the file
has already grown past it, as other first bytes. What a restart must know (inode, first bytes, offset) is a
checkpoint. Everything is bounded: bytes a round, bytes a line, and a backlog too large to catch up with is skipped and
counted.
"""

from __future__ import annotations

import glob
import grp
import hashlib
import json
import os
import pwd
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aiops.model import Labels, Sample
from aiops.ports import Checkpoints

MAX_LINE_BYTES = 64 * 2**10
"""What follows in a longer line is cut off and counted."""
_CHUNK_BYTES = 256 * 2**10
_ROUND_BYTES = 4 * 2**20
_BACKLOG_BYTES = 32 * 2**20
"""More than this many unread bytes are skipped, except for the last round's worth."""
_HEAD_BYTES = 256
"""First bytes that tell one file from another under the same name and inode."""
_REFRESH_S = 30.0
"""How often the checkpoint of a silent file is written again, since it says when the file was last followed."""


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """Where reading stood."""

    inode: int
    head_bytes: int
    head: str
    offset: int
    at_s: float

    def dump(self) -> bytes:
        return json.dumps([self.inode, self.head_bytes, self.head, self.offset, self.at_s]).encode()

    @classmethod
    def load(cls, raw: bytes | None) -> _Checkpoint | None:
        """The checkpoint in *raw*; None without one, or from one that another version wrote."""
        try:
            inode, head_bytes, head, offset, at_s = json.loads(raw or b"null")
            return cls(int(inode), int(head_bytes), str(head), int(offset), float(at_s))
        except (ValueError, TypeError):
            return None


class Follower:
    """
    Reads what is appended to the file called *path*.

    A file that is there at the first look is read from its end, or from its checkpoint; one that appears later from
    its beginning.

    Args:
        path: The file's name; opened again when another file takes it.
        checkpoints: Where the offset is kept over restarts.
        name: Under which name it is kept.
        max_away_s: Resume only where reading stopped at most this long ago: what is older is no news.
        from_start: The file is known to be new: read it from its beginning.
    """

    def __init__(
        self, path: str, checkpoints: Checkpoints, *, name: str, max_away_s: float, from_start: bool = False
    ) -> None:
        self.path = path
        self.problem = ""
        """Why the file cannot be followed; empty when it is."""
        self.truncated = 0
        """Lines cut at 64 KiB so far."""
        self.skipped_bytes = 0
        """Bytes of backlog left out so far."""
        self._checkpoints = checkpoints
        self._name = name
        self._max_away_s = max_away_s
        self._from_start = from_start
        self._handle = -1
        self._inode = (0, 0)
        self._head = b""
        self._offset = 0
        self._in_overlong = False
        self._saved: _Checkpoint | None = None

    def lines(self, now_s: float, limit: int = 1_000_000) -> Iterator[bytes]:
        """
        Complete lines appended since the last call, without their newlines; blank ones are left out.

        Args:
            now_s: Wall time, for the checkpoint.
            limit: Lines at most; the rest comes next time.
        """
        try:
            yield from self._lines(now_s, limit)
        except OSError as error:  # a sick disk, a stale network file: begin anew next time
            self.close()
            self.problem = (error.strerror or "cannot be read").lower()

    def close(self) -> None:
        """Let go of the file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __del__(self) -> None:
        self.close()

    def _lines(self, now_s: float, limit: int) -> Iterator[bytes]:
        if self._handle < 0 and not self._open(now_s):
            return
        replaced = self._is_replaced()
        before = self._offset
        yield from self._appended(limit)
        if replaced and self._offset == before:  # its writer has let go of the old file: nothing came in a whole round
            yield from self._rest()
            self.close()
            self._from_start = True
            if not self._open(now_s):
                return
            yield from self._appended(limit)
        self._save(now_s)

    # --- which file -------------------------------------------------------------------------------------------------

    def _open(self, now_s: float) -> bool:
        try:
            # a pipe of that name must not block, a terminal not become ours
            handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            self.problem = (error.strerror or "cannot be opened").lower()
            # what appears under this name later is new from its first byte
            self._from_start = self._from_start or isinstance(error, FileNotFoundError)
            return False
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            os.close(handle)
            self.problem = "not a regular file"
            return False
        self._handle, self._inode, self.problem = handle, (status.st_dev, status.st_ino), ""
        self._head = os.pread(handle, _HEAD_BYTES, 0)
        self._offset = self._start(status, now_s)
        self._in_overlong = self._offset > 0 and os.pread(handle, 1, self._offset - 1) != b"\n"
        self._from_start = False
        return True

    def _start(self, status: os.stat_result, now_s: float) -> int:
        """Where to begin in a file just opened."""
        saved = None if self._from_start else _Checkpoint.load(self._checkpoints.get(self._name))
        if self._from_start:
            return 0
        if saved is None or not 0.0 <= now_s - saved.at_s <= self._max_away_s:
            return status.st_size
        same = saved.inode == status.st_ino and saved.head == _digest(self._head[: saved.head_bytes])
        # another file under the name: it was rotated while nobody looked, and all of it is new
        return saved.offset if same and 0 <= saved.offset <= status.st_size else 0

    def _is_replaced(self) -> bool:
        """Whether the name stands for another file by now."""
        try:
            named = Path(self.path).stat()
        except OSError as error:
            gone = isinstance(error, FileNotFoundError)
            self.problem = "no such file or directory" if gone else ""
            # a deleted file must not keep its disk space because we look at it; a renamed one is still written to
            return gone and os.fstat(self._handle).st_nlink == 0
        self.problem = ""
        return (named.st_dev, named.st_ino) != self._inode

    # --- what is in it ----------------------------------------------------------------------------------------------

    def _appended(self, limit: int) -> Iterator[bytes]:
        size = os.fstat(self._handle).st_size
        if size == self._offset:
            return
        self._find_truncation(size)
        if size - self._offset > _BACKLOG_BYTES:
            self.skipped_bytes += size - _ROUND_BYTES - self._offset
            self._offset = size - _ROUND_BYTES
            self._in_overlong = True  # in the middle of some line
        stop = self._offset + _ROUND_BYTES
        while self._offset < stop and limit > 0:
            chunk = os.pread(self._handle, _CHUNK_BYTES, self._offset)
            end = chunk.rfind(b"\n")
            if end >= 0:
                for line in self._split(chunk[:end], limit):
                    limit -= 1
                    yield line
            elif len(chunk) == _CHUNK_BYTES:
                if not self._in_overlong:
                    yield self._cut(chunk)
                self._in_overlong = True
                self._offset += len(chunk)
            else:
                return  # half a line: its end is yet to be written

    def _split(self, chunk: bytes, limit: int) -> Iterator[bytes]:
        """The lines of *chunk*, each consumed as it is handed out."""
        for line in chunk.split(b"\n"):
            self._offset += len(line) + 1
            if self._in_overlong:
                self._in_overlong = False
            elif line and line != b"\r":
                limit -= 1
                yield self._cut(line)
                if limit <= 0:
                    return

    def _find_truncation(self, size: int) -> None:
        """Begin again when the file was emptied in place."""
        head = os.pread(self._handle, _HEAD_BYTES, 0)
        if size < self._offset or not head.startswith(self._head):
            self._offset, self._in_overlong = 0, False
            self._head = head
        elif len(head) > len(self._head):
            self._head = head

    def _rest(self) -> Iterator[bytes]:
        """The last line of a file that nobody will end any more."""
        rest = os.pread(self._handle, _CHUNK_BYTES, self._offset)
        if rest and not self._in_overlong:
            yield from (self._cut(line) for line in rest.split(b"\n") if line)

    def _cut(self, line: bytes) -> bytes:
        if len(line) > MAX_LINE_BYTES:
            self.truncated += 1
            return line[:MAX_LINE_BYTES]
        return line[:-1] if line.endswith(b"\r") else line

    def _save(self, now_s: float) -> None:
        saved = self._saved
        fresh = saved is not None and 0.0 <= now_s - saved.at_s < _REFRESH_S
        if saved is not None and fresh and (saved.inode, saved.offset) == (self._inode[1], self._offset):
            return
        self._saved = _Checkpoint(self._inode[1], len(self._head), _digest(self._head), self._offset, now_s)
        self._checkpoints.put(self._name, self._saved.dump())


class Losses:
    """
    What of one log could not be used, by reason, as a counter.

    Args:
        host: This node.
        source: The log.
    """

    def __init__(self, host: str, source: str) -> None:
        self.counts: Counter[str] = Counter()
        self._labels = Labels.of(host_name=host, source=source)
        self._told: Counter[str] = Counter()

    def samples(self, now_s: float) -> Iterator[Sample]:
        """Totals that changed, a zero a second earlier before each new one."""
        for reason, count in self.counts.items():
            if count == self._told[reason]:
                continue
            labels = self._labels.merge(reason=reason)
            if not self._told[reason]:
                yield Sample("log_lines_skipped_total", labels, now_s - 1.0, 0.0)
            self._told[reason] = count
            yield Sample("log_lines_skipped_total", labels, now_s, float(count))


def _digest(head: bytes) -> str:
    return hashlib.blake2b(head, digest_size=16).hexdigest()


def expand(pattern: str, most: int) -> list[str]:
    """Files that *pattern* names, sorted, at most *most*; a name without wildcards stands for itself, there or not."""
    path = Path(pattern).expanduser()
    if not glob.has_magic(pattern):
        return [str(path)]
    return sorted(str(found) for found in Path(path.anchor).glob(str(path.relative_to(path.anchor))))[:most]


def reading_hint(path: str) -> str:
    """How this user could be allowed to read *path*."""
    for place in (Path(path), Path(path).parent):
        try:
            group = grp.getgrgid(place.stat().st_gid).gr_name
            user = pwd.getpwuid(os.geteuid()).pw_name
        except (OSError, KeyError):
            continue
        if group == "root":
            return f"let {user} read it: setfacl -m u:{user}:r {path}"
        return f"add {user} to the group that may read it: usermod -aG {group} {user}"
    return "let this user read it"
