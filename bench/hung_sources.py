"""
What becomes of the other collectors while four sources are sick at once: ``python bench/hung_sources.py`` (as root).

An NVML call hangs, a network file system hangs (a real mount whose server never answers: FUSE without a server), one
inference server accepts and says nothing, another answers with a page of 100 MB. How late every other collector's runs
are is read from the daemon's own counters, asked ten times a second, so each delay is known to a tenth of a second. Then all
four recover by themselves, and so must what is said about them. Writes bench/results/hung_sources.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import machine
import node_agents
import reference_node

from tests.integration.dead_mount import dead_mount

HEALTHY_S, RECOVER_S = 15.0, 90.0
ASK_S = 0.1
PAGE = b'# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{engine="0",model_name="m"} 3\n'
INTERVALS_S = {"host": 1.0, "access_log": 1.0, "log_tail": 1.0, "changes": 1.0, "gpu_nvml": 1.0, "inference": 1.0}
SICK = {"gpu_nvml", "inference"}
"""They have sick sources of their own; what is asked of them is that their healthy ones go on."""
_RUNS = re.compile(rb'^aiops_collector_runs_total\{collector="(\w+)",result="(\w+)"\} ([0-9.e+]+)$', re.MULTILINE)
_UP = re.compile(rb'^gen_ai_server_up\{.*?instance="([^"]+)".*\} ([01])', re.MULTILINE)


class Server(ThreadingHTTPServer):
    """An inference server's page, healthy, silent or endless as told."""

    daemon_threads = True
    mood = "healthy"
    released: threading.Event

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.released = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.server.mood == "silent":
            self.server.released.wait(600)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(100 if self.server.mood == "endless" else 1):
                self.wfile.write(PAGE * (10**6 // len(PAGE)) if self.server.mood == "endless" else PAGE)

    def log_message(self, *_: object) -> None:
        """Quiet."""


class Watch:
    """Asks the daemon for its counters and remembers when each collector's runs ended."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._last: dict[str, tuple[float, float]] = {}
        self.gaps_s: dict[str, list[float]] = defaultdict(list)
        self.page = b""

    def ask(self) -> None:
        self.page = node_agents.fetch(self._url + "/metrics")
        now_s = time.monotonic()
        totals: dict[str, float] = defaultdict(float)
        for name, result, count in _RUNS.findall(self.page):
            if result == b"ok":
                totals[name.decode()] += float(count)
        for name, total in totals.items():
            before = self._last.get(name)
            if before is None:
                self._last[name] = (total, now_s)
            elif total > before[0]:
                self.gaps_s[name].append((now_s - before[1]) / max(1.0, total - before[0]))
                self._last[name] = (total, now_s)

    def during(self, seconds: float) -> dict[str, list[float]]:
        """Gaps between runs of each collector, over *seconds*."""
        self.gaps_s.clear()
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self.ask()
            time.sleep(ASK_S)
        for name, (_, since_s) in self._last.items():  # one that has stopped shows no gap that ended
            if time.monotonic() - since_s > 3.0:
                self.gaps_s[name].append(time.monotonic() - since_s)
        return {name: list(gaps) for name, gaps in self.gaps_s.items()}

    def up(self) -> dict[str, bool]:
        return {instance.decode(): value == b"1" for instance, value in _UP.findall(self.page)}

    def gauge(self, name: str) -> float | None:
        found = re.search(rf"^{name}(?:\{{.*\}})? ([0-9.]+)$".encode(), self.page, re.MULTILINE)
        return float(found[1]) if found else None

    def firing(self) -> list[str]:
        alerts = json.loads(node_agents.fetch(self._url + "/api/v1/alerts"))["alerts"]
        return sorted(alert["rule"] for alert in alerts)


def delays(gaps: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """How much later than its cadence each collector ran."""
    return {
        name: {
            "p99_s": round(max(0.0, machine.quantile(each, 0.99) - INTERVALS_S[name]), 3),
            "max_s": round(max(0.0, max(each) - INTERVALS_S[name]), 3),
            "runs": len(each),
        }
        for name, each in gaps.items()
        if name in INTERVALS_S and each
    }


@dataclass(frozen=True)
class House:
    """Sources that a daemon is told to watch, and that can be made sick."""

    folder: Path
    cards: Path
    """State of the stub's cards."""
    servers: Mapping[str, Server]
    port: int

    @classmethod
    def build(cls, folder: Path) -> House:
        reference_node.build_cards(folder)
        for name in ("server.log", "access.log"):
            (folder / name).touch()
        servers = {mood: Server() for mood in ("well", "silent", "endless")}
        return cls(folder, folder / "cards", servers, node_agents.free_port())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def names(self) -> dict[str, str]:
        """Addresses of the servers."""
        return {name: f"127.0.0.1:{server.server_address[1]}" for name, server in self.servers.items()}

    def settings(self) -> Path:
        """The daemon's, in a file."""
        targets = [{"url": f"http://{name}/metrics"} for name in self.names.values()]
        collect = {
            **{name: {"interval": f"{every:g}s"} for name, every in INTERVALS_S.items()},
            "gpu_nvml": {"interval": "1s", "deadline": "2s"},
            "inference": {"interval": "1s", "discover": False, "targets": targets},
            "access_log": {"interval": "1s", "discover": False, "paths": [str(self.folder / "access.log")]},
            "log_tail": {"interval": "1s", "discover": False, "files": [{"path": str(self.folder / "server.log")}]},
            "journal": {"enabled": False}, "kernel_log": {"enabled": False}, "dcgm": {"enabled": False},
        }  # fmt: skip
        listen, state = f"127.0.0.1:{self.port}", str(self.folder / "state")
        file = self.folder / "aiops.yaml"
        file.write_text(json.dumps({"web": {"listen": listen}, "state": {"dir": state}, "collect": collect}))
        return file

    @contextlib.contextmanager
    def sick(self) -> Iterator[None]:
        """Four sources hang; afterwards all are well again."""
        healthy_cards = self.cards.read_text()
        with dead_mount(self.folder / "models"):
            self.cards.write_text(healthy_cards + "hang=nvmlDeviceGetTemperature\n")
            for mood in ("silent", "endless"):
                self.servers[mood].mood = mood
            yield
        self.cards.write_text(healthy_cards)
        for server in self.servers.values():
            server.mood = "healthy"
            server.released.set()


def measure(folder: Path, seconds: float) -> dict:
    house = House.build(folder)
    environment = {"LD_LIBRARY_PATH": str(folder / "nvml"), "NVML_STUB_STATE": str(house.cards)}
    command = [sys.executable, "-m", "aiops", "run", "-c", str(house.settings())]
    with node_agents.started("aiops", command, f"{house.url}/metrics", folder, environment) as agent:
        watch = Watch(house.url)
        watch.during(5.0)
        before = watch.during(HEALTHY_S)
        with house.sick():
            sick = watch.during(seconds)
            firing = watch.firing()
            seen = while_sick(watch, house, firing)
        recovered_s = wait_until_well(watch, house.names)
        threads = len(list(Path(f"/proc/{agent.process.pid}/task").iterdir()))
        rss_bytes = node_agents.usage(agent.process.pid).rss_bytes
    late = [row["p99_s"] for name, row in delays(sick).items() if name not in SICK]
    return {
        "settings": {"sick_s": seconds, "healthy_s": HEALTHY_S, "intervals_s": INTERVALS_S},
        "delays_healthy": delays(before),
        "delays_sick": delays(sick),
        "alerts_while_sick": firing,
        "recovered_after_s": recovered_s,
        "threads_after": threads,
        "rss_bytes_after": rss_bytes,
        "held": {
            "others_p99_delay_at_most_1s": all(p99_s <= 1.0 for p99_s in late),
            **seen,
            "recovered_by_itself": recovered_s is not None,
        },
    }


def while_sick(watch: Watch, house: House, firing: Sequence[str]) -> dict[str, bool]:
    """Whether each sick source, and no other, was told."""
    up, names = watch.up(), house.names
    lost = b"".join(re.findall(rb"^system_filesystem_responding.* 0\.0$", watch.page, re.MULTILINE))
    responding = watch.gauge("hw_gpu_driver_responding")
    return {
        "healthy_server_seen": up.get(names["well"]) is True,
        "sick_servers_down": not up.get(names["silent"]) and not up.get(names["endless"]),
        "driver_hung_said_once": responding == 0.0 and firing.count("GpuDriverHung") == 1,
        "dead_mount_named": str(house.folder / "models").encode() in lost,
    }


def wait_until_well(watch: Watch, names: dict[str, str]) -> float | None:
    """Seconds until every source answers again and nothing fires; None if they do not."""
    began_s = time.monotonic()
    while time.monotonic() - began_s < RECOVER_S:
        watch.ask()
        up = watch.up()
        if (
            all(up.get(name) for name in names.values())
            and watch.gauge("hw_gpu_driver_responding") == 1.0
            and "GpuDriverHung" not in watch.firing()
        ):
            return round(time.monotonic() - began_s, 1)
        time.sleep(0.5)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description="Cadence of healthy collectors beside hung sources.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the sources are sick")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aiops-bench-") as folder:
        result = measure(Path(folder), args.seconds)
    print(json.dumps(result, indent=2))
    print(machine.write("hung_sources", result))
    sys.exit(0 if all(result["held"].values()) else 1)


if __name__ == "__main__":
    main()
