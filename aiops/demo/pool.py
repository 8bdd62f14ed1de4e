"""
A bounded connection pool with a waiting time-out, and the small metadata service behind it.

Every request of a model server looks its tenant up over a pooled connection, as real services ask a database. When
connections are taken and never given back, callers wait in vain: that is the failure this is for, so a leak is a
switch here, and nothing else about it is pretended.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiops.demo import stage
from aiops.demo.wire import HOST

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class PoolTimeout(Exception):
    """No connection came free in time."""


class ConnectionPool:
    """
    At most `size` + `overflow` connections to a loopback port.

    Args:
        port: The metadata service's.
        size: Connections kept.
        overflow: Connections opened beyond that.
        timeout_s: How long a caller waits for one.
        seed: Of the choice which connections leak, when told to leak.
    """

    def __init__(self, port: int, *, size: int, overflow: int, timeout_s: float, seed: int = 0) -> None:
        self.port, self.size, self.overflow, self.timeout_s = port, size, overflow, timeout_s
        self.leak_share = 0.0
        self.timeouts = 0
        self._random = random.Random(seed)
        self._idle: list[Streams] = []
        self._leaked: list[Streams] = []
        self._opened = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """Connections at most."""
        return self.size + self.overflow

    @property
    def used(self) -> int:
        """Connections taken now."""
        return self._opened - len(self._idle)

    @property
    def idle(self) -> int:
        """Connections open and free."""
        return len(self._idle)

    @property
    def pending(self) -> int:
        """Callers waiting."""
        return len(self._waiting)

    async def ask(self, question: str) -> str:
        """
        Ask the service one line and return its answer.

        Raises:
            PoolTimeout: no connection came free within `timeout_s`.
            OSError: the service is not there.
        """
        streams = await self._take()
        leak = self._random.random() < self.leak_share
        try:
            reader, writer = streams
            writer.write(question.encode() + b"\n")
            answer = (await reader.readline()).decode().strip()
        except BaseException:
            self._discard(streams)
            raise
        if leak:
            self._leaked.append(streams)
        else:
            self._give(streams)
        return answer

    def mend(self) -> None:
        """Stop leaking and give back what was leaked: the corrected code is live."""
        self.leak_share = 0.0
        while self._leaked:
            self._give(self._leaked.pop())

    def close(self) -> None:
        """Close every connection that is not in somebody's hands."""
        for _, writer in (*self._idle, *self._leaked):
            writer.close()

    async def _take(self) -> Streams:
        deadline = asyncio.get_running_loop().time() + self.timeout_s
        while True:
            if self._idle:
                return self._idle.pop()
            if self._opened < self.limit:
                return await self._open()
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                async with asyncio.timeout_at(deadline):
                    await waiter
            except TimeoutError as error:
                self.timeouts += 1
                text = (
                    f"QueuePool limit of size {self.size} overflow {self.overflow} reached, "
                    f"connection timed out, timeout {self.timeout_s:.2f}"
                )
                raise PoolTimeout(text) from error
            finally:
                with contextlib.suppress(ValueError):
                    self._waiting.remove(waiter)

    async def _open(self) -> Streams:
        self._opened += 1
        try:
            return await asyncio.open_connection(HOST, self.port)
        except BaseException:
            self._opened -= 1
            raise

    def _give(self, streams: Streams) -> None:
        if self.idle >= self.size:
            self._discard(streams)
            return
        self._idle.append(streams)
        self._wake()

    def _discard(self, streams: Streams) -> None:
        streams[1].close()
        self._opened -= 1
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
                return


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while line := await reader.readline():
            await asyncio.sleep(0.004)  # a small lookup
            writer.write(b"ok " + line)
            await writer.drain()
    except (OSError, ValueError):
        pass  # the pool closed it
    finally:
        writer.close()


@asynccontextmanager
async def metadata_service() -> AsyncIterator[dict[str, Any]]:
    """The service behind the pool: answers every line with ``ok`` and the line."""
    server = await asyncio.start_server(_answer, HOST, 0)
    try:
        yield {"port": server.sockets[0].getsockname()[1]}
    finally:
        server.close()


def main() -> None:
    """Run the metadata service until told to stop."""
    argparse.ArgumentParser(prog="aiops.demo.pool", description="The demo's metadata service.").parse_args()
    stage.perform(metadata_service)


if __name__ == "__main__":
    main()
