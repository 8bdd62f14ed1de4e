"""
Lines per log class, and per template that matters, as running totals.

A total counts the lines this process has read, so it truly was zero before its first line: a new series is preceded by
its zero, and one that stood still by its old value, one step earlier. Readers then see the step where it happened,
however rarely unchanged totals are repeated.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from aiops.model import Labels, Sample

BY_CLASS = "log_records_total"
BY_TEMPLATE = "log_template_records_total"
OTHERS = "others"
"""Stands for the templates that got no series of their own."""
_REPEAT_AFTER_S = 15.0
"""Half of what readers take for fresh."""
_IDLE_AFTER_S = 3600.0
"""A total that stood still this long is given up; should it come back, it begins at zero again."""
_MAX_STEP_S = 5.0
_MAX_SERIES = 2_000
_MAX_TEMPLATES = 100
_QUIET_AFTER_S = 60.0
"""A template that stood still this long gives its place to one that speaks."""

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class _Total:
    """One label set's running total and what was last said about it."""

    labels: Labels
    value: int = 0
    said: int = 0
    said_at_s: float | None = None
    changed_at_s: float | None = None


class Totals(Generic[K]):
    """
    Running totals of one metric.

    Args:
        metric: Its name.
        limit: Totals kept.
    """

    def __init__(self, metric: str, limit: int) -> None:
        self._metric = metric
        self._limit = limit
        self._totals: dict[K, _Total] = {}
        self._last_call_s: float | None = None

    def add(self, key: K) -> bool:
        """Count a line under *key*; False if it is not known."""
        total = self._totals.get(key)
        if total is None:
            return False
        total.value += 1
        return True

    def begin(self, key: K, labels: Mapping[str, str]) -> bool:
        """Make *key* known, empty labels left out; False when there are too many."""
        if len(self._totals) >= self._limit:
            return False
        self._totals[key] = _Total(Labels.from_mapping({name: value for name, value in labels.items() if value}))
        return True

    def give_up_quiet(self) -> bool:
        """Give up the total that stood still longest, if that is a minute; False if all of them move."""
        last_s = self._last_call_s
        if last_s is None:
            return False
        key, total = min(self._totals.items(), key=lambda item: item[1].changed_at_s or last_s)
        if total.changed_at_s is None or total.value != total.said or last_s - total.changed_at_s < _QUIET_AFTER_S:
            return False
        del self._totals[key]
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
                    yield Sample(self._metric, total.labels, now_s - step_s, float(total.said))
                total.changed_at_s = now_s
            elif total.changed_at_s is not None and now_s - total.changed_at_s >= _IDLE_AFTER_S:
                del self._totals[key]
                continue
            elif 0 <= now_s - total.said_at_s < _REPEAT_AFTER_S:
                continue
            yield Sample(self._metric, total.labels, now_s, float(total.value))
            total.said, total.said_at_s = total.value, now_s


class Rates(Totals[tuple[Labels, str, str]]):
    """
    Totals per source, class and GPU.

    Args:
        host: Value of ``host_name``.
    """

    def __init__(self, host: str) -> None:
        super().__init__(BY_CLASS, _MAX_SERIES)
        self._host = host

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
        if self.add(key):
            return True
        named = {name: labels.get(name) for name in ("source", "instance")}
        return self.begin(key, {"host_name": self._host, "log_class": log_class, "gpu": gpu, **named}) and self.add(key)


class TemplateRates:
    """
    Totals per template and source, of the templates that speak; the rest is counted together.

    Args:
        host: Value of ``host_name``.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._named: Totals[tuple[str, str]] = Totals(BY_TEMPLATE, _MAX_TEMPLATES)
        self._others: Totals[None] = Totals(BY_TEMPLATE, 1)
        self._full = False

    def count(self, template_id: str, source: str, log_class: str, severity: str) -> None:
        """Count a line."""
        key = (template_id, source)
        if self._named.add(key):
            return
        labels = {"host_name": self._host, "template_id": template_id, "source": source}
        labels |= {"log_class": log_class, "severity": severity}
        if not self._full and (
            self._named.begin(key, labels) or (self._named.give_up_quiet() and self._named.begin(key, labels))
        ):
            self._named.add(key)
            return
        self._full = True  # until the next samples: looking for a quiet one costs more than counting
        if not self._others.add(None):
            self._others.begin(None, {"host_name": self._host, "template_id": OTHERS})
            self._others.add(None)

    def samples(self, now_s: float) -> Iterator[Sample]:
        """As `Totals.samples`."""
        self._full = False
        yield from self._named.samples(now_s)
        yield from self._others.samples(now_s)
