"""What became of one term of the load, and how far back its change is looked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aiops.correlate.topology import Topology
from aiops.correlate.view import View
from aiops.model import Onset, SeriesRef
from aiops.ports import Window

SEARCH_S = 300.0
"""A step older than this before the first refusal is the new normal."""
MIN_BASELINE_S = 30.0
"""Shorter histories are no baseline."""


@dataclass(frozen=True, slots=True)
class TermChange:
    """What became of one term."""

    change: float | None
    """ln(after / before), positive when load grew or capacity fell; None when unknown."""
    before: float = math.nan
    after: float = math.nan
    onset: Onset | None = None
    missing: str = ""
    """What would be needed to know."""
    series: tuple[SeriesRef, ...] = ()
    waits: bool = False
    """Unknown only for now: requests still under way will tell."""


def of_service(view: View, topology: Topology, metric: str) -> list[Window]:
    """Series of *metric* from the service's replicas; one of a replica that began to tell another model or version."""
    return carried_on([w for w in view.windows(metric) if w.labels.get("instance") in topology.instances])


def carried_on(windows: Sequence[Window]) -> list[Window]:
    """*windows*, those of one replica that follow one another as one, under its latest labels."""
    if len({w.labels.get("instance") for w in windows}) == len(windows):
        return list(windows)
    found: dict[str, list[Window]] = {}
    for window in sorted((w for w in windows if w.at_s.size), key=lambda w: float(w.at_s[0])):
        held = found.setdefault(window.labels.get("instance"), [])
        later = window.at_s > held[-1].at_s[-1] if held else np.zeros(0, dtype=bool)
        if later[1:].any() and later[1:].all():  # a counter that is new begins at 0 as the last one ended
            last = held.pop()
            at_s, values = np.append(last.at_s, window.at_s[later]), np.append(last.values, window.values[later])
            held.append(Window(window.labels, at_s, values))
        else:
            held.append(window)
    return [window for held in found.values() for window in held]
