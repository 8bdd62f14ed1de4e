"""
The series of one diagnosis, each metric read once.

A diagnosis asks for the same windows again and again: every clause at every place. Copying them out of the rings once
makes the rest of it plain arrays, and makes sure that all clauses see the same instant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from aiops.model import Labels, Sample
from aiops.ports import SeriesReader, Window


class View:
    """
    A frozen look at recent series; for whoever reads series it is a `ports.SeriesReader`.

    Args:
        series: Where they are read from.
        start_s: Nothing older is seen.
        now_s: Nothing newer is seen.
    """

    def __init__(self, series: SeriesReader, start_s: float, now_s: float) -> None:
        self.start_s = start_s
        self.now_s = now_s
        self._series = series
        self._held: dict[str, tuple[Window, ...]] = {}
        self._matched: dict[tuple[object, ...], Sequence[Window]] = {}
        self._grouped: dict[tuple[str, str], Mapping[str, Sequence[Window]]] = {}

    def windows(self, metric: str, match: Mapping[str, str] | None = None) -> Sequence[Window]:
        """All series of *metric* in sight whose labels match; a wanted value may name alternatives with ``|``."""
        held = self._held.get(metric)
        if held is None:
            held = tuple(self._series.window(metric, self.start_s, self.now_s))
            self._held[metric] = held
        if not match:
            return held
        key = (metric, *match.items())
        found = self._matched.get(key)
        if found is None:
            found = self._matched[key] = self._matching(metric, match)
        return found

    def _matching(self, metric: str, match: Mapping[str, str]) -> Sequence[Window]:
        (name, value), *others = match.items()
        if "|" in value:
            found = _having(self.windows(metric), name, value)
        else:
            found = self.by_label(metric, name).get(value, ())
        for each in others:
            found = _having(found, *each)
        return found

    def by_label(self, metric: str, name: str) -> Mapping[str, Sequence[Window]]:
        """The series of *metric* by the value of one label: there are hundreds of log classes, each asked for alone."""
        found = self._grouped.get((metric, name))
        if found is None:
            groups: dict[str, list[Window]] = {}
            for window in self.windows(metric):
                groups.setdefault(window.labels.get(name), []).append(window)
            found = self._grouped[metric, name] = groups
        return found

    def window(
        self, metric: str, start_s: float, end_s: float, match: Mapping[str, str] | None = None
    ) -> Iterator[Window]:
        """As of `SeriesReader`; what was read already is not read again."""
        held = None if match or start_s < self.start_s or end_s > self.now_s else self._held.get(metric)
        if held is None:
            return self._series.window(metric, start_s, end_s, match)
        parts = (cut(window, start_s, end_s) for window in held)
        return (part for part in parts if part.at_s.size)

    def latest(
        self, metric: str, now_s: float, match: Mapping[str, str] | None = None, max_age_s: float = 30.0
    ) -> Iterator[Sample]:
        """As of `SeriesReader`."""
        return self._series.latest(metric, now_s, match, max_age_s)

    def metrics(self) -> Sequence[str]:
        """As of `SeriesReader`."""
        return self._series.metrics()

    def labels(self, metric: str) -> list[Labels]:
        """Label sets of *metric* in sight."""
        return [window.labels for window in self.windows(metric)]


def _having(windows: Sequence[Window], name: str, value: str) -> Sequence[Window]:
    wanted = frozenset(value.split("|"))
    return [w for w in windows if w.labels.get(name) in wanted]


def cut(window: Window, start_s: float, end_s: float) -> Window:
    """*window* between two times, both included."""
    first = window.at_s.searchsorted(start_s)
    end = window.at_s.searchsorted(end_s, "right")
    return Window(window.labels, window.at_s[first:end], window.values[first:end])


def cut_with_reference(window: Window, start_s: float, end_s: float) -> Window:
    """As `cut`, with the last sample before *start_s*: what a counter is measured from."""
    first = max(int(window.at_s.searchsorted(start_s)) - 1, 0)
    end = window.at_s.searchsorted(end_s, "right")
    return Window(window.labels, window.at_s[first:end], window.values[first:end])
