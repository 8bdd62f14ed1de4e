"""A web application over fakes, and a client that speaks to it in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from aiops.clock import ManualClock
from aiops.export.deps import WebDeps
from aiops.export.metrics import Exposition
from aiops.export.web import create_app
from aiops.model import Alert, Incident, IncidentState, Judgement, Sight
from tests.fakes import FakeInbox, FakeSeries

NOW_S = 1_760_000_000.0
TOKEN = "t0ken-for-tests"


class FakeIncidents:
    """An IncidentLog over a list, newest first."""

    def __init__(self, *held: Incident) -> None:
        self.held = list(held)
        self.asked: list[str] = []
        self.error: Exception | None = None

    def incident(self, incident_id: str) -> Incident | None:
        self.asked.append(incident_id)
        if self.error:
            raise self.error
        return next((i for i in self.held if i.id == incident_id), None)

    def incidents(self, limit: int = 100, state: IncidentState | None = None) -> Sequence[Incident]:
        if self.error:
            raise self.error
        found = [i for i in self.held if state in {None, i.state}][:limit]
        return [replace(i, diagnosis=replace(i.diagnosis, charts=(), templates=())) for i in found]

    def open_incidents(self) -> Sequence[Incident]:
        return [i for i in self.held if i.state is IncidentState.OPEN]

    def judgements(self) -> Mapping[str, Judgement]:
        return {i.id: i.judgement for i in self.held if i.judgement is not None}


class FakeStatus:
    """A StatusReader whose answers a test sets."""

    def __init__(self) -> None:
        self.seen: list[Sight] = []
        self.is_ready = True
        self.alerts: list[Alert] = []

    def sights(self) -> Sequence[Sight]:
        return self.seen

    def ready(self) -> bool:
        return self.is_ready

    def firing(self) -> Sequence[Alert]:
        return self.alerts


class Site:
    """The application with everything it was handed, and one call to ask it something."""

    def __init__(self, **changes: Any) -> None:
        self.incidents = FakeIncidents()
        self.status = FakeStatus()
        self.series = FakeSeries()
        self.inbox = FakeInbox()
        self.clock = ManualClock(NOW_S)
        self.exposition = Exposition(CollectorRegistry())
        deps = WebDeps(
            incidents=self.incidents, series=self.series, status=self.status, inbox=self.inbox,
            exposition=self.exposition, clock=self.clock, host="node-7", version="9.9.9", token=TOKEN,
            outbox_waiting=lambda: 2, dead_letters=lambda: 1,
        )  # fmt: skip
        self.app = create_app(replace(deps, **changes))

    def ask(self, method: str, path: str, *, host: str = "127.0.0.1:9477", **more: Any) -> httpx.Response:
        """One request, answered in memory."""

        async def go() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
                return await client.request(method, path, **more)

        return asyncio.run(go())

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.ask("GET", path, **more)

    def push(self, path: str, body: Any, token: str = TOKEN) -> httpx.Response:
        content = body if isinstance(body, bytes) else None
        headers = {"Authorization": f"Bearer {token}"}
        return self.ask("POST", path, headers=headers, content=content, json=None if content is not None else body)


@pytest.fixture
def make_site() -> Callable[..., Site]:
    return Site


@pytest.fixture
def site() -> Site:
    return Site()
