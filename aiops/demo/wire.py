"""
HTTP/1.1 as small as the demo's actors need it: keep-alive, content-length and chunked bodies, streaming answers.

A web framework would cost each of seven processes a second of CPU at start and most of its time per request; the demo
must leave the machine's cores to what it shows. Loopback only, so nothing here defends against strangers beyond
bounding what is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

HOST = "127.0.0.1"
_MAX_HEAD = 16 * 1024
_MAX_BODY = 4 * 2**20
_LOOK_S = 0.2
"""How often a server that works on an answer looks whether its client is still there."""


class WireError(OSError):
    """The other side closed the connection, or spoke something that is not HTTP."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks; header names are lower case."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; empty when it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: a whole body, or pieces as they come."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    stream: AsyncIterator[bytes] | None = None


Handler = Callable[[Request], Awaitable[Reply]]


def as_json(value: Any, status: int = 200) -> Reply:
    """A JSON answer."""
    return Reply(status, json.dumps(value, separators=(",", ":")).encode())


@dataclass(slots=True)
class Patience:
    """How long a server keeps connections on which nothing is asked; may change while it serves."""

    idle_s: float | None = None
    """None means as long as the client does."""


async def serve(
    handler: Handler, port: int = 0, *, host: str = HOST, patience: Patience | None = None, backlog: int = 100
) -> asyncio.Server:
    """Answer requests on *port*, each connection in its own task."""
    patience = patience or Patience()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _next_request(reader, patience.idle_s)) is not None:
                await _write_reply(writer, await _while_there(reader, handler, request))
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # the client left, or speaks something else: nothing to answer
        finally:
            writer.close()

    return await asyncio.start_server(connected, host, port, limit=_MAX_HEAD, backlog=backlog)


def port_of(server: asyncio.Server) -> int:
    """The port a server got."""
    return int(server.sockets[0].getsockname()[1])


async def _while_there(reader: asyncio.StreamReader, handler: Handler, request: Request) -> Reply:
    """
    The answer to *request*, unless its client leaves before there is one: then nobody works on it any longer.

    Raises:
        WireError: the client left.
    """
    answering = asyncio.ensure_future(handler(request))
    try:
        while not (await asyncio.wait({answering}, timeout=_LOOK_S))[0]:
            if reader.at_eof():
                raise WireError("the client left")
        return answering.result()
    finally:
        if not answering.done():
            answering.cancel()
            await asyncio.wait({answering})


async def _read_head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.lower()] = value.strip()
    return first, headers


async def _next_request(reader: asyncio.StreamReader, idle_s: float | None) -> Request | None:
    """The next request; None when the client is done, or asked nothing for *idle_s*."""
    try:
        async with asyncio.timeout(idle_s):
            return await _read_request(reader)
    except TimeoutError:
        return None


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    try:
        first, headers = await _read_head(reader)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    method, path, _ = first.split(" ", 2)
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= _MAX_BODY:
        raise WireError("body too large")
    return Request(method, path, headers, await reader.readexactly(length) if length else b"")


async def _write_reply(writer: asyncio.StreamWriter, reply: Reply) -> None:
    phrase = HTTPStatus(reply.status).phrase
    lines = [f"HTTP/1.1 {reply.status} {phrase}", f"content-type: {reply.content_type}"]
    lines += [f"{name}: {value}" for name, value in reply.headers]
    if reply.stream is None:
        head = "\r\n".join([*lines, f"content-length: {len(reply.body)}", "", ""])
        writer.write(head.encode("latin-1") + reply.body)
        await writer.drain()
        return
    writer.write("\r\n".join([*lines, "transfer-encoding: chunked", "", ""]).encode("latin-1"))
    try:
        async for piece in reply.stream:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
    finally:
        close = getattr(reply.stream, "aclose", None)
        if close is not None:
            await close()


