"""
Notifications the state file would not take: held in memory, so that a full or hanging disk silences no page.

Every message says that it was not saved. Bounded: when it is full, quiet messages go first, then the oldest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from aiops import narrative
from aiops.model import Notification, Severity

log = structlog.get_logger(__name__)

MAX_HELD = 200


@dataclass(slots=True)
class _Held:
    notification: Notification
    due_at_s: float
    lease_until_s: float = float("-inf")


class MemoryOutbox:
    """An Outbox that does not outlive the process. Used from the loop's thread only."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}

    def put(self, notification: Notification, now_s: float) -> None:
        """Hold *notification* until it is sent; one that is held already stays as it is."""
        if notification.key in self._held:
            return
        if len(self._held) >= MAX_HELD:
            self._drop_one()
        told = replace(notification, message=narrative.from_memory(notification.message))
        self._held[notification.key] = _Held(told, now_s)

    def claim(self, now_s: float, lease_s: float, limit: int) -> Sequence[Notification]:
        claimed: list[Notification] = []
        spoken_for: set[tuple[str, str]] = set()
        for held in self._held.values():
            line = (held.notification.subject, held.notification.receiver)
            if line in spoken_for or len(claimed) >= limit:
                continue
            spoken_for.add(line)
            if held.due_at_s <= now_s and held.lease_until_s <= now_s:
                held.lease_until_s = now_s + lease_s
                claimed.append(held.notification)
        return claimed

    def ack(self, key: str, now_s: float) -> None:
        self._held.pop(key, None)

    def retry(self, key: str, at_s: float, error: str) -> None:
        if (held := self._held.get(key)) is None:
            return
        attempts = held.notification.attempts + 1
        told = replace(held.notification, attempts=attempts, last_error=error)
        self._held[key] = _Held(told, at_s)

    def bury(self, key: str, now_s: float, error: str) -> None:
        # nowhere to keep a dead letter: the dispatcher has logged and counted it
        self._held.pop(key, None)

    def _drop_one(self) -> None:
        quiet = (key for key, held in self._held.items() if held.notification.message.severity is not Severity.PAGE)
        key = next(quiet, next(iter(self._held)))
        del self._held[key]
        log.error("notification dropped: too many wait in memory", key=key)
