"""Reading the kernel's small text files in one go, without the layers of `open`."""

from __future__ import annotations

import os
from dataclasses import dataclass

_CHUNK_BYTES = 64 * 2**10
_MAX_BYTES = 4 * 2**20
"""More than any of these files has on the largest machines; what follows is cut off."""
_MAX_NUMBER = 64
"""Blanks and digits after a name; the kernel's own take half of that."""


def read_file(path: str) -> bytes:
    """
    The content of *path*, at most 4 MiB.

    Raises:
        OSError: it cannot be opened or read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = os.read(handle, _CHUNK_BYTES)
        # a short read is no end in /proc: only an empty one is
        while content and len(content) < _MAX_BYTES and (more := os.read(handle, _CHUNK_BYTES)):
            content += more
        return content
    finally:
        os.close(handle)


def number_after(text: bytes, mark: bytes) -> int | None:
    """
    The whole number that follows *mark* at the beginning of a line; None where no line begins so.

    Args:
        text: Lines of a name, a number and perhaps a unit.
        mark: All that stands before the number and the blanks around it: ``b"Dirty:"``, ``b"oom_kill "``.

    Raises:
        ValueError: something else than a number follows.
    """
    start = 0 if text.startswith(mark) else text.find(b"\n" + mark) + 1
    if start == 0 and not text.startswith(mark):
        return None
    start += len(mark)
    after = text[start : start + _MAX_NUMBER].split(None, 1)
    if not after:
        raise ValueError(f"no number after {mark.decode('ascii', 'replace').strip()}")
    return int(after[0])


@dataclass(slots=True)
class Since:
    """What a counter-like reading was last time: turns totals into increases."""

    at_s: float = 0.0
    totals: tuple[int, ...] = ()

    def advance(self, now_s: float, totals: tuple[int, ...]) -> tuple[float, tuple[int, ...]] | None:
        """
        Seconds and increases since the last call; None the first time, after a reset, or when no time has passed.

        Args:
            now_s: Time of this reading.
            totals: Running totals; always as many.
        """
        elapsed_s = now_s - self.at_s
        before, self.at_s, self.totals = self.totals, now_s, totals
        if len(before) != len(totals) or elapsed_s <= 0.0:
            return None
        increases = tuple(new - old for new, old in zip(totals, before, strict=True))
        return None if min(increases, default=0) < 0 else (elapsed_s, increases)
