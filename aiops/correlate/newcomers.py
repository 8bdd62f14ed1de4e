"""
Who joined: series that began to be read at a place while those that were there before went on.

A process that comes onto a card beside a server is one; a server that was started again is none, since the process it
had is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from aiops.model import Labels, Onset
from aiops.ports import Window

_KNOWN_S = 30.0
"""So long before the window's end the first series must have been read: else nobody knows who was there before."""
_GONE_S = 2.0
"""A series that is so much older than the newest reading has ended: all of a list are read in one round."""


class Newcomers(NamedTuple):
    """What a place has more of than before."""

    more: int
    who: tuple[Labels, ...]
    onset: Onset | None


def newcomers(windows: Sequence[Window], start_s: float, end_s: float) -> Newcomers | None:
    """
    Series that began in (start_s, end_s], less those that ended; None where it is not known who was there before.

    Args:
        windows: All series of the place, each with a reading.
        start_s: From when on a beginning counts.
        end_s: Until when.
    """
    seen = [window for window in windows if float(window.at_s[0]) <= end_s]
    firsts = [float(window.at_s[0]) for window in seen]
    if not firsts or end_s - min(firsts) < _KNOWN_S:
        return None
    known_s = max(start_s, min(firsts))
    newest_s = max(float(window.at_s[window.at_s <= end_s][-1]) for window in seen)
    came = [window for window, first_s in zip(seen, firsts, strict=True) if first_s > known_s]
    left = sum(
        first_s <= known_s and float(window.at_s[-1]) < newest_s - _GONE_S
        for window, first_s in zip(seen, firsts, strict=True)
    )
    more = max(len(came) - left, 0)
    if not more:
        return Newcomers(0, (), None)
    by_s = min(float(window.at_s[0]) for window in came)
    before = [float(at_s) for window in seen for at_s in window.at_s[window.at_s < by_s][-1:]]
    return Newcomers(more, tuple(window.labels for window in came), Onset(max(before), by_s))
