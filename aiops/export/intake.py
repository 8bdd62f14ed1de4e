"""
Pushed observations: change events and business metrics, from people's pipelines into the next tick.

``POST /api/v1/events`` and ``POST /api/v1/business`` take JSON from anyone who holds the token. The body is untrusted
all the same: everything is bounded, and a refusal is one sentence that names the field. A list is taken whole or not
at all, except when the box fills up in the middle; the answer then says how many were taken.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import re
import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from aiops.clock import Clock
from aiops.errors import RequestError
from aiops.model import Event, EventKind, Labels, Observation, Sample
from aiops.model.business import AHEAD_S, BUSINESS, LATENESS_S, expected, is_sound
from aiops.ports import Inbox
from aiops.selfstat import SelfStat

ACTIONS = ("deploy", "rollback", "config", "scale", "restart")
MAX_BODY_BYTES = 64 * 1024
MAX_EVENTS = 100
MAX_LABELS = 16
MAX_LABEL_CHARS = 256
MAX_MESSAGE_CHARS = 1_000
_BODY_DEADLINE_S = 10.0
_MAX_AGE_S = 7 * 86_400.0
"""Older than any history kept here by default."""
_RETRY_AFTER_S = 5
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,63}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


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


def parse_events(body: bytes, now_s: float) -> list[Observation]:
    """
    Change events of a request body: one JSON object or a list of them.

    Raises:
        RequestError: anything in it is not as documented; nothing of it may be used.
    """
    data = _json(body)
    entries = data if isinstance(data, list) else [data]
    if not 1 <= len(entries) <= MAX_EVENTS:
        raise RequestError(f"expected 1 to {MAX_EVENTS} events, found {len(entries)}")
    return [_event(entry, f"[{i}]." if isinstance(data, list) else "", now_s) for i, entry in enumerate(entries)]


def parse_business(body: bytes, now_s: float) -> list[Observation]:
    """
    The business readings of a request body: one JSON object or a list of them; oldest first.

    Raises:
        RequestError: anything in it is not as documented; nothing of it may be used.
    """
    data = _json(body)
    entries = data if isinstance(data, list) else [data]
    if not 1 <= len(entries) <= MAX_EVENTS:
        raise RequestError(f"expected 1 to {MAX_EVENTS} readings, found {len(entries)}")
    found = [_reading(entry, f"[{i}]." if isinstance(data, list) else "", now_s) for i, entry in enumerate(entries)]
    return [*sorted(found, key=lambda sample: sample.at_s)]


def _reading(entry: Any, where: str, now_s: float) -> Sample:
    fields = _object(entry, where, {"metric", "service", "value", "time"})
    metric = _text(fields, "metric", where, MAX_LABEL_CHARS)
    if metric not in BUSINESS:
        raise RequestError(f"{where}metric: expected one of {', '.join(BUSINESS)}, found {_show(metric)}")
    service = _text(fields, "service", where, MAX_LABEL_CHARS)
    value = fields.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float) or not is_sound(metric, value):
        raise RequestError(f"{where}value: expected {expected(metric)}, found {_show(value)}")
    at_s = _time_s(fields, where, now_s)
    if at_s < now_s - LATENESS_S:
        raise RequestError(f"{where}time: is more than an hour ago")
    return Sample(metric, Labels.of(service=service), at_s, float(value))


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise RequestError(f"the body is no JSON: {error}") from error


def _event(entry: Any, where: str, now_s: float) -> Event:
    fields = _object(entry, where, {"kind", "action", "message", "labels", "time"})
    if (kind := fields.get("kind", "change")) != "change":
        raise RequestError(f'{where}kind: expected "change", found {_show(kind)}')
    action = _text(fields, "action", where, MAX_LABEL_CHARS)
    if action not in ACTIONS:
        raise RequestError(f"{where}action: expected one of {', '.join(ACTIONS)}, found {_show(action)}")
    message = _text(fields, "message", where, MAX_MESSAGE_CHARS) if "message" in fields else ""
    return Event(EventKind.CHANGE, action, _time_s(fields, where, now_s), _labels(fields, where), message)


def _object(value: Any, where: str, known: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RequestError(f"{where.rstrip('.') or 'the body'}: expected an object, found {_show(value)}")
    for name in value:
        if name not in known:
            raise RequestError(f"{where}{name[:64]}: unknown field; expected one of {', '.join(sorted(known))}")
    return value


def _text(fields: dict[str, Any], name: str, where: str, limit: int) -> str:
    if name not in fields:
        raise RequestError(f"{where}{name}: missing")
    return _checked(fields[name], f"{where}{name}", limit)


def _checked(value: Any, where: str, limit: int) -> str:
    if not isinstance(value, str):
        raise RequestError(f"{where}: expected text, found {_show(value)}")
    if len(value) > limit:
        raise RequestError(f"{where}: expected at most {limit} characters, found {len(value)}")
    # one line, so that nobody can forge a second one in a timeline or a log
    cleaned = _CONTROL.sub(" ", value).strip()
    if not cleaned:
        raise RequestError(f"{where}: expected text, found nothing")
    return cleaned


def _labels(fields: dict[str, Any], where: str) -> Labels:
    values = fields.get("labels", {})
    if not isinstance(values, dict):
        raise RequestError(f"{where}labels: expected an object, found {_show(values)}")
    if len(values) > MAX_LABELS:
        raise RequestError(f"{where}labels: expected at most {MAX_LABELS}, found {len(values)}")
    for name in values:
        if not _LABEL_NAME.fullmatch(name):
            raise RequestError(f"{where}labels: expected names of letters, digits and _, found {_show(name)}")
    return Labels.from_mapping(
        {name: _checked(value, f"{where}labels.{name}", MAX_LABEL_CHARS) for name, value in values.items()}
    )


def _time_s(fields: dict[str, Any], where: str, now_s: float) -> float:
    if "time" not in fields:
        return now_s
    value = fields["time"]
    if isinstance(value, str):
        at_s = _rfc3339_s(value, where)
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        at_s = float(value)
    else:
        raise RequestError(f"{where}time: expected epoch seconds or an RFC 3339 time, found {_show(value)}")
    if at_s > now_s + AHEAD_S:
        hint = "; it looks like milliseconds, expected seconds" if abs(at_s / 1e3 - now_s) < _MAX_AGE_S else ""
        raise RequestError(f"{where}time: lies in the future{hint}")
    if at_s < now_s - _MAX_AGE_S:
        raise RequestError(f"{where}time: is more than 7 days ago")
    return min(at_s, now_s)  # a sender a little ahead means "now"


def _rfc3339_s(text: str, where: str) -> float:
    try:
        parsed = datetime.fromisoformat(text)
        if parsed.tzinfo is not None:
            return parsed.timestamp()
    except (ValueError, OverflowError):
        pass
    raise RequestError(f"{where}time: expected a time with a zone such as 2025-01-31T08:00:00Z, found {_show(text)}")


def _show(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "null"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    text = _CONTROL.sub(" ", text if len(text) <= 40 else text[:40] + "…")
    return f"'{text}'" if isinstance(value, str) else text


Parser = Callable[[bytes, float], list[Observation]]


class Intake:
    """
    The two POST endpoints.

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

    async def _take(self, request: Request, parse: Parser) -> Response:
        if not self._may_write(request):
            text = "send the token of state.dir/token as 'Authorization: Bearer TOKEN'"
            return refuse(401, text, {"WWW-Authenticate": "Bearer"})
        try:
            async with asyncio.timeout(_BODY_DEADLINE_S):
                body = await _body(request)
        except (TimeoutError, ClientDisconnect):
            return refuse(408, f"the body did not arrive within {_BODY_DEADLINE_S:.0f} s")
        if body is None:
            return refuse(413, f"the body: expected at most {MAX_BODY_BYTES} bytes")
        try:
            observations = parse(body, self._clock.now_s())
        except RequestError as error:
            return refuse(400, str(error))
        return self._offer(observations)

    def _may_write(self, request: Request) -> bool:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # latin-1 is how header bytes were decoded; compare_digest takes the same time wherever the first difference is
        same = hmac.compare_digest(given.strip().encode("latin-1", "replace"), self._token)
        return bool(self._token) and scheme.lower() == "bearer" and same

    def _offer(self, observations: Sequence[Observation]) -> Response:
        for accepted, observation in enumerate(observations):
            if not self._inbox.offer(observation):
                text = f"the inbox is full: {accepted} of {len(observations)} accepted; send the rest again later"
                return refuse(503, text, {"Retry-After": str(_RETRY_AFTER_S)}, accepted=accepted)
        return JSONResponse({"accepted": len(observations)}, 202)


async def _body(request: Request) -> bytes | None:
    """The whole body, or None as soon as it is too large."""
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced[:12]) > MAX_BODY_BYTES:
        return None
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > MAX_BODY_BYTES:
            return None
    return bytes(received)


def refuse(status: int, text: str, headers: dict[str, str] | None = None, **more: Any) -> Response:
    """An error as the API words it: ``{"error": "…"}``."""
    return JSONResponse({"error": text, **more}, status, headers)
