"""A real HTTP server on a free loopback port that misbehaves on request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def page(body: bytes, *, status: str = "200 OK", content_type: str = "text/plain", extra: str = "") -> Answer:
    """A whole answer."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    return answer


def raw(data: bytes) -> Answer:
    """Bytes that need not be HTTP."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return answer


async def hang(_writer: asyncio.StreamWriter) -> None:
    """Accept, and say nothing."""
    await asyncio.Event().wait()


class PageServer:
    """
    Answers every request with `answer`, which a test may change at any time, and some paths with what ``answers`` has.

    ``sent`` counts body bytes of `flood`, ``requests`` requests, ``connections`` connections.
    """

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.answers: dict[str, Answer] = {}
        self.port = 0
        self.requests = 0
        self.connections = 0
        self.sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/metrics"

    async def flood(self, writer: asyncio.StreamWriter) -> None:
        """A page of 100 MB, or as much of it as is taken."""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
        line = b'vllm:num_requests_running{engine="0"} 1\n' * 1_600
        for _ in range(100 * 2**20 // len(line)):
            writer.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            await writer.drain()
            self.sent += len(line)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                await self.answers.get(head.split()[1].decode(), self.answer)(writer)


@contextlib.asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[PageServer]:
    """A server that is gone, with all its connections, when the block ends."""
    pages = PageServer(answer)
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await pages.serve(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    pages.port = server.sockets[0].getsockname()[1]
    try:
        yield pages
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
