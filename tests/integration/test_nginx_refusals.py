"""A real nginx that refuses for every reason it has, in four formats, and what is told of it from each log."""

from __future__ import annotations

import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from aiops.collect.access_format import SUGGESTED_FORMAT
from aiops.collect.access_log import AccessLog, Config, build
from aiops.model import Sample
from tests.fakes import FakeSeries
from tests.integration.conftest import require_program
from tests.integration.daemon import fetch, wait_for
from tests.integration.nginx import PREAMBLE, SCRATCH, Counts, Upstream, free_ports, start
from tests.worlds import make_world

pytestmark = [pytest.mark.external_service, pytest.mark.timeout(120)]

FORMATS = r"""
log_format ingress '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" '
    '"$http_user_agent" $request_length $request_time [$proxy_host] [] $upstream_addr '
    '$upstream_response_length $upstream_response_time $upstream_status $request_id';
log_format grouped escape=none '{"when":$msec,"req":{"what":"$scheme://$host$request_uri","took":"${request_time}s"},'
    '"res":{"code":"$status","limit":"$limit_req_status","agent":"$http_user_agent"},'
    '"up":{"who":"$upstream_addr","said":"$upstream_status","reached":"$upstream_connect_time",'
    '"spoke":"$upstream_header_time"}}';
log_format tabs escape=json "$time_iso8601\t$upstream_addr\t$upstream_status\t$upstream_connect_time\t"
    "$upstream_header_time\t$status\t$request_time\t$request\t$request_completion";
"""
LOGS = ("aiops", "ingress", "grouped", "tabs")
ASKED = {
    "ok": 6,
    "limited": 6,
    "down": 3,
    "hangs_up": 4,
    "breaks": 2,
    "silent": 2,
    "dead": 4,
    "maintenance": 2,
    "busy": 3,
}
"""Requests by location."""


