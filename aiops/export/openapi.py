"""
The OpenAPI document of the daemon.

Paths are written by hand, schemas are derived from the model, and a test compares the paths with the routes: neither
can lie about the other.
"""

from __future__ import annotations

import enum
import types
import typing
from typing import Any

from aiops.export.recorder import MEDIA_TYPE
from aiops.model import Alert, Incident, Labels, Sight, pushed
from aiops.model.business import BUSINESS

_REF = "#/components/schemas/"


def document(version: str) -> dict[str, Any]:
    """The whole document, OpenAPI 3.1."""
    schemas: dict[str, Any] = {}
    for kind in (Incident, Alert, Sight):
        _schema(kind, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "aiops",
            "version": version,
            "description": "Incidents of one inference node: what caused its 503s. Times are seconds since the epoch.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {**_reading(), **_judging(), **_pushing(), **_recording(), **_operations()},
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "signature": {"type": "apiKey", "in": "header", "name": "X-Hub-Signature-256"},
                "secret": {"type": "apiKey", "in": "header", "name": "X-Gitlab-Token"},
            },
            "schemas": {**schemas, "Error": _object({"error": _TEXT, "accepted": {"type": "integer"}}, "error")},
        },
    }


_TEXT: dict[str, Any] = {"type": "string"}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
_TIME: dict[str, Any] = {
    "description": "Epoch seconds or RFC 3339; now when left out. At most 5 minutes ahead and 7 days old.",
    "oneOf": [{"type": "number"}, {"type": "string", "format": "date-time"}],
}


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def _list(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of}


