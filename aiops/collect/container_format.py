"""
What a container runtime wraps around each line its containers write: Docker's JSON and the format of the CRI.

Both say when the line was written and to which stream, and cut long lines into parts, which are put together again. The
form of a file shows in its first lines; after some that show none it is taken for plain, until it is replaced, so that
no later line of a plain log can pass for a wrapped one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import msgspec

_MAX_CHARS = 64 * 2**10
_DECIDED_AFTER = 20
_WAIT_S = 1.5
_HEAD_BYTES = 64
"""The CRI's time stamp, stream and tags end well before."""


class Wrapping(StrEnum):
    """How the lines of a file are wrapped."""

    AUTO = "auto"
    PLAIN = "plain"
    DOCKER = "docker"
    CRI = "cri"


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """One line as the program wrote it."""

    text: str
    stream: str = ""
    at_s: float | None = None
    """When it was written, where the wrapping says so."""
    truncated: bool = False


class _Entry(msgspec.Struct, gc=False):
    """A line of Docker's json-file driver."""

    log: str
    stream: str = ""
    time: str = ""


@dataclass(slots=True)
class _Parts:
    """A line whose end has not come yet."""

    at_s: float | None
    touched_s: float
    parts: list[str] = field(default_factory=list)
    chars: int = 0
    truncated: bool = False

    def add(self, text: str, now_s: float) -> None:
        """Add a part, as far as there is room."""
        room = _MAX_CHARS - self.chars
        self.truncated = self.truncated or len(text) > room
        self.parts.append(text[: max(room, 0)])
        self.chars += len(text)
        self.touched_s = now_s

    def whole(self, stream: str) -> Unwrapped:
        """The line."""
        return Unwrapped("".join(self.parts), stream, self.at_s, self.truncated)


class Unwrapper:
    """
    Unwraps the lines of one file, in order.

    Args:
        wrapping: How they are wrapped; found out from the first lines if `AUTO`.
    """

    def __init__(self, wrapping: Wrapping = Wrapping.AUTO) -> None:
        self._wanted = wrapping
        self.wrapping = wrapping
        """How the lines are wrapped, as far as it is known."""
        self._plain_lines = 0
        self._open: dict[str, _Parts] = {}
        self._decode = msgspec.json.Decoder(_Entry).decode

    @property
    def is_idle(self) -> bool:
        """Whether no part waits for the rest of its line."""
        return not self._open

    @property
    def is_plain(self) -> bool:
        """Whether lines are not wrapped, for certain."""
        return self.wrapping is Wrapping.PLAIN and not self._open

    def begin(self) -> None:
        """Another file has taken the place of this one."""
        self.wrapping, self._plain_lines = self._wanted, 0

    def add(self, line: bytes, now_s: float, *, truncated: bool = False) -> Iterator[Unwrapped]:
        """
        The line in *line*, unless it is a part of one.

        Args:
            line: As it stands in the file, without its newline.
            now_s: The time now, for waiting.
            truncated: Whether something of it was left out.
        """
        if self.wrapping is Wrapping.AUTO:
            self._find_out(line)
        found = None
        if self.wrapping is Wrapping.DOCKER:
            found = self._docker(line)
        elif self.wrapping is Wrapping.CRI:
            found = _cri(line)
        if found is None:
            yield Unwrapped(line.decode("utf-8", "replace"), truncated=truncated)
            return
        text, stream, at_s, ended = found
        waiting = self._open.get(stream)
        if waiting is None and ended:
            if text:
                yield Unwrapped(text, stream, at_s, truncated)
            return
        if waiting is None:
            waiting = self._open[stream] = _Parts(at_s, now_s)
        waiting.add(text, now_s)
        if ended:
            del self._open[stream]
            yield waiting.whole(stream)

    def flush(self, now_s: float) -> Iterator[Unwrapped]:
        """Lines whose end has not come for a while."""
        for stream, waiting in list(self._open.items()):
            if not 0.0 <= now_s - waiting.touched_s < _WAIT_S:
                del self._open[stream]
                yield waiting.whole(stream)

    def _find_out(self, line: bytes) -> None:
        if line.startswith(b'{"log":') and self._docker(line) is not None:
            self.wrapping = Wrapping.DOCKER
        elif _cri(line) is not None:
            self.wrapping = Wrapping.CRI
        else:
            self._plain_lines += 1
            if self._plain_lines >= _DECIDED_AFTER:
                self.wrapping = Wrapping.PLAIN

    def _docker(self, line: bytes) -> tuple[str, str, float | None, bool] | None:
        try:
            entry = self._decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if entry.stream not in {"stdout", "stderr"}:
            return None
        return entry.log.rstrip("\r\n"), entry.stream, _moment(entry.time), entry.log.endswith("\n")


def _cri(line: bytes) -> tuple[str, str, float | None, bool] | None:
    """Text, stream, time and whether the line ends here; None if *line* is not of this format."""
    if line[4:5] != b"-" or line[10:11] != b"T":
        return None
    head = line[:_HEAD_BYTES].split(b" ", 3)
    if len(head) < 3 or head[1] not in {b"stdout", b"stderr"} or head[2][:1] not in {b"F", b"P"}:
        return None
    at_s = _moment(head[0].decode("ascii", "replace"))
    if at_s is None:
        return None
    start = len(head[0]) + len(head[1]) + len(head[2]) + 3
    return line[start:].decode("utf-8", "replace"), head[1].decode(), at_s, head[2][:1] == b"F"


def _moment(text: str) -> float | None:
    """Seconds of the epoch; None for what is no time with a zone."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.timestamp() if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
