"""
Where the model servers' memory is: on real cards when there are usable ones, otherwise on simulated ones.

Both say where each server sits, what the daemon's settings must hold so that it sees the cards, and, for the audience,
what was chosen and why. The daemon reads real cards as it reads anybody's, through its own NVML collector.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from aiops.demo.card import real_at, simulated_at
from aiops.demo.gpu import TOTAL_MIB
from aiops.demo.processes import Processes
from aiops.demo.real_cards import NoCard, RealGpu, held_mib, others_on, usable_cards
from aiops.demo.wire import HOST
from aiops.errors import ChildError

_ENGINE_SHARE = 0.92
"""Of a simulated card, taken at start for weights and KV cache, as --gpu-memory-utilization does."""


@dataclass(frozen=True, slots=True)
class Seat:
    """One server's card and what it holds of it from the start."""

    gpu: int
    address: str
    held_mib: float

    @property
    def arguments(self) -> tuple[str, ...]:
        """For the command line of a process that uses the same card."""
        return ("--gpu", str(self.gpu), "--card", self.address)


class Cards(Protocol):
    """The machine's cards, real or not."""

    told: str
    """What was chosen, for the audience."""
    seats: tuple[Seat, ...]
    """Of the servers, in their order."""
    shows_processes: bool
    """Whether the daemon can see by itself which process uses which card."""

    def settings(self) -> dict[str, Any]:
        """The daemon's collectors of these cards."""
        ...

    async def check_alone(self, gpu: int) -> None:
        """
        Before somebody fills card *gpu*: nobody but the demo may be there.

        Raises:
            ChildError: somebody is.
        """
        ...


class SimulatedCards:
    """
    One simulated card a server, kept by a process that serves them as dcgm-exporter would. Use `start`.

    Args:
        socket: Where the card process listens.
        port: Of its page.
        why: Why no real card is used.
    """

    shows_processes = False

    def __init__(self, servers: int, socket: Path, port: int, why: str) -> None:
        self.told = f"simulated, one for each server ({why})"
        self.seats = tuple(Seat(i, simulated_at(socket), TOTAL_MIB * _ENGINE_SHARE) for i in range(servers))
        self._port = port

    @classmethod
    async def start(cls, servers: int, socket: Path, processes: Processes, why: str) -> SimulatedCards:
        """
        Start the card process.

        Raises:
            ChildError: it did not start.
        """
        process = await processes.actor("card", "gpu", "--count", str(servers), "--socket", str(socket))
        return cls(servers, socket, int(process.ready["port"]), why)

    def settings(self) -> dict[str, Any]:
        return {
            "dcgm": {"urls": [f"http://{HOST}:{self._port}/metrics"]},
            "gpu_nvml": {"enabled": False},  # a real card's index would mean the simulated one's
        }

    async def check_alone(self, gpu: int) -> None:
        """The socket is the demo's own."""


class RealCards:
    """
    Servers spread over real cards.

    Args:
        servers: How many there are.
        gpus: Cards that may be used; as many are used as there are servers.

    Raises:
        NoCard: one of them is too small.
    """

    shows_processes = True

    def __init__(self, servers: int, gpus: Sequence[RealGpu]) -> None:
        sat = [gpus[index % len(gpus)] for index in range(servers)]
        self._servers_on = Counter(gpu.index for gpu in sat)
        self.seats = tuple(Seat(g.index, real_at(g.uuid), held_mib(g, self._servers_on[g.index])) for g in sat)
        names = ", ".join(f"GPU {gpu.index} ({gpu.name})" for gpu in dict.fromkeys(sat))
        self.told = f"the servers hold real memory of {names}, and compute on the CPU"

    def settings(self) -> dict[str, Any]:
        return {"dcgm": {"enabled": False}, "gpu_nvml": {"enabled": True}}

    async def check_alone(self, gpu: int) -> None:
        try:
            others = await others_on(gpu, self._servers_on[gpu])
        except NoCard as error:
            raise ChildError(str(error)) from error
        if others:
            raise ChildError(f"another process came to GPU {gpu}; its memory is not taken away")


async def find_cards(servers: int, socket: Path, processes: Processes) -> Cards:
    """
    Real cards if there are usable ones, otherwise simulated ones, started among *processes* at *socket*.

    Raises:
        ChildError: the simulation did not start.
    """
    try:
        return RealCards(servers, await usable_cards(servers))
    except NoCard as reason:
        return await SimulatedCards.start(servers, socket, processes, str(reason))
