"""A real Prometheus scrapes a real daemon."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.conftest import require_program
from tests.integration.daemon import Daemon, fetch, wait_for
from tests.integration.promtool import remarks

pytestmark = [pytest.mark.external_service, pytest.mark.timeout(180)]

Query = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    running = Daemon(tmp_path_factory.mktemp("daemon"), collect={"host": {"interval": "1s"}})
    running.start()
    yield running
    running.close()


@pytest.fixture(scope="module")
def query(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Query]:
    """Asks a Prometheus that scrapes the daemon every five seconds."""
    folder = tmp_path_factory.mktemp("prometheus")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    settings = folder / "prometheus.yml"
    target = daemon.url.removeprefix("http://")
    settings.write_text(
        "global: {scrape_interval: 5s}\n"
        f"scrape_configs: [{{job_name: aiops, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    command = [
        require_program("prometheus"), f"--config.file={settings}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]  # fmt: skip
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "GOMAXPROCS": "1"})

    def ask(expression: str) -> list[dict[str, Any]]:
        path = f"/api/v1/query?query={urllib.parse.quote(expression)}"
        status, body = fetch(f"http://{address}{path}")
        assert status == 200, body
        found: list[dict[str, Any]] = json.loads(body)["data"]["result"]
        return found

    def ready() -> bool:
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        try:
            return fetch(f"http://{address}/-/ready")[0] == 200
        except OSError:
            return False

    try:
        wait_for(ready, 60.0, "Prometheus starts")
        yield ask
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10.0)


def value(found: list[dict[str, Any]]) -> float:
    assert len(found) == 1, found
    return float(found[0]["value"][1])


def test_a_scrape_succeeds_and_the_nodes_series_arrive(daemon: Daemon, query: Query):
    """Whoever runs Prometheus adds one target and has everything that the daemon sees."""
    wait_for(lambda: query("system_cpu_utilization_ratio"), 40.0, "CPU readings in Prometheus")

    assert value(query("up")) == 1.0
    assert value(query("aiops_build_info")) == 1.0
    assert 0.0 <= value(query("max(system_cpu_utilization_ratio)")) <= 1.0
    assert value(query('aiops_collector_up{collector="host"}')) == 1.0


def test_prometheus_takes_every_line_of_the_page(daemon: Daemon, query: Query):
    """A page that is accepted with samples dropped on the floor looks healthy from both sides."""
    wait_for(lambda: query("system_cpu_utilization_ratio"), 40.0, "CPU readings in Prometheus")

    scraped = value(query("scrape_samples_scraped"))

    stored = value(query('count({job="aiops",__name__!~"up|scrape_.*"})'))
    assert abs(stored - scraped) <= 0.2 * scraped, "what was scraped can be asked for"
    assert abs(scraped - len(daemon.metrics())) <= 0.2 * scraped  # labels come and go within the five seconds


def test_counters_go_on_rising_in_prometheus(daemon: Daemon, query: Query):
    """`rate()` over a counter that restarts or stands still is a flat line nobody doubts."""
    name = 'aiops_tick_duration_seconds_count{tick="evaluate"}'
    wait_for(lambda: query(name), 40.0, "the counter of ticks")
    first = value(query(name))

    wait_for(lambda: value(query(name)) >= first + 5.0, 20.0, "the evaluations of two scrapes")


def test_promtool_has_nothing_against_the_live_page(daemon: Daemon):
    """The page of a daemon that runs, with the series of this machine and of Python itself."""
    promtool = require_program("promtool")
    wait_for(lambda: "system_memory_" in "".join(daemon.metrics()), 20.0, "readings of this machine")

    assert remarks(promtool, fetch(f"{daemon.url}/metrics")[1]) == []
