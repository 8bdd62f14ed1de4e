"""
From the first 503 of a spike to the page, against Prometheus and Alertmanager watching the same gateway.

A spike is 503s of a gateway that was healthy before. Each spike has a gateway process of its own, so that no system
starts with the memory of the spike before (Alertmanager keeps a group for minutes after its alert resolved, and would
send the next alert of the same group late). Several run at a time; every one is watched by

- an aiops daemon of its own, with its default cadence, reading the gateway's access log;
- one Prometheus with the settings its documentation shows (scrape and evaluation every 15 s, `for: 1m`), and its
  Alertmanager (`group_wait: 30s`), scraping the gateway's counter of answers by status;
- one Prometheus and Alertmanager tuned for speed (5 s, 5 s, `for: 0s`, `group_wait: 0s`).

Time starts at the first 503 a client got and ends when the webhook receiver has read the message. Beside them, quiet
gateways with the errors of everyday life (one in five hundred at normal traffic; three of ten requests at night) show
who pages for nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import machine
import yaml

from aiops.demo import wire
from aiops.demo.processes import Process, Processes
from aiops.demo.theatre import free_port
from aiops.errors import ChildError

SYSTEMS = ("aiops", "stock", "tuned")
SHARES = (0.15, 0.3, 0.6, 1.0)
"""Shares of requests refused in a spike."""
RATE = 20.0
NIGHT_RATE = 0.4
EVERYDAY_SHARE = 0.002
LONGEST_SPIKE_S = 240.0
PAIRS = {
    # https://prometheus.io/docs: scrape and evaluation default of the example configuration, and Alertmanager's example
    "stock": {"scrape": "15s", "evaluate": "15s", "for": "1m", "window": "1m", "group_wait": "30s"},
    "tuned": {"scrape": "5s", "evaluate": "5s", "for": "0s", "window": "20s", "group_wait": "0s"},
}


@dataclass(eq=False)
class Cell:
    """One gateway with its upstream, users and daemon."""

    name: str
    rate: float
    share: float
    """Refused during the spike; 0 for a quiet gateway."""
    processes: list[Process] = field(default_factory=list)
    port: int = 0
    everyday: float = EVERYDAY_SHARE
    refusing: float = 0.0
    planned: list[bool] = field(default_factory=list)
    """Whether each of the next requests is refused, before chance decides again."""
    spike_s: float | None = None
    first_503_s: float | None = None
    pages: dict[str, float] = field(default_factory=dict)
    """System to the arrival of its first page after the spike began."""
    false_pages: dict[str, list[str]] = field(default_factory=lambda: {system: [] for system in SYSTEMS})
    """What was said although nothing had happened."""
    everybody_paged: asyncio.Event = field(default_factory=asyncio.Event)

    def page(self, system: str, at_s: float, text: str) -> None:
        if self.first_503_s is None:
            self.false_pages[system].append(text)
        else:
            self.pages.setdefault(system, at_s)
            if len(self.pages) == len(SYSTEMS):
                self.everybody_paged.set()


class Bench:
    def __init__(self, folder: Path, processes: Processes, seed: int) -> None:
        self.folder, self.processes = folder, processes
        self.random = random.Random(seed)
        self.cells: dict[str, Cell] = {}
        self.by_port: dict[int, Cell] = {}
        self.receiver_port = 0
        self.targets = folder / "targets.json"
        self.tasks: set[asyncio.Task[None]] = set()

    # --- the world the systems watch -----------------------------------------------------------------------------

    async def receive(self, request: wire.Request) -> wire.Reply:
        """The webhook receiver of all systems."""
        now_s = time.time()
        _, system, *rest = request.path.split("/")
        body = request.json()
        if system == "aiops":
            if body.get("change") == "opened" and body.get("severity") == "page":
                self.cells[rest[0]].page("aiops", now_s, " ".join(map(str, body["paragraphs"][:1])))
        else:
            for alert in body.get("alerts", ()):
                if alert.get("status") == "firing":
                    port = int(alert["labels"]["instance"].rsplit(":", 1)[1])
                    if port in self.by_port:
                        self.by_port[port].page(system, now_s, str(alert["annotations"].get("summary", "")))
        return wire.as_json({"ok": True})

    async def upstream(self, cell: Cell) -> asyncio.Server:
        """Answers after 20 to 60 ms, or refuses."""

        async def handle(_: wire.Request) -> wire.Reply:
            chance = self.random.random() < max(cell.refusing, cell.everyday)
            if cell.planned.pop() if cell.planned else chance:
                return wire.as_json({"error": "server busy"}, 503)
            await asyncio.sleep(self.random.uniform(0.02, 0.06))
            return wire.as_json({"text": "ok"})

        return await wire.serve(handle)

    async def users(self, cell: Cell) -> None:
        """Poisson arrivals; the first 503 of the spike is timed where the client reads it."""
        client = wire.Client(cell.port)
        due_s = asyncio.get_running_loop().time()
        while True:
            due_s += self.random.expovariate(cell.rate)
            await asyncio.sleep(due_s - asyncio.get_running_loop().time())
            self.spawn(self.ask(client, cell))

    async def ask(self, client: wire.Client, cell: Cell) -> None:
        sent_s = time.time()
        with contextlib.suppress(OSError):
            answer = await client.send("POST", "/v1/completions", b"{}")
            hurt = cell.spike_s is not None and cell.first_503_s is None and sent_s >= cell.spike_s
            if answer.status == 503 and hurt:
                cell.first_503_s = time.time()
            await answer.read()

    def spawn(self, coroutine) -> None:
        task = asyncio.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    # --- the systems ---------------------------------------------------------------------------------------------

    async def start_pair(self, name: str) -> None:
        folder = self.folder / name
        folder.mkdir()
        how = PAIRS[name]
        ports = free_port(), free_port()
        (folder / "rules.yml").write_text(yaml.safe_dump(rules(how)))
        (folder / "prometheus.yml").write_text(yaml.safe_dump(prometheus(how, self.targets, ports[1])))
        url = f"http://127.0.0.1:{self.receiver_port}/{name}"
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(alertmanager(how, url)))
        await self.processes.start(
            f"alertmanager-{name}",
            ("prometheus-alertmanager", f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/am",
             f"--web.listen-address=127.0.0.1:{ports[1]}", "--cluster.listen-address="),
            output=folder / "am.out",
        )  # fmt: skip
        await self.processes.start(
            f"prometheus-{name}",
            ("prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb",
             f"--web.listen-address=127.0.0.1:{ports[0]}"),
            output=folder / "prometheus.out",
        )  # fmt: skip
        await until_ready(ports[0], "/-/ready")
        await until_ready(ports[1], "/-/ready")

    async def open_cell(self, cell: Cell) -> asyncio.Server:
        folder = self.folder / cell.name
        folder.mkdir()
        upstream = await self.upstream(cell)
        log = folder / "access.log"
        gateway = await self.processes.actor(
            f"{cell.name}-gateway", "gateway", "--upstream", str(wire.port_of(upstream)), "--log", str(log)
        )
        cell.port = gateway.ready["port"]
        self.cells[cell.name] = self.by_port[cell.port] = cell
        self.write_targets()
        port = free_port()
        settings = {
            "web": {"listen": f"127.0.0.1:{port}"},
            "state": {"dir": str(folder / "state")},
            "collect": {"access_log": {"paths": [str(log)], "service": cell.name}, "inference": {"discover": False}},
            "notify": {"receivers": [
                {"name": "bench", "kind": "webhook", "url": f"http://127.0.0.1:{self.receiver_port}/aiops/{cell.name}"}
            ]},
        }  # fmt: skip
        (folder / "aiops.yaml").write_text(yaml.safe_dump(settings))
        daemon = await self.processes.start(
            f"{cell.name}-daemon",
            (sys.executable, "-m", "aiops", "run", "-c", str(folder / "aiops.yaml")),
            ends_by=signal.SIGTERM,
            output=folder / "daemon.out",
        )
        await until_ready(port, "/readyz")
        cell.processes = [gateway, daemon]
        return upstream

    def write_targets(self) -> None:
        """For Prometheus's file_sd, replaced at once so that it is never read half written."""
        ports = [cell.port for cell in self.cells.values() if cell.port in self.by_port]
        fresh = self.targets.with_suffix(".tmp")
        fresh.write_text(json.dumps([{"targets": [f"127.0.0.1:{port}" for port in ports]}]))
        fresh.replace(self.targets)

    # --- what happens --------------------------------------------------------------------------------------------

    async def spike(self, cell: Cell, healthy_s: float) -> None:
        """Healthy, then the spike until everybody paged."""
        upstream = await self.open_cell(cell)
        users = asyncio.create_task(self.users(cell))
        try:
            await asyncio.sleep(healthy_s)
            cell.spike_s, cell.refusing = time.time(), cell.share
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(cell.everybody_paged.wait(), LONGEST_SPIKE_S)
        finally:
            await self.close_cell(cell, users, upstream)

    async def quiet(self, cell: Cell, until: asyncio.Event) -> None:
        """No spike; at night, three of ten requests fail once in a while."""
        upstream = await self.open_cell(cell)
        users = asyncio.create_task(self.users(cell))
        try:
            while not until.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(until.wait(), 120.0)
                if cell.rate == NIGHT_RATE:
                    cell.planned = [True] * 3 + [False] * 7
                    self.random.shuffle(cell.planned)
        finally:
            await self.close_cell(cell, users, upstream)

    async def close_cell(self, cell: Cell, users: asyncio.Task[None], upstream: asyncio.Server) -> None:
        users.cancel()
        self.by_port.pop(cell.port, None)
        self.write_targets()
        for process in cell.processes:
            await self.processes.end(process)
        upstream.close()


