"""
What logs say of a place: lines of a class, and lines of a kind never seen before.

A class that is silent is absent only where a log of the place is followed, and a new kind of line is news only in a log
that is known: one that is still being learned says something new all the time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from aiops.correlate.findings import Finding, clean, factor, name_all, unknown
from aiops.correlate.scene import Scene
from aiops.correlate.topology import ON_CARDS, Place
from aiops.correlate.view import cut, cut_with_reference
from aiops.model import EventKind, EvidenceState, Labels, LogSeverity, LogTemplate, NewsKind, Onset, SeriesRef
from aiops.ports import MAX_TEMPLATES, Window
from aiops.rulebook.causes import Scope
from aiops.rulebook.clauses import LogTest, TemplateTest
from aiops.stats import increase
from aiops.units import format_duration

MAX_AGE_S = 600.0
_QUIET_S = 30.0
"""A class that was silent for so long was not usual: three lines in as short a time as may follow are more."""
_GUARD_S = 10.0
"""Seconds before the first bad one that are no part of what is usual."""
LOOKED_AT_S = 5.0
"""Between two looks at what runs."""
_DRAINED_S = 30.0
"""A server that was told to end has by then: Kubernetes' default grace."""
_LEARNED_S = 120.0
"""A log must have been followed for so long before what is asked about."""
_NGINX_ERRORS = re.compile(r"^(?!.*access).*(?:nginx|openresty|kong|apisix|gateway.*error\.log)")
"""Names of logs: /var/log/nginx/error.log, /usr/local/kong/logs/error.log, a container's of ingress-nginx; no database's."""
_BADNESS = {severity: rank for rank, severity in enumerate(LogSeverity)}


def log_finding(test: LogTest, scene: Scene, place: Place) -> Finding:
    """Lines of a class from *place*: since `in` before the first bad second, until now."""
    start_s, end_s = scene.first_bad_s - test.within, min(scene.now_s, scene.first_bad_s + (test.until or MAX_AGE_S))
    windows = [
        w
        for w in scene.view.windows("log_records_total", {"log_class": test.log_class})
        if _asked_of(test, w.labels, scene, place)
    ]
    count, before, onset = _counted(test, windows, scene, start_s, end_s)
    refs = tuple(SeriesRef("log_records_total", w.labels) for w in windows)
    words = {
        "count": f"{count:.0f}",
        "window": format_duration(test.within),
        "when": scene.when(onset),
        "who": name_all((w.labels for w in windows), "instance") or "a log of this host",
    }
    if (
        count
        and test.jump
        and not _followed_since(start_s - test.within / 2, scene)
        and (count < test.jump or not _silent_before(windows, scene))
    ):
        return unknown("too little of the log before to tell what is usual", refs)
    words["ratio"] = factor(count / before) if before > 0 else "many times"
    if count >= max(test.at_least, test.jump * before):
        return Finding(EvidenceState.PRESENT, words, onset=onset, series=refs)
    if not count and test.of_gateway and not _gateway_followed(scene):
        return unknown("no error log of nginx is followed", refs)
    if not count and not _followed(scene, place):
        return unknown(f"no log of {clean(place.text)} is followed", refs)
    return Finding(EvidenceState.ABSENT, words, series=refs)


def _counted(
    test: LogTest, windows: Iterable[Window], scene: Scene, start_s: float, end_s: float
) -> tuple[float, float, Onset | None]:
    """How many lines there were, how many are usual in as long a time where a jump is asked for, and when they began."""
    count, before, onset = 0.0, 0.0, None
    for window in filter(scene.moves, windows):
        part = cut_with_reference(window, start_s, end_s)
        if part.at_s.size < 2:
            continue
        count += increase(part.values)
        earlier = cut(window, scene.view.start_s, start_s)
        if test.jump and earlier.at_s.size > 1:
            before += increase(earlier.values) / float(np.ptp(earlier.at_s)) * float(np.ptp(part.at_s))
        moved = np.flatnonzero(np.diff(part.values) != 0)
        if moved.size:
            first, by = int(moved[0]), int(moved[0]) + 1
            began = Onset(float(part.at_s[first]) - test.told_after, float(part.at_s[by]))
            onset = began if onset is None or began.by_s < onset.by_s else onset
    return count, before, onset


def template_finding(test: TemplateTest, scene: Scene, place: Place) -> Finding:
    """Kinds of lines from *place* that were never seen before `in` before the first bad second."""
    start_s = scene.first_bad_s - test.within
    if test.known:
        return _signature_finding(test, scene, place)
    began = [t for t in scene.templates if _may_be_new(t, test, start_s) and _from_place(t.labels, scene, place)]
    fresh = [t for t in began if t.news is not None and t.news.kind is NewsKind.NEW]
    words = {
        "count": str(sum(t.count for t in fresh)),
        "window": format_duration(test.within),
        "who": name_all((t.labels for t in fresh), "instance") or "a log of this host",
    }
    if fresh:
        first = min((t.news.onset for t in fresh if t.news is not None), key=lambda onset: onset.by_s)
        refs = tuple(SeriesRef("log_template_records_total", Labels.of(template_id=t.id)) for t in fresh)
        return Finding(EvidenceState.PRESENT, words | {"when": scene.when(first)}, onset=first, series=refs)
    if not _followed(scene, place):
        return unknown(f"no log of {clean(place.text)} is followed")
    if any(t.unsure for t in began) or not _followed_since(start_s - _LEARNED_S, scene):
        return unknown("too little of the log before to tell what is new in it")
    return Finding(EvidenceState.ABSENT, words)


