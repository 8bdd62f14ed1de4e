"""The memory of recent series and events, and the transactional state with its outbox."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from aiops.model import ChangeSet, Event, Incident, IncidentState, Judgement, Labels, LogTemplate, Notification, Sample

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

T = TypeVar("T")


class Window(NamedTuple):
    """A series cut to a time range, oldest first; the arrays have equal length and must not be written to."""

    labels: Labels
    at_s: Floats
    values: Floats


class SeriesReader(Protocol):
    """Recent samples."""

    def window(
        self, metric: str, start_s: float, end_s: float, match: Mapping[str, str] | None = None
    ) -> Iterator[Window]:
        """Every series of *metric* whose labels contain *match*, cut to [start_s, end_s]; series empty there are left out."""
        ...

    def latest(
        self, metric: str, now_s: float, match: Mapping[str, str] | None = None, max_age_s: float = 30.0
    ) -> Iterator[Sample]:
        """The newest sample at or before *now_s* of every matching series, if at most *max_age_s* old."""
        ...

    def metrics(self) -> Sequence[str]:
        """Names of all metrics held."""
        ...


class SeriesWriter(Protocol):
    """Takes samples in. Per series: a newer time appends; a time already there is replaced; an unknown older one is dropped and counted."""

    def extend(self, samples: Iterable[Sample]) -> None:
        """Store *samples*."""
        ...


class Series(SeriesReader, SeriesWriter, Protocol):
    """The rings, as the pipeline uses them."""

    def snapshot(self, now_s: float) -> Iterable[Sample]:
        """The newest sample of every live series."""
        ...

    def expire(self, now_s: float) -> None:
        """Forget series that ended."""
        ...


class EventSink(Protocol):
    """Remembers events for the correlator."""

    def remember(self, event: Event) -> None:
        """Make *event* visible to readers at once; it is saved with the next commit."""
        ...


class EventReader(Protocol):
    """Recent events."""

    def events(self, start_s: float, end_s: float) -> Sequence[Event]:
        """Events of [start_s, end_s], oldest first."""
        ...

    def has_change_feed(self) -> bool:
        """Whether anybody ever reported a change here; what this daemon saw of itself (``seen_by``) does not count."""
        ...


MAX_TEMPLATES = 50
"""Of one answer of a `TemplateReader`; where there are as many, others may be left out."""


class TemplateReader(Protocol):
    """Log templates seen recently."""

    def templates(self, start_s: float, end_s: float) -> Sequence[LogTemplate]:
        """Templates with lines in [start_s, end_s], counts within it, non-benign and most frequent first; at most 50."""
        ...


class StateWriter(Protocol):
    """The transactional state."""

    def commit(self, changes: ChangeSet) -> None:
        """
        Save all of *changes* in one transaction; returns when it is on the disk.

        Raises:
            StateError: nothing of it was saved.
        """
        ...


class Keeper(Protocol):
    """The housekeeping side of the state."""

    def changed_checkpoints(self) -> Mapping[str, bytes]:
        """Those that were put and are not on the disk."""
        ...

    def write_checkpoints(self, values: Mapping[str, bytes]) -> None:
        """Write *values*, which `changed_checkpoints` gave."""
        ...

    def roll_up(self, samples: Iterable[Sample], now_s: float) -> None:
        """Add the minute's samples to history."""
        ...

    def waiting_count(self) -> int:
        """Notifications not acknowledged yet."""
        ...


class IncidentLog(Protocol):
    """Incidents as last committed."""

    def incident(self, incident_id: str) -> Incident | None:
        """One incident, whole."""
        ...

    def incidents(self, limit: int = 100, state: IncidentState | None = None) -> Sequence[Incident]:
        """The newest, of one state if given, newest first; charts and templates left out."""
        ...

    def open_incidents(self) -> Sequence[Incident]:
        """Incidents not resolved, whole."""
        ...

    def judgements(self) -> Mapping[str, Judgement]:
        """What people said, by incident; also of those that are forgotten otherwise."""
        ...


class Outbox(Protocol):
    """Notifications committed and not yet acknowledged."""

    def claim(self, now_s: float, lease_s: float, limit: int) -> Sequence[Notification]:
        """Up to *limit* due notifications, leased for *lease_s*; of one subject and receiver only the oldest."""
        ...

    def ack(self, key: str, now_s: float) -> None:
        """The receiver has it."""
        ...

    def retry(self, key: str, at_s: float, error: str) -> None:
        """Not now; make it due again at *at_s* and count the attempt."""
        ...

    def bury(self, key: str, now_s: float, error: str) -> None:
        """Give up: a dead letter, kept and visible."""
        ...


class EmergencyOutbox(Protocol):
    """Takes notifications the state file would not."""

    def put(self, notification: Notification, now_s: float) -> None:
        """Hold it in memory until it is sent."""
        ...


class RunBlocking(Protocol):
    """Runs a blocking call where it may block."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """What *work* returns."""
        ...
