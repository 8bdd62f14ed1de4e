"""
The other half of a split engine: prefills elsewhere, and hands out the keys and values over TCP.

`KvPeer` is the process that holds them, `KvClient` the decoding engine's connection to it. Bytes really cross the
loopback; what goes wrong with them (nobody listens, nobody answers, the link is slow, connections are cut) goes wrong
in the kernel's TCP.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiops.demo import stage, wire

if TYPE_CHECKING:
    from aiops.demo.processes import Process
    from tests.lab.house import House

_PORT, _ADMIN_PORT = 8998, 8999
"""Every cell has loopback to itself."""
_BYTES_A_TOKEN = 2048
_PIECE = 64 * 1024
_KEPT = 16


class TransferError(Exception):
    """Blocks did not come; `stage` says whether the peer was reached at all."""

    def __init__(self, stage: str, text: str) -> None:
        super().__init__(text)
        self.stage = stage


class KvClient:
    """
    Fetches blocks of requests.

    Args:
        port: The peer's.
        timeout_s: How long one request's blocks may take.
    """

    def __init__(self, port: int, timeout_s: float) -> None:
        self.port, self.timeout_s = port, timeout_s
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def fetch(self, request_id: str, tokens: int) -> int:
        """
        Get the blocks of *tokens*; how many bytes that was.

        Raises:
            TransferError: they did not come.
        """
        size = tokens * _BYTES_A_TOKEN
        try:
            async with asyncio.timeout(self.timeout_s):
                reader, writer = self._idle.pop() if self._idle else await self._connect()
                try:
                    writer.write(f"{request_id} {size}\n".encode())
                    await reader.readexactly(size)
                except BaseException:
                    writer.close()
                    raise
        except TimeoutError:
            raise TransferError("transfer", f"timed out after {self.timeout_s:.1f} s") from None
        except asyncio.IncompleteReadError as error:
            text = f"Connection reset by peer, {len(error.partial)} of {size} bytes"
            raise TransferError("transfer", text) from error
        except OSError as error:
            kind = "bootstrap" if isinstance(error, ConnectionRefusedError) else "transfer"
            raise TransferError(kind, str(error)) from error
        if len(self._idle) < _KEPT:
            self._idle.append((reader, writer))
        else:
            writer.close()
        return size

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(wire.HOST, self.port)


class KvPeer:
    """Hands out blocks. `rate` is of each connection, bytes a second; 0 is as fast as it goes."""

    def __init__(self) -> None:
        self.rate = 0.0
        self.cut_share = 0.0
        self._random = random.Random(1)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one engine's connection."""
        try:
            while line := await reader.readline():
                await self._send(writer, int(line.split()[1]))
        except (OSError, ValueError, IndexError):
            pass  # the engine left
        finally:
            writer.close()

    async def _send(self, writer: asyncio.StreamWriter, size: int) -> None:
        cut = self._random.random() < self.cut_share
        left = size // 2 if cut else size
        while left > 0:
            piece = min(left, _PIECE if not self.rate else max(int(self.rate / 20), 1))
            writer.write(bytes(piece))
            await writer.drain()
            left -= piece
            if self.rate:
                await asyncio.sleep(piece / self.rate)
        if cut:
            writer.transport.abort()
            raise ConnectionAbortedError

    async def admin(self, request: wire.Request) -> wire.Reply:
        """Change how it hands out."""
        value = request.json()
        self.rate = float(value.get("rate", self.rate))
        self.cut_share = float(value.get("cut_share", self.cut_share))
        return wire.as_json({"ok": True})


class Prefill:
    """A house's prefilling engine. Use `start`."""

    port = _PORT

    def __init__(self, house: House, process: Process) -> None:
        self._house, self._process = house, process

    @classmethod
    async def start(cls, house: House) -> Prefill:
        """
        Start it.

        Raises:
            ChildError: it did not start.
        """
        return cls(house, await cls._begin(house))

    @staticmethod
    async def _begin(house: House) -> Process:
        command = (sys.executable, "-m", "tests.lab.kv_peer", "--port", str(_PORT), "--admin-port", str(_ADMIN_PORT))
        return await house.processes.actor_of("prefill", command)

    async def tell(self, **what: float) -> None:
        """Change how it hands out: see `KvPeer`."""
        client = wire.Client(_ADMIN_PORT)
        await client.call("POST", "/admin/peer", what)
        await client.close()

    def kill(self) -> None:
        """It is gone, and nobody listens."""
        self._house.excuse(self._process)
        self._process.signal(signal.SIGKILL)

    def freeze(self, *, frozen: bool) -> None:
        """Let it stand still, or go on."""
        self._process.signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    async def restart(self) -> None:
        """Start it again after `kill`."""
        await self._house.processes.end(self._process)
        self._process = await self._begin(self._house)


@asynccontextmanager
async def kv_peer(port: int, admin_port: int) -> AsyncIterator[dict[str, Any]]:
    """Serve blocks on *port* and the peer's settings on *admin_port*."""
    peer = KvPeer()
    server = await asyncio.start_server(peer.connected, wire.HOST, port)
    admin = await wire.serve(peer.admin, admin_port)
    try:
        yield {"port": port}
    finally:
        server.close()
        admin.close()


def main() -> None:
    """Run the peer until told to stop."""
    parser = argparse.ArgumentParser(prog="tests.lab.kv_peer", description="The prefilling half of a split engine.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--admin-port", type=int, required=True)
    args = parser.parse_args()
    stage.perform(lambda: kv_peer(args.port, args.admin_port))


if __name__ == "__main__":
    main()
