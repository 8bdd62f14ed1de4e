"""What the web application is handed: ports and plain values, nothing it could reach by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aiops.clock import Clock
from aiops.export.docket import Docket
from aiops.export.tape import Tape
from aiops.model import Alert, Sight
from aiops.ports import Inbox, IncidentLog, SeriesReader, StatusReader
from aiops.rulebook.causes import CauseRule


class MetricsPage(Protocol):
    """The /metrics page, ready to send."""

    def page(self) -> bytes:
        """Prometheus text format."""
        ...


def _nothing() -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True)
class WebDeps:
    """
    Ports and values of the web application.

    Args:
        incidents: Read in a worker thread, since it reads from the disk.
        series: Recent samples, for the traffic tiles of the first page.
        status: What is watched, what fires, whether the daemon is ready.
        inbox: Takes pushed observations.
        exposition: /metrics.
        clock: What the time is.
        host: This node's name.
        version: Of this program.
        token: Bearer token of whoever may push; empty lets nobody.
        outbox_waiting: Notifications not acknowledged yet.
        dead_letters: Notifications given up.
        unready: Why the daemon is not ready, one phrase a reason; empty when it is, or cannot say.
        tape: What is recorded from.
        docket: Where what people say of answers waits.
        causes: All causes, as the files have them.
        public_url: Where people reach this page, if not at the address it listens on; its host name is accepted.
    """

    incidents: IncidentLog
    series: SeriesReader
    status: StatusReader
    inbox: Inbox
    exposition: MetricsPage
    clock: Clock
    host: str
    version: str
    token: str = field(repr=False)
    outbox_waiting: Callable[[], int]
    dead_letters: Callable[[], int]
    unready: Callable[[], Sequence[str]] = _nothing
    tape: Tape = field(default_factory=Tape)
    docket: Docket = field(default_factory=Docket)
    causes: Sequence[CauseRule] = ()
    public_url: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the loop's own parts say at one moment; taken on the loop, since they are not made for other threads."""

    now_s: float
    ready: bool
    unready: tuple[str, ...]
    sights: tuple[Sight, ...]
    firing: tuple[Alert, ...]

    @classmethod
    def of(cls, deps: WebDeps) -> Standing:
        """As it is now."""
        status = deps.status
        return cls(
            deps.clock.now_s(), status.ready(), tuple(deps.unready()), tuple(status.sights()), tuple(status.firing())
        )
