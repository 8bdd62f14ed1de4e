"""
Lines per log class, as running totals.

A total counts the lines this process has read, so it truly was zero before its first line: a new series is preceded by
its zero, and one that stood still by its old value, one step earlier. Readers then see the step where it happened,
however rarely unchanged totals are repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from aiops.model import Labels, Sample

METRIC = "log_records_total"
_REPEAT_AFTER_S = 15.0
"""Half of what readers take for fresh."""
_IDLE_AFTER_S = 3600.0
"""A total that stood still this long is given up; should it come back, it begins at zero again."""
_MAX_STEP_S = 5.0
_MAX_SERIES = 2_000


@dataclass(slots=True)
class _Total:
    """One label set's running total and what was last said about it."""

    labels: Labels
    value: int = 0
    said: int = 0
    said_at_s: float | None = None
    changed_at_s: float | None = None


class Rates:
    """
    Totals per source, class and GPU.

    Args:
        host: Value of ``host_name``.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._totals: dict[tuple[Labels, str, str], _Total] = {}
        self._last_call_s: float | None = None

    def count(self, labels: Labels, log_class: str, gpu: str) -> bool:
        """
        Count a line.

        Args:
            labels: Of the log record: ``source`` and perhaps ``instance``.
            log_class: The line's class.
            gpu: Index of the card the line names, or "".

        Returns:
            False when there are too many label sets and this is another one.
        """
        key = (labels, log_class, gpu)
        total = self._totals.get(key)
        if total is None:
            if len(self._totals) >= _MAX_SERIES:
                return False
            values = {"host_name": self._host, "log_class": log_class, "gpu": gpu}
            values |= {name: labels.get(name) for name in ("source", "instance")}
            total = self._totals[key] = _Total(Labels.from_mapping({n: v for n, v in values.items() if v}))
        total.value += 1
        return True

    def samples(self, now_s: float) -> Iterator[Sample]:
        """Totals that changed since the last call, each preceded by what it was; unchanged ones every 15 s."""
        step_s = 1.0
        if self._last_call_s is not None and 0 < now_s - self._last_call_s <= _MAX_STEP_S:
            step_s = now_s - self._last_call_s
        self._last_call_s = now_s
        for key, total in list(self._totals.items()):
            if total.said_at_s is None or total.value != total.said:
                if total.said_at_s is None or total.said_at_s < now_s - step_s:
                    yield Sample(METRIC, total.labels, now_s - step_s, float(total.said))
                total.changed_at_s = now_s
            elif total.changed_at_s is not None and now_s - total.changed_at_s >= _IDLE_AFTER_S:
                del self._totals[key]
                continue
            elif 0 <= now_s - total.said_at_s < _REPEAT_AFTER_S:
                continue
            yield Sample(METRIC, total.labels, now_s, float(total.value))
            total.said, total.said_at_s = total.value, now_s
