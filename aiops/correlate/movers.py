"""
What moved, without any cause file: every series by how far and how early it left its normal.

A cause nobody wrote down still moves something. Each series is held against its own median and spread from before the
incident. The spread has a floor pooled over the metric's family, so that a flat series does not score by twitching;
the time just before the alert belongs to neither side, since the fault may have begun in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from aiops.catalog import CATALOG, MetricKind
from aiops.correlate.departures import GUARD_S, deviation, families, measure
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
_AT_ONCE = 50_000
"""Readings measured at once: what is worked out beside them stays within a few megabytes."""
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
    by_metric: list[list[_Track]] = []
    for metric in series.metrics():
        if metric in _NOT_CAUSES or metric.startswith("aiops_") or metric not in CATALOG:
            continue
        windows = list(series.window(metric, first_bad_s - _HISTORY_S, now_s))
        if any((window.values != window.values[0]).any() for window in windows):  # what stood still did not move
            by_metric.append([t for w in windows if (t := _track(metric, w, first_bad_s)) is not None])
    found: list[tuple[float, Mover]] = []
    scored = _scored(by_metric, first_bad_s)
    for tracks in by_metric:
        ranked = sorted((scored[id(track)] for track in tracks if id(track) in scored), key=_weight)
        found.extend(ranked[:_PER_METRIC])
    found.sort(key=_weight)
    return tuple(mover for _, mover in found[:MAX_MOVERS])


def _weight(weighed: tuple[float, Mover]) -> float:
    return -weighed[0]


def _track(metric: str, window: Window, first_bad_s: float) -> _Track | None:
    at_s, values = window.at_s, window.values
    if CATALOG[metric].kind is MetricKind.COUNTER:
        at_s, values = at_s[1:], rate_points(at_s, values)
    split = int(at_s.searchsorted(first_bad_s - GUARD_S, "right"))
    if split < _SURE_PAST:
        split = int(at_s.searchsorted(first_bad_s - _SHORT_GUARD_S, "right"))
    if split < _MIN_PAST or split == at_s.size:
        return None
    return _Track(metric, window.labels, at_s, values, split)


def _scored(by_metric: Iterable[Sequence[_Track]], first_bad_s: float) -> dict[int, tuple[float, Mover]]:
    """Those that went far, by the id of their track, with their weight."""
    return {id(track): weighed for tracks in _batches(by_metric) for track, weighed in _measured(tracks, first_bad_s)}


def _batches(by_metric: Iterable[Sequence[_Track]]) -> Iterator[Sequence[_Track]]:
    """
    Tracks to be measured at once: of one metric, or of several whose readings are as many each.

    Most are: whoever collects a metric mostly collects all its series, and others besides. For each metric by itself
    there is more to set up than to measure.
    """
    alike: dict[tuple[int, int], list[_Track]] = {}
    for tracks in by_metric:
        shapes = {(track.split, track.values.size) for track in tracks}
        if len(shapes) != 1 or not all(math.isfinite(track.values.sum()) for track in tracks):
            if tracks:
                yield tracks
            continue
        held = alike.setdefault(shapes.pop(), [])
        held.extend(tracks)
        if len(held) * held[0].values.size > _AT_ONCE:
            yield held[:]
            held.clear()
    yield from (held for held in alike.values() if held)


def _measured(tracks: Sequence[_Track], first_bad_s: float) -> Iterator[tuple[_Track, tuple[float, Mover]]]:
    past = _side_by_side([track.values[: track.split] for track in tracks])
    recent = _side_by_side([track.values[track.split :] for track in tracks])
    smallest = np.array([_smallest(CATALOG[track.metric].unit) for track in tracks])
    # the furthest reading counts, since a fault is seconds old: one bad reading must not be enough, so that all of the
    # standard deviation is a floor
    floor = np.maximum(smallest, deviation(past, np.isfinite(past).sum(axis=1)))
    found = measure(past, recent, families([track.metric for track in tracks]), reach=1.0, floor=floor)
    for place in np.flatnonzero(found.score >= _MIN_SCORE).tolist():
        track, score, spread = tracks[place], float(found.score[place]), float(found.scale[place])
        until_s = float(track.at_s[track.split - 1])
        began = onset(track.at_s, track.values, baseline_until_s=until_s, floor=spread)
        ref = SeriesRef(track.metric, track.labels)
        text = _text(track, float(found.centre[place]))
        yield track, (weight(score, began, first_bad_s), Mover(ref, round(score, 1), began, text))


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
