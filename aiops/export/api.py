"""
The JSON API: the same incidents, alerts and sights as the page, for programs.

Values are the model's own, as `model.to_json` writes them, so that the API has no second set of names to drift. One
thing is held back: the text of a log template seen in fewer than 20 distinct lines may be somebody's prompt.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from aiops.export.deps import WebDeps
from aiops.export.intake import refuse
from aiops.model import IncidentState, to_json
from aiops.narrative.withheld import publishable

T = TypeVar("T")

MAX_LISTED = 500
_READ_DEADLINE_S = 3.0
_INCIDENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")


class DiskReader:
    """
    Runs reads of the state file in at most two worker threads, each with a deadline.

    A sick disk then costs a reader his page, but neither the loop nor /healthz.
    """

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(2)

    async def __call__(self, read: Callable[[], T]) -> T:
        """
        What *read* returns.

        Raises:
            TimeoutError: the disk did not answer in time.
        """
        with anyio.fail_after(_READ_DEADLINE_S):
            return await anyio.to_thread.run_sync(read, abandon_on_cancel=True, limiter=self._limiter)


def valid_id(text: str) -> bool:
    """Whether *text* can be an incident's id at all; nothing else gets as far as the state file."""
    return _INCIDENT_ID.fullmatch(text) is not None


class Api:
    """
    The GET endpoints under /api/v1.

    Args:
        deps: Where the answers come from.
        read: Runs reads of the state file.
    """

    def __init__(self, deps: WebDeps, read: DiskReader) -> None:
        self._deps = deps
        self._read = read

    async def incidents(self, request: Request) -> Response:
        """``GET /api/v1/incidents?limit=&state=``."""
        limit_text = request.query_params.get("limit", "100")
        if not (limit_text.isascii() and limit_text.isdigit() and 1 <= int(limit_text[:6]) <= MAX_LISTED):
            return refuse(400, f"limit: expected a number from 1 to {MAX_LISTED}")
        state = request.query_params.get("state", "all")
        if state not in {"all", "open", "resolved"}:
            return refuse(400, "state: expected one of all, open, resolved")
        wanted = None if state == "all" else IncidentState(state)
        found = await self._read(lambda: self._deps.incidents.incidents(int(limit_text), wanted))
        return _json({"incidents": [publishable(incident) for incident in found]})

    async def incident(self, request: Request) -> Response:
        """``GET /api/v1/incidents/{id}``."""
        incident_id = request.path_params["id"]
        found = await self._read(lambda: self._deps.incidents.incident(incident_id)) if valid_id(incident_id) else None
        return refuse(404, "no such incident") if found is None else _json(publishable(found))

    async def alerts(self, _request: Request) -> Response:
        """``GET /api/v1/alerts``: what fires now."""
        return _json({"alerts": list(self._deps.status.firing())})

    async def status(self, _request: Request) -> Response:
        """``GET /api/v1/status``."""
        deps = self._deps

        def stored() -> tuple[list[str], int, int]:
            return [i.id for i in deps.incidents.open_incidents()], deps.outbox_waiting(), deps.dead_letters()

        open_incidents, waiting, dead = await self._read(stored)
        return _json(
            {
                "host": deps.host,
                "version": deps.version,
                "time_s": deps.clock.now_s(),
                "ready": deps.status.ready(),
                "unready": list(deps.unready()),
                "open_incidents": open_incidents,
                "firing": len(deps.status.firing()),
                "outbox_waiting": waiting,
                "dead_letters": dead,
                "sights": list(deps.status.sights()),
            }
        )

    async def openapi(self, _request: Request) -> Response:
        """``GET /api/v1/openapi.json``."""
        from aiops.export.openapi import document  # noqa: PLC0415 - 2 ms nobody pays who does not ask for it

        return _json(document(self._deps.version))


def _json(value: Any) -> Response:
    return Response(to_json(value), media_type="application/json")
