"""Alerts into incidents: the symptoms of one service belong together, all else that fires is evidence beside them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from aiops.model import UNNAMED_SERVICE, Alert, AlertState


def service_of(alert: Alert) -> str:
    """The service an alert is about."""
    return alert.labels.get("service") or alert.labels.get("model") or UNNAMED_SERVICE


def symptoms_by_service(firing: Iterable[Alert]) -> dict[str, tuple[Alert, ...]]:
    """Firing symptoms of each service, the earliest first."""
    found: dict[str, list[Alert]] = {}
    for alert in firing:
        if alert.symptom:
            found.setdefault(service_of(alert), []).append(alert)
    return {name: tuple(sorted(alerts, key=lambda a: (a.since_s, a.rule))) for name, alerts in sorted(found.items())}


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
