"""
One access-log line to one `Entry`, in whichever format the log is written.

A log's format is the one that read its last line; a line it cannot read is offered to the others, so a format is
recognised at its first line and again after a change. Each gives up at a glance on what is not its own. Definitions of
formats (from the settings, or found in nginx's configuration) come before what is guessed. A server's own access lines
(uvicorn, gunicorn) stand among other lines of the program, and uvicorn's have no time: such a request ended when its
line was read. The combined format has neither durations nor upstreams; ``key=value`` pairs behind it, a common
extension, are read like JSON keys. A line that is none of this gives None, whatever is in it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Final

from aiops.collect.access_entry import Entry, entry_of
from aiops.collect.access_haproxy import Haproxy
from aiops.collect.access_json import JsonLines, nginx_readings
from aiops.collect.access_layout import DefinitionError, layout_of
from aiops.collect.access_values import Stamp
from aiops.collect.nginx_conf import definition_of

SUGGESTED_FORMAT: Final = (
    'log_format aiops escape=json \'{"t":"$msec","st":$status,"rt":$request_time,"uht":"$upstream_header_time",'
    '"uct":"$upstream_connect_time","ust":"$upstream_status","ua":"$upstream_addr","uri":"$uri",'
    '"rc":"$request_completion","retry":"$http_x_stainless_retry_count"}\';'
)
"""What a complete log is written with."""
_ENVOY: Final = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" '
    '"%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"'
)
"""Envoy's default."""
_ISTIO: Final = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% '
    '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%"
)
"""Istio's default for Envoy."""
_INGRESS: Final = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" '
    "$request_length $request_time [$proxy_upstream_name] [$proxy_alternative_upstream_name] $upstream_addr "
    "$upstream_response_length $upstream_response_time $upstream_status $req_id"
)
"""The default of Kubernetes' nginx ingress controller, whose configuration lies in a container."""
_PROBE_AGENTS = ("kube-probe/", "ELB-HealthChecker/", "GoogleHC/", "Prometheus/", "Blackbox Exporter/", "Envoy/HC")
_COMBINED = re.compile(
    r'\S+ \S+ [^\["]{1,256} ?\[([^\]]{20,40})\] "([^"\\]*(?:\\.[^"\\]*)*)" (\d{3}) (?:\d+|-)'
    r'(?: "[^"\\]*(?:\\.[^"\\]*)*" "([^"\\]*(?:\\.[^"\\]*)*)")?'
)
_TRAEFIK_TAIL = re.compile(r' \d+ "[^"]*" "(?:https?://)?([^"]*)" (\d+)ms$')
"""What Traefik adds to the combined format: which request it was, its router, its server, how long it took."""
_PAIR = re.compile(r'(\w{1,40})=(?:"([^"]*)"|(\S*))')
_MAX_PAIRS = 32
_MAX_BEHIND = 4_096
"""Characters behind the combined format in which pairs are looked for."""
_UVICORN = re.compile(r'[^" ]*:\d{1,5} - "[A-Z]{1,16} ([^" ]*) HTTP/[\d.]{1,3}" (\d{3})\b')
_UVICORN_LEVEL = "INFO"
_UVICORN_HEAD = 200
"""Characters before the address: level, and what a log configuration puts there."""

LineReader = Callable[[bytes], Entry | None]


class Format(StrEnum):
    """How a log is written."""

    AUTO = "auto"
    JSON = "json"
    COMBINED = "combined"
    NGINX = "nginx"
    ENVOY = "envoy"
    UVICORN = "uvicorn"
    GUNICORN = "gunicorn"
    CADDY = "caddy"
    HAPROXY = "haproxy"


class Combined:
    """
    Reads the combined format, of nginx and of others.

    Args:
        own: The server that writes the log gives the answers itself.
    """

    def __init__(self, *, own: bool = False) -> None:
        self._own = own
        self._stamp = Stamp()

    def __call__(self, line: bytes) -> Entry | None:
        text = line.decode("utf-8", "replace")
        found = _COMBINED.match(text)
        if found is None:
            return None
        values: dict[str, Any] = {"at": found[1], "uri": found[2], "status": found[3]}
        if found[4] is not None:
            values["agent"] = found[4]
        if self._own:
            values["by_upstream"] = True
        elif len(text) > found.end():
            values = _behind_combined(text, found.end(), found[3]) | values
        return entry_of(values, self._stamp)


