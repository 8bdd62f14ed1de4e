"""
Metric clauses: a window of a metric against a level, its own baseline, its peers, the whole, or growing steadily.

The window starts `over` before the first bad second and ends now. Several series can lie at one place (three replicas
of a service); the one that speaks loudest for the clause is taken, and named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from aiops.catalog import CATALOG, MetricKind
from aiops.correlate.findings import Finding, name_all, stated, unknown
from aiops.correlate.newcomers import newcomers
from aiops.correlate.onsets import begun, spell
from aiops.correlate.readings import Reading, Told
from aiops.correlate.round_values import past_round
from aiops.correlate.scene import Scene
from aiops.correlate.steps import level_step
from aiops.correlate.tested_series import tested_series, within_service
from aiops.correlate.topology import Place
from aiops.correlate.trends import lately_growing, traffic_was_level
from aiops.correlate.view import cut, cut_with_reference
from aiops.model import NOBODY, Onset, SeriesRef
from aiops.model.times import LONG_AGO_S
from aiops.ports import Window
from aiops.rulebook.clauses import Limit, MetricTest, Watched
from aiops.rulebook.reduce import Reduce
from aiops.stats import Floats, increase, median, rate_points

_GUARD_S = 15.0
"""Seconds before the first bad one that are never part of a baseline."""
_MIN_BASELINE_S = 30.0
_BEAT_S = 5.0
"""How often a count that does not change is written."""
_MIN_WHOLE = 5.0
"""A share of fewer things than this says nothing."""
_MIN_PART = 3.0
"""So few things may have been by chance, whatever they are a share of."""
_MAX_AGE_S = 600.0
"""Evidence is sought until this long after the first bad second; later the world has moved on."""

_REDUCERS: Mapping[Reduce, Callable[[Floats], float]] = {
    Reduce.LAST: lambda values: float(values[-1]),
    Reduce.MAX: lambda values: float(values.max()),
    Reduce.MEAN: lambda values: float(values.mean()),
    Reduce.MIN: lambda values: float(values.min()),
}


class _Seen(NamedTuple):
    """One series of a test."""

    window: Window
    where: str
    """What it is bound by: a replica, a card, a service."""
    ref: SeriesRef


def metric_finding(test: MetricTest, scene: Scene, place: Place) -> Finding:
    """The outcome of *test* for *place*."""
    # what lies inside is often the same, as for the processes of one card; tests live as long as their rules, windows
    # as long as the scene: their ids are names here
    pid = place.pid if "pid" in CATALOG[test.name].labels else ""
    key = id(test), place.inside(test.bound_by), pid
    found: Finding | None = scene.once(key, lambda: _Case(test, scene, place).finding())
    return _Case(test, scene, place).none_there() if found is None else found


class _Case:
    """A metric test at a place, with the series it looks at."""

    def __init__(self, test: MetricTest, scene: Scene, place: Place) -> None:
        self._test, self._scene, self._place = test, scene, place
        about: tuple[str, Limit, list[_Seen]] = scene.once(
            id(test), lambda: (test.bound_by, test.limit, _seen(test, scene))
        )
        self._bound, self._limit, self._seen = about
        inside = place.inside(self._bound)
        own = [seen for seen in self._seen if inside is None or seen.where in inside]
        if place.pid:
            own = [seen for seen in own if place.covers(self._bound, seen.window.labels)]
        self._own = [seen.window for seen in own]
        self._refs = tuple([seen.ref for seen in own])
        self._start_s = scene.first_bad_s - test.over
        self._end_s = min(scene.now_s, scene.first_bad_s + (test.until or _MAX_AGE_S))

    def none_there(self) -> Finding:
        """What it means that the place has none of the series: 0 where somebody counts, else unknown."""
        if self._nothing_counted():
            zero = Reading(self._place.where, 0.0)
            return self._loudest([zero], lambda reading: reading.value, "")
        about = f" for {self._place.text}" if self._seen else ""
        return unknown(f"no {self._test.name}{about}")

    def finding(self) -> Finding | None:
        """Present, absent or unknown; None where there are no series."""
        if not self._own:
            return None
        if self._test.share is not None:
            return self._share()
        if self._test.out_of is not None:
            return self._out_of(self._test.out_of)
        if self._test.ratio_to_peers is not None:
            return self._against_peers()
        if self._test.ratio_to_baseline is not None or self._test.rise is not None:
            return self._against_baseline()
        if self._test.past_round is not None:
            return self._against_time_outs()
        if self._test.joined is not None:
            return self._newcomers()
        return self._against_level() if self._test.trend is None else self._growth()

    def _nothing_counted(self) -> bool:
        """Whether somebody looks, so that the missing series means that there was nothing to count."""
        watched = self._test.watched_by
        if watched is None or not self._test.counts:
            return False
        label = self._bound
        windows = within_service(watched.name, self._scene.view.windows(watched.name, watched.match), self._scene)
        bound = label if label in CATALOG[watched.name].labels else ""
        return any(not bound or self._place.holds(bound, w.labels.get(bound)) for w in windows)

    # --- against a level --------------------------------------------------------------------------------------------

    def _out_of(self, whole: Watched) -> Finding:
        """What each upstream failed in, out of all it was asked."""
        asked = within_service(whole.name, self._scene.view.windows(whole.name, whole.match), self._scene)
        named = any(w.labels.get("upstream") != NOBODY for w in asked)
        readings = []
        for window in self._own:
            if named and window.labels.get("upstream") == NOBODY:
                continue  # the log says who was asked only where somebody answered
            part = self._reduced(window) or 0.0
            if part >= _MIN_PART:
                upstream = window.labels.get("upstream")
                of = sum(self._reduced(w) or 0.0 for w in asked if w.labels.get("upstream") == upstream)
                readings.append(Reading(window.labels, part / max(of, part)))
        return self._loudest(readings, lambda reading: reading.value, f"too little {self._test.name} to compare")

    def _against_level(self) -> Finding:
        readings = [
            Reading(w.labels, value, onset=self._crossing(w) if self._limit.holds(value) else None)
            for w in self._own
            if (value := self._reduced(w)) is not None
        ]
        return self._loudest(readings, lambda reading: reading.value, f"no recent {self._test.name}")

    def _crossing(self, window: Window) -> Onset | None:
        """When what hurts crossed the bound; for increases, when the counter began to move. See `spell`."""
        part = cut_with_reference(window, self._start_s, self._end_s)
        if self._test.counts:
            crossed = np.flatnonzero(part.values[1:] != part.values[:-1]) + 1
        else:
            limit = self._limit
            crossed = np.flatnonzero(
                part.values > limit.value if limit.above is not None else part.values < limit.value
            )
        first = spell(part.at_s, crossed, self._scene.first_bad_s)
        if first is None:
            return None
        onset = Onset(float(part.at_s[first - 1]) if first else LONG_AGO_S, float(part.at_s[first]))
        if self._test.counts or self._test.unit != "seconds":
            return onset
        return begun(onset, float(part.values[first]))

    # --- against itself, before -------------------------------------------------------------------------------------

    def _against_baseline(self) -> Finding:
        readings = [found for w in self._own if (found := self._shifted(w)) is not None]
        missing = f"less than {_MIN_BASELINE_S:.0f} s of {self._test.name}"
        return self._loudest(readings, _rise if self._test.rise is not None else _ratio, missing)

    def _shifted(self, window: Window) -> Reading | None:
        """A series at its step inside the window; without a step, its last seconds against all before."""
        part = cut(self._from_nothing(window), self._scene.view.start_s, self._end_s)
        at_s, values = part.at_s, part.values
        if CATALOG[self._test.name].kind is MetricKind.COUNTER and not self._test.divide_by:
            at_s, values = at_s[1:], rate_points(at_s, values)
        first_bad_s, least = self._scene.first_bad_s, self._test.floor or 0.0
        if not at_s.size or first_bad_s - float(at_s[0]) < _MIN_BASELINE_S:
            return None
        floor = max(0.005 * median(np.abs(values)), 1e-9)
        step = level_step(
            at_s, values, earliest_s=self._start_s, latest_s=self._end_s, floor=floor,
            min_before_s=_MIN_BASELINE_S / 2,
        )  # fmt: skip
        if step is not None:
            return Reading(window.labels, step.after, step.before, step.onset, least=least)
        past, recent = values[at_s < first_bad_s - _GUARD_S], values[at_s >= first_bad_s - _GUARD_S]
        if not past.size or not recent.size:
            return None
        return Reading(window.labels, median(recent), median(past), least=least)

    def _from_nothing(self, window: Window) -> Window:
        """
        A count of requests that begins at 0, as long as others of its service, or as what it is watched by.

        Nothing of its kind had been seen before. Series of an outcome begin with its first request, so that a new sort of
        failure has no past of its own; the log that shows it was read all the time.
        """
        name = self._test.name
        counted = CATALOG[name].kind is MetricKind.COUNTER and "service" in CATALOG[name].labels
        if not counted or self._test.divide_by or not window.values.size or window.values[0] != 0:
            return window
        looked = self._test.watched_by.name if self._test.watched_by is not None else name
        watched = within_service(looked, self._scene.view.windows(looked), self._scene)
        since_s = min((float(each.at_s[0]) for each in watched if each.at_s.size), default=float(window.at_s[0]))
        before = np.arange(since_s, float(window.at_s[0]) - 1.0, _BEAT_S)
        return Window(window.labels, np.append(before, window.at_s), np.append(np.zeros(before.size), window.values))

    # --- against what people set time-outs to -----------------------------------------------------------------------

    def _against_time_outs(self) -> Finding:
        readings = [Reading(w.labels, value) for w in self._own if (value := self._reduced(w)) is not None]
        return self._loudest(readings, lambda reading: past_round(reading.value), f"no recent {self._test.name}")

    # --- who came ---------------------------------------------------------------------------------------------------

    def _newcomers(self) -> Finding:
        """How many series more there are at the place than before; one that took another's place is no newcomer."""
        found = newcomers(self._own, self._start_s, self._end_s)
        if found is None:
            return unknown(f"less than {_MIN_BASELINE_S:.0f} s of {self._test.name}", self._refs)
        held = self._limit.holds(found.more)
        words = {
            "count": f"{found.more}",
            "who": name_all(found.who, self._bound),
            "when": self._scene.when(found.onset),
        }
        return Finding(stated(holds=held), words, onset=found.onset if held else None, series=self._refs)

    # --- steady growth ----------------------------------------------------------------------------------------------

    def _growth(self) -> Finding:
        parts = [cut(window, self._start_s, self._scene.first_bad_s) for window in self._own]
        found = [(part, grew) for part in parts if (grew := lately_growing(part.at_s, part.values)) is not None]
        readings = []
        for part, (start, grown) in found:
            level = traffic_was_level(self._scene, float(part.at_s[start]), float(part.at_s[-1]))
            if level is not None:
                first, last = float(part.values[start]), float(part.values[-1])
                began = Onset(LONG_AGO_S, float(part.at_s[start]))
                readings.append(Reading(part.labels, last, first, began, grown if level else 0.0))
        missing = f"too little history of {self._test.name}"
        if found:
            missing = "no count of arrivals, so that growth cannot be told from more traffic"
        return self._loudest(readings, lambda reading: reading.growth, missing)

    # --- against others ---------------------------------------------------------------------------------------------

    def _against_peers(self) -> Finding:
        peers = [seen.window for seen in self._seen if self._is_peer(seen.where)]
        others = [value for w in peers if (value := self._reduced(w)) is not None]
        if len(others) < 2:
            return unknown("fewer than two peers", self._refs)
        normal = median(others)
        readings = [Reading(w.labels, value, normal) for w in self._own if (value := self._reduced(w)) is not None]
        return self._loudest(readings, lambda reading: reading.ratio, f"no recent {self._test.name}")

    def _is_peer(self, where: str) -> bool:
        if self._place.holds(self._bound, where):
            return False
        return self._scene.whole(self._place.scope).holds(self._bound, where)

    def _share(self) -> Finding:
        """The place's share of the whole; for a whole service, the share of its largest part."""
        test = self._test
        parts = self._parts()
        whole = sum(parts.values())
        if len(parts) < 2:
            return unknown("fewer than two replicas to compare", self._refs)
        if whole < _MIN_WHOLE:
            return unknown(f"too little {test.name} to compare", self._refs)
        mine = [value for name, value in parts.items() if self._place.holds(self._bound, name)]
        share = (max(mine) if len(mine) == len(parts) else sum(mine)) / whole
        words = {
            "share": f"{share * 100:.0f} %",
            "count": f"{whole:.0f}",
            "limit": f"{self._limit.value * 100:.0f} %",
            "who": name_all((w.labels for w in self._own), self._bound),
        }
        return Finding(stated(holds=self._limit.holds(share)), words, series=self._refs)

    def _parts(self) -> dict[str, float]:
        """What each replica (or card) of the service adds to the whole; those without a series add nothing."""
        label = self._bound
        service = self._scene.whole(self._place.scope)
        names = service.gpus if label == "gpu" else service.instances
        parts = dict.fromkeys(names, 0.0)
        for seen in self._seen:
            if seen.where in parts and seen.where != NOBODY:
                parts[seen.where] += self._reduced(seen.window) or 0.0
        return parts

    # --- common -----------------------------------------------------------------------------------------------------

    def _reduced(self, window: Window) -> float | None:
        key = (id(window), self._start_s, self._end_s, self._test.reduce)
        return self._scene.once(key, lambda: self._one_number(window))

    def _one_number(self, window: Window) -> float | None:
        if self._test.counts:
            part = cut_with_reference(window, self._start_s, self._end_s)
            if part.at_s.size < 2:
                return None
            added = increase(part.values)
            return added if self._test.reduce is Reduce.INCREASE else added / float(np.ptp(part.at_s))
        part = cut(window, self._start_s, self._end_s)
        if not part.values.size or (self._test.until and part.at_s[-1] < self._scene.first_bad_s):
            return None  # what it was by then was not read
        return _REDUCERS[self._test.reduce](part.values)

    def _loudest(self, readings: Sequence[Reading], number: Callable[[Reading], float], missing: str) -> Finding:
        """The reading that speaks most for the clause, told."""
        if not readings:
            return unknown(missing, self._refs)
        test, limit = self._test, self._limit
        numbered = [(number(reading), reading) for reading in readings]
        numbered.sort(key=_number, reverse=limit.above is not None)
        passing = [reading for value, reading in numbered if limit.holds(value)]
        loudest, first = numbered[0]
        words = Told(test, self._bound, first, loudest, passing, len(readings))
        onset = _earliest(reading.onset for reading in passing)
        return Finding(stated(holds=bool(passing)), words, onset=onset, series=self._refs)


def _number(numbered: tuple[float, Reading]) -> float:
    return numbered[0]


def _seen(test: MetricTest, scene: Scene) -> list[_Seen]:
    bound = test.bound_by
    return [_Seen(w, w.labels.get(bound), SeriesRef(test.name, w.labels)) for w in tested_series(test, scene)]


def _ratio(reading: Reading) -> float:
    return reading.ratio


def _rise(reading: Reading) -> float:
    return reading.value - reading.baseline


def _earliest(onsets: Iterable[Onset | None]) -> Onset | None:
    found = [onset for onset in onsets if onset is not None]
    return min(found, key=lambda onset: onset.by_s, default=None)
