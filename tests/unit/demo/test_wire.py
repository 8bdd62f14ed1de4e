"""HTTP between the actors: keep-alive, streams, ends cut short, nonsense."""

import asyncio

import pytest

from aiops.demo.wire import HOST, Client, Reply, Request, WireError, as_json, port_of, serve


def talk(handler, play):
    """Run *play* with a client of a server that answers with *handler*."""

    async def run():
        server = await serve(handler)
        client = Client(port_of(server))
        try:
            return await play(client)
        finally:
            await client.close()
            server.close()
            await asyncio.sleep(0.01)

    return asyncio.run(run())


async def echo(request: Request) -> Reply:
    return as_json({"method": request.method, "path": request.path, "got": request.json()})


def test_a_connection_serves_many_requests():
    """Without keep-alive the demo would measure TCP handshakes."""

    async def play(client):
        first = await client.call("POST", "/a", {"n": 1})
        kept = list(client._idle)
        second = await client.call("GET", "/b")
        return first, second, kept == client._idle

    first, second, same = talk(echo, play)

    assert first == (200, {"method": "POST", "path": "/a", "got": {"n": 1}})
    assert second[1]["path"] == "/b"
    assert same


def test_a_stream_arrives_piece_by_piece():
    """Time to first token is the time of the first piece."""

    async def pieces():
        yield b"one"
        yield b"two"

    async def stream(_):
        return Reply(200, stream=pieces())

    async def play(client):
        answer = await client.send("GET", "/")
        return [piece async for piece in answer.pieces()]

    assert talk(stream, play) == [b"one", b"two"]


def test_a_stream_that_breaks_off_is_an_error_and_its_connection_is_not_used_again():
    """A truncated answer must not look complete, nor poison the next one."""

    async def pieces():
        yield b"one"
        raise OSError("upstream died")

    async def stream(_):
        return Reply(200, stream=pieces())

    async def play(client):
        answer = await client.send("GET", "/")
        with pytest.raises(WireError):
            await answer.read()
        return client._idle

    assert talk(stream, play) == []


def test_a_client_that_leaves_ends_the_servers_stream():
    """Aborted requests must give their KV blocks back."""
    ended = asyncio.Event()

    async def pieces():
        try:
            while True:
                yield b"x" * 4096
                await asyncio.sleep(0)
        finally:
            ended.set()

    async def stream(_):
        return Reply(200, stream=pieces())

    async def play(client):
        answer = await client.send("GET", "/")
        answer.close()
        async with asyncio.timeout(5):
            await ended.wait()
        return True

    assert talk(stream, play)


def test_a_client_that_leaves_before_there_is_an_answer_ends_the_work_on_it():
    """Engines abort requests whose client is gone, and gateways write 499."""
    ended = asyncio.Event()

    async def never(_):
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def play(client):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.send("GET", "/")
        async with asyncio.timeout(5):
            await ended.wait()
        return True

    assert talk(never, play)


def test_nonsense_and_oversize_are_hung_up_on():
    """The actors listen on ports anybody on the machine may reach."""

    async def play(client):
        found = []
        for message in (b"hello\r\n\r\n", b"GET / HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n", b"x" * 70_000):
            reader, writer = await asyncio.open_connection(HOST, client.port)
            writer.write(message)
            try:
                found.append(await reader.read())
            except OSError:
                found.append(b"")
            writer.close()
        return found

    assert talk(echo, play) == [b"", b"", b""]


def test_a_kept_connection_the_server_closed_is_replaced():
    """Otherwise the first request after a pause fails by itself."""

    async def play(client):
        await client.call("GET", "/a")
        writer = client._idle[0].writer
        writer.close()
        await writer.wait_closed()
        return await client.call("GET", "/b")

    assert talk(echo, play)[0] == 200