def rules(how: dict[str, str]) -> dict:
    window = how["window"]
    bad = f'sum by (instance) (rate(gateway_requests_total{{code=~"5.."}}[{window}]))'
    rule = {
        "alert": "ErrorRatioHigh",
        "expr": f"{bad} / sum by (instance) (rate(gateway_requests_total[{window}])) > 0.05",
        "for": how["for"],
        "labels": {"severity": "page"},
        "annotations": {"summary": "{{ $value | humanizePercentage }} of answers are 5xx"},
    }
    return {"groups": [{"name": "gateway", "rules": [rule]}]}


def prometheus(how: dict[str, str], targets: Path, alertmanager_port: int) -> dict:
    return {
        "global": {"scrape_interval": how["scrape"], "evaluation_interval": how["evaluate"]},
        "rule_files": ["rules.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager_port}"]}]}]},
        "scrape_configs": [
            {"job_name": "gateway", "file_sd_configs": [{"files": [str(targets)], "refresh_interval": "5s"}]}
        ],
    }


def alertmanager(how: dict[str, str], url: str) -> dict:
    route = {
        "receiver": "bench", "group_by": ["instance"], "group_wait": how["group_wait"],
        "group_interval": "5m", "repeat_interval": "4h",
    }  # fmt: skip
    return {"route": route, "receivers": [{"name": "bench", "webhook_configs": [{"url": url}]}]}


