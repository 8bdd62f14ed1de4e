"""
CPU, memory, pressure, disks, file systems, network and TCP of this host, from /proc and /sys.

Each part reads one or two files with plain reads (psutil costs three times as much) and turns counters into rates
against its own last reading; the first round gives only what needs no difference. A part whose file is missing or
unreadable is a blind spot, said once, and the others go on. All paths stand under an injected root. What tells early
is read every round; what changes slowly, or costs more, every ten seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aiops.collect.host_cpu import Cpu, Pressure
from aiops.collect.host_devices import Disks, Network
from aiops.collect.host_filesystems import Filesystems
from aiops.collect.host_infiniband import Infiniband
from aiops.collect.host_kernel import Conntrack, FileHandles, Softnet, TcpSettings
from aiops.collect.host_memory import Memory
from aiops.collect.host_tcp import Sockets, Tcp
from aiops.document import Duration, doc
from aiops.model import Labels, Observation, Sight
from aiops.ports import World

_EACH_ROUND_S = 0.0
_SLOW_S = 9.5
_SPACE_S = 4.5
"""A disk that a log or a dump fills is full within seconds, and then writes fail."""
"""Ten seconds, less what a round may come early."""

_OFTEN_ABSENT = {Conntrack.subject, Infiniband.subject}
"""Parts that are silent where there is no such thing; that they do not complain says nothing."""


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of the host collector."""

    enabled: bool = field(default=True, metadata=doc("watch CPU, memory, disks and network of this host"))
    interval: Duration = field(default=2.0, metadata=doc("time between readings; some are taken every ten seconds"))
    deadline: Duration = field(default=2.0, metadata=doc("a reading that takes longer is given up"))


class Part(Protocol):
    """One kind of reading."""

    @property
    def subject(self) -> str:
        """What a person would call it; the subject of its blind spot."""
        ...

    def read(self, now_s: float) -> Iterator[Observation]:
        """What is seen now; OSError, ValueError or LookupError when its file is not there or not as expected."""
        ...


class Host:
    """
    The collector: asks every part that is due, and survives each.

    Args:
        config: Cadence.
        parts: Each with the least time between two of its readings.
    """

    def __init__(self, config: Config, parts: Sequence[tuple[float, Part]]) -> None:
        self.interval_s = config.interval
        self.deadline_s = config.deadline
        self._parts = parts
        self._read_s = [float("-inf")] * len(parts)
        self._blind: dict[str, str] | None = None

    def collect(self, now_s: float) -> Iterator[Observation]:
        first, self._blind = self._blind is None, self._blind or {}
        for number, (every_s, part) in enumerate(self._parts):
            # a clock that was set back makes everything due
            if 0.0 <= now_s - self._read_s[number] < every_s:
                continue
            self._read_s[number] = now_s
            yield from self._ask(part, now_s, self._blind)
        if first:
            subjects = [part.subject for _, part in self._parts]
            watched = [each for each in subjects if not (self._blind.get(each) or each in _OFTEN_ABSENT)]
            yield Sight("host", "this host", seen=bool(watched), detail=", ".join(watched))

    def _ask(self, part: Part, now_s: float, blind: dict[str, str]) -> Iterator[Observation]:
        reason = ""
        try:
            yield from part.read(now_s)
        except OSError as error:
            reason = f"{error.filename or part.subject}: {error.strerror}"
        except (ValueError, LookupError, ArithmeticError) as error:
            reason = f"not in the expected form: {error}"
        if reason != blind.get(part.subject, ""):
            blind[part.subject] = reason
            yield Sight("host", part.subject, seen=not reason, detail=reason or "readable")


def build(config: Config, world: World) -> Host:
    """The collector over *world*'s root."""
    root, labels = world.root, Labels.of(host_name=world.host)
    often: tuple[Part, ...] = (
        Cpu(root, labels),
        Memory(root, labels),
        *(Pressure(root, labels, resource) for resource in ("cpu", "memory", "io")),
        Disks(root, labels),
        Network(root, labels),
        Tcp(root, labels),
    )
    seldom: tuple[Part, ...] = (
        Sockets(root, labels),
        Softnet(root, labels),
        Conntrack(root, labels),
        FileHandles(root, labels),
        TcpSettings(root, labels),
        Infiniband(root, labels),
    )
    parts: list[tuple[float, Part]] = [(_EACH_ROUND_S, part) for part in often]
    parts += [(_SLOW_S, part) for part in seldom]
    return Host(config, [*parts, (_SPACE_S, Filesystems(root, labels))])
