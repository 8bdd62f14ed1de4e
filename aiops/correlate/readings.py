"""What a metric clause makes of one series, and how the one that speaks loudest is told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from aiops.correlate.findings import factor, name_all
from aiops.model import Labels, Onset
from aiops.rulebook.clauses import MetricTest
from aiops.units import format_duration, format_quantity

_MAX_RATIO = 1000.0


class Reading(NamedTuple):
    """One series reduced to one number."""

    labels: Labels
    value: float
    baseline: float = math.nan
    onset: Onset | None = None
    growth: float = 0.0
    least: float = 0.0
    """What a baseline below it counts as."""

    @property
    def ratio(self) -> float:
        """Value over baseline, bounded."""
        before = max(self.baseline, self.least)
        if before <= 0:
            return _MAX_RATIO if self.value > 0 else 1.0
        return min(self.value / before, _MAX_RATIO)


class Told:
    """
    What is told of a test, found word by word when a text asks for it: most are never asked for.

    Args:
        test: The test.
        bound: Label that names the places.
        first: The reading that speaks most for the clause.
        number: What of it was held against the limit.
        passing: Readings for which the test holds.
        of_all: How many readings there are.
    """

    __slots__ = ("_bound", "_first", "_number", "_of_all", "_passing", "_test")

    def __init__(  # noqa: PLR0913, PLR0917 - what seven words are made of
        self, test: MetricTest, bound: str, first: Reading, number: float, passing: Sequence[Reading], of_all: int
    ) -> None:
        self._test, self._bound, self._first = test, bound, first
        self._number, self._passing, self._of_all = number, passing, of_all

    def __getitem__(self, name: str, /) -> str:
        test, first, limit = self._test, self._first, self._test.limit
        match name:
            case "value":
                return format_quantity(first.value, test.unit)
            case "limit":
                plain = test.above is not None or test.below is not None or test.rise is not None
                return format_quantity(limit.value, test.unit) if plain else factor(limit.value)
            case "baseline":
                return "unknown" if math.isnan(first.baseline) else format_quantity(first.baseline, test.unit)
            case "ratio":
                return f"{self._number * 100:.0f} %" if test.trend else factor(self._number)
            case "who":
                return name_all((reading.labels for reading in self._passing or [first]), self._bound)
            case "window":
                return format_duration(test.over)
            case "count":
                return f"{len(self._passing)} of {self._of_all}"
        raise KeyError(name)
