"""
The HTML pages: routes, templates and the two files they load.

Reading the state file and filling a template happen together in a worker thread. An open incident asks the browser to
come back in five seconds, by header, since there is no script on the page; ``?still`` stops that for somebody reading.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from aiops.export.api import DiskReader, valid_id
from aiops.export.charts import HEIGHT
from aiops.export.deps import WebDeps
from aiops.export.overview import overview
from aiops.export.views import view, when
from aiops.model import Alert, Incident, IncidentState
from aiops.units import format_duration

if TYPE_CHECKING:
    import jinja2

_HERE = Path(__file__).parent
_STATIC_TYPES = {"page.css": "text/css", "calm.svg": "image/svg+xml", "alarm.svg": "image/svg+xml"}
_LISTED = 50
_REFRESH_OPEN_S = 5
_REFRESH_QUIET_S = 30
"""A first page left open on a wall must not go on saying that all is quiet."""


@dataclass(frozen=True, slots=True)
class Card:
    """An incident on the first page."""

    id: str
    service: str
    css: str
    state: str
    headline: str
    lead: str
    ago: str
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Firing:
    """An alert on the first page."""

    severity: str
    summary: str
    rule: str
    labels: str
    lasted: str


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
        now_s = self._deps.clock.now_s()
        still = "still" in request.query_params

        def build() -> tuple[str, int]:
            context = self._overview(now_s)
            refresh_s = 0 if still else _REFRESH_OPEN_S if context["open"] else _REFRESH_QUIET_S
            return self._fill("incidents.html", now_s, refresh_s, still=still, path="/", **context), refresh_s

        return _page(*await self._read(build))

    async def incident(self, request: Request) -> Response:
        """``GET /incidents/<id>``."""
        incident_id = request.path_params["id"]
        now_s = self._deps.clock.now_s()
        still = "still" in request.query_params

        def build() -> tuple[str, int] | None:
            found = self._deps.incidents.incident(incident_id)
            if found is None:
                return None
            shown = view(found, now_s)
            refresh_s = _REFRESH_OPEN_S if shown.is_open and not still else 0
            context: dict[str, Any] = {"view": shown, "alarm": shown.is_open, "height": int(HEIGHT)}
            still_open = still and shown.is_open
            path = f"/incidents/{incident_id}"
            return self._fill("incident.html", now_s, refresh_s, still=still_open, path=path, **context), refresh_s

        page = await self._read(build) if valid_id(incident_id) else None
        if page is not None:
            return _page(*page)
        title = "No such incident"
        text = "It may be older than what is kept here, or the address was cut short."
        missing = functools.partial(self._fill, "missing.html", now_s, 0, alarm=False, title=title, text=text)
        return HTMLResponse(await self._read(missing), 404)

    async def static(self, request: Request) -> Response:
        """``GET /static/<name>``: only the files known by name; their address changes with their contents."""
        name = request.path_params["name"]
        if name not in _STATIC_TYPES:
            return PlainTextResponse("no such file\n", 404)
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(_static(name), media_type=_STATIC_TYPES[name], headers=headers)

    def _overview(self, now_s: float) -> dict[str, Any]:
        deps = self._deps
        # open ones come whole and all, however many newer ones there are; the list leaves charts out
        opened = deps.incidents.open_incidents()
        past = [i for i in deps.incidents.incidents(_LISTED) if i.state is IncidentState.RESOLVED]
        sights = deps.status.sights()
        return {
            "open": [_card(i, now_s) for i in opened],
            "past": [_card(i, now_s) for i in past],
            "alarm": bool(opened),
            "ready": deps.status.ready(),
            "unready": list(deps.unready()),
            "firing": [_firing(a, now_s) for a in deps.status.firing()],
            "seen": [s for s in sights if s.seen],
            "blind": [s for s in sights if not s.seen],
            "waiting": deps.outbox_waiting(),
            "dead": deps.dead_letters(),
            "now_groups": overview(deps.series, now_s),
        }

    def _fill(self, template: str, now_s: float, refresh_s: int, **context: Any) -> str:
        common = {
            "host": self._deps.host,
            "version": self._deps.version,
            "now": when(now_s, now_s),
            "refresh_s": refresh_s,
            "still": False,
            "path": "/",
        }
        return _templates().get_template(template).render({**common, **context})


def _page(html: str, refresh_s: int) -> Response:
    return HTMLResponse(html, headers={"Refresh": str(refresh_s)} if refresh_s else None)


@functools.cache
def _templates() -> jinja2.Environment:
    import jinja2  # noqa: PLC0415 - 3 MB that a node nobody looks at need not hold

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["asset"] = _asset
    return environment


@functools.cache
def _static(name: str) -> bytes:
    return (_HERE / "static" / name).read_bytes()


@functools.cache
def _asset(name: str) -> str:
    return f"/static/{name}?v={hashlib.blake2b(_static(name), digest_size=4).hexdigest()}"


def _card(incident: Incident, now_s: float) -> Card:
    shown = view(incident, now_s)
    since_s = now_s - (incident.resolved_at_s or incident.first_bad_s)
    ago = format_duration(since_s) if since_s >= 1 else "a moment"
    facts = [shown.started.iso.replace("T", " ").replace("Z", " UTC")]
    if not shown.is_open:
        facts.append(f"lasted {shown.lasted}")
    impact = incident.diagnosis.impact
    if impact.failed:
        facts.append(f"{impact.failed:,} of {impact.requests:,} requests failed")
    if shown.confidence:
        facts.append(f"{shown.confidence} sure")
    return Card(
        id=incident.id,
        service=incident.service,
        css=shown.css,
        state=shown.state,
        headline=shown.headline,
        lead=shown.lead,
        ago=f"for {ago}" if shown.is_open else f"{ago} ago",
        facts=tuple(facts),
    )


def _firing(alert: Alert, now_s: float) -> Firing:
    lasted = format_duration(max(0.0, now_s - alert.since_s))
    return Firing(alert.severity.value, alert.summary, alert.rule, str(alert.labels), lasted)
