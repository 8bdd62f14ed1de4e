"""
The web application: routes, and a guard in front of all of them.

The daemon listens on loopback without a password for readers, so two things a browser could be talked into are closed
here: a foreign page that reaches this port under its own name (DNS rebinding) is turned away by the Host header, and
nothing on our pages may load or run anything, by content security policy. Errors are short sentences, JSON under
/api, and never a traceback.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import structlog
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aiops.errors import StateError
from aiops.export.api import Api, DiskReader
from aiops.export.deps import WebDeps
from aiops.export.intake import Intake, refuse
from aiops.export.judging import Judging
from aiops.export.metrics import CONTENT_TYPE
from aiops.export.page import Pages
from aiops.export.recorder import Recorder

log = structlog.get_logger(__name__)

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


_POLLED = frozenset({"/metrics", "/healthz", "/readyz"})
"""Read-only, and nobody's secret."""


def create_app(deps: WebDeps) -> Starlette:
    """The application over *deps*. Templates and Jinja2 are loaded with the first page, not here."""
    read = DiskReader()
    api, pages = Api(deps, read), Pages(deps, read)
    intake = Intake(deps.inbox, deps.token, deps.clock)
    judging = Judging(deps.incidents, deps.docket, deps.causes, deps.token, deps.clock, read)
    probes = _Probes(deps)
    return Starlette(
        routes=[
            Route("/", pages.incidents),
            Route("/incidents/{id}", pages.incident),
            Route("/static/{name}", pages.static),
            Route("/metrics", probes.metrics),
            Route("/healthz", probes.healthz),
            Route("/readyz", probes.readyz),
            Route("/api/v1/incidents", api.incidents),
            Route("/api/v1/incidents/{id}", api.incident),
            Route("/api/v1/incidents/{id}/confirm", judging.confirm, methods=["POST"]),
            Route("/api/v1/incidents/{id}/reject", judging.reject, methods=["POST"]),
            Route("/api/v1/causes", judging.causes),
            Route("/api/v1/alerts", api.alerts),
            Route("/api/v1/status", api.status),
            Route("/api/v1/openapi.json", api.openapi),
            Route("/api/v1/events", intake.events, methods=["POST"]),
            Route("/api/v1/business", intake.business, methods=["POST"]),
            Route("/api/v1/hooks/git", intake.git_hook, methods=["POST"]),
            Route("/api/v1/recording", Recorder(deps.tape, deps.token).record, methods=["POST"]),
        ],
        middleware=[Middleware(Guard, hosts=_own_names(deps))],
        exception_handlers={
            HTTPException: _http_error,
            StateError: _state_error,
            TimeoutError: _state_error,
            Exception: _crash,
        },
    )


class _Probes:
    """What other programs poll."""

    def __init__(self, deps: WebDeps) -> None:
        self._deps = deps

    async def metrics(self, _request: Request) -> Response:
        return Response(self._deps.exposition.page(), headers={"Content-Type": CONTENT_TYPE})

    async def healthz(self, _request: Request) -> Response:
        return PlainTextResponse("ok\n")  # that it is answered at all says that the loop lives

    async def readyz(self, _request: Request) -> Response:
        if self._deps.status.ready():
            return PlainTextResponse("ready\n")
        missing = self._deps.unready() or ("the first round of collection has not ended",)
        return PlainTextResponse("not ready: " + "; ".join(missing) + "\n", 503)


def _own_names(deps: WebDeps) -> frozenset[str]:
    public = urlsplit(deps.public_url).hostname or ""
    return frozenset(name.lower() for name in ("localhost", deps.host, public) if name)


class Guard:
    """
    Turns away requests for foreign host names, and puts the security headers on every answer.

    An IP address as host is always accepted: rebinding needs a name that somebody else controls. What other programs
    poll is served under any name: a Prometheus or a load balancer calls a node as its service discovery does, and
    numbers are all that a foreign page could read there.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        if scope["path"] not in _POLLED and not self._is_ours(Headers(scope=scope).get("host", "")):
            text = "this host name is not ours; use the address, localhost, or set web.public_url\n"
            await PlainTextResponse(text, 421)(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _wants_json(request: Request) -> bool:
    return request.url.path.startswith("/api/")


def _say(request: Request, status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    if _wants_json(request):
        return refuse(status, text, headers)
    return PlainTextResponse(text + "\n", status, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    status, headers = 500, None
    text = "error"
    if isinstance(error, HTTPException):
        status, text = error.status_code, error.detail
        headers = dict(error.headers) if error.headers else None
    return _say(request, status, text, headers)


async def _state_error(request: Request, error: Exception) -> Response:
    log.warning("state could not be read for a page", path=request.url.path, error=str(error) or "no answer in time")
    return _say(request, 503, "the state file does not answer; try again in a few seconds", {"Retry-After": "5"})


async def _crash(request: Request, _error: Exception) -> Response:
    # answered outside the guard, which a crash has unwound; the server logs the traceback
    return _say(request, 500, "internal error; the daemon's log has the traceback", SECURITY_HEADERS)
