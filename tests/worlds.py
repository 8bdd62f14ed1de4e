"""Worlds for plug-ins under test."""

from __future__ import annotations

from pathlib import Path

import httpx

from aiops.clock import Clock, ManualClock
from aiops.ports import World
from tests.fakes import FakeCheckpoints, FakeInbox

NOWHERE = Path("/nonexistent")


def refuse(request: httpx.Request) -> httpx.Response:
    """A network on which nobody answers."""
    raise httpx.ConnectError("refused", request=request)


def make_world(
    *, root: Path = NOWHERE, http: httpx.AsyncClient | None = None, clock: Clock | None = None, host: str = "n1"
) -> World:
    """A world in which only what is given exists."""
    return World(
        host=host,
        root=root,
        clock=clock or ManualClock(),
        http=http or httpx.AsyncClient(transport=httpx.MockTransport(refuse)),
        checkpoints=FakeCheckpoints(),
        inbox=FakeInbox(),
    )
