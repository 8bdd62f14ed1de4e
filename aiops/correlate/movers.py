"""
What moved, without any cause file: every series by how far and how early it left its normal.

A cause nobody wrote down still moves something. Each series is held against its own median and spread from before the
incident. The spread has a floor pooled over the metric's family, so that a flat series does not score by twitching;
the time just before the alert belongs to neither side, since the fault may have begun in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from aiops.catalog import CATALOG, MetricKind
from aiops.correlate.departures import GUARD_S, deviation, measure
from aiops.correlate.findings import clean
from aiops.model import Labels, Mover, Onset, SeriesRef
from aiops.ports import SeriesReader, Window
from aiops.stats import Floats, onset, rate_points
from aiops.units import format_quantity

_HISTORY_S = 600.0
_SHORT_GUARD_S = 30.0
"""Before the first bad second, where the long guard would leave too little; faults that fill a queue take this long to hurt."""
_MIN_PAST = 8
_SURE_PAST = 30
"""Readings of the normal time that the long guard must leave."""
_MIN_SCORE = 6.0
MAX_MOVERS = 8
_PER_METRIC = 3
"""Replicas that all moved alike say it once or twice, not three times eight."""
_EARLY_BONUS = 0.5
_NOT_CAUSES = frozenset(
    {
        "http_server_requests_total",
        "http_server_refusals_total",
        "http_server_route_requests_total",
        "http_server_failed_duration_pile_ratio",
        "http_server_failed_duration_pile_seconds",
        "http_server_retry_rate",
        "http_server_route_duration_seconds",
        "http_server_route_time_to_first_byte_seconds",
        "log_source_up",
        "log_lines_read_total",
        "log_template_records_total",
    }
)
"""
The symptom itself in every form, what is told by upstream already, our own reading of logs, and templates, which `news`
judges by what logs are like.
"""

_SMALLEST = {
    "ratio": 0.01,
    "seconds": 0.005,
    "celsius": 1.0,
    "watts": 5.0,
    "bytes": 2.0**20,
    "cpus": 0.1,
    "faults": 20.0,
    "operations": 20.0,
    "pages": 20.0,
    "switches": 100.0,
    "tasks": 2.0,
}
"""What an idle machine does now and then, by unit: a file read after a quiet hour is no mover."""


@dataclass(frozen=True, slots=True)
class _Track:
    """One series as readings, split at the guard."""

    metric: str
    labels: Labels
    at_s: Floats
    values: Floats
    split: int
    """Readings of the normal time; the rest may show the fault."""


def find_movers(series: SeriesReader, first_bad_s: float, now_s: float) -> tuple[Mover, ...]:
    """The series that moved most and earliest, best first."""
    found: list[tuple[float, Mover]] = []
    for metric in series.metrics():
        if metric in _NOT_CAUSES or metric.startswith("aiops_") or metric not in CATALOG:
            continue
        windows = series.window(metric, first_bad_s - _HISTORY_S, now_s)
        tracks = [t for w in windows if (t := _track(metric, w, first_bad_s)) is not None]
        ranked = sorted(_scored(tracks, first_bad_s), key=lambda pair: -pair[0])
        found.extend(ranked[:_PER_METRIC])
    found.sort(key=lambda pair: -pair[0])
    return tuple(mover for _, mover in found[:MAX_MOVERS])


def _track(metric: str, window: Window, first_bad_s: float) -> _Track | None:
    at_s, values = window.at_s, window.values
    if CATALOG[metric].kind is MetricKind.COUNTER:
        at_s, values = at_s[1:], rate_points(at_s, values)
    split = int(np.searchsorted(at_s, first_bad_s - GUARD_S, "right"))
    if split < _SURE_PAST:
        split = int(np.searchsorted(at_s, first_bad_s - _SHORT_GUARD_S, "right"))
    if split < _MIN_PAST or split == at_s.size:
        return None
    return _Track(metric, window.labels, at_s, values, split)


def _scored(tracks: Sequence[_Track], first_bad_s: float) -> Iterator[tuple[float, Mover]]:
    """Those of a metric that went far, with their weight."""
    if not tracks:
        return
    past = _side_by_side([track.values[: track.split] for track in tracks])
    recent = _side_by_side([track.values[track.split :] for track in tracks])
    # the furthest reading counts, since a fault is seconds old: one bad reading must not be enough, so that all of the
    # standard deviation is a floor
    floor = np.maximum(_smallest(CATALOG[tracks[0].metric].unit), deviation(past, np.isfinite(past).sum(axis=1)))
    found = measure(past, recent, np.zeros(len(tracks), dtype=np.intp), reach=1.0, floor=floor)
    for place in np.flatnonzero(found.score >= _MIN_SCORE).tolist():
        track, score, spread = tracks[place], float(found.score[place]), float(found.scale[place])
        until_s = float(track.at_s[track.split - 1])
        began = onset(track.at_s, track.values, baseline_until_s=until_s, floor=spread)
        ref = SeriesRef(track.metric, track.labels)
        text = _text(track, float(found.centre[place]))
        yield weight(score, began, first_bad_s), Mover(ref, round(score, 1), began, text)


def _side_by_side(parts: Sequence[Floats]) -> Floats:
    """Series of unequal lengths as rows; NaN behind the end of the shorter ones."""
    rows = np.full((len(parts), max(part.size for part in parts)), np.nan)
    for row, part in zip(rows, parts, strict=True):
        row[: part.size] = part
    return rows


def weight(score: float, began: Onset | None, first_bad_s: float) -> float:
    """How much a mover matters: how far it went, and more if that began before the first bad second."""
    early = began is not None and began.by_s <= first_bad_s
    return math.log1p(score) * (1.0 + _EARLY_BONUS * early)


def _smallest(unit: str) -> float:
    """A step of this size is always noise, in the metric's unit."""
    return _SMALLEST.get(unit, 0.5)


def _text(track: _Track, centre: float) -> str:
    unit = CATALOG[track.metric].unit
    a_second = " a second" if CATALOG[track.metric].kind is MetricKind.COUNTER else ""
    about = ", ".join(
        clean(value) for name, value in track.labels.pairs if name not in {"host_name", "model", "server"}
    )
    recent = track.values[track.split :]
    furthest = float(recent[np.argmax(np.abs(recent - centre))])
    return (
        f"{track.metric} ({about or 'this host'}): {format_quantity(furthest, unit)}{a_second}, "
        f"normally {format_quantity(centre, unit)}{a_second}"
    )
