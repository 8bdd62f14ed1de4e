"""
Counters of bad and of all answers, read from the rings as steps: what was added, and when.

Shared by the detectors of symptoms and of the error budget.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from aiops.catalog import CATALOG, MetricKind
from aiops.document import FieldError
from aiops.model import UNNAMED_SERVICE, Labels
from aiops.ports import SeriesReader
from aiops.rulebook.alerts import Selector
from aiops.stats import Floats, steps

_DOUBLE_BYTES = 8
_SHORTLY_S = 30.0
"""As long as the usual pause between readings, twice; so much is never packed in memory."""


class Counted(NamedTuple):
    """What was added to a counter, and when; one element a sample after the first."""

    labels: Labels
    at_s: Floats
    added: Floats
    from_s: float
    """Time of the sample before the first step."""

    def between(self, after_s: float, by_s: float) -> float:
        """What was added in (after_s, by_s]."""
        first, end = np.searchsorted(self.at_s, (after_s, by_s), side="right")
        return float(self.added[first:end].sum())


def check_counters(bad: Selector, total: Sequence[Selector], service_label: str) -> None:
    """
    Check that these can be held against each other.

    Raises:
        FieldError: one is no counter, has no such label, or *total* is empty.
    """
    for place, selectors in (("bad", (bad,)), ("total", total)):
        for selector in selectors:
            if CATALOG[selector.name].kind is not MetricKind.COUNTER:
                raise FieldError(place, f"expected counters; {selector.name} is none")
            if service_label not in selector.labels:
                raise FieldError("service_label", f"{selector.name} has no label {service_label!r}")
    if not total:
        raise FieldError("total", "expected at least one counter")


def read_counted(
    selectors: Iterable[Selector], series: SeriesReader, start_s: float, end_s: float, service_label: str
) -> dict[str, list[Counted]]:
    """Steps within [start_s, end_s] of every series that *selectors* choose, by the service its label names."""
    found: dict[str, list[Counted]] = {}
    for selector in selectors:
        for window in series.window(selector.name, start_s, end_s, selector.match):
            at_s, values = window.at_s, window.values
            if not math.isfinite(values.sum()):
                known = np.isfinite(values)
                at_s, values = at_s[known], values[known]
            if at_s.size >= 2:
                service = window.labels.get(service_label) or UNNAMED_SERVICE
                found.setdefault(service, []).append(Counted(window.labels, at_s[1:], steps(values), float(at_s[0])))
    return found


def moved(selectors: Iterable[Selector], series: SeriesReader, after_s: float, end_s: float) -> bool:
    """
    Whether any counter that *selectors* choose may have added something in (after_s, end_s].

    Failures are counters that stand still for hours: this is a tenth of the work of reading them as steps. A counter of
    which no reading from shortly before *after_s* is held may have moved.
    """
    for selector in selectors:
        for window in series.window(selector.name, after_s - _SHORTLY_S, end_s, selector.match):
            first = int(window.at_s.searchsorted(after_s, "right")) - 1
            if first < 0:
                return True
            raw = window.values[first:].tobytes()
            if raw != raw[:_DOUBLE_BYTES] * (len(raw) // _DOUBLE_BYTES):
                return True
    return False


def last_added_s(counters: Iterable[Counted]) -> float:
    """When any of *counters* last rose; minus infinity if none did."""
    return max((float(each.at_s[each.added > 0][-1]) for each in counters if (each.added > 0).any()), default=-np.inf)


def per_stretch(counters: Iterable[Counted], edges: Floats) -> Floats:
    """What all *counters* added in each of the stretches (edge, next edge]."""
    added = np.zeros(edges.size - 1)
    for each in counters:
        running = np.concatenate(([0.0], np.cumsum(each.added)))
        added += np.diff(running[np.searchsorted(each.at_s, edges, side="right")])
    return added
