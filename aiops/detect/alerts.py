"""
Breaches with memory: inactive, pending, firing, resolved.

A breach has no past; the book gives it one. An alert is *pending* from the first breach that starts it, *fires* once
such breaches have held for the rule's `for`, and is *resolved* when from a first look without a breach on none came for
`keep_firing_for` (Prometheus counts from that look too, so that both resolve at the same time). A breach with
``starts=False`` (between the clearing and the firing limit) keeps a firing alert and does nothing else, so `for` counts
only time past the limit.

After a restart the rings are empty and detectors are silent for a while, which says nothing about the world. A restored
alert is therefore given a grace time before silence may end it. Time nobody watched does not count towards `for`: a
pending alert is handed out again every minute, so that the state file knows when it was last seen, and the gap since
then is taken off. The clock may be set back; times ahead of now are pulled back to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import structlog

from aiops.model import Alert, AlertState, Breach, HeldAlert, Labels
from aiops.rulebook.alerts import AlertRule

log = structlog.get_logger(__name__)

_GRACE_S = 30.0
"""Two of the slowest cadences of collectors that symptoms and hardware rows depend on."""
_REFRESH_S = 15.0
_MAX_GAP_S = 30.0
"""A refresh and a quick restart fit in; a longer gap between two breaches was not watched."""
_MAX_ALERTS = 1_000
"""A rule that breaches on more label sets than this is broken; the first thousand say so."""

Key = tuple[str, Labels]


@dataclass(slots=True)
class _Entry:
    """An alert that is not inactive."""

    alert: Alert
    told_at_s: float
    """When it was last handed out as changed."""
    grace_until_s: float = float("-inf")
    restored: bool = False
    """Read from the state file and not confirmed by a breach since."""
    missed_at_s: float | None = None
    """The first look since the last breach that found none."""


class AlertBook:
    """
    The state machine of all alerts; implements `ports.AlertBook`.

    Args:
        rules: Rules whose breaches are taken; breaches and restored alerts of other rules are not.
        restored: Pending and firing alerts as last committed.
    """

    def __init__(self, rules: Iterable[AlertRule], restored: Iterable[Alert] = ()) -> None:
        self._rules = {rule.alert: rule for rule in rules}
        self._entries: dict[Key, _Entry] = {
            (alert.rule, alert.labels): _Entry(alert, alert.last_breach_s, restored=True) for alert in restored
        }
        self._started = False
        self._full = False

    @classmethod
    def going_on(cls, rules: Iterable[AlertRule], held: Iterable[HeldAlert]) -> AlertBook:
        """A book that goes on where another stood; unlike after a restart, nothing was missed in between."""
        book = cls(rules)
        book._started = True
        for each in held:
            grace_until_s = float("-inf") if each.grace_until_s is None else each.grace_until_s
            book._entries[each.alert.rule, each.alert.labels] = _Entry(
                each.alert, each.told_at_s, grace_until_s, each.grace_until_s is not None, each.missed_at_s
            )
        return book

    def held(self) -> Sequence[HeldAlert]:
        """Everything it remembers, for `going_on`."""
        return [
            HeldAlert(entry.alert, entry.told_at_s, entry.missed_at_s, entry.grace_until_s if entry.restored else None)
            for entry in self._entries.values()
        ]

    def step(self, breaches: Iterable[Breach], now_s: float) -> Sequence[Alert]:
        """
        Take in what holds at *now_s*.

        Returns:
            Alerts whose state changed, and pending ones due for a refresh. A pending alert that came to nothing is
            handed out as RESOLVED without ``fired_at_s``.
        """
        changed: list[Alert] = []
        if not self._started:
            self._started = True
            for entry in self._entries.values():
                entry.grace_until_s = now_s + _GRACE_S
        for entry in self._entries.values():
            entry.alert = _not_ahead(entry.alert, now_s)
            entry.grace_until_s = min(entry.grace_until_s, now_s + _GRACE_S)
            entry.told_at_s = min(entry.told_at_s, now_s)
            if entry.missed_at_s is not None:
                entry.missed_at_s = min(entry.missed_at_s, now_s)
        seen: set[Key] = set()
        for breach in breaches:
            key = (breach.rule, breach.labels)
            if breach.rule in self._rules and key not in seen and self._take(key, breach, now_s, changed):
                seen.add(key)
        for key in [key for key in self._entries if key not in seen]:
            self._miss(key, now_s, changed)
        return changed

    def firing(self) -> Sequence[Alert]:
        """Alerts firing now, longest first."""
        held = [entry.alert for entry in self._entries.values() if entry.alert.state is AlertState.FIRING]
        return sorted(held, key=lambda alert: alert.fired_at_s or 0.0)

    def _take(self, key: Key, breach: Breach, now_s: float, changed: list[Alert]) -> bool:
        """Apply *breach*; False when it has no say in whether the alert lives."""
        rule = self._rules[breach.rule]
        entry = self._entries.get(key)
        began = entry is None
        if entry is None:
            if not breach.starts or not self._has_room(key):
                return False
            entry = self._entries[key] = _Entry(_pending(rule, breach, now_s), now_s)
        elif entry.alert.state is AlertState.PENDING and not breach.starts:
            return False
        entry.alert = _confirmed(entry.alert, rule, breach, now_s)
        entry.restored = False
        entry.missed_at_s = None
        pending = entry.alert.state is AlertState.PENDING
        fires = pending and now_s - entry.alert.since_s >= rule.for_s
        if fires:
            entry.alert = _fired(entry.alert, breach, now_s)
        if began or fires or (pending and now_s - entry.told_at_s >= _REFRESH_S):
            entry.told_at_s = now_s
            changed.append(entry.alert)
        return True

    def _miss(self, key: Key, now_s: float, changed: list[Alert]) -> None:
        """No breach for this alert: end it, unless it has time left."""
        entry = self._entries[key]
        rule = self._rules.get(entry.alert.rule)
        if rule is not None:
            if entry.restored and now_s < entry.grace_until_s:
                return
            if entry.missed_at_s is None:
                entry.missed_at_s = now_s
            if entry.alert.state is AlertState.FIRING and now_s - entry.missed_at_s < rule.keep_firing_for_s:
                return
        del self._entries[key]
        self._full = False
        changed.append(replace(entry.alert, state=AlertState.RESOLVED, resolved_at_s=now_s))

    def _has_room(self, key: Key) -> bool:
        if len(self._entries) < _MAX_ALERTS:
            return True
        if not self._full:
            self._full = True
            log.warning("too many alerts; new ones are left out", rule=key[0], held=len(self._entries))
        return False


def _pending(rule: AlertRule, breach: Breach, now_s: float) -> Alert:
    return Alert(
        rule=rule.alert,
        labels=breach.labels,
        severity=rule.severity,
        symptom=rule.symptom,
        state=AlertState.PENDING,
        since_s=now_s,
        last_breach_s=now_s,
        value=breach.value,
        limit=breach.limit,
        summary=breach.text or rule.alert,
        lingers=rule.lingers,
    )


def _confirmed(alert: Alert, rule: AlertRule, breach: Breach, now_s: float) -> Alert:
    """*alert* as *breach* and today's rule have it; while pending, a gap nobody watched is not counted."""
    gap_s = now_s - alert.last_breach_s
    unwatched = alert.state is AlertState.PENDING and gap_s > _MAX_GAP_S
    return Alert(  # every alert every second: `replace` takes twice as long
        rule=alert.rule,
        labels=alert.labels,
        severity=rule.severity,
        symptom=rule.symptom,
        state=alert.state,
        lingers=rule.lingers,
        since_s=alert.since_s + gap_s if unwatched else alert.since_s,
        last_breach_s=now_s,
        value=breach.value,
        limit=breach.limit,
        summary=breach.text or alert.summary,
        fired_at_s=alert.fired_at_s,
        resolved_at_s=alert.resolved_at_s,
    )


def _fired(alert: Alert, breach: Breach, now_s: float) -> Alert:
    """*alert*, firing from now; a detector that knows better says when it began."""
    since_s = alert.since_s if breach.since_s is None else min(breach.since_s, alert.since_s)
    return replace(alert, state=AlertState.FIRING, since_s=since_s, fired_at_s=now_s)


def _not_ahead(alert: Alert, now_s: float) -> Alert:
    """*alert* with no time after *now_s*: the clock was set back."""
    if max(alert.since_s, alert.last_breach_s, alert.fired_at_s or now_s) <= now_s:
        return alert
    return replace(
        alert,
        since_s=min(alert.since_s, now_s),
        last_breach_s=min(alert.last_breach_s, now_s),
        fired_at_s=None if alert.fired_at_s is None else min(alert.fired_at_s, now_s),
    )