class Answer:
    """An answer whose head has come and whose body is still to be read; the connection goes back when it was read."""

    def __init__(self, status: int, headers: dict[str, str], connection: _Connection, pool: Client) -> None:
        self.status = status
        self.headers = headers
        self._connection = connection
        self._pool = pool
        self._ended = False
        self._given_back = False

    @property
    def chunked(self) -> bool:
        """Whether the body comes in pieces."""
        return self.headers.get("transfer-encoding", "") == "chunked"

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes."""
        reader = self._connection.reader
        try:
            if self.chunked:
                while size := int(await reader.readuntil(b"\r\n"), 16):
                    piece = await reader.readexactly(size + 2)
                    yield piece[:-2]
                await reader.readexactly(2)
            elif length := int(self.headers.get("content-length", "0")):
                yield await reader.readexactly(length)
            self._ended = True
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            raise WireError(f"answer cut short: {error}") from error
        finally:
            self.close()

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([piece async for piece in self.pieces()])

    def close(self) -> None:
        """Give the connection back, or close it if the body was not read to its end."""
        if not self._given_back:
            self._given_back = True
            self._pool.give_back(self._connection, reusable=self._ended)


@dataclass(slots=True, eq=False)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    is_kept: bool = False
    """Whether something was asked over it before."""


class Client:
    """
    Keep-alive connections to one port; as many as there are requests at a time.

    Args:
        port: Where the server listens.
        keep: Idle connections kept open.
        host: Whose port it is.
    """

    def __init__(self, port: int, keep: int = 32, host: str = HOST) -> None:
        self.port, self.host = port, host
        self.keep = keep
        self._idle: list[_Connection] = []

    async def send(
        self, method: str, path: str, body: bytes = b"", headers: tuple[tuple[str, str], ...] = ()
    ) -> Answer:
        """
        Send a request and wait for the answer's head.

        Raises:
            OSError: refused, reset or not HTTP. A kept connection that turns out closed is replaced once.
        """
        connection = await self.connect()
        if connection.is_kept:
            with contextlib.suppress(OSError):
                return await self.ask(connection, method, path, body, headers)
            connection = await self.open()
        return await self.ask(connection, method, path, body, headers)

    async def connect(self) -> _Connection:
        """
        A kept connection, or else a new one.

        Raises:
            OSError: it does not come about.
        """
        return self._idle.pop() if self._idle else await self.open()

    async def open(self) -> _Connection:
        """
        A new connection.

        Raises:
            OSError: it does not come about.
        """
        return _Connection(*await asyncio.open_connection(self.host, self.port, limit=_MAX_HEAD))

    async def ask(
        self, connection: _Connection, method: str, path: str, body: bytes, headers: tuple[tuple[str, str], ...]
    ) -> Answer:
        """
        Ask over *connection* and wait for the answer's head; it is closed if there is none.

        Raises:
            OSError: reset or not HTTP.
        """
        lines = [f"{method} {path} HTTP/1.1", f"host: {self.host}:{self.port}", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        try:
            connection.writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
            await connection.writer.drain()
            first, answered = await _read_head(connection.reader)
            return Answer(int(first.split(" ", 2)[1]), answered, connection, self)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, IndexError) as error:
            connection.writer.close()
            raise WireError(f"no HTTP answer from port {self.port}: {error}") from error
        except BaseException:
            connection.writer.close()
            raise

    async def call(
        self, method: str, path: str, value: Any = None, headers: tuple[tuple[str, str], ...] = ()
    ) -> tuple[int, Any]:
        """Send JSON and return status and the answer's JSON (None when it is none)."""
        body = b"" if value is None else json.dumps(value).encode()
        answer = await self.send(method, path, body, (("content-type", "application/json"), *headers))
        content = await answer.read()
        try:
            return answer.status, json.loads(content)
        except ValueError:
            return answer.status, None

    def give_back(self, connection: _Connection, *, reusable: bool) -> None:
        """Keep *connection* for the next request, or close it."""
        if reusable and len(self._idle) < self.keep:
            connection.is_kept = True
            self._idle.append(connection)
        else:
            connection.writer.close()

    async def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            writer = self._idle.pop().writer
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
