"""
What the demo's processes say to the card: allocate, free, I was busy.

One line of JSON each way over a unix socket in the demo's folder. Memory belongs to the connection that took it and is
freed when that ends, as a driver frees a process's memory when it exits.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class OutOfMemory(Exception):  # noqa: N818 - the driver's word
    """The card refused an allocation. All sizes in MiB."""

    gpu: int
    asked_mib: float
    free_mib: float
    total_mib: float
    own_mib: float

    def __str__(self) -> str:
        """As PyTorch words it, because that is what people's logs hold."""
        return (
            f"CUDA out of memory. Tried to allocate {self.asked_mib:.2f} MiB. "
            f"GPU {self.gpu} has a total capacity of {self.total_mib / 1024:.2f} GiB "
            f"of which {self.free_mib:.2f} MiB is free. Including non-PyTorch memory, "
            f"this process has {self.own_mib / 1024:.2f} GiB memory in use."
        )


class Card:
    """A process's connection to the card process. Use `connect`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._lock = asyncio.Lock()

    @classmethod
    async def connect(cls, socket: Path) -> Card:
        """Open the card at the unix socket *socket*."""
        return cls(*await asyncio.open_unix_connection(str(socket)))

    async def alloc(self, gpu: int, mib: float) -> int:
        """
        Take *mib* of VRAM on *gpu*; the handle frees it.

        Raises:
            OutOfMemory: there is not that much free.
            OSError: the card process is gone.
        """
        answer = await self._ask({"op": "alloc", "gpu": gpu, "mib": mib})
        if answer["ok"]:
            return int(answer["id"])
        raise OutOfMemory(gpu, mib, answer["free"], answer["total"], answer["own"])

    async def free(self, handle: int) -> None:
        """Give memory back."""
        await self._ask({"op": "free", "id": handle})

    async def busy(self, gpu: int, share: float) -> None:
        """Report which *share* of the time since the last report kernels ran, 0 to 1."""
        await self._ask({"op": "busy", "gpu": gpu, "share": share})

    def close(self) -> None:
        """Leave; everything taken is freed."""
        self._writer.close()

    async def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        async with self._lock:  # answers come in the order of the questions
            self._writer.write(json.dumps(question).encode() + b"\n")
            line = await self._reader.readline()
        if not line:
            raise ConnectionError("the card process is gone")
        answer: dict[str, Any] = json.loads(line)
        return answer
