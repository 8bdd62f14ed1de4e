"""Fakes that stand in for the world in tests; mypy checks each against its port."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from aiops.model import Event, EventKind, Labels, LogTemplate, Observation, Sample
from aiops.ports import Window


class FakeCheckpoints:
    """Checkpoints in a dictionary."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def get(self, name: str) -> bytes | None:
        return self.values.get(name)

    def put(self, name: str, value: bytes) -> None:
        self.values[name] = value


class FakeInbox:
    """An inbox without a bound."""

    def __init__(self) -> None:
        self.waiting: list[Observation] = []

    def offer(self, observation: Observation) -> bool:
        self.waiting.append(observation)
        return True

    def drain(self) -> Sequence[Observation]:
        drained, self.waiting = self.waiting, []
        return drained


class FakeSeries:
    """A SeriesReader and SeriesWriter over plain dictionaries."""

    def __init__(self) -> None:
        self.held: dict[str, dict[Labels, dict[float, float]]] = {}
        self._sorted: dict[tuple[str, Labels], Window] = {}

    def extend(self, samples: Iterable[Sample]) -> None:
        for sample in samples:
            self._sorted.pop((sample.metric, sample.labels), None)
            self.held.setdefault(sample.metric, {}).setdefault(sample.labels, {})[sample.at_s] = sample.value

    def put(self, metric: str, labels: Labels, points: Mapping[float, float]) -> None:
        self._sorted.pop((metric, labels), None)
        self.held.setdefault(metric, {}).setdefault(labels, {}).update(points)

    def window(
        self, metric: str, start_s: float, end_s: float, match: Mapping[str, str] | None = None
    ) -> Iterator[Window]:
        for labels, points in self.held.get(metric, {}).items():
            if match and not labels.matches(match):
                continue
            whole = self._whole(metric, labels, points)
            first, end = whole.at_s.searchsorted(start_s), whole.at_s.searchsorted(end_s, "right")
            if first < end:
                yield Window(labels, whole.at_s[first:end].copy(), whole.values[first:end].copy())

    def _whole(self, metric: str, labels: Labels, points: Mapping[float, float]) -> Window:
        """Sorted once; tests may also put points into *held* by hand."""
        found = self._sorted.get((metric, labels))
        if found is None or found.at_s.size != len(points):
            times = sorted(points)
            found = Window(labels, np.array(times), np.array([points[at_s] for at_s in times]))
            self._sorted[metric, labels] = found
        return found

    def latest(
        self, metric: str, now_s: float, match: Mapping[str, str] | None = None, max_age_s: float = 30.0
    ) -> Iterator[Sample]:
        for window in self.window(metric, now_s - max_age_s, now_s, match):
            yield Sample(metric, window.labels, float(window.at_s[-1]), float(window.values[-1]))

    def metrics(self) -> Sequence[str]:
        return list(self.held)


class FakeEvents:
    """An EventReader over a list."""

    def __init__(self, events: Iterable[Event] = (), *, feed: bool | None = None) -> None:
        self.held = list(events)
        self.feed = feed

    def events(self, start_s: float, end_s: float) -> Sequence[Event]:
        return [event for event in self.held if start_s <= event.at_s <= end_s]

    def has_change_feed(self) -> bool:
        return any(e.kind is EventKind.CHANGE for e in self.held) if self.feed is None else self.feed


class FakeTemplates:
    """A TemplateReader over a list."""

    def __init__(self, templates: Iterable[LogTemplate] = ()) -> None:
        self.held = list(templates)

    def templates(self, start_s: float, end_s: float) -> Sequence[LogTemplate]:
        return [t for t in self.held if t.last_at_s >= start_s and t.first_at_s <= end_s]
