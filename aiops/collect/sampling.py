"""
How much of a log one round may take, and which lines are taken when there are more.

A flood is not read by its newest lines only, or by as many as fit: every block of it gives a run of neighbouring lines
from its beginning, so that what belongs together stays together, and from the rest those lines that speak of trouble,
up to a bound of their own. All others are counted, exactly: lines read and lines skipped add up to lines written.

What follows a gap may be the inside of a record whose opening was left out: of a prompt, which nobody could recognise any
more. So a run begins, and a line is picked out, only where a record opens, by the heads that this log writes (`heads`). A
log without heads gives no line after a gap until the flood is over, and then none of the next 500, or until it rests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import re2

from aiops.heads import HEAD_BYTES, Heads

_TROUBLE = re2.compile(
    rb"ERROR|[Ee]rror\b|CRITICAL|FATAL|[Ff]atal|Traceback|[Pp]anic|Exception|Xid|[Oo]ut of memory|OOM|[Tt]imed out"
    rb"|[Tt]imeout|[Kk]illed|No space left|[Rr]efused| 50[0-4]\b"
)
"""What a line of trouble mostly holds; only a rule of preference, nothing is judged by it."""
_PATIENCE = 3.0
"""A burst that so many rounds can take is read whole; only what lasts is a flood."""
_TROUBLE_SHARE = 0.25
"""Of the lines of a round, kept for trouble among what is skipped."""
_TRIES = 32
"""Lines looked at for one that is taken, or what is quoted in a flood of prompts would cost too much."""
MAX_LINE_BYTES = 64 * 2**10
"""What follows in a longer line is cut off and counted."""
_MEAN_LINE_BYTES = 150.0
_MAX_HEADLESS_LINES = 500
"""Left out after a gap where no line says whether it opens a record; no prompt is followed further (`logs.prompts`)."""
_MAX_LINES_AMID = 5_000
"""Left out after a gap while no line has a head."""


def _never() -> bool:
    return False


@dataclass(slots=True)
class Ration:
    """
    What one call may still take; used up as lines are taken.

    Args:
        lines: Lines.
        size_bytes: Bytes of lines taken.
        scan_bytes: Bytes looked at.
        thin: Skip lines and count them where there are far too many, instead of leaving them for later.
        is_over: Says that the time is up.
    """

    lines: int = 1_000_000
    size_bytes: int = 4 * 2**20
    scan_bytes: int = 4 * 2**20
    thin: bool = False
    is_over: Callable[[], bool] = _never

    def is_spent(self, share: float) -> bool:
        """Whether nothing more may be taken, when *share* of all is taken: of a sample every block gives something."""
        taken = share >= 1.0 and (self.lines <= 0 or self.size_bytes <= 0)
        return taken or self.scan_bytes <= 0 or self.is_over()

    def share(self, backlog_bytes: int, mean_line_bytes: float) -> float:
        """Which share of *backlog_bytes* is to be taken; 1 for all, though not at once."""
        if not self.thin or backlog_bytes <= 0:
            return 1.0
        reach_bytes = min(float(max(self.size_bytes, 0)), max(self.lines, 0) * mean_line_bytes)
        return 1.0 if reach_bytes * _PATIENCE >= backlog_bytes else reach_bytes / backlog_bytes


class CutLine(bytes):
    """The first bytes of a line that was too long."""


class Sampler:
    """Takes the lines of one log, block by block, as far as a ration goes; what is left out is counted."""

    def __init__(self) -> None:
        self.truncated = 0
        """Lines cut at 64 KiB so far."""
        self.skipped_lines = 0
        """Lines seen and left out so far."""
        self.mean_line_bytes = _MEAN_LINE_BYTES
        self._heads = Heads()
        self._is_amid = False
        """Whether what comes next may be the inside of a record whose opening was left out."""
        self._waited = 0

    def skip(self) -> None:
        """Something was left out before what comes next."""
        self._is_amid, self._waited = True, 0

    def rest(self) -> None:
        """Nothing came for a second. Where records have no heads, what comes next is taken to open one."""
        self._is_amid = self._is_amid and bool(self._heads.forms)

    def take(self, block: bytes, ration: Ration, share: float) -> Iterator[tuple[int, bytes]]:
        """
        The lines of *block* that are taken.

        Args:
            block: Whole lines.
            ration: Used up as lines are taken; where all lines are wanted, the rest is left for later.
            share: Part of all lines that is wanted.

        Yields:
            Up to where the block is done with, and a line, without its newline; it may be empty.
        """
        lines = block.count(b"\n")
        self.mean_line_bytes = 0.8 * self.mean_line_bytes + 0.2 * len(block) / lines
        self._heads.learn(block, calm=share >= 1.0)
        if share < 1.0:
            if lines * share > ration.lines:  # shorter ones than before
                share = max(ration.lines, 1) / lines
            yield from self._sampled(block, ration, share)
            return
        start = self._resume(block) if self._is_amid and ration.thin else 0
        if start:
            yield start, b""
        yield from self._whole(block, start, len(block), ration, is_patient=True)

    def text(self, line: bytes) -> bytes:
        """*line* without what is too much of it."""
        if len(line) > MAX_LINE_BYTES:
            self.truncated += 1
            return CutLine(line[:MAX_LINE_BYTES])
        return line[:-1] if line.endswith(b"\r") else line

    def _whole(
        self, block: bytes, start: int, end: int, ration: Ration, *, is_patient: bool
    ) -> Iterator[tuple[int, bytes]]:
        """All lines between *start* and *end*; if *is_patient*, as far as the ration goes."""
        if start == end:
            return
        for line in block[start : end - 1].split(b"\n"):
            if is_patient and (ration.lines <= 0 or ration.size_bytes <= 0):
                return
            start += len(line) + 1
            text = self.text(line)
            if text:
                ration.lines -= 1
                ration.size_bytes -= len(text)
            yield start, text

    def _sampled(self, block: bytes, ration: Ration, share: float) -> Iterator[tuple[int, bytes]]:
        """A run of neighbours, from where a record opens, and those of the rest that open one and speak of trouble."""
        start = self._heads.first(block) if self._is_amid else 0
        end, trouble = cut(block, start, share, self.mean_line_bytes)
        self.skipped_lines += block.count(b"\n", 0, start)
        yield from self._whole(block, start, end, ration, is_patient=False)
        if end < len(block):
            self.skip()
        passed = end
        for begin, stop in troubled(block, end, trouble, self._heads.opens):
            self.skipped_lines += block.count(b"\n", passed, begin)
            passed = stop + 1
            ration.lines -= 1
            ration.size_bytes -= stop - begin
            yield passed, self.text(block[begin:stop])
        self.skipped_lines += block.count(b"\n", passed)
        yield len(block), b""

    def _resume(self, block: bytes) -> int:
        """How much of *block*, which follows a gap, is left out: what may be inside a record, up to a bound."""
        is_headed = bool(self._heads.forms)
        place = self._heads.first(block)
        if not is_headed:
            place = _after(block, _MAX_HEADLESS_LINES - self._waited)
        lines = block.count(b"\n", 0, place)
        self.skipped_lines += lines
        self._waited += lines
        self._is_amid = place == len(block) and self._waited < (_MAX_LINES_AMID if is_headed else _MAX_HEADLESS_LINES)
        return place


def cut(block: bytes, start: int, share: float, mean_line_bytes: float) -> tuple[int, int]:
    """
    Where the run that is taken of *block* ends, and how many lines of the rest may be taken for what they say.

    Args:
        block: Whole lines.
        start: Where the run begins.
        share: Part of the round's lines for this block; some of it is kept for trouble.
        mean_line_bytes: Of this log.
    """
    trouble = max(1, round(len(block) / mean_line_bytes * share * _TROUBLE_SHARE))
    if start == len(block):
        return start, trouble
    run_bytes = int(len(block) * share * (1.0 - _TROUBLE_SHARE))
    return block.find(b"\n", min(start + max(0, run_bytes - 1), len(block) - 1)) + 1, trouble


def troubled(block: bytes, start: int, most: int, opens: Callable[[bytes], bool]) -> Iterator[tuple[int, int]]:
    """
    Start and end, newline excluded, of lines that speak of trouble.

    Args:
        block: Whole lines.
        start: Where to begin.
        most: So many are given at most.
        opens: Whether a line opens a record: one that does not may be from within a prompt.
    """
    tries = _TRIES * most
    while most > 0 and tries > 0 and (found := _TROUBLE.search(block, start)) is not None:
        begin = block.rfind(b"\n", 0, found.start()) + 1
        end = block.find(b"\n", found.end())
        end = len(block) if end < 0 else end
        tries -= 1
        if opens(block[begin : min(end, begin + HEAD_BYTES)]):
            most -= 1
            yield begin, end
        start = end + 1


def _after(block: bytes, lines: int) -> int:
    """Where in *block* so many *lines* have ended; its length if it has fewer."""
    place = 0
    for _ in range(lines):
        place = block.find(b"\n", place) + 1
        if place == len(block):
            break
    return place
