"""
Where on a host: a cause whose evidence is the whole host's may be at work on the way to one replica alone.

The kernel counts what is sent again, or dropped at a listen queue, for all of a host. Whose connections it were stands
in the gateway's log: a loss on every way hurts all replicas alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from aiops.correlate.findings import clean
from aiops.correlate.scene import Scene
from aiops.correlate.view import cut_with_reference
from aiops.model import Hypothesis, Labels, Verdict
from aiops.rulebook.causes import CauseRule
from aiops.stats import increase

_BAD = {"outcome": "503|5xx|429|truncated|stalled"}
_NEARLY_ALL = 0.8
_MIN_BAD = 5.0
"""Fewer bad answers may come from one replica by chance."""
_BEFORE_S = 10.0


def narrowed(hypotheses: Iterable[Hypothesis], causes: Sequence[CauseRule], scene: Scene) -> tuple[Hypothesis, ...]:
    """*hypotheses*, with roots that may be of one replica told of the one that is hurt, if one is."""
    may = {rule.cause for rule in causes if rule.narrows}
    return tuple(
        replace(h, where=Labels.of(instance=name), place=f"replica {clean(name)}")
        if h.verdict is Verdict.ROOT and h.cause in may and (name := hurt_alone(scene))
        else h
        for h in hypotheses
    )


def hurt_alone(scene: Scene) -> str:
    """The one of several replicas that nearly all bad answers come from; empty if there is none."""
    bad = dict.fromkeys(scene.topology.instances, 0.0)
    if len(bad) < 2:
        return ""
    wanted = _BAD | {"service": scene.context.service}
    for window in scene.view.windows("http_server_requests_total", wanted):
        part = cut_with_reference(window, scene.first_bad_s - _BEFORE_S, scene.now_s)
        name = window.labels.get("upstream")
        if name in bad and part.at_s.size > 1:
            bad[name] += increase(part.values)
    name = max(bad, key=lambda each: bad[each])
    whole = sum(bad.values())
    return name if whole >= _MIN_BAD and bad[name] >= _NEARLY_ALL * whole else ""
