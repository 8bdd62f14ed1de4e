"""
One access-log line to one `Entry`: nginx's JSON under many key names, and its combined format.

Nobody agrees on the keys of a JSON log, so each reading has a list of names it goes by; which of them a log uses is
found at its first line and looked up again only when the keys change. The combined format has no durations and no
upstream; ``key=value`` pairs behind it, a common extension, are read like JSON keys. On retries nginx joins values by
commas: the last upstream is the one that answered. A line that is none of this gives None, whatever is in it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from enum import StrEnum
from typing import Any, Final

import msgspec

from aiops.model import NOBODY

SUGGESTED_FORMAT: Final = (
    'log_format aiops escape=json \'{"t":"$msec","st":$status,"rt":$request_time,"uht":"$upstream_header_time",'
    '"urt":"$upstream_response_time","ust":"$upstream_status","ua":"$upstream_addr","uri":"$uri",'
    '"rc":"$request_completion","retry":"$http_x_stainless_retry_count"}\';'
)
"""What a complete log is written with."""

_NAMES: Mapping[str, tuple[str, ...]] = {
    "at": ("t", "msec", "time", "ts", "timestamp", "@timestamp", "time_iso8601", "time_local"),
    "status": ("st", "status"),
    "duration": ("rt", "request_time"),
    "first_byte": ("uht", "upstream_header_time"),
    "upstream_s": ("urt", "upstream_response_time"),
    "upstream_status": ("ust", "upstream_status"),
    "upstream": ("upstream_addr", "ua", "upstream"),
    "uri": ("uri", "request_uri", "path", "request"),
    "agent": ("http_user_agent", "user_agent", "agent"),
    "completed": ("rc", "request_completion"),
    "retry": ("retry", "http_x_stainless_retry_count", "retry_count"),
}
_PROBE_AGENTS = ("kube-probe/", "ELB-HealthChecker/", "GoogleHC/", "Prometheus/", "Blackbox Exporter/")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LOCAL_TIME = re.compile(r"(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)")
_COMBINED = re.compile(
    r'\S+ \S+ [^\["]{1,256} ?\[([^\]]{20,40})\] "([^"\\]*(?:\\.[^"\\]*)*)" (\d{3}) (?:\d+|-)'
    r'(?: "[^"\\]*(?:\\.[^"\\]*)*" "([^"\\]*(?:\\.[^"\\]*)*)")?'
)
_PAIR = re.compile(r'(\w{1,40})=(?:"([^"]*)"|(\S*))')
_BARE_DASH = re.compile(r":\s*-?\s*(?=[,}])")
_MAX_PAIRS = 32
_MAX_EPOCH_S = 1e11
"""Times above are milliseconds: as seconds they would lie after the year 5000."""
_MAX_DURATION_S = 7 * 86_400.0


class Format(StrEnum):
    """How a log is written."""

    AUTO = "auto"
    JSON = "json"
    COMBINED = "combined"


class Entry(msgspec.Struct, frozen=True, gc=False):
    """
    One request, completed.

    A msgspec Struct and not a dataclass: one is made a line, and it takes a third of the time.
    """

    at_s: float
    """When it ended."""
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


class Parser:
    """
    Reads the lines of one log.

    Args:
        format: What to expect; AUTO decides line by line.
    """

    def __init__(self, format: Format = Format.AUTO) -> None:  # noqa: A002 (the settings' own word)
        self._format = format
        self._decode = msgspec.json.Decoder(dict[str, Any]).decode
        self._plan: dict[str, str] = {}
        self._plan_keys: frozenset[str] = frozenset()
        self._time_text = ""
        self._time_s: float | None = None

    def parse(self, line: bytes) -> Entry | None:
        """The request *line* tells of; None if it tells of none."""
        if line.startswith(b"{"):
            return None if self._format is Format.COMBINED else self._entry(self._json(line))
        return None if self._format is Format.JSON else self._entry(_combined(line))

    def _json(self, line: bytes) -> Mapping[str, Any] | None:
        try:
            return self._decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        # nginx without escape=json writes \xHH; unquoted variables without a value are "-" or nothing
        text = line.decode("utf-8", "replace").replace("\\x", "\\u00")
        try:
            return self._decode(_BARE_DASH.sub(":null", text))
        except (msgspec.DecodeError, RecursionError):
            return None

    def _entry(self, values: Mapping[str, Any] | None) -> Entry | None:
        if values is None:
            return None
        if values.keys() != self._plan_keys:
            self._make_plan(values)
        plan = self._plan
        at_s = self._time(values.get(plan["at"])) if "at" in plan else None
        status = _number(values.get(plan["status"])) if "status" in plan else None
        if at_s is None or status is None or not 100 <= status <= 599:
            return None
        get = {name: values.get(key) for name, key in plan.items()}.get
        first_byte_s = _seconds(get("first_byte"))
        return Entry(
            at_s=at_s,
            status=int(status),
            duration_s=_seconds(get("duration")),
            first_byte_s=first_byte_s,
            upstream=_upstream(get("upstream")),
            by_upstream=self._by_upstream(get("upstream_status"), first_byte_s),
            path=_path(get("uri")),
            agent=str(get("agent") or ""),
            completed=_completed(get("completed")) if "completed" in plan else None,
            retry=_retry(get("retry")) if "retry" in plan else None,
        )

    def _make_plan(self, values: Iterable[str]) -> None:
        keys = frozenset(values)
        found = {name: next((n for n in names if n in keys), "") for name, names in _NAMES.items()}
        self._plan = {name: key for name, key in found.items() if key}
        self._plan_keys = keys if len(keys) <= 256 else frozenset()

    def _by_upstream(self, value: Any, first_byte_s: float | None) -> bool | None:
        if "upstream_status" not in self._plan:
            return None
        status = _number(_last(value))
        if status is None or not 100 <= status <= 599:
            return False
        # nginx puts its own 502 and 504 there when an upstream gave no answer: then no header ever came
        return not (status in {502, 504} and first_byte_s is None and "first_byte" in self._plan)

    def _time(self, value: Any) -> float | None:
        """Epoch seconds of any of nginx's time variables."""
        if (number := _number(value)) is not None:
            number = number / 1000.0 if number > _MAX_EPOCH_S else number
            return number if number > 0 else None
        if not isinstance(value, str):
            return None
        if value != self._time_text:  # whole seconds: many lines share one
            self._time_text, self._time_s = value, _time_of(value)
        return self._time_s


