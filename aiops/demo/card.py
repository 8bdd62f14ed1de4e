"""
What the demo's processes ask of a card: memory, its return, and how much there is.

Two cards answer: the simulated one, over a unix socket, and a real one, through the CUDA driver. Either way memory
belongs to the process that took it and is free again when that ends.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from aiops.demo.cuda import CudaCard, OutOfDeviceMemory


class Room(NamedTuple):
    """Memory of a card. MiB."""

    free: float
    total: float


class OutOfMemory(Exception):
    """The card refused an allocation; the text is PyTorch's, because that is what people's logs hold."""

    def __init__(self, gpu: int, asked_mib: float, room: Room, own_mib: float) -> None:
        super().__init__(
            f"CUDA out of memory. Tried to allocate {asked_mib:.2f} MiB. "
            f"GPU {gpu} has a total capacity of {room.total / 1024:.2f} GiB "
            f"of which {room.free:.2f} MiB is free. Including non-PyTorch memory, "
            f"this process has {own_mib / 1024:.2f} GiB memory in use."
        )


class Card(Protocol):
    """One card, as one process uses it."""

    async def room(self) -> Room:
        """How much memory there is."""
        ...

    async def alloc(self, mib: float) -> int:
        """
        Take *mib* of VRAM; the handle frees it.

        Raises:
            OutOfMemory: there is not that much free.
        """
        ...

    async def free(self, handle: int) -> None:
        """Give memory back."""
        ...

    async def busy(self, share: float) -> None:
        """Report which *share* of the time since the last report kernels ran, 0 to 1."""
        ...

    def close(self) -> None:
        """Leave; everything taken is freed."""
        ...


class SimulatedCard:
    """A process's connection to the card process: one line of JSON each way. Use `connect`."""

    def __init__(self, gpu: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._gpu, self._reader, self._writer = gpu, reader, writer
        self._lock = asyncio.Lock()

    @classmethod
    async def connect(cls, socket: Path, gpu: int) -> SimulatedCard:
        """Open card *gpu* of the card process at the unix socket *socket*."""
        return cls(gpu, *await asyncio.open_unix_connection(str(socket)))

    async def room(self) -> Room:
        answer = await self._ask(op="room")
        return Room(answer["free"], answer["total"])

    async def alloc(self, mib: float) -> int:
        answer = await self._ask(op="alloc", mib=mib)
        if answer["ok"]:
            return int(answer["id"])
        raise OutOfMemory(self._gpu, mib, Room(answer["free"], answer["total"]), answer["own"])

    async def free(self, handle: int) -> None:
        await self._ask(op="free", id=handle)

    async def busy(self, share: float) -> None:
        await self._ask(op="busy", share=share)

    def close(self) -> None:
        self._writer.close()

    async def _ask(self, **question: Any) -> dict[str, Any]:
        async with self._lock:  # answers come in the order of the questions
            self._writer.write(json.dumps({"gpu": self._gpu, **question}).encode() + b"\n")
            line = await self._reader.readline()
        if not line:
            raise ConnectionError("the card process is gone")
        answer: dict[str, Any] = json.loads(line)
        return answer


class RealCard:
    """
    A real card's memory. Calls of the driver take fractions of a millisecond and are made where they are asked for.

    Args:
        gpu: Its number, as NVML counts.
        memory: The context of this process on it.
    """

    def __init__(self, gpu: int, memory: CudaCard) -> None:
        self._gpu, self._memory = gpu, memory
        self._held: dict[int, float] = {}

    async def room(self) -> Room:
        return Room(*self._memory.room_mib())

    async def alloc(self, mib: float) -> int:
        try:
            pointer = self._memory.alloc(mib)
        except OutOfDeviceMemory as error:
            raise OutOfMemory(self._gpu, mib, await self.room(), sum(self._held.values())) from error
        self._held[pointer] = mib
        return pointer

    async def free(self, handle: int) -> None:
        if self._held.pop(handle, None) is not None:
            self._memory.free(handle)

    async def busy(self, share: float) -> None:
        """Nothing to report: the driver knows, and no kernel is run."""

    def close(self) -> None:
        self._held.clear()
        self._memory.close()


_REAL, _SIMULATED = "cuda:", "unix:"


def simulated_at(socket: Path) -> str:
    """The address of the card process at *socket*."""
    return f"{_SIMULATED}{socket}"


def real_at(uuid: str) -> str:
    """The address of the real card *uuid*."""
    return f"{_REAL}{uuid}"


async def open_card(address: str, gpu: int) -> Card:
    """
    Card number *gpu*, at an address that `simulated_at` or `real_at` made.

    Raises:
        OSError: it is not there.
        CudaError: the driver refuses.
    """
    if address.startswith(_REAL):
        return RealCard(gpu, CudaCard.open(address.removeprefix(_REAL)))
    return await SimulatedCard.connect(Path(address.removeprefix(_SIMULATED)), gpu)