async def until_ready(port: int, path: str, most_s: float = 60.0) -> None:
    deadline_s = time.time() + most_s
    client = wire.Client(port)
    while time.time() < deadline_s:
        with contextlib.suppress(OSError):
            answer = await client.send("GET", path)
            await answer.read()
            if answer.status == 200:
                await client.close()
                return
        await asyncio.sleep(0.2)
    raise ChildError(f"port {port} was not ready within {most_s:.0f} s")


async def measure(args: argparse.Namespace, folder: Path) -> dict:
    processes = Processes(folder)
    bench = Bench(folder, processes, args.seed)
    receiver = await wire.serve(bench.receive)
    bench.receiver_port = wire.port_of(receiver)
    bench.targets.write_text("[]")
    cells: list[Cell] = []
    quiet = [Cell("day", RATE, 0.0), Cell("night", NIGHT_RATE, 0.0, everyday=0.0)]
    over = asyncio.Event()
    started_s = time.time()
    try:
        for name in PAIRS:
            await bench.start_pair(name)
        async with asyncio.TaskGroup() as group:
            for cell in quiet:
                group.create_task(bench.quiet(cell, over))
            for first in range(0, args.spikes, args.at_a_time):
                numbers = range(first, min(first + args.at_a_time, args.spikes))
                wave = [Cell(f"spike-{n + 1:02d}", RATE, SHARES[n % len(SHARES)]) for n in numbers]
                cells += wave
                # spread over a scrape interval, or all spikes would meet the same phase of it
                waits = [args.healthy + bench.random.uniform(0.0, 15.0) for _ in wave]
                await asyncio.gather(*(bench.spike(cell, wait_s) for cell, wait_s in zip(wave, waits, strict=True)))
                for cell in wave:
                    print(describe(cell), flush=True)
            over.set()
    finally:
        receiver.close()
        await processes.stop()
    return report(cells, quiet, time.time() - started_s, args)


