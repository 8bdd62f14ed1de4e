"""
What moved, without any cause file: every series by how far and how early it left its normal.

A cause nobody wrote down still moves something. Each series is held against its own median and spread from before the
incident. The spread has a floor pooled over the metric's family, so that a flat series does not score by twitching;
a few seconds before the alert belong to neither side, since the fault may have begun in them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from aiops.catalog import CATALOG, MetricKind
from aiops.correlate.findings import clean
from aiops.model import Labels, Mover, Onset, SeriesRef
from aiops.ports import SeriesReader, Window
from aiops.stats import Floats, median, median_mad, onset, rate_points
from aiops.units import format_quantity

_HISTORY_S = 600.0
_GUARD_S = 30.0
"""Before the first bad second; faults that fill a queue take this long to hurt."""
_MIN_PAST = 8
_RELATIVE_FLOOR = 0.05
"""Of the median's size: smaller moves are weather."""
_MIN_SCORE = 6.0
_MAX_SCORE = 1000.0
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

    labels: Labels
    at_s: Floats
    values: Floats
    past: Floats
    centre: float
    mad: float


def find_movers(series: SeriesReader, first_bad_s: float, now_s: float) -> tuple[Mover, ...]:
    """The series that moved most and earliest, best first."""
    found: list[tuple[float, Mover]] = []
    for metric in series.metrics():
        if metric in _NOT_CAUSES or metric.startswith("aiops_") or metric not in CATALOG:
            continue
        windows = series.window(metric, first_bad_s - _HISTORY_S, now_s)
        tracks = [t for w in windows if (t := _track(metric, w, first_bad_s - _GUARD_S)) is not None]
        ranked = sorted(_scored(metric, tracks, first_bad_s), key=lambda pair: -pair[0])
        found.extend(ranked[:_PER_METRIC])
    found.sort(key=lambda pair: -pair[0])
    return tuple(mover for _, mover in found[:MAX_MOVERS])


def _track(metric: str, window: Window, split_s: float) -> _Track | None:
    at_s, values = window.at_s, window.values
    if CATALOG[metric].kind is MetricKind.COUNTER:
        at_s, values = at_s[1:], rate_points(at_s, values)
    split = int(np.searchsorted(at_s, split_s, "right"))
    if split < _MIN_PAST or split == at_s.size:
        return None
    past = values[:split]
    centre, mad = median_mad(past)
    return _Track(window.labels, at_s, values, past, centre, mad)


def _scored(metric: str, tracks: list[_Track], first_bad_s: float) -> list[tuple[float, Mover]]:
    if not tracks:
        return []
    pooled_mad = median([t.mad for t in tracks])
    pooled_size = median([abs(t.centre) for t in tracks])
    scored: list[tuple[float, Mover]] = []
    for track in tracks:
        spread = max(1.4826 * max(track.mad, pooled_mad), _RELATIVE_FLOOR * max(abs(track.centre), pooled_size))
        # a series that never moved before has no spread of its own: its noise is taken as its smallest later step
        spread = max(spread, float(track.past.std()), _smallest(CATALOG[metric].unit))
        recent = track.values[track.past.size :]
        furthest = float(recent[np.argmax(np.abs(recent - track.centre))])
        score = min(abs(furthest - track.centre) / spread, _MAX_SCORE)
        if score < _MIN_SCORE:
            continue
        began = onset(track.at_s, track.values, baseline_until_s=float(track.at_s[track.past.size - 1]), floor=spread)
        scored.append((weight(score, began, first_bad_s), Mover(SeriesRef(metric, track.labels), round(score, 1), began,
                                     _text(metric, track, furthest))))  # fmt: skip
    return scored


def weight(score: float, began: Onset | None, first_bad_s: float) -> float:
    """How much a mover matters: how far it went, and more if that began before the first bad second."""
    early = began is not None and began.by_s <= first_bad_s
    return math.log1p(score) * (1.0 + _EARLY_BONUS * early)


def _smallest(unit: str) -> float:
    """A step of this size is always noise, in the metric's unit."""
    return _SMALLEST.get(unit, 0.5)


def _text(metric: str, track: _Track, furthest: float) -> str:
    unit = CATALOG[metric].unit
    a_second = " a second" if CATALOG[metric].kind is MetricKind.COUNTER else ""
    about = ", ".join(
        clean(value) for name, value in track.labels.pairs if name not in {"host_name", "model", "server"}
    )
    return (
        f"{metric} ({about or 'this host'}): {format_quantity(furthest, unit)}{a_second}, "
        f"normally {format_quantity(track.centre, unit)}{a_second}"
    )
