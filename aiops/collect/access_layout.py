"""
Formats given by their definition: nginx's ``log_format``, Envoy's and gunicorn's format strings.

A definition is text with variables in it. A text layout becomes a list of steps: the words of a variable end where the
text after it first stands. That is one `str.find` a variable, forwards only, so a line costs time in proportion to its
length whatever is in it; where a line does not fit, it is none of this format. Nginx's lists ("a:1, b:2 : c:3") are the
exception: their own separators do not end them. A layout that is JSON becomes paths of keys, and the order of the keys
does not matter. Two variables without anything between them cannot be told apart and are not read, but for an address
behind its host: a path begins with a slash.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiops.collect.access_entry import Entry, entry_of
from aiops.collect.access_json import decode_object
from aiops.collect.access_values import Stamp

_MAX_DEFINITION = 8_192
_MAX_STEPS = 128
_HEADERS = {
    "retry": ("x_stainless_retry_count", "x_retry_count"),
    "request_id": ("x_request_id",),
    "model": ("x_model", "x_model_name", "x_gateway_model_name"),
}
"""Readings that travel in headers, by the header's name as nginx spells it."""
_NGINX: Final[Mapping[str, str]] = {
    "msec": "at", "time_iso8601": "at", "time_local": "at", "status": "status", "request_time": "duration",
    "upstream_header_time": "first_byte", "upstream_connect_time": "connect", "upstream_status": "upstream_status",
    "upstream_addr": "upstream", "upstream_bytes_received": "received", "upstream_response_length": "received",
    "request_uri": "uri", "uri": "uri", "request": "uri", "http_user_agent": "agent",
    "request_completion": "completed", "limit_req_status": "limit_req", "limit_conn_status": "limit_conn",
    **{f"http_{header}": reading for reading, headers in _HEADERS.items() for header in headers},
    **{f"{side}_http_{header}": "model" for header in _HEADERS["model"] for side in ("sent", "upstream")},
    "req_id": "request_id", "arg_model": "model",
}  # fmt: skip
"""Of several that say the same, the first in this order is read: request_uri is what was asked, uri what became of it."""
_ENVOY: Final[Mapping[str, str]] = {
    "START_TIME": "started", "RESPONSE_CODE": "status", "DURATION": "duration_ms", "RESPONSE_FLAGS": "flags",
    "RESPONSE_FLAGS_LONG": "flags", "RESPONSE_CODE_DETAILS": "details",
    "RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)": "first_byte_ms", "RESPONSE_DURATION": "first_byte_ms",
    "UPSTREAM_HOST": "upstream", "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)": "uri", "REQ(X-ENVOY-ORIGINAL-PATH?X-FORWARDED-PATH)": "uri",
    "REQ(:PATH)": "uri", "PATH": "uri", "REQ(USER-AGENT)": "agent",
    **{f"REQ({header.upper().replace('_', '-')})": name for name, headers in _HEADERS.items() for header in headers},
}  # fmt: skip
_GUNICORN: Final[Mapping[str, str]] = {
    "t": "at", "s": "status", "L": "duration", "D": "duration_us", "M": "duration_ms", "T": "duration", "r": "uri",
    "U": "uri", "a": "agent",
    **{f"{{{header.replace('_', '-')}}}i": name for name, headers in _HEADERS.items() for header in headers},
}  # fmt: skip
_SYNTAX = (
    (re.compile(r"%\(([^)]{1,80})\)s"), _GUNICORN),
    (re.compile(r"%([A-Z_]{3,40}(?:\([^)]{0,200}\))?)(?::\d{1,6})?%"), _ENVOY),
    (re.compile(r"\$(?:\{(\w{1,80})\}|(\w{1,80}))"), _NGINX),
)
"""How variables are written: gunicorn's, Envoy's, nginx's."""
_LISTS = "upstream_"
"""How variables begin that hold a list, wanted or not."""
_WIDTHS = {"time_local": 26, "t": 28}
"""Variables of fixed width that hold the space which may follow them."""
_PROTOCOL = " HTTP/"
"""Ends the address in a request line, which has spaces in it."""
_MARK = "@@{}@@"
_MARKED = re.compile(r"@@(\d+)@@")


class DefinitionError(ValueError):
    """A format's definition cannot be used."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One variable of a text layout."""

    reading: str
    """What it says; empty for what nobody needs."""
    after: str
    """The text behind it; empty at the end of the line."""
    at_least: int = 0
    """Characters it has."""
    is_list: bool = False
    is_request: bool = False
    """A request line without quotes around it."""


class TextLayout:
    """
    Reads lines of a text format.

    Args:
        before: The text before the first variable.
        steps: Its variables, in order.
        always: Readings that hold for every line.
    """

    def __init__(self, before: str, steps: tuple[_Step, ...], always: Mapping[str, Any]) -> None:
        self._before = before
        self._steps = steps
        self._always = always
        self._stamp = Stamp()

    def __call__(self, line: bytes) -> Entry | None:
        """The request *line* tells of; None if it is not of this format."""
        text = line.decode("utf-8", "replace")
        if not text.startswith(self._before):
            return None
        place = len(self._before)
        values = dict(self._always)
        for step in self._steps:
            end = _end(text, place, step) if step.after else len(text)
            if end < 0:
                return None
            if step.reading:
                values[step.reading] = text[place:end]
            place = end + len(step.after)
        return entry_of(values, self._stamp) if place == len(text) else None


