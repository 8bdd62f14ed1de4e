"""
What belongs to what: GPU -> replica -> model -> service, as far as the series tell.

Edges come from labels that series share, and from the access log, whose ``upstream`` is spelled as ``instance``. The
card of a replica is what the settings say (`gen_ai_server_gpu`), otherwise the card whose memory is held by the process
that listens on the replica's port (`hw_gpu_process_port`), if the replica is on this machine. Where an edge is unknown
nothing is assumed: a clause that needs it is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from aiops.correlate.view import View
from aiops.model import NOBODY, Labels
from aiops.rulebook.causes import Scope

_MAX_PLACES = 64
"""Places of one kind that are looked at; more than any node has."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a hypothesis is bound, and which labels lie inside."""

    scope: Scope
    where: Labels
    text: str
    service: str
    instances: frozenset[str] = frozenset()
    gpus: frozenset[str] = frozenset()

    def holds(self, label: str, value: str) -> bool:
        """Whether a series whose *label* is *value* belongs to this place."""
        if label in {"instance", "upstream"}:
            return value in self.instances
        if label == "gpu":
            return value in self.gpus
        if label == "service":
            return value == self.service
        return True  # host_name: there is one host here


@dataclass(frozen=True, slots=True)
class Topology:
    """The edges of one node, from one service's point of view."""

    service: str
    host: str
    instances: tuple[str, ...]
    """Replicas of the service, sorted."""
    gpus_of: Mapping[str, frozenset[str]] = field(default_factory=dict)
    gpus: tuple[str, ...] = ()
    """Cards of this host, sorted."""
    models: Mapping[str, str] = field(default_factory=dict)

    def places(self, scope: Scope) -> tuple[Place, ...]:
        """Every place of that kind the service could be hurt from."""
        if scope is Scope.GPU:
            return tuple(self._gpu(gpu) for gpu in self._service_gpus()[:_MAX_PLACES])
        if scope is Scope.INSTANCE:
            return tuple(self._instance(instance) for instance in self.instances[:_MAX_PLACES])
        return (self.whole(scope),)

    def whole(self, scope: Scope) -> Place:
        """The service with all its replicas and their cards."""
        if scope is Scope.HOST:
            where, text = Labels.of(host_name=self.host), f"host {self.host}" if self.host else "this host"
        else:
            where, text = Labels.of(service=self.service), f"service {self.service}"
        known = frozenset(self._service_gpus())
        return Place(scope, where, text, self.service, frozenset(self.instances), known)

    def _service_gpus(self) -> list[str]:
        linked = {gpu for instance in self.instances for gpu in self.gpus_of.get(instance, ())}
        return sorted(linked or self.gpus, key=_by_number)

    def _gpu(self, gpu: str) -> Place:
        users = frozenset(instance for instance in self.instances if gpu in self.gpus_of.get(instance, ()))
        return Place(Scope.GPU, Labels.of(gpu=gpu), f"GPU {gpu}", self.service, users, frozenset({gpu}))

    def _instance(self, instance: str) -> Place:
        gpus = self.gpus_of.get(instance, frozenset())
        where = Labels.of(instance=instance)
        return Place(Scope.INSTANCE, where, f"replica {instance}", self.service, frozenset({instance}), gpus)


def _by_number(text: str) -> tuple[int, str]:
    return (int(text) if text.isdecimal() else 1 << 30, text)


def read_topology(view: View, service: str) -> Topology:
    """The edges that the series of *view* show, for *service*."""
    upstreams = _values(view, "http_server_requests_total", "upstream", {"service": service}) - {NOBODY, ""}
    pages = _values(view, "gen_ai_server_up", "instance")
    hosts = {labels.get("host_name") for name in _HOST_SOURCES for labels in view.labels(name)} - {""}
    cards = _values(view, "hw_gpu_memory_utilization_ratio", "gpu") | _values(view, "hw_gpu_utilization_ratio", "gpu")
    models = {labels.get("instance"): labels.get("model") for labels in view.labels("gen_ai_server_up")}
    if not upstreams:  # no gateway log: the service is a model, or whatever serves here
        pages = {name for name in pages if models[name] == service} or pages
    instances = upstreams if upstreams & pages else upstreams | pages
    cards -= {""}
    host = min(hosts, default="")
    gpus_of = dict.fromkeys(instances, cards) if len(cards) == 1 else _cards_of(view, instances | pages, host)
    return Topology(
        service=service,
        host=host,
        instances=tuple(sorted(instances - {""})),
        gpus_of={instance: frozenset(gpus) for instance, gpus in gpus_of.items()},
        gpus=tuple(sorted(cards, key=_by_number)),
        models=models,
    )


def _cards_of(view: View, instances: Iterable[str], host: str) -> dict[str, set[str]]:
    """Replica to cards: as the settings say, otherwise as processes on the cards listen."""
    by_port = _cards_by(view, "hw_gpu_process_port", "port")
    found = {}
    for instance in instances:
        name, _, port = instance.rpartition(":")
        if port in by_port and (name in {"localhost", "[::1]", host} or name.startswith("127.")):
            found[instance] = by_port[port]
    return found | _cards_by(view, "gen_ai_server_gpu", "instance")


def _cards_by(view: View, metric: str, label: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for labels in view.labels(metric):
        if labels.get("gpu"):
            found.setdefault(labels.get(label), set()).add(labels.get("gpu"))
    return found


_HOST_SOURCES = ("gen_ai_server_up", "http_server_requests_total", "system_cpu_utilization_ratio", "hw_gpu_up")


def _values(view: View, metric: str, label: str, match: Mapping[str, str] | None = None) -> set[str]:
    found: Iterable[Labels] = view.labels(metric)
    return {labels.get(label) for labels in found if match is None or labels.matches(match)}
