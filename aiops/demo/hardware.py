"""
Which cards the demo plays on: this machine's own when they are idle, simulated ones otherwise.

A real card is used only when both NVML and the CUDA driver answer in time and nearly all of its memory is free: then
nobody else works on it, and nobody is hurt when the demo fills it. The daemon reads it as it reads every card, through
NVML; a simulated card speaks dcgm-exporter's page.
"""

from __future__ import annotations

import asyncio
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiops.demo import card
from aiops.demo.gpu import TOTAL_MIB
from aiops.demo.processes import Process, Processes
from aiops.demo.wire import HOST, Client
from aiops.errors import ChildError

_DEADLINE_S = 15.0
"""The first context after a driver was loaded takes some seconds."""
_IDLE_SHARE = 0.9
"""With less of its memory free, somebody works on the card."""
_CONTEXT_MIB = 700.0
"""Memory a process takes by entering a card, and the notebook one more; measured below 600 on current drivers."""
_SMALLEST_MIB = 6_144.0
"""What three replicas need for weights, cache and prefills."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a replica sits."""

    gpu: int
    """Index of the card, as the daemon knows it."""
    place: str
    """For `card.connect`."""
    mib: float
    """Its part of the card."""


class Hardware(ABC):
    """The cards of one run."""

    words: str
    """What they are, for the person watching."""

    @abstractmethod
    async def start(self, processes: Processes, folder: Path) -> None:
        """Bring the cards up."""

    @abstractmethod
    def seats(self, count: int) -> list[Seat]:
        """Places for *count* replicas."""

    @abstractmethod
    async def free_mib(self, gpu: int) -> float:
        """Free memory of a card, as its own instruments say."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Collectors by which the daemon sees the cards."""


class SimulatedHardware(Hardware):
    """
    One simulated card for each replica.

    Args:
        why: Why no real card is used.
    """

    def __init__(self, why: str) -> None:
        self.words = f"its GPUs are simulated ({why})"
        self._socket = Path()
        self._process: Process

    async def start(self, processes: Processes, folder: Path) -> None:
        self._socket = folder / "card.sock"
        self._process = await processes.actor("card", "gpu", "--socket", str(self._socket))

    def seats(self, count: int) -> list[Seat]:
        return [Seat(index, str(self._socket), TOTAL_MIB) for index in range(count)]

    async def free_mib(self, gpu: int) -> float:
        client = Client(self._process.ready["port"])
        page = (await (await client.send("GET", "/metrics")).read()).decode()
        await client.close()
        line = next(li for li in page.splitlines() if li.startswith(f'DCGM_FI_DEV_FB_FREE{{gpu="{gpu}"'))
        return float(line.rsplit(" ", 1)[1])

    def settings(self) -> dict[str, Any]:
        page = f"http://{HOST}:{self._process.ready['port']}/metrics"
        return {"dcgm": {"urls": [page]}, "gpu_nvml": {"enabled": False}}  # a real card's index would mean another


@dataclass(frozen=True, slots=True)
class RealCard:
    """A card of this machine that nobody uses."""

    index: int
    """NVML's."""
    uuid: str
    name: str
    free_mib: float


class RealHardware(Hardware):
    """
    This machine's own cards.

    Args:
        cards: Idle ones, at least one.
    """

    def __init__(self, cards: Sequence[RealCard]) -> None:
        self._cards = cards
        names = ", ".join(f"GPU {each.index} ({each.name})" for each in cards)
        self.words = f"they hold real memory of {names}"

    async def start(self, processes: Processes, folder: Path) -> None:
        """The cards are up."""

    def seats(self, count: int) -> list[Seat]:
        sharing = -(-count // len(self._cards))
        return [
            Seat(each.index, card.real(each.uuid), each.free_mib / sharing - _CONTEXT_MIB * (1 + 1 / sharing))
            for each in (self._cards[number % len(self._cards)] for number in range(count))
        ]

    async def free_mib(self, gpu: int) -> float:
        for each in await _nvml_cards():
            if each["index"] == gpu and "memory_used_bytes" in each:
                return float(each["memory_limit_bytes"] - each["memory_used_bytes"]) / 2**20
        raise ChildError(f"NVML does not tell the memory of GPU {gpu}")

    def settings(self) -> dict[str, Any]:
        return {"dcgm": {"enabled": False}}


async def find(most: int) -> Hardware:
    """The hardware of this machine: at most *most* idle cards, or simulated ones and why."""
    try:
        known = await _nvml_cards()
        answer = await _ask("aiops.demo.cuda")
        if missing := answer.get("missing"):
            raise ChildError(missing)
    except ChildError as error:
        return SimulatedHardware(str(error))
    usable = {device["uuid"]: device for device in answer["devices"]}
    idle = [found for each in known if (found := _idle(each, usable.get(each.get("uuid", "")))) is not None]
    return RealHardware(idle[:most]) if idle else SimulatedHardware("no card of this machine is idle")


def _idle(known: Mapping[str, Any], device: Mapping[str, Any] | None) -> RealCard | None:
    """The card, if nearly all of its memory is free."""
    if device is None or device["free_mib"] < max(_IDLE_SHARE * device["total_mib"], _SMALLEST_MIB):
        return None
    return RealCard(known["index"], known["uuid"], known.get("name", "unnamed"), device["free_mib"])


async def _nvml_cards() -> list[dict[str, Any]]:
    """
    Every card as the daemon's own reader sees it.

    Raises:
        ChildError: there is no NVIDIA driver, or it does not answer.
    """
    reading = await _ask("aiops.collect.nvml", b"{}\n")
    if missing := reading.get("missing"):
        raise ChildError(missing)
    cards: list[dict[str, Any]] = reading["cards"]
    return cards


async def _ask(module: str, question: bytes = b"") -> dict[str, Any]:
    """The line of JSON that *module* answers with, in a process of its own: a sick driver may hang it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_DEADLINE_S):
            output, _ = await process.communicate(question)
    except TimeoutError:
        raise ChildError(f"the NVIDIA driver gives no answer within {_DEADLINE_S:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
    try:
        answer: dict[str, Any] = json.loads(output)
    except ValueError:
        raise ChildError(f"{module} ended without an answer") from None
    return answer