def describe(cell: Cell) -> str:
    start_s = cell.first_503_s or 0.0
    times = "  ".join(
        f"{system} {cell.pages[system] - start_s:6.2f} s" if system in cell.pages else f"{system}   never"
        for system in SYSTEMS
    )
    return f"{cell.name}  {cell.share * 100:3.0f} % refused   {times}"


def report(cells: list[Cell], quiet: list[Cell], wall_s: float, args: argparse.Namespace) -> dict:
    seconds = {
        system: [c.pages[system] - c.first_503_s for c in cells if system in c.pages and c.first_503_s is not None]
        for system in SYSTEMS
    }
    summary = {}
    for system, values in seconds.items():
        summary[system] = {
            "paged": len(values),
            "median_s": round(machine.quantile(values, 0.5), 3) if values else None,
            "p95_s": round(machine.quantile(values, 0.95), 3) if values else None,
            "max_s": round(max(values), 3) if values else None,
            "false_pages": sum(len(cell.false_pages[system]) for cell in (*cells, *quiet)),
        }
    ours = summary["aiops"]["median_s"]
    ratios = {
        f"median_ratio_to_{name}": round(ours / summary[name]["median_s"], 4)
        for name in PAIRS
        if ours is not None and summary[name]["median_s"]
    }
    return {
        "seed": args.seed,
        "wall_s": round(wall_s, 1),
        "versions": {name: machine.version_of(name) for name in ("prometheus", "prometheus-alertmanager")},
        "settings": {"pairs": PAIRS, "threshold": "5 % of answers are 5xx", "requests_per_s": RATE,
                     "night_requests_per_s": NIGHT_RATE, "everyday_error_share": EVERYDAY_SHARE,
                     "healthy_s": args.healthy, "at_a_time": args.at_a_time},
        "summary": summary,
        "ratios": ratios,
        "quiet_gateways": [{"name": c.name, "requests_per_s": c.rate, "false_pages": c.false_pages} for c in quiet],
        "spikes": [
            {
                "name": cell.name,
                "refused_share": cell.share,
                "first_503": cell.first_503_s,
                "seconds": {s: round(at - (cell.first_503_s or at), 3) for s, at in sorted(cell.pages.items())},
                "false_pages": cell.false_pages,
            }
            for cell in cells
        ],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Time from the first 503 to the page.")
    parser.add_argument("--spikes", type=int, default=21)
    parser.add_argument("--at-a-time", type=int, default=7)
    parser.add_argument("--healthy", type=float, default=75.0, help="seconds before each spike")
    parser.add_argument("--seed", type=int, default=503)
    parser.add_argument("--name", default="time_to_page", help="of the result file")
    args = parser.parse_args()
    os.chdir(Path(__file__).parent.parent)
    with tempfile.TemporaryDirectory(prefix="aiops-bench-") as folder:
        result = asyncio.run(measure(args, Path(folder)))
    for system, numbers in result["summary"].items():
        print(system, numbers)
    print(result["ratios"])
    print(machine.write(args.name, result))


if __name__ == "__main__":
    main()
