"""The agents whose cost is compared on the reference node: ours and three that people run today."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reference_node import Node

from aiops.demo.proc_usage import Usage, usage

DEADLINE_S = 60.0
COLLECTD_PLUGINS = (
    "aggregation", "conntrack", "contextswitch", "cpu", "df", "disk", "entropy", "fhcount", "interface", "irq", "load", "memory",
    "processes", "protocols", "swap", "tcpconns", "uptime", "users", "vmem",
)  # fmt: skip
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Agent:
    """A running agent."""

    name: str
    process: subprocess.Popen[bytes]
    url: str
    """Of its metrics page."""
    start_s: float = 0.0
    """From exec to the first page."""
    readings: list[tuple[float, Usage]] = field(default_factory=list)
    page_bytes: int = 0
    series: int = 0

    def read(self) -> None:
        self.readings.append((time.monotonic(), usage(self.process.pid)))

    def scrape(self) -> None:
        page = fetch(self.url)
        self.page_bytes = len(page)
        self.series = sum(1 for line in page.splitlines() if line and not line.startswith(b"#"))

    def child_rss_bytes(self, word: str) -> int:
        """Of the child whose command line holds *word*; 0 if there is none."""
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, IndexError):
                if entry.name.isdigit() and word.encode() in (entry / "cmdline").read_bytes():
                    stat = (entry / "stat").read_text().rpartition(")")[2].split()
                    if int(stat[1]) == self.process.pid:
                        return int((entry / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return 0

    def cost(self) -> dict:
        """CPU shares and memory over all readings."""
        (first_s, first), (last_s, last) = self.readings[0], self.readings[-1]
        seconds = last_s - first_s
        return {
            "seconds": round(seconds, 1),
            "cpu_share": round((last.cpu_s - first.cpu_s) / seconds, 5),
            # children come and go: what one used that has ended is not in the last reading
            "children_cpu_share": round(max(0.0, last.children_cpu_s - first.children_cpu_s) / seconds, 5),
            "rss_bytes_max": max(used.rss_bytes for _, used in self.readings),
            "children_rss_bytes_max": max(used.children_rss_bytes for _, used in self.readings),
            "series": self.series,
            "page_bytes": self.page_bytes,
            "start_s": round(self.start_s, 3),
        }


def fetch(url: str, deadline_s: float = 10.0) -> bytes:
    with _OPENER.open(url, timeout=deadline_s) as page:
        return page.read()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def started(
    name: str, command: Sequence[str], url: str, folder: Path, env: dict[str, str] | None = None
) -> Iterator[Agent]:
    """*command*, once its page answers; ended with the block, children included."""
    said = (folder / f"{name}.log").open("wb")
    began_s = time.monotonic()
    process = subprocess.Popen(
        command, stdout=said, stderr=said, env={**os.environ, **(env or {})}, start_new_session=True
    )
    agent = Agent(name, process, url)
    try:
        while not agent.start_s:
            try:
                fetch(url)
            except (OSError, urllib.error.URLError) as error:
                if process.poll() is not None or time.monotonic() - began_s > DEADLINE_S:
                    raise SystemExit(f"{name} does not answer; see {said.name}") from error
                time.sleep(0.005)
            else:
                agent.start_s = time.monotonic() - began_s
        yield agent
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        said.close()


def aiops(node: Node, folder: Path, interval_s: float | None) -> contextlib.AbstractContextManager[Agent]:
    """The daemon; with *interval_s* every collector reads that often, without it as often as by default."""
    port = free_port()
    collect: dict[str, dict] = {
        "access_log": {"discover": False, "paths": [str(node.access_log)], "service": "chat"},
        "log_tail": {"files": [{"path": str(node.log), "instance": f"127.0.0.1:{node.server_ports[0]}"}]},
    }
    if interval_s is not None:
        for name in ("host", "process", "gpu_nvml", "inference", "access_log", "log_tail"):
            collect.setdefault(name, {})["interval"] = f"{interval_s:g}s"
    settings = {"web": {"listen": f"127.0.0.1:{port}"}, "state": {"dir": str(folder / "state")}, "collect": collect}
    file = folder / "aiops.yaml"
    file.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "aiops", "run", "-c", str(file)]
    return started("aiops", command, f"http://127.0.0.1:{port}/metrics", folder, node.environment)


def node_exporter(folder: Path) -> contextlib.AbstractContextManager[Agent]:
    port = free_port()
    command = ["prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{port}"]
    return started("node_exporter", command, f"http://127.0.0.1:{port}/metrics", folder)


def netdata(folder: Path, interval_s: float) -> contextlib.AbstractContextManager[Agent]:
    """With its defaults, but for where it writes and how often it reads."""
    port = free_port()
    places = {name: folder / "netdata" / name for name in ("cache", "lib", "log")}
    for place in places.values():
        place.mkdir(parents=True)
    sections = {
        "global": {"run as user": "root"},
        "db": {"update every": f"{interval_s:g}"},
        "directories": {name: str(place) for name, place in places.items()},
        "web": {"bind to": f"127.0.0.1:{port}"},
        "statsd": {"enabled": "no"},
    }
    file = folder / "netdata.conf"
    file.write_text(
        "".join(f"[{name}]\n" + "".join(f"  {k} = {v}\n" for k, v in keys.items()) for name, keys in sections.items())
    )
    url = f"http://127.0.0.1:{port}/api/v1/allmetrics?format=prometheus"
    return started("netdata", ["netdata", "-D", "-c", str(file)], url, folder)


def collectd(folder: Path, interval_s: float) -> contextlib.AbstractContextManager[Agent]:
    port = free_port()
    data = folder / "collectd"
    data.mkdir()
    lines = [f'BaseDir "{data}"', f'PIDFile "{data}/pid"', f"Interval {interval_s:g}"]
    lines += [f"LoadPlugin {name}" for name in (*COLLECTD_PLUGINS, "write_prometheus")]
    lines += [
        "<Plugin write_prometheus>",
        f'  Port "{port}"',
        "</Plugin>",
        "<Plugin tcpconns>",
        "  ListeningPorts true",
        "</Plugin>",
    ]
    file = folder / "collectd.conf"
    file.write_text("\n".join(lines) + "\n")
    return started("collectd", ["collectd", "-f", "-C", str(file)], f"http://127.0.0.1:{port}/metrics", folder)
