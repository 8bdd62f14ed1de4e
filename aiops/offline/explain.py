"""
Root cause from a file of series: the ranker of the daemon, over columns instead of rings.

A column is called `<service>_<metric>`; the service is what stands before the first underscore. Series are ranked by
`correlate.suspects`, services by their best two metrics. Where no alert time is given it is looked for, in the symptom if
that is known, else in all series together.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aiops.correlate.departures import MIN_PAST, families, quantile
from aiops.correlate.suspects import Suspicion, suspect
from aiops.correlate.turning import CLEAR, find_turn
from aiops.errors import AiopsError
from aiops.offline.columns import Columns
from aiops.units import format_duration

_FURTHEST = 0.1
"""Share of the series, those furthest from normal, in which the time is looked for."""
_MAX_LATE_S = 600.0
"""Rows may end this long before the alert."""


@dataclass(frozen=True, slots=True)
class RankedSeries:
    """
    A series, judged.

    Args:
        name: Column.
        service: What stands before the first underscore.
        score: High is suspicious.
        onset_s: When it left its normal; None where it did not.
        normal: Its median before.
        then: Its median in the rows that show the fault.
    """

    name: str
    service: str
    score: float
    onset_s: float | None
    normal: float
    then: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """
    What moved, best first.

    Args:
        at_s: The alert's time, given or found.
        found: Whether it was found.
        series: All that can be judged; the symptom is not among them.
        services: All services with their score, 0 where none of their series can be judged.
        normal: First and last moment of the rows taken as normal.
        notes: What limits the answer, a sentence each.
    """

    at_s: float
    found: bool
    series: tuple[RankedSeries, ...]
    services: tuple[tuple[str, float], ...]
    normal: tuple[float, float]
    notes: tuple[str, ...]


def service_of(name: str) -> str:
    """What stands before the first underscore; all of it where there is none."""
    return name.partition("_")[0]


def metric_of(name: str) -> str:
    """What stands behind the first underscore."""
    return name.partition("_")[2]


def explain(columns: Columns, alert_s: float | None = None, symptom: str | None = None) -> Explanation:
    """
    Rank the series and services of a file.

    Args:
        columns: The file.
        alert_s: When the alert fired; None to look for it.
        symptom: The column that alerted.

    Raises:
        AiopsError: there is no such column, or too few rows to know what is normal.
    """
    metrics = [metric_of(name) for name in columns.names]
    number = None if symptom is None else _number_of(symptom, columns)
    notes: list[str] = []
    if number is not None and _is_flat(columns, number):
        why = "never changes" if np.isfinite(columns.values[number]).any() else "has no readings"
        notes.append(f"The symptom {columns.names[number]} {why} and was not used.")
        number = None
    found = alert_s is None
    at_s = _look_for(columns, metrics, number, notes) if alert_s is None else alert_s
    _check(columns, at_s)
    judged = suspect(columns.at_s, columns.values, metrics, at_s, number, late=not found)
    split = judged.split
    normal = float(columns.at_s[split.past_from]), float(columns.at_s[split.past_until - 1])
    series = _ranked(columns, judged)
    if unknown := len(columns.names) - len(series) - (number is not None):
        notes.append(f"{unknown:,} series have too few readings to be judged.")
    return Explanation(at_s, found, series, _services(columns, series, alone=judged.along), normal, tuple(notes))


def _number_of(symptom: str, columns: Columns) -> int:
    if symptom in columns.names:
        return columns.names.index(symptom)
    near = difflib.get_close_matches(symptom, columns.names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise AiopsError(f"{columns.path}: no column {symptom!r}{hint}")


def _is_flat(columns: Columns, number: int) -> bool:
    readings = columns.values[number][np.isfinite(columns.values[number])]
    return readings.size == 0 or bool((readings == readings[0]).all())


def _look_for(columns: Columns, metrics: Sequence[str], number: int | None, notes: list[str]) -> float:
    """The time from which on things were abnormal."""
    family = families(metrics)
    rows = slice(None) if number is None else slice(number, number + 1)
    turn = find_turn(columns.values[rows], family[rows], _FURTHEST) if columns.names else None
    if turn is None:
        notes.append(
            "No time stands out at which things turned; the last quarter of the rows was taken. --at gives it."
        )
        return float(columns.at_s[columns.at_s.size * 3 // 4])
    if turn.strength < CLEAR:
        notes.append("No time stands out clearly; the one taken is the likeliest. --at gives it.")
    return float(columns.at_s[turn.row])


def _check(columns: Columns, at_s: float) -> None:
    first_s, last_s = float(columns.at_s[0]), float(columns.at_s[-1])
    if at_s > last_s + _MAX_LATE_S:
        early = format_duration(at_s - last_s)
        raise AiopsError(f"{columns.path}: the rows end {early} before --at {at_s:.0f}, at {last_s:.0f}")
    before = int(np.searchsorted(columns.at_s, at_s))
    before -= before == columns.at_s.size  # the last row is needed to see the fault in
    if before < MIN_PAST:
        span = (
            f"of the time before --at {at_s:.0f}"
            if at_s > first_s
            else f"before --at {at_s:.0f}; they begin at {first_s:.0f}"
        )
        raise AiopsError(
            f"{columns.path}: {before} rows {span}; {MIN_PAST} are needed to know what is normal, and one more"
        )


def _ranked(columns: Columns, judged: Suspicion) -> tuple[RankedSeries, ...]:
    known = np.flatnonzero(np.isfinite(judged.score))
    onsets = np.where(np.isnan(judged.onset_s), math.inf, judged.onset_s)
    # of two alike, who moved first; then the file's order
    order = known[np.lexsort((known, onsets[known], -judged.score[known]))]
    recent = columns.values[:, judged.split.recent_from : judged.split.recent_until]
    then = quantile(np.sort(recent, axis=1), np.isfinite(recent).sum(axis=1), 0.5)
    return tuple(
        RankedSeries(
            name=columns.names[place],
            service=service_of(columns.names[place]),
            score=float(judged.score[place]),
            onset_s=float(judged.onset_s[place]) if math.isfinite(onsets[place]) else None,
            normal=float(judged.found.centre[place]),
            then=float(then[place]),
        )
        for place in order
    )


def _services(columns: Columns, series: Sequence[RankedSeries], *, alone: bool) -> tuple[tuple[str, float], ...]:
    """
    Best first, by the first series, and, unless it counts *alone*, half of the second.

    One series moves by chance, two seldom do; but on a symptom's way one that moves with it is enough.
    """
    scores: dict[str, list[float]] = {service_of(name): [] for name in columns.names}
    for each in series:
        scores[each.service].append(each.score)
    joint = {name: _joint(*[*best, 0.0, 0.0][: 1 if alone else 2]) for name, best in scores.items()}
    return tuple(sorted(joint.items(), key=lambda item: (-item[1], [-score for score in scores[item[0]][:3]])))


def _joint(first: float, second: float = 0.0) -> float:
    return (1.0 + first) * math.sqrt(1.0 + second) - 1.0