def is_probe(entry: Entry, paths: frozenset[str]) -> bool:
    """Whether a health check or a scraper asked, not a user."""
    return entry.path in paths or entry.agent.startswith(_PROBE_AGENTS)


def _combined(line: bytes) -> Mapping[str, Any] | None:
    text = line.decode("utf-8", "replace")
    found = _COMBINED.match(text)
    if found is None:
        return None
    values: dict[str, Any] = {"time_local": found[1], "request": found[2], "status": found[3]}
    if found[4] is not None:
        values["http_user_agent"] = found[4]
    for count, pair in enumerate(_PAIR.finditer(text, found.end())):
        if count >= _MAX_PAIRS:
            break
        values.setdefault(pair[1], pair[2] if pair[2] is not None else pair[3])
    return values


def _time_of(text: str) -> float | None:
    found = _LOCAL_TIME.fullmatch(text)
    try:
        if found is None:
            moment = datetime.fromisoformat(text)
            return moment.timestamp() if moment.tzinfo is not None else None
        day, month, year, hour, minute, second, sign, off_h, off_m = found.groups()
        offset = timedelta(hours=int(off_h), minutes=int(off_m)) * (-1 if sign == "-" else 1)
        zone = timezone(offset)
        return datetime(
            int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second), tzinfo=zone
        ).timestamp()
    except (ValueError, OverflowError):
        return None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _last(value: Any) -> Any:
    """The last element of nginx's list: upstreams tried are parted by commas, internal redirects by colons."""
    if isinstance(value, str) and ("," in value or " : " in value):
        return value.replace(" : ", ",").rsplit(",", 1)[1].strip()
    return value


def _seconds(value: Any) -> float | None:
    number = _number(_last(value))
    return number if number is not None and 0.0 <= number <= _MAX_DURATION_S else None


def _upstream(value: Any) -> str:
    address = _last(value)
    # without live upstreams nginx names the group ("backend"), which is nobody
    if not isinstance(address, str) or ":" not in address or len(address) > 256 or not address.isprintable():
        return NOBODY
    return address


def _path(value: Any) -> str:
    """The path alone: what stands in a query is nobody's business."""
    if not isinstance(value, str):
        return ""
    words = value.split(" ", 2)  # "GET /v1/models HTTP/1.1"
    return words[len(words) > 1].partition("?")[0]


def _completed(value: Any) -> bool:
    return value == "OK" or value is True


def _retry(value: Any) -> int:
    number = _number(value)
    return int(number) if number is not None and 0 < number < 1000 else 0
