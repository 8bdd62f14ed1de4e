"""
The form of pushed changes and business metrics: JSON that somebody else wrote, checked field by field.

The body is untrusted: everything is bounded, and a refusal is one sentence that names the field. The same form is read
from requests and from files of events.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any

import msgspec

from aiops.errors import RequestError
from aiops.model.business import AHEAD_S, BUSINESS, LATENESS_S, expected, is_sound
from aiops.model.labels import Labels
from aiops.model.observations import Event, EventKind, Observation, Sample

ACTIONS = ("deploy", "rollback", "config", "scale", "restart")
MAX_EVENTS = 100
MAX_LABELS = 16
MAX_LABEL_CHARS = 256
MAX_MESSAGE_CHARS = 1_000
MAX_AGE_S = 7 * 86_400.0
"""Older than any history kept here by default."""
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,63}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


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
    text = cleaned(value)
    if not text:
        raise RequestError(f"{where}: expected text, found nothing")
    return text


def cleaned(text: str) -> str:
    """*text* as one line, so that nobody can forge a second one in a timeline or a log."""
    return _CONTROL.sub(" ", text).strip()


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
        hint = "; it looks like milliseconds, expected seconds" if abs(at_s / 1e3 - now_s) < MAX_AGE_S else ""
        raise RequestError(f"{where}time: lies in the future{hint}")
    if at_s < now_s - MAX_AGE_S:
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