def _behind_combined(text: str, place: int, status: str) -> dict[str, Any]:
    """What a log says beyond the combined format."""
    if (found := _TRAEFIK_TAIL.match(text, place)) is not None:
        # its own "Bad Gateway" looks like a server's
        answerer = False if found[1] == "-" else None if status in {"502", "504"} else True
        return {"upstream": found[1], "duration_ms": found[2], "by_upstream": answerer}
    pairs: dict[str, Any] = {}
    for count, pair in enumerate(_PAIR.finditer(text, place, place + _MAX_BEHIND)):
        if count >= _MAX_PAIRS:
            break
        pairs.setdefault(pair[1], pair[2] if pair[2] is not None else pair[3])
    return nginx_readings(pairs)


class Uvicorn:
    """Reads uvicorn's access lines, those of vLLM and SGLang among them."""

    def __init__(self) -> None:
        self._stamp = Stamp()

    def __call__(self, line: bytes) -> Entry | None:
        text = line.decode("utf-8", "replace")
        level = text.find(_UVICORN_LEVEL, 0, _UVICORN_HEAD)
        if level < 0:
            return None
        address = text.find(" ", level)
        while address >= 0 and text.startswith(" ", address):
            address += 1
        found = _UVICORN.match(text, address) if address >= 0 else None
        if found is None:
            return None
        values = {"uri": found[1], "status": found[2], "by_upstream": True}
        return entry_of(values, self._stamp)


class Parser:
    """
    Reads the lines of one log.

    Args:
        form: What to expect: a `Format`'s name, or the definition of a format.
    """

    def __init__(self, form: str = Format.AUTO) -> None:
        self._form = form
        self._readers: Sequence[LineReader] = ()
        self._current: LineReader | None = None
        self.learn(())

    def learn(self, definitions: Sequence[str]) -> None:
        """Definitions of the formats this log may be written in, by its writer's configuration."""
        self._readers = _readers(self._form, definitions)
        self._current = None

    @property
    def is_mixed(self) -> bool:
        """Whether lines that are no requests may stand in the same log."""
        current = self._current
        return (
            isinstance(current, Uvicorn | Haproxy)
            or self._form == Format.GUNICORN
            or (isinstance(current, JsonLines) and current.is_mixed)
        )

    @property
    def is_own(self) -> bool:
        """Whether the log is that of the server which answers, with no gateway in between."""
        return isinstance(self._current, Uvicorn) or self._form == Format.GUNICORN

    def parse(self, line: bytes) -> Entry | None:
        """The request *line* tells of; None if it tells of none."""
        if self._current is not None and (entry := self._current(line)) is not None:
            return entry
        for reader in self._readers:
            if reader is not self._current and (entry := reader(line)) is not None:
                self._current = reader
                return entry
        return None


def _readers(form: str, definitions: Sequence[str]) -> Sequence[LineReader]:
    named: dict[str, Callable[[], Sequence[LineReader]]] = {
        Format.JSON: lambda: (JsonLines(),),
        Format.COMBINED: lambda: (Combined(),),
        Format.NGINX: lambda: (JsonLines(), layout_of(_INGRESS), Combined()),
        Format.ENVOY: lambda: (JsonLines(), layout_of(_ENVOY), layout_of(_ISTIO)),
        Format.UVICORN: lambda: (Uvicorn(),),
        Format.GUNICORN: lambda: (Combined(own=True), Uvicorn()),
        Format.CADDY: lambda: (JsonLines(),),
        Format.HAPROXY: lambda: (Haproxy(),),
        Format.AUTO: lambda: (
            JsonLines(),
            layout_of(_INGRESS),  # begins like the combined format
            Combined(),
            layout_of(_ENVOY),
            layout_of(_ISTIO),
            Uvicorn(),
            Haproxy(),
        ),
    }
    if form not in named:
        return (layout_of(definition_of(form)),)
    known: list[LineReader] = []
    for definition in definitions if form in {Format.AUTO, Format.NGINX} else ():
        with contextlib.suppress(DefinitionError):  # one without a status is no use to us
            known.append(layout_of(definition))
    return (*known, *named[form]())


def check_form(form: str) -> None:
    """
    Whether *form* is a format's name or a definition that can be used.

    Raises:
        DefinitionError: it is neither.
    """
    _readers(form, ())


def is_probe(entry: Entry, paths: frozenset[str]) -> bool:
    """Whether a health check or a scraper asked, not a user."""
    return entry.path in paths or entry.agent.startswith(_PROBE_AGENTS)