def _schema(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """
    The schema of a type the model uses; dataclasses and enums are put into *schemas* and referred to.

    msgspec can derive schemas too, but not of classes with a default it needs a hook to encode, such as labels.
    """
    simple = {str: _TEXT, int: {"type": "integer"}, float: {"type": "number"}, bool: {"type": "boolean"}}
    if kind in simple:
        return simple[kind]
    if kind is Labels:
        return {"type": "object", "additionalProperties": _TEXT}
    arguments = [part for part in typing.get_args(kind) if part not in {Ellipsis, type(None)}]
    if typing.get_origin(kind) is types.UnionType:
        return {"oneOf": [_schema(arguments[0], schemas), {"type": "null"}]}
    if typing.get_origin(kind) is tuple and Ellipsis in typing.get_args(kind):
        return _list(_schema(arguments[0], schemas))
    if typing.get_origin(kind) is tuple:
        return {"type": "array", "prefixItems": [_schema(part, schemas) for part in arguments], "items": False}
    if kind.__name__ not in schemas:
        schemas[kind.__name__] = {}  # holds the place while its fields are looked at
        if issubclass(kind, enum.Enum):
            schemas[kind.__name__] = {"enum": [member.value for member in kind]}
        else:
            fields = typing.get_type_hints(kind)
            schemas[kind.__name__] = _object({name: _schema(hint, schemas) for name, hint in fields.items()}, *fields)
    return _ref(kind.__name__)


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": _REF + name}


def _answer(description: str, schema: dict[str, Any], media: str = "application/json") -> dict[str, Any]:
    return {"description": description, "content": {media: {"schema": schema}}}


def _error(description: str) -> dict[str, Any]:
    return _answer(description, _ref("Error"))


def _get(summary: str, responses: dict[str, Any], parameters: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    operation: dict[str, Any] = {"summary": summary, "responses": responses}
    if parameters:
        operation["parameters"] = parameters
    return {"get": operation}


def _parameter(name: str, place: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


def _reading() -> dict[str, Any]:
    busy = _error("The state file did not answer in time.")
    listed = _object({"incidents": _list(_ref("Incident"))}, "incidents")
    status = _object(
        {
            "host": _TEXT, "version": _TEXT, "time_s": {"type": "number"}, "ready": {"type": "boolean"},
            "unready": _list(_TEXT), "open_incidents": _list(_TEXT), "firing": _COUNT, "outbox_waiting": _COUNT,
            "dead_letters": _COUNT, "sights": _list(_ref("Sight")),
        },
        "host", "version", "time_s", "ready", "unready", "open_incidents", "firing", "outbox_waiting", "dead_letters",
        "sights",
    )  # fmt: skip
    return {
        "/api/v1/incidents": _get(
            "Incidents, newest first; charts and templates left out",
            {"200": _answer("Incidents.", listed), "400": _error("A parameter is wrong."), "503": busy},
            [
                _parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": 500, "default": 100}),
                _parameter("state", "query", {"enum": ["all", "open", "resolved"], "default": "all"}),
            ],
        ),
        "/api/v1/incidents/{id}": _get(
            "One incident, whole",
            {"200": _answer("The incident.", _ref("Incident")), "404": _error("No such incident."), "503": busy},
            [_parameter("id", "path", _TEXT)],
        ),
        "/api/v1/alerts": _get(
            "Alerts firing now",
            {"200": _answer("Alerts.", _object({"alerts": _list(_ref("Alert"))}, "alerts"))},
        ),
        "/api/v1/status": _get(
            "The daemon's view of itself: what it watches, what it cannot see, what waits to be sent",
            {"200": _answer("Status.", status), "503": busy},
        ),
        "/api/v1/openapi.json": _get("This document", {"200": _answer("OpenAPI 3.1.", {"type": "object"})}),
    }


def _judging() -> dict[str, Any]:
    ratio = {"type": "number", "minimum": 0, "maximum": 1}
    row = _object(
        {
            "cause": _TEXT, "title": _TEXT, "level": _TEXT, "prior": ratio, "prior_here": ratio,
            "was": {**_COUNT, "description": "Incidents it was the cause of,"},
            "of": {**_COUNT, "description": "of so many of which that is known."},
        },
        "cause", "title", "level", "prior", "prior_here", "was", "of",
    )  # fmt: skip
    stand = _object(
        {"confirmed": _COUNT, "rejected": _COUNT, "known": _COUNT, "most_shown": ratio, "causes": _list(row)},
        "confirmed", "rejected", "known", "most_shown", "causes",
    )  # fmt: skip
    return {
        "/api/v1/incidents/{id}/confirm": {"post": _judge("Say that the named cause is right, or which it was")},
        "/api/v1/incidents/{id}/reject": {
            "post": _judge("Say that the named cause is wrong, and, if known, which it was")
        },
        "/api/v1/causes": _get(
            "How often each cause was at work here, by what people said, and what that makes of its prior",
            {"200": _answer("Causes.", stand), "503": _error("The state file did not answer in time.")},
        ),
    }


def _judge(summary: str) -> dict[str, Any]:
    body = {**_object({"cause": {**_TEXT, "description": "Id of the true cause."}}), "additionalProperties": False}
    return {
        "summary": summary,
        "description": "The last word on an incident counts; saying the same twice changes nothing.",
        "security": [{"token": []}],
        "parameters": [_parameter("id", "path", _TEXT)],
        "requestBody": {"required": False, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": _answer("The incident, with what was said; it is on the disk.", _ref("Incident")),
            "400": _error("The body is wrong, or there is no such cause."),
            "401": _error("No token, or the wrong one."),
            "404": _error("No such incident."),
            "408": _error("The body did not arrive in time."),
            "409": _error("The word does not fit the answer: nothing is named, or just that."),
            "413": _error("The body is larger than 64 KiB."),
            "503": _error("It could not be saved in time; see Retry-After."),
        },
    }


def _pushing() -> dict[str, Any]:
    event = _object(
        {
            "kind": {"const": "change"},
            "action": {"enum": list(pushed.ACTIONS)},
            "message": {**_TEXT, "maxLength": pushed.MAX_MESSAGE_CHARS},
            "labels": {
                "type": "object",
                "description": "What was changed: service, instance, version.",
                "maxProperties": pushed.MAX_LABELS,
                "additionalProperties": {**_TEXT, "maxLength": pushed.MAX_LABEL_CHARS},
            },
            "time": _TIME,
        },
        "action",
    )
    events = {"oneOf": [event, {**_list(event), "minItems": 1, "maxItems": pushed.MAX_EVENTS}]}
    reading = _object(
        {
            "metric": {"enum": list(BUSINESS)},
            "service": {**_TEXT, "maxLength": pushed.MAX_LABEL_CHARS},
            "value": {"type": "number", "description": "Ratios: 0 to 1; a rate: 0 or more; revenue: any, a second."},
            "time": _TIME,
        },
        "metric", "service", "value",
    )  # fmt: skip
    readings = {"oneOf": [reading, {**_list(reading), "minItems": 1, "maxItems": pushed.MAX_EVENTS}]}
    return {
        "/api/v1/events": {"post": _push("Report changes: deploys, rollbacks, config, scaling, restarts", events)},
        "/api/v1/hooks/git": {
            "post": {
                **_push("Deployment webhooks of GitHub and GitLab, their secret the token", {"type": "object"}),
                "security": [{"signature": []}, {"secret": []}],
            },
        },
        "/api/v1/business": {"post": _push("Push business metrics, up to an hour late", readings)},
    }


def _push(summary: str, body: dict[str, Any]) -> dict[str, Any]:
    accepted = _object({"accepted": _COUNT}, "accepted")
    return {
        "summary": summary,
        "security": [{"token": []}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "202": _answer("Taken; seen by the next evaluation.", accepted),
            "400": _error("The body is wrong; the text names the field."),
            "401": _error("No token, or the wrong one."),
            "408": _error("The body did not arrive in time."),
            "413": _error("The body is larger than 64 KiB."),
            "503": _error("The inbox is full; see Retry-After."),
        },
    }


def _recording() -> dict[str, Any]:
    lines = (
        "Everything the daemon observes from the next evaluation on, a JSON list a line, until the reader goes away."
    )
    return {
        "/api/v1/recording": {
            "post": {
                "summary": "What `aiops record` writes into files",
                "security": [{"token": []}],
                "responses": {
                    "200": _answer(lines, _TEXT, MEDIA_TYPE),
                    "401": _error("No token, or the wrong one."),
                    "409": _error("A recording is being made already, or the daemon is only just starting."),
                },
            }
        }
    }


def _operations() -> dict[str, Any]:
    html, plain = "text/html", "text/plain"
    return {
        "/": _get("Incidents, as a page", {"200": _answer("HTML.", _TEXT, html)}),
        "/incidents/{id}": _get(
            "One incident, as a page",
            {"200": _answer("HTML.", _TEXT, html), "404": _answer("No such incident.", _TEXT, html)},
            [_parameter("id", "path", _TEXT)],
        ),
        "/metrics": _get("Prometheus text format", {"200": _answer("Metrics.", _TEXT, plain)}),
        "/healthz": _get("Whether the daemon lives", {"200": _answer("It does.", _TEXT, plain)}),
        "/readyz": _get(
            "Whether every part has started",
            {"200": _answer("Ready.", _TEXT, plain), "503": _answer("Not yet; says why.", _TEXT, plain)},
        ),
    }
