"""
Leaks: a series that grows steadily while traffic is level.

A leak is told from a step (a batch that became larger, another process that came) by its steadiness: cut into pieces
of equal time, no single step between two of them makes up most of the growth, and hardly one of them goes back. It is told
from something that fills up (a cache, a pool) by its pace, which stays: what fills slows down as it does. A leak may begin
at any time, so shorter and shorter ends of what is known are looked at, too; the shorter one is, the more may chance have
drawn it, so it must lie on a line. What grows because more is asked for is none either, so a trend is only stated where
arrivals are known.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from aiops.correlate.scene import Scene
from aiops.correlate.terms import of_service
from aiops.ports import Window
from aiops.stats import Floats, increase, median

_PIECES = 6
_MIN_SPAN_S = 90.0
_MAX_STEP_SHARE = 0.5
"""Of the whole growth, between two neighbouring pieces: steady growth has a fifth."""
_MIN_TAIL_S = 30.0
_MIN_RISES = 4
"""Of an end that is looked at: so many steps up, none smaller than a quarter of the largest."""
_LONGEST_TAIL = 2 / 3
"""Of all that is known."""
_SHORTER = 0.75
"""Of one end that is looked at, the next."""
_ON_A_LINE = 0.9
"""Share of the variance that a straight line explains: a step has 0.75, what fills up to its limit 0.85 or less."""
_SLOWS = 0.6
"""Its last two steps are smaller than so much of its largest: it fills up."""
_FASTER_BEFORE = 1.2
"""It grew by more than so many times as much in as long a time before: it slows down, and fills up."""
_LEVEL = 1.3
"""The second half of the window may see this many times the traffic of the first."""


def steady_growth(at_s: Floats, values: Floats) -> float | None:
    """
    How much a series grew, as a share of what it was, if it did so steadily; 0.0 if it did not.

    Args:
        at_s: Times in seconds, shape (n,), increasing.
        values: Readings, same shape.

    Returns:
        (last piece − first piece) / first piece, by medians; None when there are too few readings to tell.
    """
    if at_s.size < _PIECES or float(at_s[-1] - at_s[0]) < _MIN_SPAN_S:
        return None
    return _in_pieces(at_s, values, _PIECES, back_most=1)


def lately_growing(at_s: Floats, values: Floats) -> tuple[int, float] | None:
    """
    Where the growth of a series began, and how much it is, if it grew steadily at the end; as `steady_growth` otherwise.

    Only what was there for half as long before can be said to have begun to grow: what comes anew fills up.

    Args:
        at_s: Times in seconds, shape (n,), increasing.
        values: Readings, same shape.

    Returns:
        Index of the first reading that was looked at, and the growth; None when there are too few readings to tell.
    """
    whole = steady_growth(at_s, values)
    if whole:
        return 0, whole
    span_s = float(at_s[-1] - at_s[0]) * _LONGEST_TAIL if at_s.size else 0.0
    while span_s >= _MIN_TAIL_S:
        start = int(at_s.searchsorted(float(at_s[-1]) - span_s))
        count = min(_PIECES, at_s.size - start)
        grown = (
            _in_pieces(at_s[start:], values[start:], count, back_most=0, rises=_MIN_RISES)
            if count > _MIN_RISES
            else None
        )
        if grown is not None and grown > 0 and _on_a_line(at_s[start:], values[start:]):
            return (start, grown) if _keeps_pace(at_s, values, start) else (start, 0.0)
        span_s *= _SHORTER
    return None if whole is None else (0, whole)


def _on_a_line(at_s: Floats, values: Floats) -> bool:
    """Whether a straight line explains nearly all of how the values differ."""
    at_s, values = at_s - at_s.mean(), values - values.mean()
    along = float(at_s @ values)
    return along * along >= _ON_A_LINE * float(at_s @ at_s) * float(values @ values)


def _keeps_pace(at_s: Floats, values: Floats, start: int) -> bool:
    """Whether the values grew hardly more in as long a time before those from *start* on."""
    first = int(at_s.searchsorted(2.0 * float(at_s[start]) - float(at_s[-1])))
    return float(values[start] - values[first]) <= _FASTER_BEFORE * float(values[-1] - values[start])


def _in_pieces(at_s: Floats, values: Floats, count: int, *, back_most: int, rises: int = 0) -> float | None:
    first_s, piece_s = float(at_s[0]), float(at_s[-1] - at_s[0]) / count
    inner = at_s.searchsorted([first_s + number * piece_s for number in range(1, count)])
    bounds = [0, *inner.tolist(), at_s.size]
    if any(first == end for first, end in itertools.pairwise(bounds)):
        return None
    if bool((values == values[0]).all()):
        return 0.0
    pieces = [median(values[first:end]) for first, end in itertools.pairwise(bounds)]
    steps = [after - before for before, after in itertools.pairwise(pieces)]
    grown = pieces[-1] - pieces[0]
    back = sum(step * grown < 0 for step in steps)
    if grown == 0 or pieces[0] <= 0 or back > back_most or max(map(abs, steps)) > _MAX_STEP_SHARE * abs(grown):
        return 0.0
    largest = max(map(abs, steps))
    if abs(pieces[-1] - pieces[-3]) / 2 < _SLOWS * largest or sum(4 * abs(step) >= largest for step in steps) < rises:
        return 0.0
    return grown / pieces[0]


def traffic_was_level(scene: Scene, start_s: float, end_s: float) -> bool | None:
    """Whether the second half of a time saw hardly more arrivals than the first; None where none are counted."""
    return scene.once(("level", start_s, end_s), lambda: _was_level(scene, start_s, end_s))


def _was_level(scene: Scene, start_s: float, end_s: float) -> bool | None:
    middle_s = (start_s + end_s) / 2
    counted = scene.view.windows("http_server_arrival_rate", {"service": scene.context.service})
    if counted:
        early, late = _sum(counted, start_s, middle_s), _sum(counted, middle_s, end_s)
    else:
        finished = of_service(scene.view, scene.topology, "gen_ai_server_requests_finished_total")
        early, late = _gain(finished, start_s, middle_s), _gain(finished, middle_s, end_s)
    return None if early <= 0 else late <= _LEVEL * early + 2.0 * math.sqrt(early)


def _sum(windows: Sequence[Window], start_s: float, end_s: float) -> float:
    return sum(float(w.values[(w.at_s >= start_s) & (w.at_s < end_s)].sum()) for w in windows)


def _gain(windows: Sequence[Window], start_s: float, end_s: float) -> float:
    parts = (w.values[(w.at_s >= start_s) & (w.at_s < end_s)] for w in windows)
    return sum(increase(part) for part in parts if part.size > 1)
