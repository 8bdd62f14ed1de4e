"""
One request of an access log, and how it is made of what a line says.

Whatever writes the log, its words are brought to one set of readings first (`READINGS`); from these comes an `Entry`,
the same for every format. On retries nginx joins values by commas, and by colons on internal redirects: the last
upstream is the one that answered. Envoy stamps a request's beginning and counts milliseconds. A value that makes no
sense is left out; without a status there is no entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from aiops.collect.access_refusal import Refusal, envoy_flags, refusal_of, refused_by_flags
from aiops.collect.access_values import Stamp, first_of, last_of, number, seconds_of, word_of
from aiops.model import NOBODY

READINGS: Final = frozenset({
    "at", "started", "status", "duration", "duration_ms", "duration_us", "duration_ns", "first_byte", "first_byte_ms",
    "connect", "upstream_status", "upstream", "received", "flags", "details", "limit_req", "limit_conn", "by_upstream", "refusal", "server", "uri", "agent", "completed",
    "retry", "request_id", "model",
})  # fmt: skip
"""
What a line may say. `at` is the end of a request and `started` its beginning; `by_upstream` who answered,
`refusal` why not, where the
format says so outright; `server` is the upstream by another name than its address; `flags` and `details` are Envoy's.
"""

_SCALES = (("duration", 1.0), ("duration_ms", 1e-3), ("duration_us", 1e-6), ("duration_ns", 1e-9))
_LEFT = 499
"""What nginx calls a client that hung up; Envoy writes status 0."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """
    One request, completed.

    A msgspec Struct and not a dataclass: one is made a line, and it takes a third of the time.
    """

    at_s: float | None
    """When it ended; None if the log does not say."""
    status: int
    duration_s: float | None
    """Of the whole request; None if the log does not say."""
    first_byte_s: float | None
    """Of the answering upstream."""
    upstream: str
    """Who was asked last; `NOBODY`."""
    by_upstream: bool | None
    """Whether an upstream gave the answer; None if the log does not say."""
    path: str
    agent: str
    completed: bool | None
    """Whether the whole answer was sent; None if the log does not say."""
    retry: int | None
    """Which attempt of the client this was, 0 the first; None if the log does not say."""
    refusal: Refusal | None
    """Why it was refused; None for other answers, and where the log does not say."""
    model: str
    request_id: str


def entry_of(values: Mapping[str, Any], stamp: Stamp) -> Entry | None:
    """
    The request that *values* tell of; None if they tell of none.

    Args:
        values: Reading to what the line says; a reading the format does not have is absent.
        stamp: Of this log.
    """
    status = number(values.get("status"))
    flags = envoy_flags(values["flags"]) if "flags" in values else None
    if status == 0 and flags is not None:
        status = _LEFT
    if status is None or not 100 <= status <= 599:
        return None
    duration_s = _duration(values)
    at_s = _ended(values, stamp, duration_s)
    if at_s is None and ("at" in values or "started" in values):
        return None
    get = values.get
    first_byte_s = (
        seconds_of(get("first_byte_ms"), 1e-3) if "first_byte_ms" in values else seconds_of(get("first_byte"))
    )
    upstream = values["server"] if "server" in values else _upstream(get("upstream"))
    by_upstream = _by_upstream(values, flags, first_byte_s, upstream)
    completed = not flags if flags is not None else _completed(get("completed")) if "completed" in values else None
    return Entry(
        at_s=at_s,
        status=int(status),
        duration_s=duration_s,
        first_byte_s=first_byte_s,
        upstream=upstream,
        by_upstream=by_upstream,
        path=_path(get("uri")),
        agent=first_of(get("agent")),
        completed=completed,
        retry=_retry(get("retry")) if "retry" in values else None,
        refusal=refusal_of(int(status), by_upstream, values, flags, duration_s),
        model=word_of(get("model")),
        request_id=word_of(get("request_id")),
    )


def _duration(values: Mapping[str, Any]) -> float | None:
    for name, scale in _SCALES:
        if name in values:
            return seconds_of(values[name], scale)
    return None


def _ended(values: Mapping[str, Any], stamp: Stamp, duration_s: float | None) -> float | None:
    if "at" in values:
        return stamp.read(values["at"])
    started_s = stamp.read(values.get("started"))
    return None if started_s is None else started_s + (duration_s or 0.0)


def _by_upstream(
    values: Mapping[str, Any], flags: frozenset[str] | None, first_byte_s: float | None, upstream: str
) -> bool | None:
    if "by_upstream" in values:
        known: bool | None = values["by_upstream"]
        return known
    if flags is not None:
        details = values.get("details")
        if isinstance(details, str) and len(details) > 1:
            return details == "via_upstream"
        if first_byte_s is not None:
            return True
        cut_off = bool(flags) and "first_byte_ms" in values
        return upstream != NOBODY and not cut_off and not refused_by_flags(flags)
    return _by_nginx_upstream(values, first_byte_s)


def _by_nginx_upstream(values: Mapping[str, Any], first_byte_s: float | None) -> bool | None:
    if "upstream_status" not in values:
        return None
    status = number(last_of(values["upstream_status"]))
    if status is None or not 100 <= status <= 599:
        return False
    if status not in {502, 504} or first_byte_s is not None:
        return True
    # nginx puts its own 502 and 504 there when an upstream gave no answer: then nothing ever came from it
    if "first_byte" in values:
        return False
    received = number(last_of(values.get("received")))
    return None if received is None else received > 0


def _upstream(value: Any) -> str:
    address = last_of(value)
    # without live upstreams nginx names the group ("backend"), which is nobody
    if not isinstance(address, str) or ":" not in address or len(address) > 256 or not address.isprintable():
        return NOBODY
    return address.removeprefix("tcp://")


def _path(value: Any) -> str:
    """The path alone: what stands in a query is nobody's business."""
    if not isinstance(value, str):
        return ""
    words = value.split(" ", 2)  # "GET /v1/models HTTP/1.1"
    path = words[len(words) > 1].partition("?")[0]
    if not path.startswith("/"):  # http://host/v1/models, or host/v1/models
        _, slash, rest = (path.partition("://")[2] or path).partition("/")
        path = slash + rest
    return path


def _completed(value: Any) -> bool:
    return value == "OK" or value is True


def _retry(value: Any) -> int:
    found = number(first_of(value)) if value else None  # mostly it is empty
    return int(found) if found is not None and 0 < found < 1000 else 0