class JsonLayout:
    """
    Reads lines of a format that is a JSON object.

    Args:
        places: Reading to the keys that lead to it, and the text behind it there (as the s of "0.5s").
    """

    def __init__(self, places: Mapping[str, tuple[tuple[str, ...], str]]) -> None:
        self._places = tuple((reading, *place) for reading, place in places.items())
        self._stamp = Stamp()

    def __call__(self, line: bytes) -> Entry | None:
        """The request *line* tells of; None if it is not of this format."""
        found = decode_object(line) if line.startswith(b"{") else None
        if found is None:
            return None
        values: dict[str, Any] = {}
        for reading, path, behind in self._places:
            value: Any = found
            for key in path:
                if not isinstance(value, dict) or key not in value:
                    return None
                value = value[key]
            values[reading] = value.removesuffix(behind) if behind and isinstance(value, str) else value
        return entry_of(values, self._stamp)


Layout = TextLayout | JsonLayout


def layout_of(definition: str) -> Layout:
    """
    A reader of the format that *definition* gives.

    Raises:
        DefinitionError: it is too long, or has no status.
    """
    if len(definition) > _MAX_DEFINITION:
        raise DefinitionError(f"longer than {_MAX_DEFINITION} characters")
    pattern, names = next(((p, names) for p, names in _SYNTAX if p.search(definition)), _SYNTAX[-1])
    found = list(pattern.finditer(definition))
    if len(found) > _MAX_STEPS:
        raise DefinitionError(f"more than {_MAX_STEPS} variables")
    readings = _chosen([_name(match) for match in found], names)
    if "status" not in readings:
        raise DefinitionError("it has no variable for the status of an answer")
    layout = _json_layout(definition, found, readings)
    # whoever writes gunicorn's log gives the answers
    return layout or _text_layout(definition, found, readings, {"by_upstream": True} if names is _GUNICORN else {})


def tells(definition: str) -> int:
    """How many different things of use a line of nginx's *definition* says."""
    pattern, names = _SYNTAX[-1]
    found = (names.get(_name(match), "") for match in pattern.finditer(definition[:_MAX_DEFINITION]))
    return len({reading for reading in found if reading})


def _name(match: re.Match[str]) -> str:
    name = next(group for group in match.groups() if group is not None)
    return "START_TIME" if name.startswith("START_TIME(") else name


def _chosen(variables: list[str], names: Mapping[str, str]) -> list[str]:
    """The reading of each variable; empty for those not wanted or said better by another."""
    order = {name: rank for rank, name in enumerate(names)}
    best: dict[str, int] = {}
    for place, name in enumerate(variables):
        reading = names.get(name)
        if reading is None:
            continue
        if reading not in best or order[name] < order[variables[best[reading]]]:
            best[reading] = place
    chosen = [""] * len(variables)
    for reading, place in best.items():
        chosen[place] = reading
    # one duration is enough
    if "duration" in best:
        chosen = ["" if reading in {"duration_us", "duration_ms"} else reading for reading in chosen]
    return chosen


def _text_layout(
    definition: str, found: list[re.Match[str]], readings: list[str], always: Mapping[str, Any]
) -> TextLayout:
    steps: list[_Step] = []
    is_glued = False
    for place, match in enumerate(found):
        is_last = place + 1 == len(found)
        after = definition[match.end() : len(definition) if is_last else found[place + 1].start()]
        if after or is_last:
            steps.append(_step(_name(match), "" if is_glued and readings[place] != "uri" else readings[place], after))
        is_glued = not after  # nothing parts it from the next one
    if not any(step.reading == "status" for step in steps):
        raise DefinitionError("nothing parts the status from the variable before it")
    return TextLayout(definition[: found[0].start()], tuple(steps), always)


def _step(name: str, reading: str, after: str) -> _Step:
    return _Step(
        reading=reading,
        after=after,
        at_least=_WIDTHS.get(name, 0) if reading else 0,
        is_list=name.startswith(_LISTS),
        is_request=name in {"request", "r"} and not after.startswith('"'),
    )


def _end(text: str, place: int, step: _Step) -> int:
    """Where the words of *step* that begin at *place* end; -1 if they do not."""
    start = place + step.at_least
    if step.is_request:
        start = max(start, text.find(_PROTOCOL, place) + 1)
    end = text.find(step.after, start)
    if step.is_list and step.after[0] in " ,:":
        while end >= 0:
            if text.startswith(" : ", end):
                end = text.find(step.after, end + 3)
            elif text[end - 1 : end] == "," or text.startswith(", ", end):
                end = text.find(step.after, end + 1 if text[end - 1 : end] == "," else end + 2)
            else:
                break
    return end


def _json_layout(definition: str, found: list[re.Match[str]], readings: list[str]) -> JsonLayout | None:
    """None if *definition* is no JSON object."""
    if not definition.lstrip().startswith("{"):
        return None
    marked, done = "", 0
    for number, match in enumerate(found):
        marked += definition[done : match.start()]
        mark = _MARK.format(number)
        # a variable without quotes around it stands for a number
        marked += mark if _is_quoted(marked) else f'"{mark}"'
        done = match.end()
    template = decode_object((marked + definition[done:]).encode())
    if template is None:
        return None
    places: dict[str, tuple[tuple[str, ...], str]] = {}
    for path, text in _leaves(template, ()):
        for found_mark in _MARKED.finditer(text):
            reading = readings[int(found_mark[1])]
            if reading and (found_mark.start() == 0 or reading == "uri"):
                places[reading] = path, text[found_mark.end() :]
    return JsonLayout(places) if "status" in places else None


def _is_quoted(text: str) -> bool:
    return text.replace("\\\\", "").replace('\\"', "").count('"') % 2 == 1


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, str):
        yield path, value
