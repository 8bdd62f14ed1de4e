"""A real nginx in front of small real upstreams, and users who ask it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from aiops.collect.access_format import SUGGESTED_FORMAT
from aiops.stats import increase
from tests.fakes import FakeSeries
from tests.integration.daemon import fetch, wait_for

PREAMBLE = f"daemon off; pid nginx.pid; worker_processes 1; {'user root;' if os.geteuid() == 0 else ''}"
SCRATCH = " ".join(f"{kind}_temp_path scratch;" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
"""Of ``http``: nothing is written but in nginx's own folder."""


def start(program: str, folder: Path) -> subprocess.Popen[bytes]:
    """nginx with *folder*'s nginx.conf; what it says of its start goes to error.txt."""
    command = [program, "-p", str(folder), "-c", "nginx.conf", "-e", "error.txt"]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


class Counts:
    """What a collector counted until *now_s*."""

    def __init__(self, series: FakeSeries, now_s: float) -> None:
        self._series = series
        self._now_s = now_s

    def counted(self, metric: str, label: str, **match: str) -> Mapping[str, float]:
        """Increases by the values of *label*, of series that *match*; those of 0 are left out."""
        found: Counter[str] = Counter()
        for window in self._series.window(metric, 0.0, self._now_s, match):
            found[window.labels.get(label)] += increase(window.values)
        return {name: count for name, count in found.items() if count}


def free_ports(count: int) -> list[int]:
    """Loopback ports nobody listens on."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class Upstream:
    """A model server as far as a gateway can tell: answers 200, or 503 while `sick` or when asked for ``/fail``."""

    def __init__(self) -> None:
        self.sick = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                bad = upstream.sick or self.path.endswith("/fail")
                body = b"server busy\n" if bad else b"an answer\n"
                self.send_response(503 if bad else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        return Handler


class Nginx:
    """
    The gateway, with everything it writes in *folder*.

    Args:
        program: Path of nginx.
        folder: Its prefix.
        upstreams: Who answers: all of them together as group ``replicas``, the first alone as ``one``.
        servers: Name to the group that answers, and further directives of its ``server`` block with its ``access_log``.
    """

    def __init__(
        self, program: str, folder: Path, upstreams: Sequence[Upstream], servers: Mapping[str, tuple[str, str]]
    ) -> None:
        self.folder = folder
        self._ports = dict(zip(servers, free_ports(len(servers)), strict=True))
        blocks = "\n".join(
            f"server {{ listen 127.0.0.1:{port}; {servers[name][1]}"
            f" location / {{ proxy_pass http://{servers[name][0]}; }} }}"
            for name, port in self._ports.items()
        )
        members = " ".join(f"server {upstream.address};" for upstream in upstreams)
        (folder / "nginx.conf").write_text(
            f"{PREAMBLE}\n"
            f"events {{ worker_connections 256; }}\n"
            f"http {{ {SCRATCH}\n{SUGGESTED_FORMAT}\n"
            f"limit_req_zone $server_port zone=tight:1m rate=20r/s;\n"
            f"upstream replicas {{ {members} }}\nupstream one {{ server {upstreams[0].address}; }}\n{blocks}\n}}\n"
        )
        self._process = start(program, folder)
        try:
            wait_for(self._listens, 20.0, "nginx listens")
        except BaseException:
            self.stop()
            raise

    def url(self, server: str, path: str = "/v1/completions") -> str:
        return f"http://127.0.0.1:{self._ports[server]}{path}"

    def _listens(self) -> bool:
        assert self._process.poll() is None, (self.folder / "error.txt").read_text()
        for port in self._ports.values():
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)):
                    return False
        return True

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(10.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait(10.0)


class Users(threading.Thread):
    """Somebody who asks *url* `rate` times a second, one request after the other."""

    def __init__(self, url: str, rate: float) -> None:
        super().__init__(daemon=True)
        self.rate = rate
        self.answers: list[tuple[float, int]] = []
        """When each answer came, wall time, and its status."""
        self._url = url
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        due_s = time.monotonic()
        while not self._ended.wait(max(0.0, due_s - time.monotonic())):
            status, _ = fetch(self._url)
            self.answers.append((time.time(), status))
            # whoever was held up goes on at the pace, and does not make up for it
            due_s = max(due_s + 1.0 / self.rate, time.monotonic() - 0.5)

    def first(self, status: int) -> float:
        """When the first answer with *status* came."""
        return next(at_s for at_s, found in self.answers if found == status)

    def stop(self) -> None:
        self._ended.set()
        self.join(15.0)
