"""
Symptoms that fire on when users feel nothing any more: long windows, a replica that stays down, counts from elsewhere.

Alone they open an incident. Beside what users feel they are part of its incident and keep it open no longer than that,
and what is left of them when it ends says nothing new: one fault is one incident.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aiops.model import Alert

_TOLD_BEFORE_S = 60.0
"""What fired this long before a start and belongs to no open incident was told by one that is over."""
_AFTERMATH_S = 120.0
"""What began this shortly after an incident's end was caused by it: pushed once a minute or more seldom."""

_FORGET_S = 3_600.0


class Afterglow:
    """Remembers symptoms of incidents that are over."""

    def __init__(self) -> None:
        self._spent: set[str] | None = None
        self._ended: dict[str, float] = {}

    def without(self, firing: Iterable[Alert], held: Iterable[str], now_s: float) -> list[Alert]:
        """
        The symptoms that count.

        Args:
            firing: All that fires.
            held: Fingerprints of alerts of open incidents.
            now_s: Now.
        """
        symptoms = [alert for alert in firing if alert.symptom]
        lingering = {alert.fingerprint: alert for alert in symptoms if alert.lingers}
        if self._spent is None:
            known = set(held)
            self._spent = {
                name
                for name, alert in lingering.items()
                if name not in known and (alert.fired_at_s or alert.since_s) < now_s - _TOLD_BEFORE_S
            }
        self._spent &= lingering.keys()
        spent = self._spent
        return [alert for alert in symptoms if not alert.lingers or alert.fingerprint not in spent]

    def ended(self, service: str, symptoms: Iterable[Alert], at_s: float) -> None:
        """An incident is over at *at_s*; *symptoms* are those that fire on."""
        self._spent = (self._spent or set()) | {alert.fingerprint for alert in symptoms}
        self._ended = {name: then_s for name, then_s in self._ended.items() if at_s - then_s < _FORGET_S}
        self._ended[service] = at_s

    def begins(self, service: str, symptoms: Sequence[Alert]) -> bool:
        """Whether *symptoms*, of a service without an incident, are a new one."""
        until_s = self._ended.get(service, float("-inf")) + _AFTERMATH_S
        if any(not alert.lingers or alert.since_s > until_s for alert in symptoms):
            return True
        self._spent = (self._spent or set()) | {alert.fingerprint for alert in symptoms}
        return False


def holding(symptoms: Sequence[Alert], ever: Iterable[Alert]) -> Sequence[Alert]:
    """Those of *symptoms* that keep an incident open which had the symptoms *ever*."""
    return symptoms if all(alert.lingers for alert in ever) else [alert for alert in symptoms if not alert.lingers]
