"""
Access logs in JSON, whose writer is known by its keys: nginx under many key names, Envoy, Caddy, Traefik.

Nobody agrees on the keys, so each reading has a list of names it goes by. Which of them a log uses is found at its
first line and looked up again only when the keys change.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from aiops.collect.access_entry import Entry, entry_of
from aiops.collect.access_values import Stamp, first_of, number

_RETRY = ("retry", "http_x_stainless_retry_count", "retry_count", "x-stainless-retry-count", "x_stainless_retry_count")
_REQUEST_ID = ("http_x_request_id", "x-request-id", "x_request_id")
_MODEL = ("model", "model_name", "gen_ai_request_model", "http_x_model", "x-model", "x_model")
_NGINX: Final[Mapping[str, tuple[str, ...]]] = {
    "at": ("t", "msec", "time", "ts", "timestamp", "@timestamp", "time_iso8601", "time_local"),
    "status": ("st", "status"),
    "duration": ("rt", "request_time"),
    "first_byte": ("uht", "upstream_header_time"),
    "connect": ("uct", "upstream_connect_time"),
    "upstream_status": ("ust", "upstream_status"),
    "upstream": ("upstream_addr", "ua", "upstream"),
    "received": ("upstream_bytes_received", "upstream_response_length"),
    "uri": ("uri", "request_uri", "path", "request"),
    "agent": ("http_user_agent", "user_agent", "agent"),
    "completed": ("rc", "request_completion"),
    "limit_req": ("limit_req_status", "lrs"),
    "limit_conn": ("limit_conn_status", "lcs"),
    "retry": _RETRY,
    "request_id": _REQUEST_ID,
    "model": _MODEL,
}
_NGINX_NAMES: Final[Mapping[str, str]] = {name: reading for reading, names in _NGINX.items() for name in names}
_ENVOY: Final[Mapping[str, tuple[str, ...]]] = {
    "started": ("start_time", "startTime", "timestamp"),
    "status": ("response_code", "responseCode"),
    "duration_ms": ("duration",),
    "first_byte_ms": (
        "upstream_service_time", "x-envoy-upstream-service-time", "x_envoy_upstream_service_time", "response_duration",
    ),
    "flags": ("response_flags", "responseFlags"),
    "details": ("response_code_details", "responseCodeDetails"),
    "upstream": ("upstream_host", "upstreamHost"),
    "uri": ("x-envoy-origin-path", "x-envoy-original-path", "x_envoy_original_path", "path", ":path"),
    "agent": ("user_agent", "user-agent", "userAgent"),
    "retry": _RETRY,
    "request_id": ("request_id", *_REQUEST_ID),
    "model": _MODEL,
}  # fmt: skip
_CADDY: Final[Mapping[str, tuple[str, ...]]] = {
    "at": ("ts",),
    "status": ("status",),
    "duration": ("duration",),
    "upstream": ("upstream", "upstream_hostport"),
    "uri": ("request.uri",),
    "agent": ("request.headers.User-Agent",),
    "retry": ("request.headers.X-Stainless-Retry-Count",),
    "request_id": ("request.headers.X-Request-Id",),
    "model": _MODEL,
}
_TRAEFIK: Final[Mapping[str, tuple[str, ...]]] = {
    "started": ("StartUTC", "StartLocal"),
    "status": ("DownstreamStatus",),
    "duration_ns": ("Duration",),
    "upstream": ("ServiceAddr",),
    "uri": ("RequestPath",),
    "agent": ("request_User-Agent",),
    "retry": ("request_X-Stainless-Retry-Count",),
    "request_id": ("request_X-Request-Id",),
}
_BARE_DASH = re.compile(r": ?-? ?(?=[,}])")
_MAX_KEYS = 256
_ABSENT: Final = object()

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def decode_object(line: bytes) -> dict[str, Any] | None:
    """*line* as a JSON object, after small repairs; None if it is none."""
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    # nginx without escape=json writes \xHH; unquoted variables without a value are "-" or nothing
    text = line.decode("utf-8", "replace").replace("\\x", "\\u00")
    try:
        return _decode(_BARE_DASH.sub(":null", text))
    except (msgspec.DecodeError, RecursionError):
        return None


def nginx_readings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Readings of nginx's *values*, under any of the names they go by; the first of a reading counts."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if (reading := _NGINX_NAMES.get(name)) is not None:
            found.setdefault(reading, value)
    return found


class JsonLines:
    """Reads the JSON lines of one log."""

    def __init__(self) -> None:
        self._stamp = Stamp()
        self._keys: frozenset[str] = frozenset()
        self._table: Mapping[str, tuple[str, ...]] = _NGINX
        self._flat: dict[str, str] = {}
        self._nested: dict[str, tuple[str, ...]] = {}

    @property
    def is_mixed(self) -> bool:
        """Whether lines that are no requests may stand in the same file."""
        return self._table is _CADDY

    def __call__(self, line: bytes) -> Entry | None:
        """The request *line* tells of; None if it tells of none."""
        found = decode_object(line) if line.startswith(b"{") else None
        if found is None:
            return None
        if found.keys() != self._keys:
            self._plan(found)
        values = {reading: found[key] for reading, key in self._flat.items()}
        for reading, path in self._nested.items():
            if (value := _at(found, path)) is not _ABSENT:
                values[reading] = value
        if "at" not in values and "started" not in values:
            return None
        if self._table is _CADDY:
            values["by_upstream"] = _caddy_answerer(found)
        elif self._table is _TRAEFIK:
            values["by_upstream"] = _traefik_answerer(found)
        return entry_of(values, self._stamp)

    def _plan(self, found: Mapping[str, Any]) -> None:
        keys = frozenset(found)
        self._keys = keys if len(keys) <= _MAX_KEYS else frozenset()
        self._table = _table_of(found)
        self._flat, self._nested = {}, {}
        for reading, names in self._table.items():
            nested = next((name for name in names if "." in name), "")
            if key := next((name for name in names if name in keys), ""):
                self._flat[reading] = key
            elif nested:
                self._nested[reading] = tuple(nested.split("."))


def _table_of(found: Mapping[str, Any]) -> Mapping[str, tuple[str, ...]]:
    """The names used by whoever wrote a line of these keys."""
    if "response_flags" in found or "response_code" in found or "responseCode" in found:
        return _ENVOY
    if "DownstreamStatus" in found:
        return _TRAEFIK
    return _CADDY if isinstance(found.get("request"), dict) and "logger" in found else _NGINX


def _at(found: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if not isinstance(found, dict) or key not in found:
            return _ABSENT
        found = found[key]
    return found


def _caddy_answerer(found: Mapping[str, Any]) -> bool | None:
    """
    Whether an upstream answered through Caddy.

    What was passed on has the upstream's name under Server or Caddy's under Via; Caddy's own errors have no body.
    """
    headers = found.get("resp_headers")
    if not isinstance(headers, dict):
        return None
    servers = headers.get("Server")
    if "Via" in headers or (isinstance(servers, list) and any(server != "Caddy" for server in servers)):
        return True
    own_error = number(found.get("status")) in {502.0, 503.0, 504.0} and found.get("size") == 0
    return False if own_error and first_of(servers) == "Caddy" else None


def _traefik_answerer(found: Mapping[str, Any]) -> bool | None:
    """Whether a server answered through Traefik, whose own "Bad Gateway" looks like a server's."""
    status = number(found.get("OriginStatus"))
    if status is None or status in {502.0, 504.0}:
        return None
    return status > 0
