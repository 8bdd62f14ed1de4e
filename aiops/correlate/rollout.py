"""
Which replicas a change covers, and how their pace fared since.

A change event names a replica, or only the service. Then the replicas' own pages say where it arrived: those whose
version became another one since. Where no page tells a version, or none changed (a new model behind the same server, a
new setting), it is taken to cover all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from aiops.correlate.pace import batch_share
from aiops.correlate.scene import Scene, spelled
from aiops.correlate.steps import level_step
from aiops.correlate.topology import Place
from aiops.model import Event, EventKind, Onset
from aiops.stats import Floats, median

AFTER_S = 5.0
"""An event this long after the first bad second may still have come before it: clocks of two programs differ."""
LOOK_AFTER_S = 60.0
"""Pace is read this long after the first bad second; later, what was done about it shows."""
_EARLY_S = 60.0
"""An event may be reported this long after the first replica has the new version: at the end of a rollout."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """One change on one or more replicas, and what became of their pace."""

    residual: float
    """ln of how much slower the covered replicas became, less what the others became."""
    covered: frozenset[str]
    onset: Onset | None = None


def version_of(event: Event) -> str:
    """What makes several events one rollout."""
    return event.labels.get("version") or event.action


def rollout(version: str, events: Iterable[Event], scene: Scene, place: Place) -> Rollout | None:
    """What became of the pace where *events* brought *version*; None with too few readings."""
    since: dict[str, float] = {}
    for event in events:
        if version_of(event) == version:
            since |= dict.fromkeys(covered(event, scene, place), event.at_s)
    found = {name: slow for name, at_s in since.items() if (slow := _slowdown_since(name, at_s, scene)) is not None}
    if not found:
        return None
    first_s = min(since.values())
    others = place.instances - since.keys() - _reached(version, scene)
    rest = [slow[0] for name in others if (slow := _slowdown_since(name, first_s, scene))]
    residual = median([slow[0] for slow in found.values()])
    onsets = [slow[1] for slow in found.values() if slow[1] is not None]
    return Rollout(
        residual - (max(median(rest), 0.0) if rest else 0.0),
        frozenset(since),
        min(onsets, key=lambda onset: onset.by_s, default=None),
    )


def _reached(version: str, scene: Scene) -> frozenset[str]:
    """Replicas that have *version* by now, be it after the first bad second: they tell nothing of life without it."""
    changes = [e for e in scene.events if e.kind is EventKind.CHANGE and version_of(e) == version]
    return frozenset(e.labels.get("instance") for e in changes)


def _slowdown_since(name: str, at_s: float, scene: Scene) -> tuple[float, Onset | None] | None:
    """How much slower a replica became at or after *at_s*, and when; None with too few readings on either side."""
    pace = scene.paces.get(name)
    if pace is None:
        return None
    seen = pace.at_s <= scene.first_bad_s + LOOK_AFTER_S
    times, log_s = pace.at_s[seen], pace.log_s[seen]
    before = int((times <= at_s).sum())
    if before < 3 or times.size - before < 2:
        return None
    step = level_step(times, log_s, earliest_s=at_s, latest_s=scene.first_bad_s + AFTER_S, floor=0.025)
    if step is None or _started_before(times, log_s, at_s, step.after):
        return 0.0, None
    raw = step.after - step.before
    return raw - batch_share(pace, step.onset, raw, scene.load.demand), step.onset


def _started_before(at_s: Floats, log_s: Floats, event_s: float, after: float) -> bool:
    """Whether the last readings before the change were already as slow as after it."""
    last = log_s[at_s <= event_s][-3:]
    first = log_s[at_s <= event_s][:-3]
    if first.size < 3:
        return False
    return median(last) > (median(first) + after) / 2


def covered(event: Event, scene: Scene, place: Place) -> frozenset[str]:
    """The replicas of *place* that *event* happened to."""
    instance = event.labels.get("instance")
    if instance:
        return frozenset({instance})
    arrived = _arrivals(scene, place, event.at_s - _EARLY_S)
    wanted = spelled(event.labels.get("version"))
    to_it = frozenset(name for name, version in arrived.items() if spelled(version) == wanted)
    return to_it or frozenset(arrived) or place.instances


def _arrivals(scene: Scene, place: Place, since_s: float) -> dict[str, str]:
    """Replicas whose pages began to tell another version at or after *since_s*, with the new one."""
    until_s = scene.first_bad_s + AFTER_S
    told: dict[str, list[tuple[float, str]]] = {}
    for window in scene.view.windows("gen_ai_server_info"):
        name, version = window.labels.get("instance"), window.labels.get("version")
        if name in place.instances and version:
            told.setdefault(name, []).extend((float(at_s), version) for at_s in window.at_s if at_s <= until_s)
    found: dict[str, str] = {}
    for name, readings in told.items():
        readings.sort()
        for (_, before), (at_s, version) in pairwise(readings):
            if version != before and at_s >= since_s:
                found[name] = version
    return found
