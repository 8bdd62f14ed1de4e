"""
HAProxy's ``option httplog``, as syslog writes it into a file.

Its own time has no zone: a line ended when syslog says so, where that has one, and otherwise when it was read. Why
HAProxy refused stands in the two letters of the termination state. A server goes by its backend's and its own name, for
its address is not in the log.

Source: HAProxy configuration manual, sections 8.2.3 (HTTP log format) and 8.5 (session state at disconnection).
"""

from __future__ import annotations

import re
from typing import Any, Final

from aiops.collect.access_entry import Entry, entry_of
from aiops.collect.access_refusal import Refusal, at_once
from aiops.collect.access_values import Stamp
from aiops.model import NOBODY

_LINE = re.compile(
    r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d\.\d{3}\] \S{1,200} ([^/ ]{1,100})/(\S{1,100}) "
    r"(?:-?\d{1,9}/){2}(-?\d{1,9})/(-?\d{1,9})/\+?(-?\d{1,9}) (-?\d{1,3}) \+?\d{1,20} \S{1,256} \S{1,256} "
    r'([A-Za-z-]{2})\S\S [\d/+]{5,60} \d{1,9}/\d{1,9}(?: \{[^}]{0,1024}\}){0,2} "(?:\S{1,16} ([^" ]*))?'
)
_MAX_CHARS = 16_384
_NO_SERVER = "<NOSRV>"
_CLIENT_LEFT = 499
_BY_STATE: Final = {
    "SC": Refusal.CONNECT_FAILURE,
    "sC": Refusal.CONNECT_FAILURE,
    "sQ": Refusal.OVERFLOW,
    "PC": Refusal.OVERFLOW,
    "sH": Refusal.TIMEOUT,
    "SH": Refusal.RESET,
    "PH": Refusal.UNANSWERED,
    "PT": Refusal.RATE_LIMITED,
}
"""First what ended a request, then the phase it was in."""
_DENIED = "PR"
_LIMITS = frozenset({429, 503})
"""With these a rule refuses for too much, and not for what was asked."""


class Haproxy:
    """Reads the lines of one log."""

    def __init__(self) -> None:
        self._stamp = Stamp()

    def __call__(self, line: bytes) -> Entry | None:
        """The request *line* tells of; None if it tells of none."""
        text = line[:_MAX_CHARS].decode("utf-8", "replace")
        found = _LINE.search(text)
        if found is None:
            return None
        backend, server, connect_ms, header_ms, whole_ms, status_text, state, uri = found.groups()
        status = int(status_text)
        answered = int(header_ms) >= 0
        duration_s = max(int(whole_ms), 0) / 1000.0
        values: dict[str, Any] = {
            "status": status if status > 0 else _CLIENT_LEFT,
            "duration": duration_s,
            "server": NOBODY if server == _NO_SERVER else f"{backend}/{server}",
            "by_upstream": answered,
            "refusal": Refusal.UPSTREAM if answered else _refusal(state, server, status, duration_s),
            "uri": uri or "",
            "completed": state == "--",
        }
        if answered:
            values["first_byte_ms"] = max(int(connect_ms), 0) + int(header_ms)
        if (at_s := self._stamp.read(text[: found.start()].partition(" ")[0])) is not None:
            values["at"] = at_s
        return entry_of(values, self._stamp)


def _refusal(state: str, server: str, status: int, duration_s: float) -> Refusal:
    if state == "SC" and server == _NO_SERVER:
        return Refusal.NO_HEALTHY_UPSTREAM
    if state == _DENIED:
        return Refusal.RATE_LIMITED if status in _LIMITS else Refusal.GATEWAY
    found = _BY_STATE.get(state, Refusal.GATEWAY)
    return at_once(duration_s) if found is Refusal.RESET else found
