"""`aiops healthcheck` asks the daemon whether it is ready, and nothing that a sick disk could hold up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from aiops.cli import main


class Daemon(ThreadingHTTPServer):
    """Answers as a daemon whose state disk hangs: what reads the disk gets 503."""

    ready = True
    asked: list[str]


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    class Handler(BaseHTTPRequestHandler):
        server: Daemon

        def do_GET(self) -> None:
            self.server.asked.append(self.path)
            good = self.path == "/readyz" and self.server.ready
            self.send_response(200 if good else 503)
            self.end_headers()
            self.wfile.write(b"ready\n" if good else b"not ready: the first run of host has not ended\n")

        def log_message(self, *_: object) -> None:
            pass

    with Daemon(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def check(port: int, folder: Path) -> int:
    (folder / "aiops.yaml").write_text(f"web: {{listen: 127.0.0.1:{port}}}\nstate: {{dir: {folder}}}\n")
    return main(["healthcheck", "-c", str(folder / "aiops.yaml")])


def test_a_ready_daemon_is_healthy_whatever_its_disk_does(daemon: Daemon, tmp_path: Path):
    """Killing the daemon for a disk that hangs would silence the pages it sends from memory."""
    assert check(daemon.server_port, tmp_path) == 0
    assert daemon.asked == ["/readyz"]


def test_a_daemon_that_is_not_ready_says_why(daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A probe that only says "no" sends people to the log."""
    daemon.ready = False

    assert check(daemon.server_port, tmp_path) == 1
    assert "the first run of host has not ended" in capsys.readouterr().out


def test_no_daemon_is_not_healthy(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The plainest case."""
    assert check(1, tmp_path) == 1
    assert "no daemon answers" in capsys.readouterr().err
