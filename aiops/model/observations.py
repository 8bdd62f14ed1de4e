"""
What collectors yield: samples, events, log lines, and what can be seen at all.

A reading that could not be taken is an absent Sample, never a zero. Names of a gateway's labels stand here too, since
the collector that writes them and whoever reads them must agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from aiops.model.labels import Labels


@dataclass(frozen=True, slots=True)
class Sample:
    """A metric's value at a time. For counters the running total, as the source reports it."""

    metric: str
    labels: Labels
    at_s: float
    value: float


class EventKind(StrEnum):
    """What sort of thing happened once."""

    CHANGE = "change"
    """People or automation changed something: action is deploy, rollback, config, scale, restart."""
    HARDWARE = "hardware"
    """A device reported something: action is xid, gpu_lost, ecc."""
    PROCESS = "process"
    """A process came or went: action is start, exit, oom_kill."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened once, with the labels of what it happened to."""

    kind: EventKind
    action: str
    at_s: float
    labels: Labels
    message: str = ""


@dataclass(frozen=True, slots=True)
class LogRecord:
    """
    One log line as read, before masking; or several that belong together. Never stored and never sent.

    Labels hold ``source`` (file or unit) and, where known, ``instance`` (the replica that wrote it).
    """

    at_s: float
    labels: Labels
    text: str
    truncated: bool = False
    """Whether something of it was left out, because it was too long."""
    late: bool = False
    """Whether it was written long before it could be read: what was missed during a stop is no news."""
    passed_by: int = 0
    """Lines of this log that were handed on while this record waited for its own."""


@dataclass(frozen=True, slots=True)
class Sight:
    """
    What a collector sees or cannot see, in words for a person; yielded when it changes.

    Args:
        collector: Who says it.
        subject: The thing: "vLLM at 127.0.0.1:8000", "kernel log".
        seen: True when it is being watched; False for a blind spot.
        detail: What was found, or why it cannot be seen.
        hint: How to add or repair it; empty when nothing is to be done.
    """

    collector: str
    subject: str
    seen: bool
    detail: str
    hint: str = ""


Observation = Sample | Event | LogRecord | Sight


class Outcome(StrEnum):
    """How a request ended, as the label ``outcome`` of `http_server_requests_total` tells it."""

    OK = "ok"
    CLIENT_ERROR = "4xx"
    """The client's own mistake; 429 and 499 are told apart from it."""
    UNAVAILABLE = "503"
    SERVER_ERROR = "5xx"
    TOO_MANY = "429"
    GIVEN_UP = "499"
    """The client hung up first."""
    TRUNCATED = "truncated"
    STALLED = "stalled"

    @property
    def hurts(self) -> bool:
        """Whether a user felt it and may try again."""
        return self not in {Outcome.OK, Outcome.CLIENT_ERROR}


HURTFUL: Final = frozenset(str(outcome) for outcome in Outcome if outcome.hurts)
"""Values of the label ``outcome`` that users felt."""
NOBODY: Final = "none"
"""Value of the label ``upstream`` where the gateway passed a request to nobody."""
UNNAMED_SERVICE: Final = "inference"
"""What a service is called that nothing gave a name."""
