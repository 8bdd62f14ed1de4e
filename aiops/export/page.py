"""The pages (placeholder until the templates land)."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from aiops.export.api import DiskReader, valid_id
from aiops.export.deps import WebDeps


class Pages:
    """The HTML routes."""

    def __init__(self, deps: WebDeps, read: DiskReader) -> None:
        self._deps = deps
        self._read = read

    async def incidents(self, _request: Request) -> Response:
        found = await self._read(lambda: self._deps.incidents.incidents(100))
        return PlainTextResponse("\n".join(i.id for i in found))

    async def incident(self, request: Request) -> Response:
        incident_id = request.path_params["id"]
        if not valid_id(incident_id):
            return PlainTextResponse("no such incident", 404)
        found = await self._read(lambda: self._deps.incidents.incident(incident_id))
        return PlainTextResponse("no such incident", 404) if found is None else PlainTextResponse(found.id)

    async def static(self, _request: Request) -> Response:
        return PlainTextResponse("no such file", 404)
