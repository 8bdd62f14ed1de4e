"""What leaves the daemon: messages to receivers, the pages it answers with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from aiops.model import Alert, Notification, Sample, Sight


class Notifier(Protocol):
    """Speaks one vendor's format to one receiver."""

    async def send(self, notification: Notification) -> None:
        """
        Deliver it.

        Raises:
            TransientSendError: try again later.
            PermanentSendError: never try again.
        """
        ...


class Exposition(Protocol):
    """The cached page of node samples."""

    def renew(self, samples: Callable[[], Iterable[Sample]]) -> None:
        """Let /metrics show what *samples* gives, asked for once when the page is."""
        ...


class StatusReader(Protocol):
    """What the daemon knows of itself, for the page and the API."""

    def sights(self) -> Sequence[Sight]:
        """What is watched and what is not, collectors in order."""
        ...

    def ready(self) -> bool:
        """Whether every part has started and a first round of collection has ended."""
        ...

    def firing(self) -> Sequence[Alert]:
        """Alerts firing now."""
        ...