class Rude(threading.Thread):
    """A TCP server that takes a request and ends the connection after *wait_s*, or after a minute, by a reset."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(daemon=True)
        self._wait_s = wait_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.start()

    def run(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            peer.recv(65536)
            threading.Timer(self._wait_s, self._reset, (peer,)).start()

    @staticmethod
    def _reset(peer: socket.socket) -> None:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.join(5.0)


def conf(folder: Path, port: int, upstream: str, hangs_up: int, breaks: int, silent: int, nobody: int) -> str:
    logs = " ".join(f"access_log {folder}/{name}.log {name};" for name in LOGS)
    passed = {
        "ok": upstream, "down": f"127.0.0.1:{nobody}", "hangs_up": f"127.0.0.1:{hangs_up}",
        "breaks": f"127.0.0.1:{breaks}", "silent": f"127.0.0.1:{silent}", "dead": "dead",
    }  # fmt: skip
    places = "\n".join(f"location = /{name} {{ proxy_pass http://{to}; }}" for name, to in passed.items())
    return f"""
{PREAMBLE}
events {{ worker_connections 64; }}
http {{
  {SCRATCH} include formats.conf; {SUGGESTED_FORMAT}
  limit_req_zone $server_port zone=tight:1m rate=1r/m;
  upstream dead {{ server 127.0.0.1:{nobody} fail_timeout=60s; server 127.0.0.2:{nobody} fail_timeout=60s; }}
  server {{
    listen 127.0.0.1:{port}; {logs} proxy_read_timeout 1s; proxy_next_upstream error timeout;
    {places}
    location = /busy {{ proxy_pass http://{upstream}; }}
    location = /limited {{ limit_req zone=tight; proxy_pass http://{upstream}; }}
    location = /maintenance {{ return 503; }}
  }}
}}
"""


class Told(Counts):
    """What the collector made of every log; their formats are known from nginx's configuration alone."""

    def __init__(self, collector: AccessLog, series: FakeSeries, folder: Path, now_s: float) -> None:
        self.collector = collector
        self.folder = folder
        super().__init__(series, now_s)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    program = require_program("nginx")
    folder = tmp_path_factory.mktemp("refusals")
    with ExitStack() as stack:
        upstream = Upstream()
        stack.callback(upstream.stop)
        rude = [Rude(wait_s) for wait_s in (0.0, 0.5, 30.0)]
        for each in rude:
            stack.callback(each.stop)
        port, nobody = free_ports(2)
        (folder / "formats.conf").write_text(FORMATS)
        text = conf(folder, port, upstream.address, *(each.port for each in rude), nobody)
        (folder / "nginx.conf").write_text(text)
        process = start(program, folder)
        stack.callback(process.wait, 10.0)
        stack.callback(process.send_signal, signal.SIGTERM)
        wait_for((folder / "aiops.log").exists, 20.0, "nginx has begun its logs")
        config = Config(paths=(f"{folder}/*.log",), nginx_conf=(str(folder / "nginx.conf"),))
        collector = build(config, make_world(root=Path("/")))
        series = FakeSeries()
        series.extend(each for each in collector.collect(time.time()) if isinstance(each, Sample))
        for place, count in ASKED.items():
            for _ in range(count):
                fetch(f"http://127.0.0.1:{port}/{place}?key=canary/{'fail' if place == 'busy' else ''}")
        wait_for(lambda: (folder / "tabs.log").read_bytes().count(b"\n") >= sum(ASKED.values()), 10.0, "all is logged")
        now_s = time.time() + 7.0
        series.extend(each for each in collector.collect(now_s) if isinstance(each, Sample))
        yield Told(collector, series, folder, now_s)


@pytest.mark.parametrize("log", LOGS)
def test_every_format_is_found_and_every_request_counted(told: Told, log: str):
    """Nobody told the daemon how any of them is written."""
    assert sum(told.counted("http_server_requests_total", "outcome", service=log).values()) == sum(ASKED.values())
    assert told.counted("http_server_requests_total", "outcome", service=log)["ok"] == ASKED["ok"] + 1


def test_a_log_in_no_usual_place_is_found_and_the_same_requests_but_once(told: Told):
    """Of four logs of one server the one that says most."""
    config = Config(nginx_conf=(str(told.folder / "nginx.conf"),))
    collector = build(config, make_world(root=Path("/")))
    list(collector.collect(time.time()))

    assert [path for path in collector._logs if path.startswith(str(told.folder))] == [f"{told.folder}/aiops.log"]


@pytest.mark.parametrize("log", ["aiops", "grouped", "tabs"])
def test_each_way_to_be_refused_is_told_from_every_other(told: Told, log: str):
    """A limit, a replica that is down, one that hangs up on idle connections and one that is slow need different mending."""
    silent = ASKED["limited"] - 1 + ASKED["maintenance"]
    dashes = (
        {"rate_limited": ASKED["limited"] - 1, "gateway": ASKED["maintenance"]}
        if log == "grouped"
        else {"unexplained": silent}
    )

    assert told.counted("http_server_refusals_total", "reason", service=log) == {
        **dashes,
        "connect_failure": ASKED["down"] + 1,  # the first to the dead group tried both
        "no_healthy_upstream": ASKED["dead"] - 1,
        "reset_early": ASKED["hangs_up"],
        "reset": ASKED["breaks"],
        "timeout": ASKED["silent"],
        "upstream": ASKED["busy"],
    }


def test_without_a_connect_time_what_cannot_be_known_is_not_said(told: Told):
    """The ingress controller's default format has none: down and hung up look the same there."""
    reasons = told.counted("http_server_refusals_total", "reason", service="ingress")

    assert reasons["unanswered"] == ASKED["down"] + 1 + ASKED["hangs_up"] + ASKED["breaks"]
    assert reasons["unexplained"] == ASKED["limited"] - 1 + ASKED["maintenance"]
    assert reasons["timeout"] == ASKED["silent"]
    assert reasons["no_healthy_upstream"] == ASKED["dead"] - 1
    assert reasons["upstream"] == ASKED["busy"]


@pytest.mark.parametrize("log", LOGS)
def test_the_answerer_is_the_same_in_every_format(told: Told, log: str):
    """Good answers and what the busy upstream said are the upstream's; all else was nginx's own."""
    own = sum(ASKED.values()) - ASKED["ok"] - 1 - ASKED["busy"]

    assert told.counted("http_server_requests_total", "answered_by", service=log) == {
        "upstream": ASKED["ok"] + 1 + ASKED["busy"], "gateway": own,
    }  # fmt: skip


@pytest.mark.parametrize("log", LOGS)
def test_routes_carry_no_query(told: Told, log: str):
    """Keys stand in queries."""
    routes = told.counted("http_server_route_requests_total", "route", service=log)

    assert "canary" not in repr(told.counted("http_server_route_requests_total", "route"))
    assert routes["/ok"] == ASKED["ok"]
