"""
How much of a log one round may take, and which lines are taken when there are more.

A flood is not read by its newest lines only, or by as many as fit: every block of it gives a run of neighbouring lines
from its beginning, so that what belongs together stays together, and from the rest those lines that speak of trouble,
up to a bound of their own. All others are counted, exactly: lines read and lines skipped add up to lines written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import re2

_TROUBLE = re2.compile(
    rb"ERROR|[Ee]rror\b|CRITICAL|FATAL|[Ff]atal|Traceback|[Pp]anic|Exception|Xid|[Oo]ut of memory|OOM|[Tt]imed out"
    rb"|[Tt]imeout|[Kk]illed|No space left|[Rr]efused| 50[0-4]\b"
)
"""What a line of trouble mostly holds; only a rule of preference, nothing is judged by it."""
_PATIENCE = 3.0
"""A burst that so many rounds can take is read whole; only what lasts is a flood."""
_TROUBLE_SHARE = 0.25
"""Of the lines of a round, kept for trouble among what is skipped."""


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


@dataclass(slots=True)
class Cut:
    """One block of whole lines, cut into what is taken and what is not."""

    run: bytes
    """Neighbouring lines, all taken."""
    rest: bytes
    trouble: int
    """Lines of the rest that may be taken for what they say."""


def cut(block: bytes, share: float, mean_line_bytes: float) -> Cut:
    """
    *block* with *share* of it taken from its beginning, at least a line.

    Args:
        block: Whole lines.
        share: Part of the round's lines for this block; some of it is kept for trouble.
        mean_line_bytes: Of this log.
    """
    run_bytes = int(len(block) * share * (1.0 - _TROUBLE_SHARE))
    end = block.find(b"\n", max(0, run_bytes - 1)) + 1
    trouble = max(1, round(len(block) / mean_line_bytes * share * _TROUBLE_SHARE))
    return Cut(block[:end], block[end:], trouble)


def troubled(lines: bytes, most: int) -> Iterator[tuple[int, int]]:
    """Start and end of each of *lines*, newline excluded, that speaks of trouble; at most *most* of them."""
    place = 0
    while most > 0 and (found := _TROUBLE.search(lines, place)) is not None:
        start = lines.rfind(b"\n", 0, found.start()) + 1
        end = lines.find(b"\n", found.end())
        end = len(lines) if end < 0 else end
        yield start, end
        most -= 1
        place = end + 1
