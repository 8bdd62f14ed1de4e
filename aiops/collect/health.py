"""
Whether an inference server calls itself well, and how long it takes to say so.

Load balancers and Kubernetes ask the same path and act on the answer: a server that answers too slowly is taken out or
killed, one that answers 200 while nothing moves is not. The question runs beside the readings of the page, never more
than one at a time, and has a deadline of its own. A path that has never answered 200 or 503 says nothing: it may not
exist, or be on another port.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from aiops.clock import Clock
from aiops.collect.engines import Health
from aiops.collect.fetch import CUT_OFF
from aiops.model import Labels, Sample

_AGAIN_S = 10.0
_ABSENT_AGAIN_S = 600.0
_DEADLINE_S = 5.0
"""Longer than the probes of most clusters (1 s), so that an answer that would fail them is still measured."""
_MAX_BODY_BYTES = 4_096
_HEADERS = {"Accept-Encoding": "identity"}
_OK, _UNAVAILABLE = 200, 503
_ANSWERS = frozenset({_OK, 204, 400, 500, _UNAVAILABLE})
"""Statuses with which engines answer here; any other one means that the path is not theirs, or not for us."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one question got."""

    status: int | None
    """None if there was no answer."""
    seconds: float | None
    """Until it came, or was given up; None if the connection failed."""
    loading: bool = False


class HealthWatch:
    """
    Watches one server's health path.

    Args:
        http: For the questions.
        url: The path's address.
        clock: For how long an answer takes.
    """

    def __init__(self, http: httpx.AsyncClient, url: str, clock: Clock) -> None:
        self.refuses = False
        """The last answer was that it is not well; a slow one is no answer."""
        self._http = http
        self._url = url
        self._clock = clock
        self._question: asyncio.Task[Answer] | None = None
        self._asked_s = float("-inf")
        self._pause_s = _AGAIN_S
        self._known = False

    def samples(self, labels: Labels, now_s: float) -> Iterator[Sample]:
        """
        What there is to say since the last call; asks again when it is time, and never waits.

        Args:
            labels: The server's.
            now_s: Wall time.
        """
        if self._question is not None and self._question.done():
            question, self._question = self._question, None
            if not question.cancelled():
                yield from self._take(question.result(), labels)
        if self._question is None and not 0.0 <= now_s - self._asked_s < self._pause_s:
            self._asked_s = now_s
            self._question = asyncio.create_task(ask(self._http, self._url, self._clock), name="health of a server")

    def close(self) -> None:
        """End what is under way."""
        if self._question is not None:
            self._question.cancel()

    def _take(self, answer: Answer, labels: Labels) -> Iterator[Sample]:
        at_s, up = self._asked_s, answer.status is not None and _OK <= answer.status < 300
        absent = answer.status is not None and answer.status not in _ANSWERS
        self._pause_s = _ABSENT_AGAIN_S if absent else _AGAIN_S
        self._known = (self._known or up or answer.status == _UNAVAILABLE) and not absent
        self.refuses = self._known and answer.status is not None and not up
        if not self._known:
            return
        yield Sample("gen_ai_server_health_up", labels, at_s, 1.0 if up else 0.0)
        if answer.seconds is not None:
            yield Sample("gen_ai_server_health_seconds", labels, at_s, answer.seconds)
        if answer.status is not None:
            yield Sample("gen_ai_server_health_status_code", labels, at_s, float(answer.status))
        if up or answer.loading:
            yield Sample("gen_ai_server_loading", labels, at_s, 0.0 if up else 1.0)


async def ask(http: httpx.AsyncClient, url: str, clock: Clock) -> Answer:
    """One question; every failure is an answer too."""
    started_s = clock.monotonic_s()
    try:
        async with asyncio.timeout(_DEADLINE_S):
            try:
                status, loading = await _question(http, url)
            except CUT_OFF:  # an idle connection was closed as we asked; see `fetch_page`
                status, loading = await _question(http, url)
            return Answer(status, clock.monotonic_s() - started_s, loading)
    except (TimeoutError, httpx.TimeoutException):
        return Answer(None, clock.monotonic_s() - started_s)
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError):
        return Answer(None, None)


async def _question(http: httpx.AsyncClient, url: str) -> tuple[int, bool]:
    """Status, and whether a 503 says that the model is being loaded."""
    async with http.stream("GET", url, headers=_HEADERS, timeout=_DEADLINE_S, follow_redirects=False) as response:
        body = await _body(response)
        return response.status_code, response.status_code == _UNAVAILABLE and b"oading" in body


async def _body(response: httpx.Response) -> bytes:
    """To its end, so that the connection can be used again; a long one is cut off."""
    body = b""
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        return body  # a compressed one could unpack into anything
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            break
    return body


def health_url(page_url: str, health: Health) -> str:
    """Where a server whose page is at *page_url* is asked; empty if that is not known."""
    url = httpx.URL(page_url)
    port = url.port
    if health.ports:
        port = health.ports.get(str(url.port))
        if port is None:
            return ""
    return str(url.copy_with(path=health.path, query=None, port=port))
