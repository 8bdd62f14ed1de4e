"""
Standard input as a log: ``some-server 2>&1 | aiops run``.

A pipe holds 64 KiB, and its writer waits when it is full: a server must never wait for us. So a thread of its own reads
as soon as there is something, into a buffer of bounded size; when that is full, the newest is thrown away, and counted by
its lines. There is nothing to come back to after a restart, so no place is kept.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Iterator

from aiops.collect.sampling import Ration, cut, troubled
from aiops.collect.tail import MAX_LINE_BYTES, CutLine

_READ_BYTES = 64 * 2**10
_BUFFER_BYTES = 4 * 2**20


class StandardInput:
    """
    Follows what is written to a file descriptor; has what log-tail uses of a `Follower`.

    Args:
        handle: The descriptor; not closed by us.
    """

    path = "-"
    lost_files = 0
    skipped_bytes = 0
    behind_since_s = None

    def __init__(self, handle: int = 0) -> None:
        self.problem = ""
        """Why nothing more comes; empty while something may."""
        self.truncated = 0
        self.skipped_lines = 0
        self._handle = handle
        self._lock = threading.Lock()
        self._parts: list[bytes] = []
        self._held_bytes = 0
        self._refused_lines = 0
        self._refusing = False
        self._ended = ""
        self._rest = b""
        self._in_overlong = False
        self._taken = 0
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread: threading.Thread | None = None

    @property
    def place(self) -> tuple[int, int]:
        """Lines handed out; there is no way back to any."""
        return 1, self._taken

    @property
    def is_open(self) -> bool:
        """Whether something may come."""
        return not self.problem

    def backlog_bytes(self) -> int:
        """Bytes that wait."""
        return self._held_bytes

    def lines(self, now_s: float, ration: Ration | None = None) -> Iterator[bytes]:
        """Complete lines since the last call; of too many a sample, the others counted."""
        ration = ration or Ration()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="standard input", daemon=True)
            self._thread.start()
        with self._lock:
            block = b"".join((self._rest, *self._parts))
            self._parts, self._held_bytes = [], 0
            self.skipped_lines += self._refused_lines
            self._refused_lines, ended = 0, self._ended
        end = len(block) if ended else block.rfind(b"\n") + 1
        block, self._rest = block[:end], block[end:]
        yield from self._sampled(block, ration)
        if len(self._rest) > MAX_LINE_BYTES:
            if not self._in_overlong:
                yield self._cut(self._rest)
            self._rest, self._in_overlong = b"", True
        self.problem = ended

    def note(self, now_s: float, place: tuple[int, int] | None = None) -> None:
        """Nothing to note."""

    def save(self) -> None:
        """Nothing to save."""

    def close(self) -> None:
        """Read no more."""
        if self._wake < 0:
            return
        if self._thread is not None:
            os.eventfd_write(self._wake, 1)
            self._thread.join(1.0)
        os.close(self._wake)
        self._wake = -1

    # --- its lines --------------------------------------------------------------------------------------------------

    def _sampled(self, block: bytes, ration: Ration) -> Iterator[bytes]:
        if not block:
            return
        count = block.count(b"\n") or 1
        share = min(1.0, max(ration.lines, 1) / count, max(ration.size_bytes, 1) / len(block))
        if share >= 1.0:
            yield from self._run_of(block)
            return
        parts = cut(block, share, len(block) / count)
        yield from self._run_of(parts.run)
        passed = 0
        for start, stop in troubled(parts.rest, parts.trouble):
            self.skipped_lines += parts.rest.count(b"\n", passed, start)
            passed = stop + 1
            yield self._cut(parts.rest[start:stop])
        self.skipped_lines += parts.rest.count(b"\n", passed)

    def _run_of(self, block: bytes) -> Iterator[bytes]:
        for line in block.removesuffix(b"\n").split(b"\n"):
            self._taken += 1
            if self._in_overlong:
                self._in_overlong = False
            elif text := self._cut(line):
                yield text

    def _cut(self, line: bytes) -> bytes:
        if len(line) > MAX_LINE_BYTES:
            self.truncated += 1
            return CutLine(line[:MAX_LINE_BYTES])
        return line[:-1] if line.endswith(b"\r") else line

    # --- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        ended = ""
        while not ended:
            with contextlib.suppress(InterruptedError):
                ready = dict(poll.poll())
                if self._wake in ready:
                    return
                ended = self._read()
        with self._lock:
            self._ended = ended

    def _read(self) -> str:
        """Take what is there; why there will be no more, or empty."""
        try:
            part = os.read(self._handle, _READ_BYTES)
        except BlockingIOError:
            return ""
        except OSError as error:
            return (error.strerror or "cannot be read").lower()
        if not part:
            return "it has ended"
        with self._lock:
            self._take(part)
        return ""

    def _take(self, part: bytes) -> None:
        """Hold *part*, or as much of it as leaves only whole lines out."""
        if self._held_bytes <= _BUFFER_BYTES:
            if self._refusing:  # the end of a line whose beginning was left out
                end = part.find(b"\n") + 1
                self._refused_lines += end > 0
                self._refusing = not end
                part = part[end:] if end else b""
        elif self._refusing:
            self._refused_lines += part.count(b"\n")
            return
        else:
            end = part.find(b"\n") + 1
            self._refusing = end > 0
            self._refused_lines += part.count(b"\n", end) if end else 0
            part = part[:end] or part[: max(0, 2 * _BUFFER_BYTES - self._held_bytes)]
        self._parts.append(part)
        self._held_bytes += len(part)
