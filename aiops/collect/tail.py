"""
Following one growing log by its name: absurd lines, floods, rotation and restarts survived.

Which file is to be read, and from where, is `trail`'s knowledge; here bytes become lines. A line is consumed when its
newline is there, so a half-written one is simply read again. Reading is bounded: bytes a call, bytes a line, bytes of
backlog. What is skipped is counted. The place to go on from after a restart is made out by `note` and kept by `save`, when the
caller knows that what was handed out until then has arrived.
"""

from __future__ import annotations

from collections.abc import Iterator

from aiops.collect.rotated import OpenFile, PackedFile, PlainFile
from aiops.collect.sampling import Ration, Sampler
from aiops.collect.trail import Trail
from aiops.ports import Checkpoints

_CHUNK_BYTES = 256 * 2**10
_KEPT_BYTES = 4 * 2**20
_BACKLOG_BYTES = 32 * 2**20
"""More than this many unread bytes are skipped, except for the newest, by one who wants every line."""
_THINNED_BACKLOG_BYTES = 256 * 2**20
"""The same for one who is content with a sample."""
_REST_S = 1.0
_PACKED_BYTES = 4 * 2**20
"""Taken to wait in a packed file that says less than the truth."""


class Follower:
    """
    Reads what is appended to the log called *path*.

    A log that is there at the first look is read from its end, or from its checkpoint; one that appears later from
    its beginning.

    Args:
        path: The log's name; opened again when another file takes it.
        checkpoints: Where the place is kept over restarts.
        name: Under which name it is kept.
        max_away_s: Resume only where reading stopped at most this long ago: what is older is no news.
        from_start: The log is known to be new: without a checkpoint of it, read it from its beginning.
    """

    def __init__(
        self, path: str, checkpoints: Checkpoints, *, name: str, max_away_s: float, from_start: bool = False
    ) -> None:
        self.path = path
        self.skipped_bytes = 0
        """Bytes of backlog left out unseen so far."""
        self._trail = Trail(path, checkpoints, name=name, max_away_s=max_away_s, from_start=from_start)
        self._changes = 0
        self._in_overlong = False
        self._at_end = False
        self._sampler = Sampler()
        self._came_s = 0.0

    @property
    def truncated(self) -> int:
        """Lines cut at 64 KiB so far."""
        return self._sampler.truncated

    @property
    def skipped_lines(self) -> int:
        """Lines seen and left out, because there were too many, so far."""
        return self._sampler.skipped_lines

    @property
    def problem(self) -> str:
        """Why the log cannot be followed; empty when it is."""
        return self._trail.problem

    @property
    def place(self) -> tuple[int, int]:
        """How often another file was begun, and the offset in it before which everything was handed out."""
        return self._trail.changes, self._trail.offset

    @property
    def lost_files(self) -> int:
        """Times the rest of a file could not be found or read any more."""
        return self._trail.lost_files

    @property
    def behind_since_s(self) -> float | None:
        """When what is being read was the newest, while catching up after a stop; None otherwise."""
        return self._trail.behind_since_s

    @property
    def is_open(self) -> bool:
        """Whether a file is held."""
        return self._trail.file is not None

    def lines(self, now_s: float, ration: Ration | None = None) -> Iterator[bytes]:
        """
        Complete lines appended since the last call, without their newlines; blank ones are left out.

        Args:
            now_s: Wall time.
            ration: Bounds of this call; what is left comes next time.
        """
        try:
            yield from self._lines(now_s, ration or Ration())
        except OSError as error:
            self._trail.fail(error, now_s)

    def backlog_bytes(self) -> int:
        """About how much waits to be read in the open file."""
        file = self._trail.file
        if file is None:
            return 0
        if isinstance(file, PackedFile):
            told_bytes = file.told_bytes - self._trail.offset
            return told_bytes if told_bytes > 0 else _PACKED_BYTES
        try:
            return max(0, file.status().st_size - self._trail.offset)
        except OSError:
            return 0

    def note(self, now_s: float, place: tuple[int, int] | None = None) -> None:
        """
        Make out where to go on after a restart, once `save` is called; may read from the file.

        Args:
            now_s: Wall time.
            place: An earlier `place`, where what came after it was not handed on yet.
        """
        changes, offset = place or self.place
        if changes == self._trail.changes:
            self._trail.note(now_s, offset)

    def save(self) -> None:
        """What was handed out before the last `note` has arrived: go on from there after a restart. Does not block."""
        self._trail.save()

    def close(self) -> None:
        """Let go of the file."""
        self._trail.close()

    # --- its lines --------------------------------------------------------------------------------------------------

    def _lines(self, now_s: float, ration: Ration) -> Iterator[bytes]:
        trail = self._trail
        if not trail.look(now_s):
            return
        while (file := trail.file) is not None:
            if trail.changes != self._changes:
                self._changes, self._in_overlong = trail.changes, trail.begins_amid_line
            begun, passed = trail.offset, trail.is_passed()
            yield from self._appended(ration)
            if trail.offset != begun or now_s < self._came_s:
                self._came_s = now_s
            elif now_s - self._came_s >= _REST_S:
                self._sampler.rest()
            # the writer of a renamed file may hold on to it for a while: nothing must come in a whole round
            if not (passed and self._at_end and (trail.offset == begun or file.is_packed)):
                return
            yield from self._rest()
            trail.turn()

    def _appended(self, ration: Ration) -> Iterator[bytes]:
        file = self._trail.file
        if file is None:
            return
        backlog_bytes = self.backlog_bytes()
        self._at_end = backlog_bytes == 0
        if self._at_end:
            return
        backlog_bytes -= self._skip_backlog(backlog_bytes, ration)
        begun, stop = self._trail.offset, self._trail.offset + backlog_bytes
        share = ration.share(backlog_bytes, self._sampler.mean_line_bytes)
        hole = 0
        try:
            while self._trail.offset < stop and not ration.is_spent(share):
                chunk = file.read(self._trail.offset, _CHUNK_BYTES)
                if self._trail.is_another(chunk):
                    return
                ration.scan_bytes -= len(chunk)
                if chunk[:1] == b"\0" and (hole := _hole(file, self._trail.offset, chunk, after=hole)):
                    self._trail.offset += hole
                    continue
                end = chunk.rfind(b"\n") + 1
                if end:
                    yield from self._block(chunk[:end], ration, share)
                elif len(chunk) == _CHUNK_BYTES:
                    yield from self._overlong(chunk)
                else:  # half a line: its end is yet to be written
                    self._at_end = not isinstance(file, PackedFile) or file.has_ended(self._trail.offset + len(chunk))
                    return
            self._at_end = self._trail.offset >= stop and not file.is_packed
        finally:
            if self._trail.offset != begun:
                self._trail.remember()

    def _skip_backlog(self, backlog_bytes: int, ration: Ration) -> int:
        """Leave out what is too much to catch up with; how many bytes that are."""
        if self._trail.file is None or self._trail.file.is_packed:
            return 0
        most, kept = (_THINNED_BACKLOG_BYTES, _THINNED_BACKLOG_BYTES) if ration.thin else (_BACKLOG_BYTES, _KEPT_BYTES)
        skipped = backlog_bytes - kept if backlog_bytes > most else 0
        if skipped:
            self.skipped_bytes += skipped
            self._trail.offset += skipped
            self._in_overlong = True  # in the middle of some line
            self._sampler.skip()
        return skipped

    def _block(self, block: bytes, ration: Ration, share: float) -> Iterator[bytes]:
        """Lines of *block*, which are whole, each consumed as it is handed out."""
        begun = self._trail.offset
        if self._in_overlong:
            self._in_overlong = False
            end = block.find(b"\n") + 1
            begun = self._trail.offset = begun + end
            block = block[end:]
        if not block:
            return
        for passed, line in self._sampler.take(block, ration, share):
            self._trail.offset = begun + passed
            if line:
                yield line

    def _overlong(self, chunk: bytes) -> Iterator[bytes]:
        """A piece of a line that has no end yet: its beginning is the line."""
        self._trail.offset += len(chunk)
        if not self._in_overlong and (text := self._sampler.text(chunk)):
            self._in_overlong = True
            yield text

    def _rest(self) -> Iterator[bytes]:
        """The last line of a file that nobody will end any more."""
        if self._trail.file is None:
            return
        rest = self._trail.file.read(self._trail.offset, _CHUNK_BYTES)
        self._trail.offset += len(rest)
        if not self._in_overlong and (text := self._sampler.text(rest)):
            yield text


def _hole(file: OpenFile, offset: int, chunk: bytes, *, after: int) -> int:
    """
    How many zeros before the next line nobody wrote.

    A writer without O_APPEND goes on where it was after its file was emptied (copytruncate of a redirected output),
    which leaves a hole before its next line: blocks that are not there, and the beginning of the one in which it
    writes. Other zeros are somebody's rubbish.

    Args:
        file: The open file.
        offset: In the hole, perhaps.
        chunk: What stands there; begins with a zero.
        after: Bytes of a hole right before the offset.
    """
    if isinstance(file, PlainFile) and (data := file.first_data(offset)) > offset:
        return data - offset
    zeros = len(chunk) - len(chunk.lstrip(b"\0"))
    return zeros if after or zeros == _CHUNK_BYTES else 0
