"""
The ranker that needs no cause file, for series that lie side by side: who left its normal, how far and how early.

Nothing moves alone: a fault takes the traffic, the disk and the sockets of everything around it along. So what counts is
how much further a series went than its peers, the same metric of other services; a series that has none, as those of a
host all services share, is held against everything that moved.

With a symptom known of whose kind there are other series, a second question is asked. Trouble travels along calls: of
the signals of the symptom's own kind (latency for latency) those that move with it lie on its way, however little they
moved, and one that moved far by itself does not. Resources (processor, memory, disk, network) hurt without being of that
kind, so they are still judged by how far they went. All other signals say that something hurts, not where; they count
half. A symptom without its like shows no way to follow, and is only left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from aiops.correlate.departures import (
    GUARD_S,
    Departures,
    Flags,
    Integers,
    Split,
    alikeness,
    families,
    measure,
    onsets,
    split_rows,
)
from aiops.correlate.turning import CLEAR, find_turn
from aiops.stats import Floats

_RESOURCE = re.compile(
    r"(?:^|[^a-z])(?:cpu|mem|rss|heap|swap|oom|disk|fs|io(?![a-z])|sys|net|nic|sock|fd|file|thread|gpu|vram|power|temp|throttl)"
)
"""How a word of a metric's name begins, in lower case, that names what machines and processes use up."""
_HALF = 3.0
"""Scales at which a resource's movement counts half as much as perfect likeness (three sigma)."""
_OTHER = 0.5
_EARLY = 1.2
"""What began before the alert counts a little more: causes come before consequences, but so do many coincidences."""
_MIN_PEERS = 2
"""Of two services that share a metric, neither is the odd one out."""
_LOOK_BACK_S = 900.0
"""An alert is never later than this."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """
    Every series judged, in the order given.

    Args:
        score: High is suspicious: by what factor it went further than its peers, less one, or 0 to 1 where a symptom
            with its like is known; NaN where too little is known.
        onset_s: When it left its normal; NaN where it did not.
        found: How far each went.
        split: Which rows were compared.
        along: Whether a symptom was followed.
    """

    score: Floats
    onset_s: Floats
    found: Departures
    split: Split
    along: bool


def suspect(  # noqa: PLR0913 - a table is four things, and the question two
    at_s: Floats,
    values: Floats,
    metrics: Sequence[str],
    alert_s: float,
    symptom: int | None = None,
    *,
    late: bool = True,
) -> Suspicion:
    """
    Judge every series.

    Args:
        at_s: Times, shape (n,), increasing, n at least 2.
        values: Readings, shape (m, n), NaN where missing.
        metrics: What each series measures, m names; series of one name are of one kind and unit.
        alert_s: When the alert fired; the fault may have begun earlier.
        symptom: Number of the series that alerted, if one did; it is given, so it gets no score.
        late: Whether the fault may have begun earlier; not where the time was found in the data.
    """
    family = families(metrics)
    split = split_rows(at_s, alert_s, GUARD_S if late else 0.0)
    if late:
        split = _to_the_turn(at_s, values, family, split, alert_s)
    recent = values[:, split.recent_from : split.recent_until]
    found = measure(values[:, split.past_from : split.past_until], recent, family)
    since = slice(split.past_until, split.recent_until)
    onset_s = onsets(at_s[since], values[:, since], found)
    score = found.score * np.where(onset_s <= alert_s, _EARLY, 1.0)
    same = np.zeros(score.size, dtype=np.bool_) if symptom is None else family == family[symptom]
    along = symptom is not None and bool((same & np.isfinite(score)).sum() > 1)
    if symptom is not None and along:
        score = _along(score, alikeness(values, values[symptom], split), same, resources(metrics))
    else:
        score = beyond_peers(score, family)
    if symptom is not None:
        score[symptom] = np.nan
    return Suspicion(score, onset_s, found, split, along)


def beyond_peers(score: Floats, family: Integers) -> Floats:
    """
    By what factor, less one, each went further than its peers, of whose median half counts; 0 where it did not.

    With fewer than `_MIN_PEERS` all of the median of everything that moved counts: nobody else moved with it.

    Args:
        score: How far each went, shape (m,), NaN where unknown.
        family: Number of each series' metric, shape (m,).
    """
    peers, count = _of_others(score, family)
    all_together, _ = _of_others(np.where(score > 0, score, np.nan), np.zeros_like(family))
    # the root: what peers did together may be their common doing, and must not vanish beside a host that twitched
    beside = np.where(count >= _MIN_PEERS, np.sqrt(1.0 + peers), 1.0 + all_together)
    return np.maximum((1.0 + score) / beside - 1.0, 0.0)


def _of_others(score: Floats, group: Integers) -> tuple[Floats, Integers]:
    """The median of the others in each one's group, 0 where there are none, and how many they are; NaN is nobody."""
    order = np.lexsort((score, group))  # NaN comes last in its group
    ordered, kind = score[order], group[order]
    first = np.searchsorted(kind, kind)
    own = np.arange(order.size) - first
    size = np.bincount(group, np.isfinite(score), minlength=1).astype(np.intp)[kind]
    others = size - np.isfinite(ordered)
    # the middle of the others, two where their number is even, stepping over oneself
    middle = np.array([(np.maximum(others, 1) - 1) // 2, others // 2])
    middle += middle >= own
    held = ordered[np.minimum(first + middle, order.size - 1)].mean(axis=0)
    median, count = np.zeros(order.size), np.zeros(order.size, dtype=np.intp)
    median[order], count[order] = np.where(others > 0, held, 0.0), others
    return median, count


def resources(metrics: Sequence[str]) -> Flags:
    """Which of the metrics are something used up, by their names."""
    lower = [name.lower() for name in metrics]
    return np.array([_RESOURCE.search(name) is not None for name in lower], dtype=np.bool_)


def _along(score: Floats, alike: Floats, same: Flags, resource: Flags) -> Floats:
    """Scores from 0 to 1, where a symptom is known; a series of its kind that moves against it is none of its cause."""
    moved = score / (score + _HALF)
    other = np.where(resource, moved, _OTHER * np.abs(alike) * moved)
    return np.where(np.isnan(score), np.nan, np.where(same, np.maximum(alike, 0.0), other))


def _to_the_turn(at_s: Floats, values: Floats, family: Integers, split: Split, alert_s: float) -> Split:
    """*split*, with the normal time ended where all series clearly turned, not long before the alert."""
    turn = find_turn(values[:, split.past_from : split.recent_until], family)
    if turn is None or turn.strength < CLEAR:
        return split
    row = split.past_from + turn.row
    return replace(split, past_until=row) if alert_s - _LOOK_BACK_S <= at_s[row] <= alert_s else split
