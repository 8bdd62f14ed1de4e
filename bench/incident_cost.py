"""
What the daemon costs the node it watches: CPU and memory, beside node_exporter in the same run.

The daemon watches the whole demo (three model servers, three cards, gateway log, three server logs, the host) with its
default cadence, first healthy, then through an incident, when every collector runs once a second. Both it and
node_exporter are scraped every 15 s, because a node_exporter nobody scrapes costs nothing. CPU is the kernel's count of
the process's own time; the daemon's children are shown apart.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import machine

from aiops.demo import wire
from aiops.demo.proc_usage import Usage, usage
from aiops.demo.theatre import Theatre, free_port, open_theatre

SCRAPE_S = 15.0
READ_S = 1.0
WARM_UP_S = 30.0
LIMIT_CPU_SHARE, LIMIT_RSS_BYTES = 0.015, 80 * 2**20


@dataclass
class Watched:
    """A process and what it used at each reading."""

    name: str
    pid: int
    metrics_port: int
    page_bytes: int = 0
    series: int = 0
    readings: list[tuple[float, Usage]] = field(default_factory=list)

    def read(self) -> None:
        self.readings.append((time.monotonic(), usage(self.pid)))

    def phase(self, start_s: float, end_s: float) -> dict:
        inside = [(at_s, used) for at_s, used in self.readings if start_s <= at_s <= end_s]
        (first_s, first), (last_s, last) = inside[0], inside[-1]
        return {
            "seconds": round(last_s - first_s, 1),
            "cpu_share": round((last.cpu_s - first.cpu_s) / (last_s - first_s), 5),
            "rss_bytes_max": max(used.rss_bytes for _, used in inside),
            "children_cpu_share": round((last.children_cpu_s - first.children_cpu_s) / (last_s - first_s), 5),
            "children_rss_bytes_max": max(used.children_rss_bytes for _, used in inside),
        }


async def scrape(watched: Watched) -> None:
    client = wire.Client(watched.metrics_port)
    while True:
        page = await (await client.send("GET", "/metrics")).read()
        watched.page_bytes = len(page)
        watched.series = sum(1 for line in page.splitlines() if line and not line.startswith(b"#"))
        await asyncio.sleep(SCRAPE_S)


async def read(all_watched: list[Watched]) -> None:
    while True:
        for watched in all_watched:
            watched.read()
        await asyncio.sleep(READ_S)


async def start_exporter(theatre: Theatre) -> Watched:
    port = free_port()
    process = await theatre.processes.start(
        "node_exporter",
        ("prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{port}"),
        output=theatre.folder / "node_exporter.out",
    )
    client = wire.Client(port)
    for _ in range(100):
        try:
            await (await client.send("GET", "/")).read()
        except OSError:
            await asyncio.sleep(0.1)
        else:
            await client.close()
            break
    return Watched("node_exporter", process.pid, port)


def pss_bytes(pid: int) -> int | None:
    """Memory with shared pages divided among their users: what the process really adds to the node."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return None
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))


async def measure(args: argparse.Namespace, folder: Path) -> dict:
    async with open_theatre(folder, args.seed) as theatre:
        daemon = Watched("aiops", theatre.daemon_pid, int(theatre.url.rsplit(":", 1)[1]))
        exporter = await start_exporter(theatre)
        both = [daemon, exporter]
        tasks = [asyncio.create_task(read(both)), *(asyncio.create_task(scrape(each)) for each in both)]
        await asyncio.sleep(WARM_UP_S)
        healthy_s = time.monotonic()
        await asyncio.sleep(args.healthy)
        incident_s = time.monotonic()
        await theatre.set_rate(4.0, ramp_s=9.0)
        await asyncio.sleep(args.incident)
        await theatre.set_rate(1.0)
        end_s = time.monotonic()
        messages, sent_bytes = await theatre.messages()
        pss = {each.name: pss_bytes(each.pid) for each in both}
        for task in tasks:
            task.cancel()
        phases = {
            each.name: {
                "healthy": each.phase(healthy_s, incident_s),
                "incident": each.phase(incident_s, end_s),
                "pss_bytes_at_end": pss[each.name],
                "metrics_page": {"bytes": each.page_bytes, "series": each.series},
            }
            for each in both
        }
    ours = phases["aiops"]
    return {
        "seed": args.seed,
        "settings": {"scrape_s": SCRAPE_S, "warm_up_s": WARM_UP_S},
        "versions": {"node_exporter": machine.version_of("prometheus-node-exporter")},
        "limits": {"cpu_share": LIMIT_CPU_SHARE, "rss_bytes": LIMIT_RSS_BYTES},
        "within_limits": {
            "cpu_healthy": ours["healthy"]["cpu_share"] <= LIMIT_CPU_SHARE,
            "cpu_incident": ours["incident"]["cpu_share"] <= LIMIT_CPU_SHARE,
            "rss": max(ours[phase]["rss_bytes_max"] for phase in ("healthy", "incident")) <= LIMIT_RSS_BYTES,
        },
        "sent": {"messages": len(messages), "bytes": sent_bytes},
        "processes": phases,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU and memory of the daemon beside node_exporter.")
    parser.add_argument("--healthy", type=float, default=300.0, help="seconds measured without an incident")
    parser.add_argument("--incident", type=float, default=60.0, help="seconds of an incident measured")
    parser.add_argument("--seed", type=int, default=503)
    parser.add_argument("--name", default="incident_cost", help="of the result file")
    args = parser.parse_args()
    os.chdir(Path(__file__).parent.parent)
    with tempfile.TemporaryDirectory(prefix="aiops-bench-") as folder:
        result = asyncio.run(measure(args, Path(folder)))
    for name, phases in result["processes"].items():
        for phase in ("healthy", "incident"):
            numbers = phases[phase]
            print(f"{name:<14} {phase:<9} {numbers['cpu_share'] * 100:5.2f} % of a core  "
                  f"{numbers['rss_bytes_max'] / 2**20:5.1f} MiB")  # fmt: skip
    print(result["within_limits"])
    print(machine.write(args.name, result))


if __name__ == "__main__":
    main()
