"""How far a long reading has come: one line on a terminal, rewritten in place; nothing anywhere else."""

from __future__ import annotations

from typing import Protocol, Self, TextIO

from aiops.clock import Clock

_REDRAW_S = 0.1
_CELLS = 24


class Extent(Protocol):
    """What is being read."""

    @property
    def total_bytes(self) -> int | None:
        """All of it; None where that cannot be known."""
        ...

    @property
    def read_bytes(self) -> int:
        """What has been read."""
        ...


class Bar:
    """
    Draws on *stream* if it is a terminal.

    Args:
        stream: Where to.
        extent: What is being read.
        clock: Measures the pace.
    """

    def __init__(self, stream: TextIO, extent: Extent, clock: Clock) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._extent = extent
        self._clock = clock
        self._lines = 0
        self._begun_s = self._drawn_s = clock.monotonic_s()

    def draw(self, lines: int) -> None:
        """So many *lines* were read."""
        self._lines = lines
        now_s = self._clock.monotonic_s()
        if not self._live or now_s - self._drawn_s < _REDRAW_S:
            return
        self._drawn_s = now_s
        share = ""
        if self._extent.total_bytes:
            ratio = min(self._extent.read_bytes / self._extent.total_bytes, 1.0)
            full = int(ratio * _CELLS)
            share = f"{ratio:>4.0%} {'█' * full}{'░' * (_CELLS - full)}  "
        self._write(f"{share}{lines:,} lines, {self._pace()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        """What stays is how long it took, or nothing if it did not come to its end."""
        if not self._live:
            return
        done = failure[0] is None
        self._write(f"{self._lines:,} lines in {self._passed_s():.1f} s, {self._pace()}\n" if done else "")

    def _passed_s(self) -> float:
        return self._clock.monotonic_s() - self._begun_s

    def _pace(self) -> str:
        passed_s = self._passed_s()
        return f"{self._lines / passed_s if passed_s > 0 else 0:,.0f} a second"

    def _write(self, text: str) -> None:
        print(f"\r\033[K{text}", end="", file=self._stream, flush=True)
