"""The series that a metric clause is about: chosen, given up questions left out, divided, or less another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from aiops.catalog import CATALOG, MetricKind
from aiops.correlate.differences import differences
from aiops.correlate.scene import Scene
from aiops.ports import Window
from aiops.rulebook.clauses import MetricTest, Subtracted
from aiops.stats import steps


def tested_series(test: MetricTest, scene: Scene) -> Sequence[Window]:
    """What *test* compares: its metric's series in the service that is hurt, or what is left of them over or less another."""
    windows = within_service(test.name, scene.view.windows(test.name, test.match), scene)
    if test.up_to is not None:
        windows = [_measured(window, test.up_to) for window in windows]
    if test.minus is not None:
        return differences(windows, test.bound_by, _subtracted(test.minus, scene), test.minus_bound_by)
    windows = _quotients(test.name, test.divide_by, scene, windows) if test.divide_by else windows
    return [_rest(window) for window in windows] if test.rest else windows


def _rest(window: Window) -> Window:
    """What a share leaves of the whole; one counted a moment before what it is a share of may be above 1 for a reading."""
    return Window(window.labels, window.at_s, np.maximum(1.0 - window.values, 0.0))


def _measured(window: Window, up_to: float) -> Window:
    """*window* without what was given up: that says how long somebody waited, not how long it would have taken."""
    told = window.values <= up_to
    return Window(window.labels, window.at_s[told], window.values[told])


def _subtracted(other: Subtracted, scene: Scene) -> Sequence[Window]:
    windows = scene.view.windows(other.name)
    return _quotients(other.name, other.divide_by, scene, windows) if other.divide_by else windows


def within_service(metric: str, windows: Sequence[Window], scene: Scene) -> Sequence[Window]:
    """*windows* of *metric* less those of other services."""
    if "service" not in CATALOG[metric].labels:
        return windows
    return [w for w in windows if w.labels.get("service") == scene.context.service]


def _quotients(name: str, divide_by: str, scene: Scene, windows: Iterable[Window]) -> list[Window]:
    """Each series over the divisor that shares its labels."""
    names = [label for label in CATALOG[divide_by].labels if label in CATALOG[name].labels]
    divisors = {w.labels.only(names): w for w in scene.view.windows(divide_by)}
    counters = MetricKind.COUNTER is CATALOG[name].kind is CATALOG[divide_by].kind
    quotient = _of_gains if counters else _of_readings
    return [
        found
        for window in windows
        if (divisor := divisors.get(window.labels.only(names))) is not None
        and (found := quotient(window, divisor)) is not None
    ]


def _of_readings(window: Window, divisor: Window) -> Window | None:
    """A reading over another of the same time; where that is 0 there is nothing to share it by."""
    by = np.interp(window.at_s, divisor.at_s, divisor.values)
    some = by > 0
    return Window(window.labels, window.at_s[some], window.values[some] / by[some]) if some.any() else None


def _of_gains(window: Window, divisor: Window) -> Window | None:
    """What one counter gained over what the other did, from reading to reading: seconds a request, hits a query."""
    at_s, mine, others = window.at_s, window.values, divisor.values
    if not np.array_equal(at_s, divisor.at_s):  # seldom: mostly both stand on one page
        at_s, here, there = np.intersect1d(at_s, divisor.at_s, return_indices=True)
        mine, others = mine[here], others[there]
    if at_s.size < 2:
        return None
    gained, by = steps(mine), steps(others)
    moved = by > 0
    return Window(window.labels, at_s[1:][moved], gained[moved] / by[moved]) if moved.any() else None
