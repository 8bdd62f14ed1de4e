"""A real node_exporter and the host collector look at the same machine."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from aiops.collect import host
from aiops.collect.node_exporter import Config, build
from aiops.model import Sample
from tests.integration.conftest import require_program
from tests.integration.daemon import wait_for
from tests.integration.nginx import free_ports
from tests.worlds import make_world

pytestmark = [pytest.mark.external_service, pytest.mark.timeout(60)]


def test_the_page_of_a_real_exporter_agrees_with_proc():
    """The same names must mean the same, whoever reads the host."""
    program = require_program("prometheus-node-exporter")
    (port,) = free_ports(1)
    command = [program, f"--web.listen-address=127.0.0.1:{port}"]
    exporter = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}/metrics"
        wait_for(lambda: listens(port), 20.0, "node_exporter listens")
        theirs, ours = asyncio.run(both(url))
    finally:
        exporter.terminate()
        exporter.wait(10.0)
    for metric in ("system_memory_limit_bytes", "system_cpu_logical_count"):
        assert theirs[metric] == ours[metric]
    assert theirs["system_memory_utilization_ratio"] == pytest.approx(ours["system_memory_utilization_ratio"], abs=0.05)
    assert theirs["system_filesystem_utilization_ratio"] == pytest.approx(
        ours["system_filesystem_utilization_ratio"], abs=0.01
    )
    assert 0.0 <= theirs["system_cpu_utilization_ratio"] <= 1.0
    missing = {"system_disk_await_seconds"}  # where no disk was used meanwhile
    expected = {
        "system_cpu_steal_ratio", "system_disk_utilization_ratio", "system_network_receive_bytes_per_second",
        "system_pressure_stalled_ratio", "system_open_files",
    }  # fmt: skip
    assert expected & ours.keys() - missing <= theirs.keys()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def both(url: str) -> tuple[dict[str, float], dict[str, float]]:
    """What each says after two readings; of several series of a metric the first by label."""
    ours = host.build(host.Config(), make_world(root=Path("/")))
    async with httpx.AsyncClient(trust_env=False) as http:
        theirs = build(Config(urls=(url,), this_host=True), make_world(http=http))
        rounds = [(list(await theirs.gather(at_s)), list(ours.collect(at_s))) for at_s in (0.0, 20.0)]
    found = [
        {
            s.metric: s.value
            for s in sorted((s for s in each if isinstance(s, Sample)), key=lambda s: s.labels.pairs, reverse=True)
        }
        for each in rounds[-1]
    ]
    return found[0], found[1]
