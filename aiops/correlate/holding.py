"""
Whether engines refuse though they hold no more than they used to: then it is the limit that moved.

An engine that is short of something fills up before it refuses: more requests run and wait in it than ever before. One
whose limit was lowered refuses earlier than it used to: it holds no more requests than it carried before without
refusing any, or lets others wait while it runs fewer than it ran. Where nothing moves in it, it may hang as well, and
its page shows for ever what it held; an engine that takes nobody any more has ended most of that first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aiops.correlate.findings import Finding, clean, stated, unknown
from aiops.correlate.scene import Scene
from aiops.correlate.terms import MIN_BASELINE_S, of_service
from aiops.correlate.topology import Place
from aiops.correlate.view import cut
from aiops.model import Onset, SeriesRef
from aiops.ports import Window
from aiops.rulebook.clauses import HoldingTest
from aiops.stats import Floats

_RUNNING, _WAITING = "gen_ai_server_requests_running", "gen_ai_server_requests_waiting"
_REFUSED = "gen_ai_server_requests_rejected_total"
_NO_PROGRESS = "gen_ai_server_no_progress_seconds"
_ANSWERED, _BUSY = "http_server_requests_total", {"outcome": "503|429", "answered_by": "upstream"}
_SINCE_S = 30.0
"""Refusals are looked for from so long before the first bad answer."""
_UNTIL_S = 60.0
_MIN_REFUSED = 3.0
_LESS = 0.9
"""Of the most before; what differs less is chance."""
_HIGH = 0.8
"""Quantile of what it holds as it refuses: the first reading may still show what was there before."""
_HANGS_S = 5.0
"""Without a token or step; few prefills take as long."""
_ENDED = 0.5
"""Of what it held just before, an engine that only idles holds less by its last page."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What one replica held at most before it refused any, and what it holds as it refuses; requests."""

    instance: str
    refused: float
    onset: Onset
    held_before: float
    held: float
    ran_before: float
    runs: float
    just_before: float
    stands_still: bool

    @property
    def limited(self) -> bool:
        """Whether it refuses earlier than it used to."""
        if self.stands_still:
            return self.held <= _ENDED * self.just_before
        return self._holds_less or self._runs_less

    @property
    def told(self) -> tuple[float, float]:
        """What it holds and held, or runs and ran where only that is less."""
        if not self.stands_still and self._runs_less and not self._holds_less:
            return self.runs, self.ran_before
        return self.held, self.just_before if self.stands_still else self.held_before

    @property
    def _holds_less(self) -> bool:
        return self.held < _LESS * self.held_before

    @property
    def _runs_less(self) -> bool:
        return self.runs < _LESS * self.ran_before and self.held - self.runs >= 1.0


def holding_finding(test: HoldingTest, scene: Scene, place: Place) -> Finding:
    """Whether most of what *place*'s replicas refused was refused earlier than they used to."""
    windows = [w for w in of_service(scene.view, scene.topology, _RUNNING) if place.covers("instance", w.labels)]
    refs = tuple(SeriesRef(_RUNNING, w.labels) for w in windows)
    found = [one for window in windows if (one := _holding(window, scene)) is not None]
    if not found:
        return unknown("no replica that refuses shows what it held before", refs)
    limited = [one for one in found if one.limited]
    share = sum(one.refused for one in limited) / sum(one.refused for one in found)
    holds = share >= test.share
    first = max(limited if holds else found, key=lambda one: one.refused)
    now, before = first.told
    words = {
        "value": f"{now:.0f}",
        "baseline": f"{before:.0f}",
        "share": f"{share * 100:.0f} %",
        "who": clean(first.instance),
    }
    return Finding(stated(holds=holds), words, onset=first.onset if holds else None, series=refs)


def _holding(running: Window, scene: Scene) -> Holding | None:
    """None where the replica refuses nothing, or its page does not show what it held before."""
    instance = running.labels.get("instance")
    refused, waiting = _refusals(scene, instance), _own(scene, _WAITING, instance)
    if refused is None or waiting is None or running.at_s.size < 2:
        return None
    at_s, end_s = running.at_s, min(scene.now_s, scene.first_bad_s + _UNTIL_S)
    gained = np.append(0.0, np.maximum(np.diff(np.interp(at_s, refused.at_s, refused.values)), 0.0))
    refuses = (gained > 0) & (at_s >= scene.first_bad_s - _SINCE_S) & (at_s <= end_s)
    if float(gained[refuses].sum()) < _MIN_REFUSED:
        return None
    first = int(refuses.argmax())
    before = (at_s < at_s[first - 1]) & (gained <= 0)
    if not before.any() or at_s[first] - float(at_s[before][0]) < MIN_BASELINE_S:
        return None
    runs, held = running.values, running.values + np.interp(at_s, waiting.at_s, waiting.values)
    return Holding(
        instance,
        float(gained[refuses].sum()),
        Onset(float(at_s[first - 1]), float(at_s[first])),
        held_before=float(held[before].max()),
        held=_high(held[refuses]),
        ran_before=float(runs[before].max()),
        runs=_high(runs[refuses]),
        just_before=float(held[max(first - 2, 0) : first].max()),
        stands_still=_stands_still(scene, instance, float(at_s[first]), end_s),
    )


def _refusals(scene: Scene, instance: str) -> Window | None:
    """What it refused, by its own page or else by the gateway's log."""
    return _own(scene, _REFUSED, instance) or next(
        (w for w in scene.view.windows(_ANSWERED, _BUSY) if w.labels.get("upstream") == instance), None
    )


def _own(scene: Scene, metric: str, instance: str) -> Window | None:
    windows = of_service(scene.view, scene.topology, metric)
    return next((w for w in windows if w.labels.get("instance") == instance and w.at_s.size), None)


def _stands_still(scene: Scene, instance: str, start_s: float, end_s: float) -> bool:
    stands = _own(scene, _NO_PROGRESS, instance)
    return stands is not None and bool((cut(stands, start_s, end_s).values > _HANGS_S).any())


def _high(values: Floats) -> float:
    return float(np.quantile(values, _HIGH))
