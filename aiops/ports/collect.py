"""What collectors offer the pipeline, and what they are handed: checkpoints, an inbox, the world."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from aiops.cards import CardBook
from aiops.clock import Clock
from aiops.model import Observation

if TYPE_CHECKING:
    import httpx


@runtime_checkable
class Collector(Protocol):
    """
    Reads one kind of source. Blocking, so the runner calls it in a private thread with a deadline.

    It also has ``interval_s`` and ``deadline_s`` (seconds). It emits only catalogued metrics, yields a `Sight` when
    what it can see changes, and raises `SourceError` when the source as a whole fails.
    """

    interval_s: float
    deadline_s: float

    def collect(self, now_s: float) -> Iterable[Observation]:
        """Everything observed since the last call."""
        ...


@runtime_checkable
class AsyncCollector(Protocol):
    """A collector that speaks HTTP or to a child process: a coroutine on the loop, otherwise as `Collector`."""

    interval_s: float
    deadline_s: float

    async def gather(self, now_s: float) -> Iterable[Observation]:
        """Everything observed since the last call."""
        ...


@runtime_checkable
class Closeable(Protocol):
    """A collector that holds a child process or another resource beyond a run."""

    def close(self) -> None:
        """Let go of it; the collector is not run again."""
        ...


@runtime_checkable
class Acknowledging(Protocol):
    """A collector that keeps checkpoints: it may only move on from what has arrived."""

    def acknowledge(self, now_s: float) -> None:
        """Everything handed over so far was taken in. Never called while the collector runs; must not block."""
        ...


class Source(Protocol):
    """A collector with its runner around it."""

    async def run(self, now_s: float, *, hastened: bool = False) -> Sequence[Observation]:
        """Observations of one run; never raises for a sick source."""
        ...

    def acknowledge(self, now_s: float) -> None:
        """What was observed so far is taken in: the source may move its checkpoints on."""
        ...


class Checkpoints(Protocol):
    """Small named values that survive a restart; writes reach the disk within seconds, and at a clean stop."""

    def get(self, name: str) -> bytes | None:
        """The last value put under *name*, or None."""
        ...

    def put(self, name: str, value: bytes) -> None:
        """Remember *value* under *name*; at most 64 KiB."""
        ...


class Inbox(Protocol):
    """Where pushed observations wait for the next tick. Bounded."""

    def offer(self, observation: Observation) -> bool:
        """Take it; False when the box is full and it was counted instead."""
        ...

    def drain(self) -> Sequence[Observation]:
        """Everything offered since the last drain, in order."""
        ...


@dataclass(frozen=True, slots=True)
class World:
    """What a plug-in may touch, handed to its ``build(config, world)``; a test hands in another world."""

    host: str
    """This node's name: the value of ``host_name``."""
    root: Path
    """Where the file system begins: ``/``, or a recorded tree in tests."""
    clock: Clock
    http: httpx.AsyncClient
    checkpoints: Checkpoints
    inbox: Inbox
    cards: CardBook = field(default_factory=CardBook)
    """What collectors tell one another about the GPUs."""
