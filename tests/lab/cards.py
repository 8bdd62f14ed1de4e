"""
A process's card, and a house's cards.

A model server or a neighbour reaches its card through `LabCard`: memory as in the demo, and kernels that it runs there.
The house starts the card process, changes cards, and tells the daemon's environment where the stand-in of NVIDIA's
library is, so that the real pynvml in the daemon's child reads them.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiops.demo.card import OutOfMemory, Room, SimulatedCard
from aiops.demo.gpu import TOTAL_MIB
from aiops.errors import ChildError
from tests.nvml_stub import build_library

if TYPE_CHECKING:
    from tests.lab.house import House

COUNT = 4
"""Cards of a machine; one a replica, the rest is spare."""


class CudaError(RuntimeError):
    """A call of CUDA failed; the text is the driver's."""


class LabCard(SimulatedCard):
    """A process's connection to the card process: its card computes. Use `connect`."""

    async def run(self, work_s: float, intensity: float, ahead_s: float = 0.0) -> float:
        """
        Run kernels that take *work_s* on an idle card at full clock; when they were done, by the machine's clock.

        Args:
            work_s: The work.
            intensity: Share of the card's units that work.
            ahead_s: How long ago they were launched, behind those that ran then.

        Raises:
            CudaError: the card is broken.
        """
        return float(self._check(await self._ask(op="run", s=work_s, intensity=intensity, ahead=ahead_s))["done_s"])

    async def room(self) -> Room:
        answer = self._check(await self._ask(op="room"))
        return Room(answer["free"], answer["total"])

    async def alloc(self, mib: float) -> int:
        answer = self._check(await self._ask(op="alloc", mib=mib))
        if answer.get("ok"):
            return int(answer["id"])
        raise OutOfMemory(self._gpu, mib, Room(answer["free"], answer["total"]), answer["own"])

    async def busy(self, share: float) -> None:
        """Nothing to report: the card knows."""

    @staticmethod
    def _check(answer: dict[str, Any]) -> dict[str, Any]:
        if "cuda" in answer:
            raise CudaError(answer["cuda"])
        return answer


class Cards:
    """The cards of a house. Use `start`."""

    def __init__(self, socket: Path, state: Path, library: Path) -> None:
        self.socket, self._state, self._library = socket, state, library

    @classmethod
    async def start(cls, house: House) -> Cards:
        """
        Start the card process.

        Raises:
            ChildError: it did not start.
        """
        cards = cls(house.folder / "card.sock", house.folder / "nvml-state", _library(house.folder))
        await house.processes.actor_of(
            "cards",
            (sys.executable, "-m", "tests.lab.card_process", "--count", str(COUNT),
             "--socket", str(cards.socket), "--state", str(cards._state)),
        )  # fmt: skip
        return cards

    def gpu_of(self, index: int) -> int:
        """The card of replica *index*."""
        return index % COUNT

    @property
    def spare(self) -> int:
        """A card that no replica uses."""
        return COUNT - 1

    @property
    def total_mib(self) -> float:
        """Memory of a card that processes may take."""
        return TOTAL_MIB

    def environment(self) -> dict[str, str]:
        """Variables under which the daemon's child finds the stand-in of NVIDIA's library."""
        return {"LD_LIBRARY_PATH": str(self._library), "NVML_STUB_STATE": str(self._state)}

    def settings(self) -> dict[str, Any]:
        """The daemon's settings of cards: it finds them by itself."""
        return {}

    async def set(self, gpu: int, **what: Any) -> None:
        """
        Change card *gpu*: ``cut``, ``hot_c``, ``hardware_slowdown``; ``error``, ``lost``; ``ecc`` more errors,
        ``rows_pending``; ``xid``; ``hang`` or ``answering`` of a call of the library; ``freeze`` what runs.

        Raises:
            ChildError: the card process did not take it.
        """
        reader, writer = await asyncio.open_unix_connection(str(self.socket))
        try:
            writer.write(json.dumps({"op": "set", "gpu": gpu, **what}).encode() + b"\n")
            answer = json.loads(await reader.readline() or b"{}")
        finally:
            writer.close()
        if not answer.get("ok"):
            raise ChildError(f"card {gpu} did not take {what}")

    def arguments(self, gpu: int) -> tuple[str, ...]:
        """For the command line of a process that uses card *gpu*."""
        return ("--card", str(self.socket), "--gpu", str(gpu))


def _library(folder: Path) -> Path:
    """The folder of the stand-in, built for this house."""
    library = folder / "nvml"
    library.mkdir(exist_ok=True)
    return build_library(library)
