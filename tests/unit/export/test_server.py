"""The web server inside the daemon's loop: binding, answering, ending."""

from __future__ import annotations

import asyncio
import signal
import socket

import httpx
import pytest

from aiops.errors import ListenError, PortTaken
from aiops.export.server import WebServer, bind


def test_port_zero_takes_a_free_port_and_listens_at_once():
    """The port is ours before the slow parts start; early connections wait instead of failing."""
    with bind("127.0.0.1:0") as sock:
        port = sock.getsockname()[1]
        assert port > 0
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            pass


def test_a_taken_port_is_an_error_that_says_what_to_do():
    """The likeliest reason is a second daemon; a traceback helps nobody."""
    with bind("127.0.0.1:0") as sock:
        taken = f"127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(PortTaken, match=rf"web\.listen: {taken} is taken .* choose another port"):
            bind(taken)


@pytest.mark.parametrize(
    "listen", ["", "9477", ":9477", "localhost", "127.0.0.1:", "127.0.0.1:port", "127.0.0.1:65536", "127.0.0.1:-1",
               "no such host.invalid:1", "192.0.2.1:0", "[::1:9477", "\x00:1", "127.0.0.1:٣"],
)  # fmt: skip
def test_an_address_that_is_none_is_refused_with_the_settings_key(listen):
    """192.0.2.1 is well formed but belongs to nobody."""
    with pytest.raises(ListenError, match=r"web\.listen: "):
        bind(listen).close()


async def hello(_scope, _receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"hi"})


async def hang(_scope, _receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await asyncio.Event().wait()


async def timed_stop(server: WebServer) -> float:
    loop = asyncio.get_running_loop()
    before = loop.time()
    await server.stop()
    return loop.time() - before


def test_it_answers_stops_within_a_second_and_frees_the_port():
    """The daemon must end within five seconds, and restart on the same port."""

    async def go() -> None:
        sock = bind("127.0.0.1:0")
        port, server = sock.getsockname()[1], WebServer(hello, sock)
        server.start()
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"http://127.0.0.1:{port}")).text == "hi"
            assert await timed_stop(server) < 1.0
        with bind(f"127.0.0.1:{port}") as again:
            assert again.getsockname()[1] == port

    asyncio.run(go())


def test_an_answer_that_never_ends_does_not_hold_up_the_stop():
    """A reader on a bad line must not keep the daemon from ending."""

    async def go() -> None:
        sock = bind("127.0.0.1:0")
        server = WebServer(hang, sock)
        server.start()
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        assert await timed_stop(server) < 1.0
        writer.close()

    asyncio.run(go())


def test_a_server_never_started_just_closes_its_socket():
    """A start that fails half way tears down what it had."""

    sock = bind("127.0.0.1:0")
    port = sock.getsockname()[1]
    asyncio.run(WebServer(hello, sock).stop())

    assert sock.fileno() == -1
    with bind(f"127.0.0.1:{port}") as again:
        assert again.getsockname()[1] == port


def test_the_daemon_keeps_its_own_signal_handlers():
    """uvicorn would take SIGTERM for itself, and the outbox would not be flushed."""

    async def go() -> None:
        server = WebServer(hello, bind("127.0.0.1:0"))
        before = signal.getsignal(signal.SIGTERM)
        server.start()
        await asyncio.sleep(0)
        assert signal.getsignal(signal.SIGTERM) is before
        await server.stop()

    asyncio.run(go())
