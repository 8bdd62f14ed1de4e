"""
What belongs to what: process -> GPU -> replica -> model -> service, and links -> host, as far as the series tell.

Edges come from labels that series share, and from the access log, whose ``upstream`` is spelled as ``instance``. The
card of a replica is what the settings say (`gen_ai_server_gpu`), otherwise the card whose memory is held by the process
that listens on the replica's port (`hw_gpu_process_port`), if the replica is on this machine, or by a process that is
known to be the replica's without a port (`hw_gpu_process_instance`: containers, control groups). Where an edge is unknown
nothing is assumed: a clause that needs it is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from aiops.correlate.view import View
from aiops.model import NOBODY, Labels
from aiops.rulebook.causes import Scope

ON_CARDS = frozenset({Scope.GPU, Scope.PROCESS})
"""Places that lie on a card."""
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
    pid: str = ""
    """Of a process; empty where which process is not known, or not asked."""
    devices: frozenset[str] = frozenset()
    """Links; empty where all of the host are meant."""

    def covers(self, bound_by: str, labels: Labels) -> bool:
        """Whether a series of these labels belongs to this place, by the label that binds it and by its process."""
        pid = labels.get("pid") if self.pid else ""
        return pid in {"", self.pid} and self.holds(bound_by, labels.get(bound_by))

    def holds(self, label: str, value: str) -> bool:
        """Whether a series whose *label* is *value* belongs to this place."""
        inside = self.inside(label)
        return inside is None or value in inside

    def inside(self, label: str) -> frozenset[str] | None:
        """Values of *label* that belong to this place; None when all do."""
        if label in {"instance", "upstream"}:
            return self.instances
        if label == "gpu":
            return self.gpus
        if label == "service":
            return frozenset({self.service})
        if label == "model":
            return frozenset({self.where.get("model")}) if self.scope is Scope.MODEL else None
        if label == "device":
            return self.devices or None
        return None  # host_name: there is one host here

    def touches(self, other: Place) -> bool:
        """Whether what happens here can show at *other*: they share a replica, or it is not known whom they hold."""
        return not self.instances or not other.instances or not self.instances.isdisjoint(other.instances)


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
    processes: tuple[Labels, ...] = ()
    """Who holds memory of which card: labels gpu, pid and process, sorted."""
    links: tuple[str, ...] = ()
    """Network cards of this host, sorted."""

    def places(self, scope: Scope) -> tuple[Place, ...]:
        """Every place of that kind the service could be hurt from."""
        if scope is Scope.GPU:
            return tuple(self._gpu(gpu) for gpu in self._service_gpus()[:_MAX_PLACES])
        if scope is Scope.INSTANCE:
            return tuple(self._instance(instance) for instance in self.instances[:_MAX_PLACES])
        if scope is Scope.PROCESS:
            return tuple(place for gpu in self._service_gpus() for place in self._processes(gpu))[:_MAX_PLACES]
        if scope is Scope.MODEL:
            models = {self.models.get(instance, "") for instance in self.instances} - {""}
            return tuple(self._model(model) for model in sorted(models)[:_MAX_PLACES]) or (self.whole(scope),)
        if scope is Scope.LINK:
            return tuple(self._link(device) for device in self.links[:_MAX_PLACES]) or (self.whole(scope),)
        return (self.whole(scope),)

    def whole(self, scope: Scope) -> Place:
        """The service with all its replicas and their cards."""
        if scope in {Scope.HOST, Scope.LINK}:
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

    def _processes(self, gpu: str) -> tuple[Place, ...]:
        """Processes on a card; the card itself where none is seen."""
        card = replace(self._gpu(gpu), scope=Scope.PROCESS)
        held = [labels for labels in self.processes if labels.get("gpu") == gpu]
        return tuple(
            replace(card, where=labels, text=f"{card.text}, {_named(labels)}", pid=labels.get("pid")) for labels in held
        ) or (card,)

    def _model(self, model: str) -> Place:
        replicas = frozenset(name for name in self.instances if self.models.get(name) == model)
        gpus = frozenset(gpu for name in replicas for gpu in self.gpus_of.get(name, ()))
        return Place(Scope.MODEL, Labels.of(model=model), f"model {model}", self.service, replicas, gpus)

    def _link(self, device: str) -> Place:
        where = Labels.of(host_name=self.host, device=device)
        text = f"link {device} of {self.host}" if self.host else f"link {device}"
        return replace(self.whole(Scope.LINK), where=where, text=text, devices=frozenset({device}))


def _named(process: Labels) -> str:
    """A process in words: "process python3 (pid 4711)"."""
    name, pid = process.get("process"), process.get("pid")
    return f"process {name} (pid {pid})" if name else f"process {pid}"


def _by_number(text: str) -> tuple[int, str]:
    return (int(text) if text.isdecimal() else 1 << 30, text)


def read_topology(view: View, service: str) -> Topology:
    """The edges that the series of *view* show, for *service*."""
    upstreams = _values(view, "http_server_requests_total", "upstream", {"service": service}) - {NOBODY, ""}
    pages = _values(view, "gen_ai_server_up", "instance")
    hosts = {labels.get("host_name") for name in _HOST_SOURCES for labels in view.labels(name)} - {""}
    cards = _values(view, "hw_gpu_memory_utilization_ratio", "gpu") | _values(view, "hw_gpu_utilization_ratio", "gpu")
    models: dict[str, str] = {}
    for labels in view.labels("gen_ai_server_up"):  # a server that is down tells no model
        models[labels.get("instance")] = models.get(labels.get("instance")) or labels.get("model")
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
        processes=_holders(view),
        links=tuple(sorted({device for name in _LINK_SOURCES for device in _values(view, name, "device")} - {""})),
    )


def _holders(view: View) -> tuple[Labels, ...]:
    """Processes that hold memory of a card."""
    held = {
        labels.only(["gpu", "pid", "process"])
        for labels in view.labels("hw_gpu_process_memory_usage_bytes")
        if labels.get("gpu") and labels.get("pid")
    }
    return tuple(sorted(held, key=lambda labels: (_by_number(labels.get("gpu")), _by_number(labels.get("pid")))))


def _cards_of(view: View, instances: Iterable[str], host: str) -> dict[str, set[str]]:
    """Replica to cards: as the settings say, otherwise as processes on the cards listen, or are known to be its own."""
    by_port = _cards_by(view, "hw_gpu_process_port", "port")
    found = _cards_by(view, "hw_gpu_process_instance", "instance")
    for instance in instances:
        name, _, port = instance.rpartition(":")
        if port in by_port and (name in {"localhost", "[::1]", host} or name.startswith("127.")):
            found[instance] = by_port[port] | found.get(instance, set())
    return found | _cards_by(view, "gen_ai_server_gpu", "instance")


def _cards_by(view: View, metric: str, label: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for labels in view.labels(metric):
        if labels.get("gpu"):
            found.setdefault(labels.get(label), set()).add(labels.get("gpu"))
    return found


_LINK_SOURCES = (
    "system_network_utilization_ratio",
    "system_network_transmit_bytes_per_second",
    "system_network_errors_per_second",
    "system_infiniband_utilization_ratio",
)
_HOST_SOURCES = ("gen_ai_server_up", "http_server_requests_total", "system_cpu_utilization_ratio", "hw_gpu_up")


def _values(view: View, metric: str, label: str, match: Mapping[str, str] | None = None) -> set[str]:
    found: Iterable[Labels] = view.labels(metric)
    return {labels.get(label) for labels in found if match is None or labels.matches(match)}
