"""
The HTML routes.

Reading the state file and filling a template happen together in a worker thread. An open incident asks the browser to
come back in five seconds, by header, since there is no script on the page; ``?still`` stops that for somebody reading.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from aiops.export.api import DiskReader, valid_id
from aiops.export.deps import Standing, WebDeps

if TYPE_CHECKING:
    from aiops.export.render import Html

# `render` is imported where it is used: it brings Jinja2 and numpy, which the daemon's start must not wait for


class Pages:
    """
    The HTML routes.

    Args:
        deps: Where the contents come from.
        read: Runs reads of the state file.
    """

    def __init__(self, deps: WebDeps, read: DiskReader) -> None:
        self._deps = deps
        self._read = read

    async def incidents(self, request: Request) -> Response:
        """``GET /``: what is going on here."""
        still = "still" in request.query_params
        standing = Standing.of(self._deps)

        def build() -> Response:
            from aiops.export import render  # noqa: PLC0415

            return _answer(render.incidents_page(self._deps, standing, still=still))

        return await self._read(build)

    async def incident(self, request: Request) -> Response:
        """``GET /incidents/<id>``."""
        incident_id = request.path_params["id"]
        still = "still" in request.query_params

        def build() -> Response:
            from aiops.export import render  # noqa: PLC0415

            now_s = self._deps.clock.now_s()
            page = render.incident_page(self._deps, incident_id, now_s, still=still) if valid_id(incident_id) else None
            return _answer(render.missing_page(self._deps, now_s), 404) if page is None else _answer(page)

        return await self._read(build)

    async def static(self, request: Request) -> Response:
        """``GET /static/<name>``: only the files known by name; their address changes with their contents."""
        name = request.path_params["name"]

        def build() -> Response:
            from aiops.export import render  # noqa: PLC0415

            if name not in render.STATIC_TYPES:
                return PlainTextResponse("no such file\n", 404)
            headers = {"Cache-Control": "public, max-age=31536000, immutable"}
            return Response(render.static_file(name), media_type=render.STATIC_TYPES[name], headers=headers)

        return await self._read(build)


def _answer(page: Html, status: int = 200) -> Response:
    return HTMLResponse(page.text, status, {"Refresh": str(page.refresh_s)} if page.refresh_s else None)
