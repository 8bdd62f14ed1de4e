"""
A bounded GET of a metrics page from a server that may be sick or not what we think it is.

Whatever it does, the answer is a page of limited size or one of two errors, within the deadline: it is not there
(refused, reset, silent), or it is there and answers with something else (another status, HTML, a page without end).
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import httpx

from aiops.errors import SourceError, SourceMalformed, SourceUnavailable

MAX_PAGE_BYTES = 4 * 2**20
"""vLLM's page has 0.1 MB, the largest exporters some 2 MB."""


class TooSlow(SourceUnavailable):
    """Somebody holds the connection and has not answered in time: blocked or overloaded, and not refused."""


class Unready(SourceUnavailable):
    """A server answers, with 503: it is loading, or shutting down."""


CUT_OFF = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
"""How it shows that the other side has closed a connection."""
_HEADERS = {
    "Accept": "text/plain;version=0.0.4, text/plain;q=0.5, */*;q=0.1",
    # a compressed page could unpack into anything
    "Accept-Encoding": "identity",
}


@contextlib.contextmanager
def one_page() -> Iterator[None]:
    """
    Around the reading of one page of several: whatever goes wrong is this page's failure, and stops no other.

    Raises:
        SourceError: as it was raised within, or in place of an error of ours, with its place in the code.
    """
    try:
        yield
    except SourceError:
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise SourceMalformed(f"cannot be understood: {error!r} at {place.name}:{place.lineno}") from error


def instance_of(url: str) -> str:
    """
    ``host:port`` of *url*.

    Raises:
        ValueError: *url* is no http or https address.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"url: expected an address such as http://127.0.0.1:8000/metrics, found {url!r}") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise ValueError(f"url: expected an address such as http://127.0.0.1:8000/metrics, found {url!r}")
    port = parsed.port or (443 if parsed.scheme == "https" else 80)
    return f"[{parsed.host}]:{port}" if ":" in parsed.host else f"{parsed.host}:{port}"


async def fetch_page(  # noqa: PLR0913 (all but two by name)
    http: httpx.AsyncClient,
    url: str,
    *,
    deadline_s: float,
    limit_bytes: int = MAX_PAGE_BYTES,
    again: bool = False,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    """
    The body of the page at *url*.

    Args:
        http: The client; redirects are not followed, whatever it is set to.
        url: Where to ask.
        deadline_s: From the first packet to the last byte.
        limit_bytes: A larger page is refused as soon as it shows.
        again: Ask once more if the connection is cut. Servers drop idle connections after a few seconds, mostly five, which is
            just when the next reading comes; nobody should be told that a server is down because of that.
        headers: Sent beside, or instead of, the usual ones.

    Raises:
        SourceUnavailable: nobody answers there, or not in time (TooSlow), or with 503 (Unready).
        SourceMalformed: not HTTP, another status than 200, compressed, HTML, or too large.
    """
    try:
        async with asyncio.timeout(deadline_s):
            try:
                page = await _page(http, url, deadline_s, limit_bytes, {**_HEADERS, **headers})
            except CUT_OFF:
                if not again:
                    raise
                page = await _page(http, url, deadline_s, limit_bytes, {**_HEADERS, **headers})
    except (TimeoutError, httpx.TimeoutException) as error:
        raise TooSlow(f"no answer within {deadline_s:g} s") from error
    except (httpx.ProtocolError, httpx.UnsupportedProtocol) as error:
        raise SourceMalformed("does not speak HTTP") from error
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
        raise SourceUnavailable(_reason(error)) from error
    if page[:512].lstrip()[:1] == b"<":
        raise SourceMalformed("HTML instead of metrics")
    return page


async def _page(
    http: httpx.AsyncClient, url: str, deadline_s: float, limit_bytes: int, headers: Mapping[str, str]
) -> bytes:
    async with http.stream("GET", url, headers=headers, timeout=deadline_s, follow_redirects=False) as response:
        _check_head(response, limit_bytes)
        return await _body(response, limit_bytes)


async def _body(response: httpx.Response, limit_bytes: int) -> bytes:
    page = bytearray()
    try:
        async for chunk in response.aiter_bytes():
            page += chunk
            if len(page) > limit_bytes:
                raise SourceMalformed(f"a page of more than {limit_bytes} bytes")
        return bytes(page)
    finally:
        page.clear()  # the error's traceback holds this frame, and may live until the next garbage collection


def _check_head(response: httpx.Response, limit_bytes: int) -> None:
    """Refuse by the head what need not be read."""
    if response.status_code != httpx.codes.OK:
        kind = Unready if response.status_code == httpx.codes.SERVICE_UNAVAILABLE else SourceMalformed
        raise kind(f"status {response.status_code} instead of 200")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise SourceMalformed("a compressed page, which was not asked for")
    if "html" in response.headers.get("content-type", "").lower():
        raise SourceMalformed("HTML instead of metrics")
    length = response.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > limit_bytes:
        raise SourceMalformed(f"a page of more than {limit_bytes} bytes")


def _reason(error: Exception) -> str:
    """Why a connection failed, in words; the URL stays out, it may hold a password."""
    if isinstance(error, httpx.ConnectError):
        return "connection refused or host unreachable"
    return f"connection broken ({type(error).__name__})"
