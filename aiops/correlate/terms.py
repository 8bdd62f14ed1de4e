"""What became of one term of the load, and how far back its change is looked for."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
    """Series of *metric* from the service's replicas."""
    return [w for w in view.windows(metric) if w.labels.get("instance") in topology.instances]
