"""What is sent to people, and what one evaluation changed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from aiops.model.alerts import Alert, Severity
from aiops.model.incidents import Incident
from aiops.model.observations import Event


class ChangeKind(StrEnum):
    """Why a notification is sent."""

    OPENED = "opened"
    UPDATED = "updated"
    """The answer changed."""
    RESOLVED = "resolved"
    TICKET = "ticket"
    """Quiet rows of the threshold table, grouped."""
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Message:
    """
    What a person is told, free of any vendor's format. Holds nothing that may not leave the host.

    ``paragraphs`` are plain sentences; ``fields`` are short name-value pairs shown as a table where the vendor can.
    """

    change: ChangeKind
    severity: Severity
    title: str
    paragraphs: tuple[str, ...]
    fields: tuple[tuple[str, str], ...] = ()
    url: str = ""
    """The incident page."""
    runbook_url: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    """For machines (generic webhook): incident, state, service, cause, place, probability, opened_at, first_bad_at,
    resolved_at; numbers as text, absent ones left out."""
    language: str = "en"
    """What the texts are written in; a vendor's own words (buttons) follow it."""


@dataclass(frozen=True, slots=True)
class Notification:
    """One message to one receiver; ``key`` is the same on every retry, so that a receiver can drop a copy."""

    key: str
    """``<subject>:<change>:<revision>:<receiver>``."""
    subject: str
    """Incident id, or ``tickets`` for grouped rows; notifications of one subject and receiver keep their order."""
    receiver: str
    created_at_s: float
    message: Message
    attempts: int = 0
    """Failed sends so far."""
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """What one evaluation changed: committed in a single transaction, or not at all."""

    alerts: tuple[Alert, ...] = ()
    """Alerts whose state changed; RESOLVED ones are removed."""
    incidents: tuple[Incident, ...] = ()
    notifications: tuple[Notification, ...] = ()
    events: tuple[Event, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.alerts or self.incidents or self.notifications or self.events)
