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

from aiops.collect.sampling import MAX_LINE_BYTES, Ration, Sampler

_READ_BYTES = 64 * 2**10
_BUFFER_BYTES = 4 * 2**20
_BLOCK_BYTES = 256 * 2**10
_REST_S = 1.0
_GAP = b""
"""Stands among what is held where something was thrown away."""


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
        self._sampler = Sampler()
        self._thrown_away = 0
        self._came_s = 0.0
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread: threading.Thread | None = None

    @property
    def truncated(self) -> int:
        """Lines cut at 64 KiB so far."""
        return self._sampler.truncated

    @property
    def skipped_lines(self) -> int:
        """Lines left out so far, because there were too many, or no room for them."""
        return self._sampler.skipped_lines + self._thrown_away

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
        """
        Complete lines since the last call; of too many a sample, the others counted.

        Args:
            now_s: Wall time.
            ration: Bounds of this call; what is left waits, within what is held at most.
        """
        ration = ration or Ration()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="standard input", daemon=True)
            self._thread.start()
        block, ended = self._held()
        if block or now_s < self._came_s:
            self._came_s = now_s
        elif now_s - self._came_s >= _REST_S:
            self._sampler.rest()
        if ended and block and not block.endswith(b"\n"):
            block += b"\n"
        passed = 0
        try:
            for passed, line in self._whole_lines(block, ration):  # noqa: B007 (where it stopped is told below)
                if line:
                    yield line
        finally:
            self._keep(block[passed:], passed)
        if len(self._rest) > MAX_LINE_BYTES and b"\n" not in self._rest:
            rest = self._rest
            self._keep(b"", len(rest))
            if not self._in_overlong:
                self._in_overlong = True
                yield self._sampler.text(rest)
        if ended and not self._rest and not self._parts:
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

    def _held(self) -> tuple[bytes, str]:
        """What waits, up to where something was thrown away; and why nothing comes after it, where that is so."""
        with self._lock:
            if self._parts[:1] == [_GAP] and not self._rest:
                del self._parts[0]
                self._sampler.skip()
            end = self._parts.index(_GAP) if _GAP in self._parts else len(self._parts)
            block = b"".join((self._rest, *self._parts[:end]))
            del self._parts[:end]
            self._thrown_away += self._refused_lines
            self._refused_lines = 0
            return block, "" if self._parts else self._ended

    def _keep(self, rest: bytes, passed: int) -> None:
        """Hold *rest* of the block for the next call; so many bytes of it are done with."""
        with self._lock:
            self._rest = rest
            self._held_bytes = max(0, self._held_bytes - passed)

    def _whole_lines(self, block: bytes, ration: Ration) -> Iterator[tuple[int, bytes]]:
        """Up to where *block* is done with, and each line taken."""
        passed, end = 0, block.rfind(b"\n") + 1
        if self._in_overlong and end:
            self._in_overlong = False
            passed = block.find(b"\n") + 1
            yield passed, b""
        share = ration.share(end - passed, (end - passed) / max(1, block.count(b"\n", passed)))
        while passed < end and not ration.is_spent(share):
            stop = block.rfind(b"\n", passed, passed + _BLOCK_BYTES) + 1 or block.find(b"\n", passed) + 1
            part = block[passed:stop]
            ration.scan_bytes -= len(part)
            done = 0
            for done, line in self._sampler.take(part, ration, share):
                self._taken += bool(line)
                yield passed + done, line
            if done < len(part):
                return
            passed = stop

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
                if end:
                    self._parts.append(_GAP)
        elif self._refusing:
            self._refused_lines += part.count(b"\n")
            return
        else:
            end = part.find(b"\n") + 1
            self._refusing = end > 0
            self._refused_lines += part.count(b"\n", end) if end else 0
            part = part[:end] or part[: max(0, 2 * _BUFFER_BYTES - self._held_bytes)]
        if part:
            self._parts.append(part)
        self._held_bytes += len(part)
