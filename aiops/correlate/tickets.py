"""
Quiet messages: rows of the threshold table that deserve a look, grouped, at most one message in five minutes.

While an incident is open its rows are evidence inside it, so they are taken for told. A short wait before the first
message lets rows gather, and lets an incident that is just beginning take them in.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiops.model import Alert, Severity

_EVERY_S = 300.0
_GATHER_S = 30.0


class TicketDesk:
    """Remembers which firing rows people were told of."""

    def __init__(self) -> None:
        self._told: set[str] | None = None
        self._last_s = float("-inf")

    def due(self, firing: Sequence[Alert], now_s: float, *, incident_open: bool) -> tuple[Alert, ...]:
        """Rows to tell now; afterwards they count as told."""
        rows = {
            alert.fingerprint: alert
            for alert in firing
            if not alert.symptom and alert.severity in {Severity.TICKET, Severity.PAGE}
        }
        if self._told is None:  # after a restart: what fired long enough ago was told before it
            self._told = {name for name, alert in rows.items() if _fired_s(alert) < now_s - _EVERY_S - _GATHER_S}
        self._told &= rows.keys()
        untold = [alert for name, alert in rows.items() if name not in self._told]
        if incident_open:
            self._told.update(rows)
            return ()
        urgent = any(alert.severity is Severity.PAGE for alert in untold)
        gathered = bool(untold) and now_s - min(_fired_s(alert) for alert in untold) >= _GATHER_S
        if not urgent and (not gathered or now_s - self._last_s < _EVERY_S):
            return ()
        self._last_s = now_s
        self._told.update(rows)
        return tuple(sorted(untold, key=lambda alert: (alert.rule, alert.labels.pairs)))


def _fired_s(alert: Alert) -> float:
    return alert.since_s if alert.fired_at_s is None else alert.fired_at_s
