"""
Pushed observations: change events and business metrics, from people's pipelines into the next tick.

``POST /api/v1/events`` and ``POST /api/v1/business`` take JSON from anyone who holds the token. The body is untrusted
all the same: everything is bounded, and a refusal is one sentence that names the field. A list is taken whole or not
at all, except when the box fills up in the middle; the answer then says how many were taken.
"""

from __future__ import annotations

import asyncio
import hmac
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from aiops.clock import Clock
from aiops.errors import RequestError
from aiops.export.hooks import is_signed, parse_hook
from aiops.model import Observation
from aiops.model.pushed import parse_business, parse_events
from aiops.ports import Inbox
from aiops.selfstat import SelfStat

MAX_BODY_BYTES = 64 * 1024
MAX_HOOK_BYTES = 256 * 1024
"""A webhook describes its repository and its sender at length."""
_BODY_DEADLINE_S = 10.0
_RETRY_AFTER_S = 5


class BoundedInbox:
    """
    Where pushed observations wait for the next tick (`ports.Inbox`). Safe to use from any thread.

    Args:
        stat: Counts what is refused.
        limit: Observations held; at the largest allowed size each, a thousand are 6 MB.
    """

    def __init__(self, stat: SelfStat, limit: int = 1_000) -> None:
        self._stat = stat
        self._limit = limit
        self._lock = threading.Lock()
        self._waiting: deque[Observation] = deque()

    def offer(self, observation: Observation) -> bool:
        with self._lock:
            if len(self._waiting) < self._limit:
                self._waiting.append(observation)
                return True
        self._stat.inbox_refused.inc()
        return False

    def drain(self) -> Sequence[Observation]:
        with self._lock:
            drained, self._waiting = self._waiting, deque()
        return tuple(drained)


Parser = Callable[[bytes, float], list[Observation]]


class Intake:
    """
    The POST endpoints.

    Args:
        inbox: Takes what was accepted.
        token: Who may push; an empty one means nobody.
        clock: Says when "now" is, for observations without a time.
    """

    def __init__(self, inbox: Inbox, token: str, clock: Clock) -> None:
        self._inbox = inbox
        self._token = token.encode()
        self._clock = clock

    async def events(self, request: Request) -> Response:
        """``POST /api/v1/events``."""
        return await self._take(request, parse_events)

    async def business(self, request: Request) -> Response:
        """``POST /api/v1/business``."""
        return await self._take(request, parse_business)

    async def git_hook(self, request: Request) -> Response:
        """``POST /api/v1/hooks/git``."""
        body = await body_or_refusal(request, MAX_HOOK_BYTES)
        if isinstance(body, Response):
            return body
        if not is_signed(request.headers, body, self._token):
            return refuse(401, "sign the body with the token of state.dir/token as the webhook's secret")
        return self._parsed(body, lambda text, now_s: parse_hook(text, request.query_params, now_s))

    async def _take(self, request: Request, parse: Parser) -> Response:
        if not may_write(request, self._token):
            return unauthorised()
        body = await body_or_refusal(request, MAX_BODY_BYTES)
        return body if isinstance(body, Response) else self._parsed(body, parse)

    def _parsed(self, body: bytes, parse: Parser) -> Response:
        try:
            observations = parse(body, self._clock.now_s())
        except RequestError as error:
            return refuse(400, str(error))
        return self._offer(observations)

    def _offer(self, observations: Sequence[Observation]) -> Response:
        for accepted, observation in enumerate(observations):
            if not self._inbox.offer(observation):
                text = f"the inbox is full: {accepted} of {len(observations)} accepted; send the rest again later"
                return refuse(503, text, {"Retry-After": str(_RETRY_AFTER_S)}, accepted=accepted)
        return JSONResponse({"accepted": len(observations)}, 202)


def may_write(request: Request, token: bytes) -> bool:
    """Whether *request* carries the *token*; nobody has an empty one."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    # latin-1 is how header bytes were decoded; compare_digest takes the same time wherever the first difference is
    same = hmac.compare_digest(given.strip().encode("latin-1", "replace"), token)
    return bool(token) and scheme.lower() == "bearer" and same


def unauthorised() -> Response:
    """The answer to whoever does not carry the token."""
    text = "send the token of state.dir/token as 'Authorization: Bearer TOKEN'"
    return refuse(401, text, {"WWW-Authenticate": "Bearer"})


async def body_or_refusal(request: Request, limit: int) -> bytes | Response:
    """The body of *request*, or the answer to one that is too large or too slow."""
    try:
        async with asyncio.timeout(_BODY_DEADLINE_S):
            body = await _body(request, limit)
    except (TimeoutError, ClientDisconnect):
        return refuse(408, f"the body did not arrive within {_BODY_DEADLINE_S:.0f} s")
    return refuse(413, f"the body: expected at most {limit} bytes") if body is None else body


async def _body(request: Request, limit: int) -> bytes | None:
    """The whole body, or None as soon as it is too large."""
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced[:12]) > limit:
        return None
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > limit:
            return None
    return bytes(received)


def refuse(status: int, text: str, headers: dict[str, str] | None = None, **more: Any) -> Response:
    """An error as the API words it: ``{"error": "…"}``."""
    return JSONResponse({"error": text, **more}, status, headers)
