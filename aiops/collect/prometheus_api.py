"""
Questions to a Prometheus-compatible server: one POST to ``/api/v1/query``, one bounded answer.

Such a server may be a fleet's: an answer is read up to a size and taken whole or not at all, since a target that lost a
few of its series half way would look like a node that lost a card. Whatever else comes back ends as one of two errors.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import httpx
import msgspec

from aiops.clock import Clock
from aiops.collect.fetch import CUT_OFF
from aiops.document import Secret
from aiops.errors import SourceMalformed, SourceUnavailable

MAX_ANSWER_BYTES = 16 * 2**20
MAX_SERIES = 20_000
"""Four hundred inference servers; a whole fleet is what `match` is for."""
_MAX_WORDS = 200
_LATER = frozenset({408, 422, 429, 500, 502, 503, 504})
"""It is there and cannot now: overloaded, restarting, a query that took too long or touched too many samples."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class Found(msgspec.Struct):
    """One series of an answer."""

    metric: dict[str, str] = {}
    values: list[tuple[float, str]] = []
    """Times of the server and values, of a range."""
    value: tuple[float, str] | None = None
    """Of an instant."""

    @property
    def points(self) -> list[tuple[float, str]]:
        """Whatever it has."""
        return [self.value] if self.value is not None else self.values


class _Data(msgspec.Struct):
    kind: str = msgspec.field(name="resultType")
    result: msgspec.Raw


class _Body(msgspec.Struct):
    status: str
    data: _Data | None = None
    error: str = ""
    warnings: list[str] | None = None


class Answer(NamedTuple):
    """What a server said."""

    series: list[Found]
    warning: str
    """Why something may be missing; empty if nothing is."""
    clock: tuple[float, float] | None
    """Their clock less ours lies between these, as far as the answer's Date tells; None without one."""


class TooMany(SourceMalformed):
    """More series than are taken."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} series, at most {MAX_SERIES} are taken; narrow it with match")
        self.count = count


class Api:
    """
    One server.

    Args:
        http: The client; redirects are not followed.
        url: Of the server, up to where ``/api`` begins.
        token: For ``Authorization: Bearer``; empty without one.
        clock: Ours, to hold theirs against.
    """

    def __init__(self, http: httpx.AsyncClient, url: str, token: Secret, clock: Clock) -> None:
        self._http = http
        self._url = url.rstrip("/") + "/api/v1/query"
        self._clock = clock
        # a compressed answer could unpack into anything
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if token:
            self._headers["Authorization"] = f"Bearer {token.reveal()}"

    async def ask(self, query: str, deadline_s: float) -> Answer:
        """
        The answer to *query*, evaluated at the server's own now.

        Raises:
            SourceUnavailable: nobody answers, or not in time, or not now.
            SourceMalformed: what answers is no such server, refuses us, or says too much.
        """
        form = {"query": query, "timeout": f"{deadline_s:.3f}"}
        try:
            async with asyncio.timeout(deadline_s):
                try:
                    return await self._ask_once(form, deadline_s)
                except CUT_OFF:  # an idle connection that was dropped just now
                    return await self._ask_once(form, deadline_s)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise SourceUnavailable(f"no answer within {deadline_s:g} s") from error
        except (httpx.ProtocolError, httpx.UnsupportedProtocol) as error:
            raise SourceMalformed("does not speak HTTP") from error
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
            raise SourceUnavailable(f"cannot be reached ({type(error).__name__})") from error

    async def _ask_once(self, form: Mapping[str, str], deadline_s: float) -> Answer:
        asked_s = self._clock.now_s()
        async with self._http.stream(
            "POST", self._url, data=form, headers=self._headers, timeout=deadline_s, follow_redirects=False
        ) as response:
            clock = _apart(response.headers.get("date", ""), asked_s, self._clock.now_s())
            body = await _bounded(response)
        return answer(response.status_code, body, clock)


async def _bounded(response: httpx.Response) -> bytes:
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise SourceMalformed("a compressed answer, which was not asked for")
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            body.clear()  # the error's traceback holds this frame
            raise SourceMalformed(f"an answer of more than {MAX_ANSWER_BYTES} bytes; narrow it with match")
    return bytes(body)


def answer(status: int, body: bytes, clock: tuple[float, float] | None = None) -> Answer:
    """
    What a response says.

    Raises:
        SourceUnavailable: not now.
        SourceMalformed: not at all, or too much.
    """
    refusal = SourceUnavailable if status in _LATER else SourceMalformed
    try:
        said = msgspec.json.decode(body, type=_Body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise refusal(f"status {status}, and no answer of the query API") from error
    if said.data is None or status != httpx.codes.OK or said.status != "success":
        raise refusal(f"status {status}: {plain(said.error) or 'no reason given'}")
    return Answer(_series(said.data), plain("; ".join(said.warnings or ())), clock)


def _series(data: _Data) -> list[Found]:
    try:
        if data.kind == "scalar":
            return [Found(value=msgspec.json.decode(data.result, type=tuple[float, str]))]
        if data.kind not in {"matrix", "vector"}:
            raise SourceMalformed(f"a result of type {plain(data.kind)!r}, expected vector, matrix or scalar")
        found = msgspec.json.decode(data.result, type=list[Found])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise SourceMalformed("no series in the answer") from error
    if len(found) > MAX_SERIES:
        raise TooMany(len(found))
    return found


def _apart(date: str, asked_s: float, answered_s: float) -> tuple[float, float] | None:
    """Bounds on their clock less ours: Date has whole seconds, and was written between question and answer."""
    try:
        theirs_s = parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return theirs_s - answered_s, theirs_s + 1.0 - asked_s


def plain(words: str) -> str:
    """A foreign text as one short line."""
    return _CONTROL.sub(" ", words[:_MAX_WORDS]).strip()
