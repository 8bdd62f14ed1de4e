"""
Changes in a Kubernetes namespace: deploys, rollbacks, settings and scaling, and what happens to the pods of this node.

In a pod the address, token and authority are found where the kubelet puts them; elsewhere the settings name them. It
needs to list and watch deployments, statefulsets and events in its namespace, and nothing else. Without either it is
not run at all.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import httpx
import msgspec

from aiops.collect.fetch import instance_of
from aiops.collect.kubernetes_api import Api, Change, Meta, Watched, trusting
from aiops.collect.rollouts import Rollouts, Workload
from aiops.document import Duration, FieldError, Secret, doc
from aiops.errors import SourceError, SourceUnavailable
from aiops.model import Event, EventKind, Labels, Observation, Sample, Sight
from aiops.ports import World

_NAME = "kubernetes"
_ACCOUNT = Path("var/run/secrets/kubernetes.io/serviceaccount")
_ADDRESS = ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")
_LEAST_S = 5.0
"""Between two questions, in haste too: every node of a cluster may be in haste at once."""
_OLDEST_S = 600.0
_MAX_EVENTS = 200
"""Of one round; a crash loop of a whole node says the same over and over."""
_ACTIONS: Final = {
    "Started": "start", "Killing": "exit", "Evicted": "exit", "Preempted": "exit", "BackOff": "exit",
    "OOMKilling": "oom_kill", "SystemOOM": "oom_kill",
}  # fmt: skip
"""Reasons that say what became of a process; others (probes, pulls, schedules) are states that other signals show."""


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of the collector of Kubernetes' changes."""

    enabled: bool = field(default=True, metadata=doc("watch the namespace, in a pod or where api is set"))
    interval: Duration = field(default=10.0, metadata=doc("time between questions; 5s while an incident is open"))
    deadline: Duration = field(default=5.0, metadata=doc("an answer that takes longer is given up"))
    api: str = field(default="", metadata=doc("address of the API server; in a pod it is found"))
    token: Secret = field(default=Secret(""), metadata=doc("of a service account; in a pod it is found"))
    ca: Path | None = field(default=None, metadata=doc("certificates to trust, PEM; in a pod they are found"))
    namespace: str = field(default="", metadata=doc("what to watch; in a pod, its own"))
    match: str = field(default="", metadata=doc("label selector of the workloads, such as app=vllm; none means all"))
    node: str = field(default="", metadata=doc("name of this node in the cluster, if it is not the host's name"))

    def __post_init__(self) -> None:
        if self.api:
            try:
                instance_of(self.api)
            except ValueError as error:
                raise FieldError("api", str(error).removeprefix("url: ")) from error
            if not self.namespace:
                raise FieldError("api", "expected a namespace beside it")

    @property
    def configured(self) -> bool:
        """Whether there is an API server to ask."""
        return bool(self.api or os.environ.get(_ADDRESS[0]))


class _Source(msgspec.Struct):
    host: str = ""


class _Concerned(msgspec.Struct):
    kind: str = ""
    name: str = ""


class Happening(msgspec.Struct, rename="camel"):
    """An event, as the core API has it."""

    metadata: Meta
    reason: str = ""
    involved_object: _Concerned = msgspec.field(default_factory=_Concerned)
    source: _Source = msgspec.field(default_factory=_Source)
    reporting_instance: str = ""
    last_timestamp: str | None = None
    event_time: str | None = None
    count: int | None = None


