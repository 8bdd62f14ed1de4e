"""
Deployments and StatefulSets: what was changed about them, and how far a rollout is.

Another image is a deploy, or a rollback where it is one that ran before; another template with the same images is a
change of settings; another number of replicas is scaling. What was known is kept over a restart of this daemon, so that
a deploy meanwhile is told, under the time at which the API server took it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from aiops.collect.kubernetes_api import Change, Meta
from aiops.model import Event, EventKind, Labels, Observation, Sample
from aiops.ports import Checkpoints

_MAX_OBJECTS = 200
_MAX_SHOWN = 64
"""With metrics; three each."""
_MAX_BEFORE = 8
_MAX_LABEL = 200
_OLDEST_S = 3_600.0
_CHECKPOINT = "kubernetes/rollouts"
_RESTARTED = "kubectl.kubernetes.io/restartedAt"


class _Container(msgspec.Struct):
    name: str = ""
    image: str = ""


class _PodSpec(msgspec.Struct):
    containers: list[_Container] = []


class _Annotated(msgspec.Struct):
    annotations: dict[str, str] = {}


class _Template(msgspec.Struct):
    spec: _PodSpec
    metadata: _Annotated = msgspec.field(default_factory=_Annotated)


class _Spec(msgspec.Struct):
    template: msgspec.Raw
    replicas: int = 1


class _Status(msgspec.Struct, rename="camel"):
    updated_replicas: int = 0
    available_replicas: int = 0
    ready_replicas: int = 0


class Workload(msgspec.Struct):
    """A Deployment or a StatefulSet."""

    metadata: Meta
    spec: _Spec
    status: _Status = msgspec.field(default_factory=_Status)


@dataclass(slots=True)
class Known:
    """What was last known of one."""

    images: str
    template: str
    """A digest."""
    replicas: int
    restarted: str
    """When somebody last asked for a restart, as written there."""
    before: list[str] = field(default_factory=list)
    """Images that ran earlier, oldest first."""


class Rollouts:
    """
    Follows the workloads of one kind.

    Args:
        kind: In words and in the label: deployment, statefulset.
        labels: Every event and sample has them: ``host_name``, ``namespace``.
        checkpoints: Where what is known is kept.
    """

    def __init__(self, kind: str, labels: Labels, checkpoints: Checkpoints) -> None:
        self._kind = kind
        self._labels = labels
        self._checkpoints = checkpoints
        self._name = f"{_CHECKPOINT}/{labels.get('namespace')}/{kind}"[:200]
        self._known = _restored(checkpoints.get(self._name))
        self._shown: dict[str, Workload] = {}

    def take(self, changes: list[Change], now_s: float) -> Iterator[Observation]:
        """What *changes* mean; then the progress of every workload."""
        before = json.dumps(self._state())
        for change in changes:
            if change.kind == "DELETED":
                self._known.pop(change.object.metadata.name, None)
                self._shown.pop(change.object.metadata.name, None)
            else:
                yield from self._event(change.object, now_s)
        if (after := json.dumps(self._state())) != before:
            self._checkpoints.put(self._name, after.encode()[:65_536])
        yield from self._progress(now_s)

    def _event(self, workload: Workload, now_s: float) -> Iterator[Event]:
        name = workload.metadata.name
        if len(self._shown) < _MAX_SHOWN or name in self._shown:
            self._shown[name] = workload
        try:
            template = msgspec.json.decode(workload.spec.template, type=_Template)
        except msgspec.DecodeError:
            return
        images = ", ".join(each.image for each in template.spec.containers)[:1_000]
        restarted = template.metadata.annotations.pop(_RESTARTED, "")
        now = Known(images, _digest(workload.spec.template), workload.spec.replicas, restarted)
        known = self._known.get(name)
        if known is None:
            if len(self._known) < _MAX_OBJECTS:
                self._known[name] = now
            return
        now.before = known.before
        self._known[name] = now
        if images != known.images:
            action = "rollback" if images in known.before else "deploy"
            now.before = [each for each in (*known.before, known.images) if each != images][-_MAX_BEFORE:]
            yield self._told(
                workload, action, now_s, f"{name}: {images}, before {known.images}", version=_version(images)
            )
        elif now.template != known.template:
            yield self._told(workload, "config", now_s, f"{name}: another template, the same images")
        elif now.restarted != known.restarted:
            yield self._told(workload, "restart", now_s, f"{name}: restarted")
        if workload.spec.replicas != known.replicas:
            message = f"{name}: {workload.spec.replicas} replicas, before {known.replicas}"
            yield self._told(workload, "scale", now_s, message)

    def _told(self, workload: Workload, action: str, now_s: float, message: str, version: str = "") -> Event:
        labels = self._labels.merge(workload=workload.metadata.name[:_MAX_LABEL], seen_by="kubernetes")
        if version:
            labels = labels.merge(version=version)
        return Event(EventKind.CHANGE, action, _changed_s(workload.metadata, now_s), labels, message[:_MAX_LABEL])

    def _progress(self, now_s: float) -> Iterator[Sample]:
        for name, workload in self._shown.items():
            labels = self._labels.merge(workload=name[:_MAX_LABEL], kind=self._kind)
            status = workload.status
            available = max(status.available_replicas, status.ready_replicas if self._kind == "statefulset" else 0)
            yield Sample("k8s_workload_pods_desired", labels, now_s, float(workload.spec.replicas))
            yield Sample("k8s_workload_pods_updated", labels, now_s, float(status.updated_replicas))
            yield Sample("k8s_workload_pods_available", labels, now_s, float(available))

    def _state(self) -> dict[str, Any]:
        return {
            name: [each.images, each.template, each.replicas, each.restarted, each.before]
            for name, each in self._known.items()
        }


def _restored(kept: bytes | None) -> dict[str, Known]:
    try:
        found = msgspec.json.decode(kept or b"{}", type=dict[str, tuple[str, str, int, str, list[str]]])
    except msgspec.DecodeError:
        return {}
    return {name: Known(*values) for name, values in found.items()}


def _digest(template: msgspec.Raw) -> str:
    """Of the template without its order and without what a rollout restart writes."""
    data = msgspec.json.decode(template)
    if isinstance(data.get("metadata"), dict) and isinstance(data["metadata"].get("annotations"), dict):
        data["metadata"]["annotations"].pop(_RESTARTED, None)
        if not data["metadata"]["annotations"]:
            del data["metadata"]["annotations"]
    return hashlib.blake2b(json.dumps(data, sort_keys=True).encode(), digest_size=8).hexdigest()


def _version(images: str) -> str:
    """The tag of the first image, or a part of its digest."""
    first = images.partition(",")[0]
    name, _, digest = first.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return (tag or digest.removeprefix("sha256:")[:12])[:100]


def _changed_s(meta: Meta, now_s: float) -> float:
    """When somebody last wrote the object itself (not its status), if that is told and can be true."""
    times = [_seconds(entry.get("time")) for entry in meta.managed_fields if not entry.get("subresource")]
    known = [at_s for at_s in times if at_s is not None and now_s - _OLDEST_S <= at_s <= now_s]
    return max(known, default=now_s)


def _seconds(text: object) -> float | None:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError):
        return None
