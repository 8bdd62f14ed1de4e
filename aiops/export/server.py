"""
uvicorn inside the daemon's own event loop, on a socket that is already bound.

uvicorn as shipped takes over the process's signals and wakes ten times a second to look whether it should stop. The
daemon has its own signals and a CPU budget, so both are replaced: the server sleeps until it is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

from aiops.errors import ListenError, PortTaken
from aiops.settings import split_listen

_BACKLOG = 128
_MAX_CONNECTIONS = 256
"""Readers of one node's page are few; beyond this, requests get a 503 at once instead of memory."""
_GRACE_S = 0.5
"""How long answers under way may take once the daemon stops."""


def bind(listen: str) -> socket.socket:
    """
    A socket that already listens on *listen*, so that a taken port is known before anything else starts.

    Args:
        listen: ``host:port``, IPv6 in brackets; port 0 takes a free one.

    Raises:
        PortTaken: another program listens there.
        ListenError: *listen* is no address, or not one of this machine's.
    """
    try:
        host, port = split_listen(listen)
    except ValueError as error:
        raise ListenError(f"web.listen: {error}") from error
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise ListenError(f"web.listen: {host!r} is no address of this machine") from error
    sock = socket.socket(family, kind, protocol)
    try:
        # a restart must not wait for the old connections' TIME_WAIT
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            text = f"web.listen: {listen} is taken by another program; stop it, or choose another port (0 takes a free one)"
            raise PortTaken(text) from error
        raise ListenError(f"web.listen: {listen} cannot be opened: {error.strerror}") from error
    return sock


class _Embedded(uvicorn.Server):
    """uvicorn without its signal handlers and without its polling."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopping = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        await self.stopping.wait()


class WebServer:
    """
    Serves *app* on *sock* in the running loop.

    Args:
        app: An ASGI application.
        sock: As `bind` made it; closed by `stop`.
    """

    def __init__(self, app: Any, sock: socket.socket) -> None:
        config = uvicorn.Config(
            app, loop="none", http="h11", ws="none", lifespan="off", interface="asgi3", log_config=None,
            log_level="warning", access_log=False, proxy_headers=False, server_header=False, date_header=False,
            limit_concurrency=_MAX_CONNECTIONS, backlog=_BACKLOG, h11_max_incomplete_event_size=16 * 1024,
            timeout_keep_alive=15,
        )  # fmt: skip
        self._server = _Embedded(config)
        self._sock = sock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to answer; connections made since `bind` have waited."""
        self._task = asyncio.get_running_loop().create_task(self._server.serve(sockets=[self._sock]), name="web")

    async def stop(self) -> None:
        """Stop listening at once, give answers under way half a second, then cut them off."""
        if self._task is None:
            self._sock.close()
            return
        self._server.stopping.set()
        done, _ = await asyncio.wait({self._task}, timeout=_GRACE_S)
        if not done:
            self._server.force_exit = True
            for connection in list(self._server.server_state.connections):
                if connection.transport is not None:
                    connection.transport.abort()
            await asyncio.wait({self._task}, timeout=_GRACE_S / 2)
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
