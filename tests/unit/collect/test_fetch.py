"""Whatever a server does, a fetch ends in a bounded page or in one of two errors, in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest

from aiops.collect.fetch import MAX_PAGE_BYTES, fetch_page, instance_of, one_page
from aiops.errors import SourceMalformed, SourceUnavailable
from tests.pageserver import Answer, PageServer, hang, page, raw, serving


def fetched(answer: Answer | Callable[[PageServer], Answer], deadline_s: float = 5.0) -> bytes:
    """The page a server with this behaviour gives."""

    async def scene() -> bytes:
        async with serving(hang) as server, httpx.AsyncClient(trust_env=False) as http:
            server.answer = answer
            return await fetch_page(http, server.url, deadline_s=deadline_s)

    return asyncio.run(scene())


def test_a_page_comes_back_as_it_was_sent():
    """The parser works on bytes: nothing may decode or change them on the way."""
    assert fetched(page(b"a 1\nb \xff 2\n")) == b"a 1\nb \xff 2\n"


def test_a_refused_connection_is_unavailable():
    """A server that is down is expected; it must not look like a bug."""

    async def scene() -> None:
        async with serving(hang) as server:
            url = server.url
        async with httpx.AsyncClient(trust_env=False) as http:
            with pytest.raises(SourceUnavailable, match="refused"):
                await fetch_page(http, url, deadline_s=5.0)

    asyncio.run(scene())


def test_a_server_that_accepts_and_says_nothing_is_given_up_in_time():
    """A stalled engine accepts connections for ever; the collector may not wait with it."""
    with pytest.raises(SourceUnavailable, match=r"no answer within 0\.05 s"):
        fetched(hang, deadline_s=0.05)


def test_a_server_that_drips_is_given_up_in_time():
    """Each byte comes before a read times out; only a deadline over the whole page helps."""

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.005)

    with pytest.raises(SourceUnavailable, match="no answer within"):
        fetched(drip, deadline_s=0.1)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (page(b"<html>login</html>", content_type="text/html; charset=utf-8"), "HTML"),
        (page(b"  <!DOCTYPE html><html>", content_type="text/plain"), "HTML"),
        (page(b"", status="500 Internal Server Error"), "status 500"),
        (page(b"", status="302 Found", extra="Location: http://127.0.0.1:1/\r\n"), "status 302"),
        (page(b"\x1f\x8b", extra="Content-Encoding: gzip\r\n"), "compressed"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n"), "more than 4194304 bytes"),
        (raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "does not speak HTTP"),
        (raw(b"\x00\x01\x02" * 50 + b"\r\n\r\n"), "does not speak HTTP"),
    ],
)
def test_an_answer_that_is_no_metrics_page_is_malformed(answer, why):
    """The person who reads the blind spot needs to know what came instead."""
    with pytest.raises(SourceMalformed, match=why):
        fetched(answer)


def test_a_server_that_answers_503_is_unavailable():
    """It loads its model, or shuts down: it is worth asking again soon, and what it says is no rubbish."""
    with pytest.raises(SourceUnavailable, match="status 503 instead of 200"):
        fetched(page(b"Loading model", status="503 Service Unavailable"))


def test_a_page_without_end_is_cut_off_at_the_limit():
    """100 MB of page must cost neither the memory nor the time of 100 MB."""

    async def scene() -> int:
        async with serving(hang) as server, httpx.AsyncClient(trust_env=False) as http:
            server.answer = server.flood
            with pytest.raises(SourceMalformed, match="more than"):
                await fetch_page(http, server.url, deadline_s=20.0)
            return server.sent

    assert asyncio.run(scene()) < 3 * MAX_PAGE_BYTES


def test_a_refused_page_does_not_stay_in_memory_with_its_error():
    """Whoever keeps the error keeps its traceback and every variable in it: 4 MB a second, once."""

    async def scene() -> int:
        async with serving(hang) as server, httpx.AsyncClient(trust_env=False) as http:
            server.answer = server.flood
            with pytest.raises(SourceMalformed) as caught:
                await fetch_page(http, server.url, deadline_s=20.0)
            return sum(len(value) for entry in caught.traceback for value in map(_flat, entry.frame.f_locals.values()))

    def _flat(value: object) -> bytes:
        parts = value if isinstance(value, list) else [value]
        return b"".join(part for part in parts if isinstance(part, bytes | bytearray))

    assert asyncio.run(scene()) < MAX_PAGE_BYTES // 8


def test_a_connection_that_breaks_in_the_middle_is_an_own_error():
    """A server killed while it answers gives half a page, which is no page."""

    async def break_off(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na 1\n")
        await writer.drain()
        writer.close()

    with pytest.raises((SourceMalformed, SourceUnavailable)):
        fetched(break_off)


@pytest.mark.parametrize("again", [False, True])
def test_a_connection_the_server_dropped_while_it_was_idle_is_no_outage(again):
    """uvicorn closes after five seconds without a request, and a page is read every five seconds."""

    async def drop(writer: asyncio.StreamWriter) -> None:
        server.answer = page(b"a 2\n")
        writer.close()

    async def scene() -> list[bytes]:
        async with httpx.AsyncClient(trust_env=False) as http, serving(page(b"a 1\n")) as pages:
            nonlocal server
            server = pages
            first = await fetch_page(http, pages.url, deadline_s=5.0, again=again)
            pages.answer = drop
            return [first, await fetch_page(http, pages.url, deadline_s=5.0, again=again)]

    server = PageServer(hang)
    if again:
        assert asyncio.run(scene()) == [b"a 1\n", b"a 2\n"]
    else:
        with pytest.raises((SourceMalformed, SourceUnavailable)):
            asyncio.run(scene())


@pytest.mark.parametrize(
    ("url", "instance"),
    [
        ("http://10.0.0.5:8000/metrics", "10.0.0.5:8000"),
        ("https://gpu1.example.org/metrics", "gpu1.example.org:443"),
        ("http://[::1]:8000/metrics", "[::1]:8000"),
    ],
)
def test_the_instance_of_a_url_is_host_and_port(url, instance):
    """It joins pages with the gateway's upstream address."""
    assert instance_of(url) == instance


@pytest.mark.parametrize("url", ["", "8000", "127.0.0.1:8000", "ftp://h/metrics", "http:///metrics"])
def test_an_address_without_scheme_or_host_is_refused(url):
    """A settings file is wrong as soon as it is read, not at the first scrape."""
    with pytest.raises(ValueError, match="expected an address such as"):
        instance_of(url)


def test_an_error_of_ours_in_one_page_is_that_page_s_failure_with_its_place():
    """Half of a fleet must not vanish because one server's page finds a bug."""
    with pytest.raises(SourceMalformed, match=r"ZeroDivisionError.* at test_an_error_of_ours\w+:\d+"), one_page():
        raise ZeroDivisionError

    with pytest.raises(SourceUnavailable, match="refused"), one_page():
        raise SourceUnavailable("refused")
