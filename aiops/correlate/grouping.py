"""Alerts into incidents: the symptoms of one service belong together, all else that fires is evidence beside them."""

from __future__ import annotations

from collections.abc import Iterable

from aiops.model import UNNAMED_SERVICE, Alert


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
