"""
What the audience sees: one line that is rewritten on a terminal (a line every few seconds elsewhere), and messages in
a box.
"""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import Any, TextIO

from aiops.demo.chat import as_chat

_BOX = 96
_PLAIN_EVERY_S = 5.0


class Terminal:
    """
    Writes to *stream*.

    Args:
        stream: Where to.
        live: Whether a line may be rewritten in place; by default when *stream* is a terminal.
    """

    def __init__(self, stream: TextIO, *, live: bool | None = None) -> None:
        self._stream = stream
        self._live = stream.isatty() if live is None else live
        self._open_line = False
        self._written_s = -math.inf

    def say(self, text: str = "") -> None:
        """A line that stays."""
        self._end_line()
        print(text, file=self._stream, flush=True)

    def progress(self, moment: Moment) -> None:
        """How things stand."""
        if self._live:
            print(f"\r\033[K{moment}", end="", file=self._stream, flush=True)
            self._open_line = True
        elif moment.elapsed_s - self._written_s >= _PLAIN_EVERY_S:
            self._written_s = moment.elapsed_s
            print(moment, file=self._stream, flush=True)

    def message(self, message: dict[str, Any], note: str) -> None:
        """A message as the chat shows it, headed by *note*."""
        self._end_line()
        print(box(as_chat(message), note), file=self._stream, flush=True)

    def _end_line(self) -> None:
        if self._open_line:
            print(file=self._stream)
            self._open_line = False


def box(text: str, note: str) -> str:
    """*text* wrapped in a frame whose upper edge carries *note*."""
    inner = _BOX - 4
    lines: list[str] = []
    for line in text.splitlines():
        lines += textwrap.wrap(line, inner, break_on_hyphens=False, subsequent_indent="") or [""]
    head = f"┌─ {note} "
    return "\n".join([
        head + "─" * max(_BOX - len(head) - 1, 0) + "┐",
        *(f"│ {line:<{inner}} │" for line in lines),
        "└" + "─" * (_BOX - 2) + "┘",
    ])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Moment:
    """The demo in one line."""

    phase: str
    elapsed_s: float
    answers_per_s: float
    bad_share: float
    daemon_cpu_share: float
    messages: int

    def __str__(self) -> str:
        minutes, seconds = divmod(int(self.elapsed_s), 60)
        return (
            f"{minutes}:{seconds:02d}  {self.phase:<9} {self.answers_per_s:5.1f} answers/s  "
            f"503: {self.bad_share * 100:3.0f} %   daemon {self.daemon_cpu_share * 100:4.1f} % of a core   "
            f"messages: {self.messages}"
        )
