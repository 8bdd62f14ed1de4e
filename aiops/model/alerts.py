"""What detectors find, and what the alert book makes of it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import StrEnum

from aiops.model.labels import Labels


class Severity(StrEnum):
    """What a person must do about an alert."""

    PAGE = "page"
    """Wake somebody."""
    TICKET = "ticket"
    """One quiet, grouped chat message."""
    INFO = "info"
    """Page and Grafana only."""


@dataclass(frozen=True, slots=True)
class Breach:
    """One evaluation's finding that a rule's condition holds for one label set. Has no memory."""

    rule: str
    labels: Labels
    at_s: float
    value: float
    limit: float
    since_s: float | None = None
    """When the condition began, if the detector can tell better than the evaluation time."""
    text: str = ""
    """The finding in words."""
    starts: bool = True
    """False for a value between the clearing and the firing limit: it keeps a firing alert, and starts none."""


class AlertState(StrEnum):
    """Where an alert stands; inactive alerts are not kept."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Alert:
    """A breach with memory."""

    rule: str
    labels: Labels
    severity: Severity
    symptom: bool
    state: AlertState
    since_s: float
    """First breach of this spell (for a symptom: the first bad second)."""
    last_breach_s: float
    value: float
    limit: float
    summary: str
    fired_at_s: float | None = None
    resolved_at_s: float | None = None
    lingers: bool = False
    """Of a symptom: it may fire on when users feel nothing any more, and keeps no incident open that others opened."""

    @property
    def fingerprint(self) -> str:
        """Identity of the alert: rule and labels."""
        return _fingerprint(self.rule, self.labels)


@functools.lru_cache(maxsize=1024)
def _fingerprint(rule: str, labels: Labels) -> str:
    return labels.merge(alertname=rule).fingerprint()


@dataclass(frozen=True, slots=True)
class HeldAlert:
    """An alert with what the book remembers of it, so that another book can go on from there."""

    alert: Alert
    told_at_s: float
    """When it was last handed out as changed."""
    missed_at_s: float | None = None
    """The first look since the last breach that found none."""
    grace_until_s: float | None = None
    """Until when silence says nothing, if it was restored and not confirmed since."""
