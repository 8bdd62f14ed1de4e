"""
Rows that somebody else made into business samples.

A row is a value, perhaps with its time and service. Whatever a file, a page or a database holds in those places is
untrusted: rows that cannot be one are counted by their reason and left out, the rest is taken. Rows are told oldest
first, each once, and again when its value was revised; what is over an hour old is passed over.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aiops.model import Labels, Sample
from aiops.model.business import AHEAD_S, LATENESS_S, is_sound

MAX_ROWS = 1_000
_MAX_SERVICES = 50
_MAX_LABEL = 200


class Row(NamedTuple):
    """One reading, as its source has it."""

    value: Any
    time: Any = None
    """Epoch seconds, or text with a zone; None means now."""
    service: Any = None


class Rows:
    """
    What was told of one source.

    Args:
        metric: Whose values the rows are.
        service: Of rows that name none.
        scale: Values are multiplied by it.
    """

    def __init__(self, metric: str, service: str, scale: float) -> None:
        self._metric = metric
        self._service = service
        self._scale = scale
        self._told: dict[str, dict[float, float]] = {}
        self.refused = ""
        """What was wrong with the rows left out last time, in words."""

    def samples(self, rows: Iterable[Row], now_s: float) -> list[Sample]:
        """What is new in *rows*, and how late the newest of each service is."""
        wrong: dict[str, int] = {}
        found: dict[str, dict[float, float]] = {}
        for number, row in enumerate(rows):
            if number >= MAX_ROWS:
                wrong[f"beyond {MAX_ROWS}"] = 1
                break
            complaint = self._take(row, now_s, found)
            if complaint:
                wrong[complaint] = wrong.get(complaint, 0) + 1
        self.refused = ", ".join(f"{count} rows {complaint}" for complaint, count in sorted(wrong.items()))
        return [sample for service, values in found.items() for sample in self._news(service, values, now_s)]

    def _take(self, row: Row, now_s: float, found: dict[str, dict[float, float]]) -> str:
        """Put a row where it belongs; why not, if it does not."""
        value, at_s = number(row.value), now_s if row.time is None else seconds(row.time)
        if value is None or not is_sound(self._metric, value * self._scale):
            return "without a value that can be"
        if at_s is None:
            return "without a time that can be read"
        if at_s > now_s + AHEAD_S:
            return "of the future"
        if at_s < now_s - LATENESS_S:
            return ""  # history, which a file or a table has plenty of
        service = str(row.service).strip()[:_MAX_LABEL] if row.service is not None else ""
        service = service or self._service
        if service not in found and service not in self._told and len(self._told.keys() | found) >= _MAX_SERVICES:
            return f"of more than {_MAX_SERVICES} services"
        found.setdefault(service, {})[min(at_s, now_s)] = value * self._scale
        return ""

    def _news(self, service: str, values: Mapping[float, float], now_s: float) -> Iterator[Sample]:
        told = self._told.setdefault(service, {})
        for at_s in [at_s for at_s in told if not now_s - LATENESS_S <= at_s <= now_s]:
            del told[at_s]
        newest_s = max(told, default=-math.inf)
        labels = Labels.of(service=service)
        for at_s in sorted(values):
            if told.get(at_s) != values[at_s] and (at_s > newest_s or at_s in told):
                told[at_s] = values[at_s]
                yield Sample(self._metric, labels, at_s, values[at_s])
        if max(values) > newest_s:
            yield lag(self._metric, labels, max(values), now_s)


def lag(metric: str, labels: Labels, at_s: float, now_s: float) -> Sample:
    """How late a value of *at_s* is."""
    named = Labels.of(service=labels.get("service"), metric=metric)
    return Sample("business_lag_seconds", named, now_s, max(now_s - at_s, 0.0))


def number(value: Any) -> float | None:
    """*value* as a finite number, if it is one in any usual spelling."""
    if isinstance(value, bool) or not isinstance(value, int | float | str) or (isinstance(value, str) and "_" in value):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def seconds(value: Any) -> float | None:
    """*value* as epoch seconds: a number, or an ISO time, in UTC where it names no zone."""
    if (found := number(value)) is not None:
        return found
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value.strip())
        return (parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
