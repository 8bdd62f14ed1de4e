"""
Alerts into incidents: the symptoms of one service belong together, all else that fires is evidence beside them.

A symptom of one replica or of one model is a symptom of the service behind which it stands: the gateway log names the
replicas of each service, pages name the model of each replica. Where no gateway log is read the model is the service.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from aiops.model import NOBODY, UNNAMED_SERVICE, Alert, AlertState
from aiops.ports import SeriesReader

_SIGHT_S = 900.0
"""How long ago a replica may have been seen last to be still known: a server that is down tells no model."""


@dataclass(frozen=True, slots=True)
class Edges:
    """
    Who stands behind whom on this node, from everybody's point of view.

    Args:
        services: Per replica, the services whose gateway log names it.
        models: Per replica, the model its page told.
        unlinked: Services whose gateway log names no replica that has a page: another spelling, or no names at all.
    """

    services: Mapping[str, tuple[str, ...]]
    models: Mapping[str, str]
    unlinked: tuple[str, ...] = ()

    def behind(self, alert: Alert) -> tuple[str, ...]:
        """Services an alert may be about, at least one; several where replicas are shared."""
        labels = alert.labels
        if service := labels.get("service"):
            return (service,)
        instance = labels.get("instance") or labels.get("upstream")
        model = labels.get("model") or self.models.get(instance, "")
        linked = self.services.get(instance) or self._serving(model)
        if not linked and len(self.unlinked) == 1:
            linked = self.unlinked
        return linked or (model or UNNAMED_SERVICE,)

    def _serving(self, model: str) -> tuple[str, ...]:
        """Services with a replica of that model: a new replica has had no request yet."""
        found = {
            service
            for instance, services in self.services.items()
            if model and self.models.get(instance) == model
            for service in services
        }
        return tuple(sorted(found))


def read_edges(series: SeriesReader, now_s: float) -> Edges:
    """What belongs to what, as far as recent series tell."""
    services: dict[str, set[str]] = {}
    named: set[str] = set()
    for sample in series.latest("http_server_requests_total", now_s, max_age_s=_SIGHT_S):
        service, upstream = sample.labels.get("service"), sample.labels.get("upstream")
        named.add(service)
        if upstream not in {NOBODY, ""}:
            services.setdefault(upstream, set()).add(service)
    models: dict[str, str] = {}
    for sample in series.latest("gen_ai_server_up", now_s, max_age_s=_SIGHT_S):
        instance = sample.labels.get("instance")
        models[instance] = models.get(instance) or sample.labels.get("model")
    linked = {service for instance in models for service in services.get(instance, ())}
    return Edges(
        {instance: tuple(sorted(names)) for instance, names in services.items()}, models, tuple(sorted(named - linked))
    )


def symptoms_by_service(
    symptoms: Iterable[Alert], held: Mapping[str, str], series: SeriesReader, now_s: float
) -> dict[str, tuple[Alert, ...]]:
    """
    Firing symptoms of each service, the earliest first.

    Args:
        symptoms: What fires.
        held: Fingerprints of alerts that belong to an open incident already, with its service: they stay there.
        series: For who stands behind whom; only read where a symptom names no service.
        now_s: Now.
    """
    found: dict[str, list[Alert]] = {}
    unplaced: list[Alert] = []
    for alert in symptoms:
        service = alert.labels.get("service") or held.get(alert.fingerprint)
        if service:
            found.setdefault(service, []).append(alert)
        else:
            unplaced.append(alert)
    edges = read_edges(series, now_s) if unplaced else None
    for alert in unplaced:
        assert edges is not None  # noqa: S101 - read because there is such an alert
        found.setdefault(_choice(edges.behind(alert), {*found, *held.values()}), []).append(alert)
    return {name: tuple(sorted(alerts, key=lambda a: (a.since_s, a.rule))) for name, alerts in sorted(found.items())}


def _choice(services: Sequence[str], hurt: Collection[str]) -> str:
    """Of the services of a shared replica one that is hurt anyway: one fault is one incident."""
    return next((service for service in services if service in hurt), services[0])


def beside(firing: Iterable[Alert]) -> tuple[Alert, ...]:
    """Firing alerts that are no symptoms, the earliest first."""
    return tuple(sorted((a for a in firing if not a.symptom), key=lambda a: (a.since_s, a.rule)))


def merged(held: tuple[Alert, ...], firing: tuple[Alert, ...], now_s: float) -> tuple[Alert, ...]:
    """Symptoms seen so far, in the state they are in now."""
    known = {alert.fingerprint: alert for alert in held}
    current = {alert.fingerprint: alert for alert in firing}
    symptoms: list[Alert] = []
    for name, alert in known.items():
        if name in current:
            symptoms.append(replace(current[name], since_s=min(alert.since_s, current[name].since_s)))
        elif alert.state is not AlertState.RESOLVED:
            symptoms.append(replace(alert, state=AlertState.RESOLVED, resolved_at_s=now_s))
        else:
            symptoms.append(alert)
    symptoms.extend(alert for name, alert in current.items() if name not in known)
    return tuple(symptoms)
