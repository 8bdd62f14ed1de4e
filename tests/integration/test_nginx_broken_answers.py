"""A real nginx whose upstream breaks answers off in the middle: its access log calls them whole, and what is told."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from aiops.collect.access_format import SUGGESTED_FORMAT
from aiops.collect.access_log import Config, build
from aiops.model import Sample
from tests.fakes import FakeSeries
from tests.integration.conftest import require_program
from tests.integration.daemon import wait_for
from tests.integration.nginx import PREAMBLE, SCRATCH, Counts, free_ports, start
from tests.worlds import make_world

pytestmark = [pytest.mark.external_service, pytest.mark.timeout(60)]

ASKED = {"whole": 5, "closes": 3, "resets": 2, "stalls": 1, "buffered/closes": 2, "silent/closes": 2, "early": 2}
"""Requests by location."""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n6\r\ndata: \r\n"


class Streams(threading.Thread):
    """An upstream that streams chunks, and ends as the path's last word says."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stalled: list[socket.socket] = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.start()

    def run(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            how = peer.recv(65_536).split(b" ")[1].partition(b"?")[0].rpartition(b"/")[2]
            if how != b"early":
                peer.sendall(HEAD)
                time.sleep(0.05)  # nginx passes the header on before it sees the end
            if how == b"stalls":
                self._stalled.append(peer)
                continue
            if how == b"whole":
                peer.sendall(b"0\r\n\r\n")
            elif how == b"resets":
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.join(5.0)
        for peer in self._stalled:
            peer.close()


def conf(folder: Path, port: int, upstream: str) -> str:
    return f"""
{PREAMBLE}
error_log {folder}/problems.txt warn;
events {{ worker_connections 64; }}
http {{
  {SCRATCH} {SUGGESTED_FORMAT}
  access_log {folder}/chat.log aiops;
  proxy_http_version 1.1; proxy_buffering off; proxy_read_timeout 1s;
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://{upstream}; }}
    location /buffered/ {{ proxy_pass http://{upstream}; proxy_buffering on; }}
    location /silent/ {{ proxy_pass http://{upstream}; access_log off; }}
  }}
}}
"""


def ask(port: int, path: str) -> bool:
    """Whether a whole answer came."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10.0)
    with contextlib.closing(connection):
        connection.request("POST", f"/{path}?key=canary", b"{}")
        try:
            answer = connection.getresponse()
            answer.read()
        except (http.client.HTTPException, OSError):
            return False
        return answer.status == 200


class Told(Counts):
    """What the log says, what users felt, and what the collector counted."""

    def __init__(self, whole: Counter[str], log: Path, series: FakeSeries, now_s: float) -> None:
        self.whole = whole
        self.lines = [json.loads(line) for line in log.read_text().splitlines()]
        super().__init__(series, now_s)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    program = require_program("nginx")
    folder = tmp_path_factory.mktemp("broken")
    with ExitStack() as stack:
        upstream = Streams()
        stack.callback(upstream.stop)
        (port,) = free_ports(1)
        (folder / "nginx.conf").write_text(conf(folder, port, upstream.address))
        process = start(program, folder)
        stack.callback(process.wait, 10.0)
        stack.callback(process.send_signal, signal.SIGTERM)
        wait_for((folder / "chat.log").exists, 20.0, "nginx has begun its logs")
        collector = build(Config(nginx_conf=(str(folder / "nginx.conf"),)), make_world(root=Path("/")))
        series = FakeSeries()
        series.extend(each for each in collector.collect(time.time()) if isinstance(each, Sample))
        whole: Counter[str] = Counter()
        for path, count in ASKED.items():
            for _ in range(count):
                whole[path] += ask(port, path)
        logged = sum(ASKED.values()) - ASKED["silent/closes"]
        wait_for(lambda: (folder / "chat.log").read_bytes().count(b"\n") >= logged, 10.0, "all is logged")
        for later_s in (1.0, 8.0):
            now_s = time.time() + later_s
            series.extend(each for each in collector.collect(now_s) if isinstance(each, Sample))
        yield Told(whole, folder / "chat.log", series, now_s)


def test_the_access_log_calls_broken_answers_whole(told: Told):
    """That is why there is another witness; an nginx that says it one day makes this test fail."""
    assert told.whole == Counter(whole=ASKED["whole"])
    said = Counter((line["uri"].lstrip("/"), line["st"], line["rc"]) for line in told.lines)
    assert said == {
        ("early", 502, "OK"): ASKED["early"],
        **{(path, 200, "OK"): ASKED[path] for path in ("whole", "closes", "resets", "stalls", "buffered/closes")},
    }


def test_each_broken_answer_counts_once_and_as_broken(told: Told):
    """Also those that the access log leaves out."""
    broken = sum(ASKED.values()) - ASKED["whole"] - ASKED["early"]

    assert told.counted("http_server_requests_total", "outcome", service="chat") == {
        "ok": ASKED["whole"], "truncated": broken, "5xx": ASKED["early"],
    }  # fmt: skip
    assert told.counted("http_server_requests_total", "answered_by", outcome="truncated") == {"upstream": broken}


def test_why_they_broke_is_told(told: Told):
    """A read time-out of the gateway is no crash."""
    reasons = told.counted("http_server_refusals_total", "reason", service="chat")

    assert reasons.pop("timeout") == ASKED["stalls"]
    assert reasons.pop("reset") == sum(ASKED.values()) - ASKED["whole"] - ASKED["early"] - ASKED["stalls"]
    assert reasons == {"reset_early": ASKED["early"]}
