"""The real daemon as a process: started, asked, stopped or killed by a test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

ALONE: dict[str, Any] = {
    "gpu_nvml": {"enabled": False},
    "dcgm": {"enabled": False},
    "inference": {"discover": False},
    "access_log": {"discover": False},
    "log_tail": {"discover": False},
    "kernel_log": {"enabled": False},
    "journal": {"enabled": False},
}
"""Collectors that see nothing of what else runs on this machine; the host's are harmless."""

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(url: str, *, data: bytes | None = None, headers: Mapping[str, str] = {}, timeout_s: float = 10.0):
    """Status and body of *url*, whatever the status."""
    request = urllib.request.Request(url, data=data, headers=dict(headers))
    try:
        with _OPENER.open(request, timeout=timeout_s) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def wait_for(what: Callable[[], T], within_s: float, why: str = "", every_s: float = 0.1) -> T:
    """The first true value of *what*; fails after *within_s*."""
    until_s = time.monotonic() + within_s
    while not (found := what()):
        assert time.monotonic() < until_s, f"not within {within_s:g} s: {why or what}"
        time.sleep(every_s)
    return found


class Daemon:
    """
    ``aiops run`` on a free port, with its state in *folder*; may be started again after it ended.

    Args:
        folder: Holds settings, state and log.
        collect: Settings of collectors, over `ALONE`.
        receivers: Elements of ``notify.receivers``.
    """

    def __init__(
        self, folder: Path, *, collect: Mapping[str, Mapping[str, Any]], receivers: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.state = folder / "state"
        self.log = folder / "daemon.log"
        self.url = ""
        self._file = folder / "aiops.yaml"
        settings = {
            "web": {"listen": "127.0.0.1:0"},
            "state": {"dir": str(self.state)},
            "collect": {**ALONE, **{name: {**ALONE.get(name, {}), **keys} for name, keys in collect.items()}},
            "notify": {"receivers": list(receivers)},
        }
        self._file.write_text(json.dumps(settings))  # JSON is YAML too
        self._process: subprocess.Popen[bytes] | None = None
        self._log_from = 0

    # --- life -------------------------------------------------------------------------------------------------------

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the daemon was not started"
        return self._process

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Start it, and wait for nothing."""
        assert not self.running
        self.url = ""
        with self.log.open("ab") as log:
            self._log_from = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "aiops", "run", "-c", str(self._file)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def start(self, within_s: float = 30.0) -> None:
        """Start it, and wait until it has collected once."""
        self.launch()
        self.url = wait_for(self._address, within_s, "the daemon says where it listens")
        wait_for(lambda: fetch(f"{self.url}/readyz")[0] == 200, within_s, "the daemon is ready")

    def _address(self) -> str:
        if not self.running:
            raise AssertionError(f"the daemon ended with {self.process.returncode}: {self.log.read_text()[-2000:]}")
        started = [line for line in self.said() if line.get("event") == "started"]
        return str(started[0]["page"]).rstrip("/") if started else ""

    def kill(self) -> None:
        """SIGKILL: it gets no chance to save anything."""
        self.process.kill()
        self.process.wait(10.0)

    def stop(self, within_s: float = 10.0) -> int:
        """SIGTERM; the exit status. Fails when it does not heed it."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the daemon did not end within {within_s:g} s of SIGTERM") from None

    def close(self) -> None:
        """End it, if a failed test has left it running."""
        if self.running:
            self.kill()

    # --- what it says -----------------------------------------------------------------------------------------------

    def said(self) -> list[dict[str, Any]]:
        """Its log since the last start; lines that are no JSON (a library's) as ``{"event": line}``."""
        with self.log.open("rb") as log:
            log.seek(self._log_from)
            lines = log.read().decode("utf-8", "replace").splitlines()
        said = []
        for line in lines:
            try:
                said.append(json.loads(line))
            except ValueError:
                said.append({"event": line})
        return said

    def json(self, path: str) -> Any:
        """What the API answers to GET *path*."""
        status, body = fetch(self.url + path)
        assert status == 200, (path, status, body)
        return json.loads(body)

    def incidents(self, service: str = "") -> list[dict[str, Any]]:
        """Incidents, newest first; of one *service* if one is named."""
        found = self.json("/api/v1/incidents")["incidents"]
        return [incident for incident in found if service in {"", incident["service"]}]

    def metrics(self) -> dict[str, float]:
        """The /metrics page: series as it is spelled there, to value."""
        status, body = fetch(f"{self.url}/metrics")
        assert status == 200
        lines = (line for line in body.decode().splitlines() if line and not line.startswith("#"))
        return {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines)}

    def total(self, name: str, **labels: str) -> float:
        """Sum of the series of *name* that have *labels*; 0 without any."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(
            value
            for series, value in self.metrics().items()
            if series.partition("{")[0] == name and all(pair in series for pair in wanted)
        )

    def push(self, body: bytes, *, token: str | None = None) -> int:
        """POST *body* as change events; the status."""
        headers = {"Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return int(fetch(f"{self.url}/api/v1/events", data=body, headers=headers)[0])

    @property
    def token(self) -> str:
        return (self.state / "token").read_text(encoding="ascii").strip()

    def rss_bytes(self) -> int:
        """Memory it holds now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024


def webhook(url: str) -> dict[str, Any]:
    """A receiver of every message at *url*."""
    return {"name": "chat", "kind": "webhook", "url": url, "severities": ["page", "ticket"]}


def processes_marked(mark: str) -> list[int]:
    """Processes of this user that carry *mark* in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if mark.encode() in (folder / "environ").read_bytes() and os.getpid() != int(folder.name):
                found.append(int(folder.name))
        except OSError:  # ended meanwhile, or another user's
            continue
    return found
