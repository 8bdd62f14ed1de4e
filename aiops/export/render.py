"""
Pages as HTML text: what is read from the ports, laid out by the templates.

Loaded with the first page somebody opens, in the worker thread that makes it: a node nobody looks at holds neither
Jinja2 nor any of this.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from aiops.export.charts import HEIGHT
from aiops.export.deps import Standing, WebDeps
from aiops.export.overview import overview
from aiops.export.views import view, when
from aiops.model import Alert, Incident, IncidentState
from aiops.units import format_duration

_HERE = Path(__file__).parent
STATIC_TYPES = {"page.css": "text/css", "calm.svg": "image/svg+xml", "alarm.svg": "image/svg+xml"}
_LISTED = 50
_REFRESH_OPEN_S = 5
_REFRESH_QUIET_S = 30
"""A first page left open on a wall must not go on saying that all is quiet."""


@dataclass(frozen=True, slots=True)
class Html:
    """A page, and after how many seconds the browser should ask again; 0 for never."""

    text: str
    refresh_s: int = 0


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


def incidents_page(deps: WebDeps, standing: Standing, *, still: bool) -> Html:
    """The first page: what is open, what fires, what is watched."""
    now_s = standing.now_s
    # open ones come whole and all, however many newer ones there are; the list leaves charts out
    opened = deps.incidents.open_incidents()
    past = [i for i in deps.incidents.incidents(_LISTED) if i.state is IncidentState.RESOLVED]
    refresh_s = 0 if still else _REFRESH_OPEN_S if opened else _REFRESH_QUIET_S
    text = _fill(
        "incidents.html", deps, now_s,
        open=[_card(i, now_s) for i in opened],
        past=[_card(i, now_s) for i in past],
        alarm=bool(opened),
        ready=standing.ready,
        unready=standing.unready,
        firing=[_firing(a, now_s) for a in standing.firing],
        seen=[s for s in standing.sights if s.seen],
        blind=[s for s in standing.sights if not s.seen],
        waiting=deps.outbox_waiting(),
        dead=deps.dead_letters(),
        now_groups=overview(deps.series, now_s),
        refresh_s=refresh_s, still=still, path="/",
    )  # fmt: skip
    return Html(text, refresh_s)


def incident_page(deps: WebDeps, incident_id: str, now_s: float, *, still: bool) -> Html | None:
    """One incident; None when there is no such."""
    found = deps.incidents.incident(incident_id)
    if found is None:
        return None
    shown = view(found, now_s)
    refresh_s = _REFRESH_OPEN_S if shown.is_open and not still else 0
    text = _fill(
        "incident.html", deps, now_s, view=shown, alarm=shown.is_open, height=int(HEIGHT),
        refresh_s=refresh_s, still=still and shown.is_open, path=f"/incidents/{incident_id}",
    )  # fmt: skip
    return Html(text, refresh_s)


def missing_page(deps: WebDeps, now_s: float) -> Html:
    """Instead of an incident that is not here."""
    text = "It may be older than what is kept here, or the address was cut short."
    context = {"alarm": False, "title": "No such incident", "text": text}
    return Html(_fill("missing.html", deps, now_s, refresh_s=0, still=False, path="/", **context))


@functools.cache
def static_file(name: str) -> bytes:
    """A file of `STATIC_TYPES`."""
    return (_HERE / "static" / name).read_bytes()


@functools.cache
def _asset(name: str) -> str:
    return f"/static/{name}?v={hashlib.blake2b(static_file(name), digest_size=4).hexdigest()}"


@functools.cache
def _templates() -> jinja2.Environment:
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


def _fill(template: str, deps: WebDeps, now_s: float, **context: Any) -> str:
    context |= {"host": deps.host, "version": deps.version, "now": when(now_s, now_s)}
    return _templates().get_template(template).render(context)


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
