"""
What the demo's processes say to the card: allocate, free, I was busy.

One line of JSON each way over a unix socket in the demo's folder. Memory belongs to the connection that took it and is
freed when that ends, as a driver frees a process's memory when it exits.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any


class OutOfMemory(Exception):
    """The card refused an allocation; the text is PyTorch's, because that is what people's logs hold."""

    def __init__(self, gpu: int, asked_mib: float, answer: dict[str, Any]) -> None:
        super().__init__(
            f"CUDA out of memory. Tried to allocate {asked_mib:.2f} MiB. "
            f"GPU {gpu} has a total capacity of {answer['total'] / 1024:.2f} GiB "
            f"of which {answer['free']:.2f} MiB is free. Including non-PyTorch memory, "
            f"this process has {answer['own'] / 1024:.2f} GiB memory in use."
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
        raise OutOfMemory(gpu, mib, answer)

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
