"""A real nginx shows its status page, and the collector reads what went through it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from aiops.collect.gateway import Config, build
from aiops.model import Sample
from tests.integration.conftest import require_program
from tests.integration.daemon import fetch
from tests.integration.nginx import Nginx, Upstream
from tests.worlds import make_world

pytestmark = [pytest.mark.external_service, pytest.mark.timeout(60)]

SERVERS = {
    "chat": ("one", "access_log off;"),
    "status": ("one", "access_log off; location = /stub { stub_status; }"),
}


def test_the_status_page_of_a_real_nginx_is_read(tmp_path: Path):
    """Its spaces and line ends are as no manual shows them."""
    program = require_program("nginx")
    upstream = Upstream()
    nginx = Nginx(program, tmp_path, [upstream], SERVERS)
    try:
        before, after = asyncio.run(around(nginx))
    finally:
        nginx.stop()
        upstream.stop()
    assert after["http_gateway_up"] == 1.0
    assert after["http_gateway_connections_dropped_total"] == 0.0
    # three requests, and the second reading itself
    assert after["http_gateway_requests_total"] - before["http_gateway_requests_total"] == 4.0


async def around(nginx: Nginx) -> tuple[dict[str, float], dict[str, float]]:
    """What the page says before and after three requests."""
    async with httpx.AsyncClient(trust_env=False) as http:
        config = Config(urls=(nginx.url("status", "/stub"),), discover=False)
        collector = build(config, make_world(http=http))
        before = await collector.gather(0.0)
        for _ in range(3):
            await asyncio.to_thread(fetch, nginx.url("chat"))
        after = await collector.gather(5.0)
    found = [{seen.metric: seen.value for seen in each if isinstance(seen, Sample)} for each in (before, after)]
    return found[0], found[1]