def _signature_finding(test: TemplateTest, scene: Scene, place: Place) -> Finding:
    """Lines of some signatures from *place*, whether or not such lines are new in its log."""
    start_s = scene.first_bad_s - test.within
    said = [t for t in scene.templates if t.last_at_s >= start_s]
    asked = [t for t in said if t.title in test.titles]
    found = [t for t in asked if _from_place(t.labels, scene, place) or (test.of_host and not t.labels.get("instance"))]
    shared = [t for t in asked if t not in found and not t.labels.get("instance")]
    found += [t for t in shared if _ended_within(place, t, start_s, scene)]
    if any(t.log_class == test.without and _from_place(t.labels, scene, place) for t in said):
        found = shared = []
    count = sum(t.count for t in found)
    if count < test.at_least:
        if not _followed(scene, place):
            return unknown(f"no log of {clean(place.text)} is followed")
        if len(scene.templates) >= MAX_TEMPLATES:
            return unknown("more kinds of log lines than are looked at")
        if shared:
            return unknown("several logs say it, and not known is which of them said it when")
        return Finding(EvidenceState.ABSENT, {"count": "0", "window": format_duration(test.within)})
    at_s = min(_began_s(t, start_s) for t in found)
    onset = Onset(at_s - test.told_after, at_s)
    words = {
        "count": str(count),
        "window": format_duration(test.within),
        "who": name_all((t.labels for t in found), "instance") or "a log of this host",
        "when": scene.when(onset),
    }
    return Finding(EvidenceState.PRESENT, words, onset=onset)


def _began_s(template: LogTemplate, start_s: float) -> float:
    return template.first_at_s if template.first_at_s >= start_s else template.last_at_s


def _ended_within(place: Place, template: LogTemplate, start_s: float, scene: Scene) -> bool:
    """Whether a server of *place* ended while lines of this kind came, which several logs have and none is known to have."""
    first_s, last_s = _began_s(template, start_s) - LOOKED_AT_S, template.last_at_s + _DRAINED_S
    return any(
        event.kind is EventKind.PROCESS
        and event.action == "exit"
        and event.labels.get("instance") in place.instances
        and first_s <= event.at_s <= last_s
        for event in scene.events
    )


def _may_be_new(template: LogTemplate, test: TemplateTest, start_s: float) -> bool:
    bad = _BADNESS[template.severity] >= _BADNESS[test.severity]
    named = not test.title or template.title in test.titles
    return bad and named and template.first_at_s >= start_s and template.count >= test.at_least


def _asked_of(test: LogTest, labels: Labels, scene: Scene, place: Place) -> bool:
    if test.of_gateway:
        return not labels.get("instance")
    return _from_place(labels, scene, place) or (test.of_host and not labels.get("instance"))


def _from_place(labels: Labels, scene: Scene, place: Place) -> bool:
    """
    Whether these lines speak of *place*.

    A card named in a line is the process's own numbering (CUDA_VISIBLE_DEVICES renumbers from 0), so what is known of
    the writing replica's card goes first.
    """
    instance, gpu = labels.get("instance"), labels.get("gpu")
    if place.scope in ON_CARDS:
        known = scene.topology.gpus_of.get(instance)
        return bool(known & place.gpus) if known and (len(known) == 1 or not gpu) else gpu in place.gpus
    if place.scope in {Scope.INSTANCE, Scope.MODEL}:
        return instance in place.instances
    return True


def _followed(scene: Scene, place: Place) -> bool:
    sources = scene.once("followed", lambda: _followed_now(scene))
    if place.scope in {Scope.SERVICE, Scope.HOST, Scope.LINK}:
        return bool(sources)
    return not place.instances.isdisjoint(sources)


def _followed_now(scene: Scene) -> frozenset[str]:
    """Whose logs are followed; the host's own are nobody's."""
    return frozenset(w.labels.get("instance") for w in scene.view.windows("log_source_up") if w.values[-1] > 0)


def _gateway_followed(scene: Scene) -> bool:
    """Whether a log is followed in which nginx, or what is built on it, writes down what it refuses."""
    return any(
        w.values[-1] > 0 and not w.labels.get("instance") and _NGINX_ERRORS.search(w.labels.get("source"))
        for w in scene.view.windows("log_source_up")
    )


def _silent_before(windows: Sequence[Window], scene: Scene) -> bool:
    """Whether logs were followed for a while before the first bad second, and none of these lines came."""
    end_s = scene.first_bad_s - _GUARD_S
    earlier = [cut(window, scene.view.start_s, end_s).values for window in windows]
    return _followed_since(end_s - _QUIET_S, scene) and not any(
        increase(values) for values in earlier if values.size > 1
    )


def _followed_since(start_s: float, scene: Scene) -> bool:
    return any(w.at_s[0] <= start_s for w in scene.view.windows("log_source_up"))