class Kubernetes:
    """
    The collector.

    Args:
        config: Its settings.
        world: Host, root and checkpoints.
        connect: Makes the client; called at the first question.
    """

    def __init__(
        self, config: Config, world: World, connect: Callable[[Path | None], httpx.AsyncClient] = trusting
    ) -> None:
        self.interval_s = config.interval
        self.deadline_s = 8 * config.deadline + 8.0  # three lists of a few pages, or three watches of a second
        self._config = config
        self._account = world.root / _ACCOUNT
        self._host = world.host
        self._node = config.node or os.environ.get("NODE_NAME", "") or world.host
        self._checkpoints = world.checkpoints
        self._connect = connect
        self._http: httpx.AsyncClient | None = None
        self._api: Api | None = None
        self._namespace = ""
        self._workloads: list[tuple[Watched, Rollouts]] = []
        self._events = Watched("", Happening, {})
        self._feed = Labels.of(host_name=world.host, feed=_NAME)
        self._said = ""
        self._asked_s = -math.inf
        self._failed = ""
        self._closing: asyncio.Future[None] | None = None

    async def gather(self, now_s: float) -> Sequence[Observation]:
        if 0.0 <= now_s - self._asked_s < min(self.interval_s, _LEAST_S) - 0.5:
            if self._failed:  # not to have asked is no sign of recovery
                raise SourceUnavailable(self._failed)
            return ()
        self._asked_s = now_s
        try:
            observations = await self._ask(now_s)
        except SourceError as error:
            self._failed = str(error)
            raise
        self._failed = ""
        return observations

    async def _ask(self, now_s: float) -> list[Observation]:
        api = self._api or self._open()
        asked = [*(watched for watched, _ in self._workloads), self._events]
        answers = await asyncio.gather(*(_answer(watched, api, self._config.deadline) for watched in asked))
        failures = [answer for answer in answers if isinstance(answer, SourceError)]
        if len(failures) == len(answers):
            raise failures[0]
        observations: list[Observation] = []
        whole = not any(watched.cut for watched, _ in self._workloads)
        for (_, rollouts), answer in zip(self._workloads, answers, strict=False):
            if isinstance(answer, SourceError):
                whole = False
            else:
                observations += rollouts.take(answer, now_s)
        if not isinstance(answers[-1], SourceError):
            observations += list(self._happened(answers[-1], now_s))[-_MAX_EVENTS:]
        observations.append(Sample("change_feed_up", self._feed, now_s, 1.0 if whole else 0.0))
        cut = "more workloads than are read, narrow them with match" if any(w.cut for w, _ in self._workloads) else ""
        details = [f"namespace {self._namespace}", cut, *dict.fromkeys(map(str, failures))]
        return [*observations, *self._say("; ".join(filter(None, details)), seen=whole)]

    def close(self) -> None:
        """Close the connections, as soon as the loop comes to it."""
        if self._http is not None:
            self._closing = asyncio.ensure_future(self._http.aclose())
        self._http = self._api = None

    def _open(self) -> Api:
        config = self._config
        self._namespace = config.namespace or self._read("namespace")
        url = config.api or "https://{}:{}".format(*(_bracketed(os.environ.get(name, "443")) for name in _ADDRESS))
        own = self._account / "ca.crt"
        self._http = self._connect(config.ca or (own if own.exists() else None))
        self._api = Api(self._http, url, lambda: config.token.reveal() or self._read("token"))
        labels = Labels.of(host_name=self._host, namespace=self._namespace)
        self._workloads = [
            (
                Watched(
                    f"/apis/apps/v1/namespaces/{self._namespace}/{kind}s", Workload, {"labelSelector": config.match}
                ),
                Rollouts(kind, labels, self._checkpoints),
            )
            for kind in ("deployment", "statefulset")
        ]
        self._events = Watched(
            f"/api/v1/namespaces/{self._namespace}/events", Happening, {"fieldSelector": "involvedObject.kind=Pod"}
        )
        return self._api

    def _read(self, name: str) -> str:
        try:
            return (self._account / name).read_text(encoding="utf-8")[:16_384].strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SourceUnavailable(f"no {name} of a service account") from error

    def _happened(self, changes: Sequence[Change], now_s: float) -> Iterator[Event]:
        """What became of pods of this node, within the last minutes."""
        for kind, happening in changes:
            action = _ACTIONS.get(happening.reason)
            if (
                kind == "DELETED"
                or action is None
                or self._node not in {happening.source.host, happening.reporting_instance}
            ):
                continue
            at_s = _seconds(happening.last_timestamp) or _seconds(happening.event_time)
            if at_s is None or not now_s - _OLDEST_S <= at_s <= now_s + _OLDEST_S:
                continue
            pod = happening.involved_object.name[:200]
            labels = Labels.of(host_name=self._host, namespace=self._namespace, pod=pod, reason=happening.reason)
            yield Event(EventKind.PROCESS, action, min(at_s, now_s), labels, f"{happening.reason} in pod {pod}")

    def _say(self, detail: str, *, seen: bool) -> Iterator[Sight]:
        if detail != self._said:
            self._said = detail
            yield Sight(_NAME, "changes in Kubernetes", seen=seen, detail=detail)


async def _answer(watched: Watched, api: Api, deadline_s: float) -> list[Change] | SourceError:
    try:
        return await watched.changes(api, deadline_s)
    except SourceError as error:
        return error


def _seconds(text: str | None) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except (ValueError, OverflowError):
        return None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def build(config: Config, world: World) -> Kubernetes:
    """The collector for *world*'s host."""
    return Kubernetes(config, world)
