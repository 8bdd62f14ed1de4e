"""What a real Prometheus scraped comes to the same samples as reading the pages directly."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from aiops.cards import CardBook
from aiops.clock import SystemClock
from aiops.collect import prometheus
from aiops.collect.dcgm_page import DcgmPage
from aiops.collect.engines import dialects
from aiops.collect.node_page import NodePage
from aiops.collect.server_page import server
from aiops.model import Sample, Sight
from tests.integration.conftest import require_program
from tests.integration.daemon import Daemon, fetch, wait_for
from tests.integration.nginx import free_ports
from tests.integration.prometheus_server import scraping
from tests.integration.recorder import Recorder
from tests.worlds import make_world

pytestmark = [pytest.mark.external_service, pytest.mark.timeout(120)]
CASES = Path(__file__).parents[1] / "cases" / "collect"
SCRAPES = 6


def moving(case: str, number: int) -> bytes:
    """A recorded page whose whole numbers grow a little with each reading; every fifth reading the counters begin anew."""
    page = (CASES / case / "1.prom").read_bytes()
    added = number % 5

    def grow(found: re.Match[bytes]) -> bytes:
        return found[1] + str(int(found[2]) + added).encode() + b".0\n"

    return re.sub(rb"(_total(?:\{[^}\n]*\})? )(\d{1,12})(?:\.0)?\n", grow, page)


@pytest.fixture(scope="module")
def exporter() -> Iterator[str]:
    program = require_program("prometheus-node-exporter")
    (port,) = free_ports(1)
    process = subprocess.Popen(
        [program, f"--web.listen-address=127.0.0.1:{port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: listens(port), 20.0, "node_exporter listens")
        yield f"http://127.0.0.1:{port}/metrics"
    finally:
        process.terminate()
        process.wait(10.0)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def pulled(url: str) -> tuple[list[Sample], list[Sight]]:
    """One reading of everything, and one that follows at once and must bring nothing twice."""
    config = prometheus.Config(servers=(prometheus.ServerConfig(url, this_host=True),))
    async with httpx.AsyncClient(trust_env=False) as http:
        clock = SystemClock()
        collector = prometheus.build(config, make_world(http=http, clock=clock))
        seen = [*await collector.gather(clock.now_s()), *await collector.gather(clock.now_s())]
        collector.close()
    return [o for o in seen if isinstance(o, Sample)], [o for o in seen if isinstance(o, Sight)]


def scrapes(url: str, recorder: Recorder, until_s: float) -> list[tuple[float, bytes]]:
    """When Prometheus says it scraped which page."""
    query = urllib.parse.quote(f'recorder_number{{instance="{recorder.address}"}}[5m]')
    (found,) = json.loads(fetch(f"{url}/api/v1/query?query={query}")[1])["data"]["result"]
    return [(at_s, recorder.pages[int(number)]) for at_s, number in found["values"] if at_s <= until_s]


def newest(samples: list[Sample], metric: str) -> float:
    found = [s.at_s for s in samples if s.metric == metric]
    assert len(found) == len(set(found)), "nothing is told twice"
    return max(found)


def table(samples: list[Sample]) -> dict[tuple[object, ...], float]:
    return {(s.metric, s.labels, s.at_s): s.value for s in samples}


def test_what_prometheus_scraped_equals_direct_reading(tmp_path, exporter):
    """Times are those of the scrapes, values those of the pages, of vLLM, DCGM and a real node_exporter alike."""
    vllm = Recorder(lambda number: moving("inference/vllm_two_engines", number))
    dcgm = Recorder(lambda number: moving("dcgm/two_cards", number))
    node = Recorder(lambda _: fetch(exporter)[1])
    jobs = {"vllm": vllm.address, "dcgm": dcgm.address, "node": node.address}
    dialect = dialects().recognise(moving("inference/vllm_two_engines", 0))
    assert dialect is not None
    reader, gpus, host = (
        server(dialect, "n1", vllm.address), DcgmPage("n1", local=False, book=CardBook()), NodePage("n1"),
    )  # fmt: skip
    direct: list[Sample] = []
    try:
        with scraping(tmp_path, jobs) as url:
            wait_for(lambda: min(len(each.pages) for each in (vllm, dcgm, node)) > SCRAPES, 60.0, "Prometheus scrapes")
            samples, sights = asyncio.run(pulled(url))
            for at_s, page in scrapes(url, vllm, newest(samples, "gen_ai_server_up")):
                direct += reader.read(page, at_s)
            for at_s, page in scrapes(url, dcgm, newest(samples, "hw_gpu_count")):
                direct += [o for o in gpus.read(page, at_s) if isinstance(o, Sample)]
            for at_s, page in scrapes(url, node, newest(samples, "system_memory_limit_bytes")):
                direct += host.read(page, at_s)
    finally:
        for each in (vllm, dcgm, node):
            each.close()

    ours = [
        s for s in samples if not s.metric.startswith(("aiops_", "change_", "gen_ai_server_up", "gen_ai_server_ready"))
    ]
    assert len({s.at_s for s in ours if s.metric == "hw_gpu_count"}) >= SCRAPES - 1
    assert table(ours).keys() ^ table(direct).keys() == set()
    assert table(ours) == pytest.approx(table(direct), rel=1e-12)
    assert [(s.seen, s.detail) for s in sights] == [(True, "GPU exporter: 1, host: 1, vLLM: 1")]


def test_a_daemon_shows_what_prometheus_scraped_elsewhere(tmp_path):
    """From a page through Prometheus and the daemon to its own page."""
    vllm = Recorder(lambda number: moving("inference/vllm_two_engines", number))
    queries = [{"metric": "business_success_ratio", "query": "vector(0.75)", "labels": {"service": "chat"}}]
    (tmp_path / "prometheus").mkdir()
    try:
        with scraping(tmp_path / "prometheus", {"vllm": vllm.address}) as url:
            source = {"servers": [{"url": url, "queries": queries}], "interval": "5s"}
            daemon = Daemon(tmp_path / "daemon", collect={"inference": {"enabled": False}, "prometheus": source})
            daemon.start()
            try:
                wait_for(lambda: shown(daemon, "gen_ai_server_requests_running"), 60.0, "the daemon asks")
                (line,) = shown(daemon, "gen_ai_server_requests_running")
                ratio = shown(daemon, "business_success_ratio")
                feeds = shown(daemon, "change_feed_up")
            finally:
                daemon.close()
    finally:
        vllm.close()

    assert f'instance="{vllm.address}"' in line
    assert [each.split()[:2] for each in ratio] == [['business_success_ratio{service="chat"}', "0.75"]]
    assert any("replicas_elsewhere" in each for each in feeds)


def shown(daemon: Daemon, metric: str) -> list[str]:
    page = fetch(f"{daemon.url}/metrics")[1].decode()
    return [line for line in page.splitlines() if line.startswith((f"{metric}{{", f"{metric} "))]
