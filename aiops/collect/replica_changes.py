"""
Deploys that nobody reported, as the pages of replicas show them.

A replica that tells another version, or serves another model, than before was deployed anew: that is an event, at the
time its process says it started. Where every replica tells when it started and none has restarted, no deploy reached
any of them: then "no deploy" can be said without a feed. A replica that restarted and tells no other version may have
been given other settings or other weights; for an hour after one nothing is ruled out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from aiops.model import Event, EventKind, Labels, Observation, Sample

_MAX_REPLICAS = 512
_MAX_VERSION = 100
_FORGET_S = 3_600.0
_UNCLEAR_S = 3_600.0
_REPEAT_S = 10.0
_SAME_START_S = 2.0
"""Start times are told in the seconds since boot of some clock, and wander with it."""
_INFO, _START, _UP = "gen_ai_server_info", "gen_ai_server_start_time_seconds", "gen_ai_server_up"
_READ = frozenset({_INFO, _START, _UP})


@dataclass(slots=True)
class Replica:
    """What one replica told last."""

    seen_s: float
    version: str = ""
    model: str = ""
    started_s: float | None = None
    unclear_s: float = float("-inf")
    """When it restarted without telling why."""


class ReplicaChanges:
    """
    Watches the pages of all replicas of one collector.

    Args:
        host: This host's name.
        feed: What its coverage is called: replicas, or those another collector watches.
    """

    def __init__(self, host: str, feed: str = "replicas") -> None:
        self._feed = Labels.of(host_name=host, feed=feed)
        self._replicas: dict[str, Replica] = {}
        self._told_s = float("-inf")

    def look(self, observations: Iterable[Observation]) -> list[Event]:
        """Changes that show in what was read just now; samples of one replica come in the order of their times."""
        found: dict[tuple[str, float], dict[str, Sample]] = {}
        for seen in observations:
            if isinstance(seen, Sample) and seen.metric in _READ:
                found.setdefault((seen.labels.get("instance"), seen.at_s), {})[seen.metric] = seen
        return [
            event
            for (instance, at_s), page in sorted(found.items(), key=lambda entry: entry[0][1])
            if _UP in page and page[_UP].value > 0.0
            for event in self._page(instance, page, at_s)
        ]

    def coverage(self, now_s: float) -> Iterator[Sample]:
        """Whether a deploy would have been seen."""
        if 0.0 <= now_s - self._told_s < _REPEAT_S:
            return
        for instance in [name for name, each in self._replicas.items() if not abs(now_s - each.seen_s) < _FORGET_S]:
            del self._replicas[instance]
        if self._replicas:
            self._told_s = now_s
            clear = all(
                each.started_s is not None and not 0.0 <= now_s - each.unclear_s < _UNCLEAR_S
                for each in self._replicas.values()
            )
            yield Sample("change_feed_up", self._feed, now_s, 1.0 if clear else 0.0)

    def _page(self, instance: str, page: dict[str, Sample], at_s: float) -> Iterator[Event]:
        version = page[_INFO].labels.get("version")[:_MAX_VERSION] if _INFO in page else ""
        model = page[_UP].labels.get("model")
        started_s = page[_START].value if _START in page else None
        known = self._replicas.get(instance)
        if known is None:
            if len(self._replicas) < _MAX_REPLICAS:
                self._replicas[instance] = Replica(at_s, version, model, started_s)
            return
        restarted = (
            started_s is not None and known.started_s is not None and started_s > known.started_s + _SAME_START_S
        )
        other_version = bool(version and known.version and version != known.version)
        other_model = bool(model and known.model and model != known.model)
        if other_version or other_model:
            was, now = (known.version, version) if other_version else (known.model, model)
            at = _when(started_s, at_s)
            yield _event(page[_UP].labels, version, f"{instance} is {now}, it was {was}", at)
            known.unclear_s = float("-inf")
        elif restarted:
            known.unclear_s = at_s
        known.seen_s, known.started_s = at_s, started_s
        known.version, known.model = version or known.version, model or known.model


def _when(started_s: float | None, at_s: float) -> float:
    """The start of the process, where that can be true."""
    return started_s if started_s is not None and at_s - _FORGET_S <= started_s <= at_s else at_s


def _event(labels: Labels, version: str, message: str, at_s: float) -> Event:
    named = {name: labels.get(name) for name in ("host_name", "instance", "model") if labels.get(name)}
    if version:
        named["version"] = version
    return Event(EventKind.CHANGE, "deploy", at_s, Labels.of(**named, seen_by="replicas"), message)
