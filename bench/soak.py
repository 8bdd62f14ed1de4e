"""
Whether the daemon grows: ``python bench/soak.py PAGES --seconds 3600`` in real time, ``--speed 100 --seconds 864`` for a day.

The real daemon watches the reference node (bench/reference_node.py). At a speed above 1 its clock and its event loop run
that much faster, cadences, deadlines and expiry included, and so do the logs and the pages' totals; what it reads of this
host it reads as often in its own time. Once an hour of its time one server is deployed anew under another model name, so that
old series must end and be forgotten. Memory, descriptors and threads are read every few seconds. Writes
bench/results/soak_SPEEDx.json.
"""

from __future__ import annotations

import argparse
import asyncio
import compileall
import json
import selectors
import sys
import tempfile
import time
from itertools import combinations
from pathlib import Path

import machine
import node_agents
import reference_node

READ_S = 5.0
SETTLE_SHARE = 0.25
"""Of the run, left out of the slope: caches fill, rings reach their length after an hour."""
NOISE_BYTES = 2**20
"""Between the medians of two stretches of an idle daemon, measured over ten minutes."""


class FastClock:
    """Both times, running *speed* times as fast from now on."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._wall_s, self._began_s = time.time(), time.monotonic()

    def now_s(self) -> float:
        return self._wall_s + self._speed * (time.monotonic() - self._began_s)

    def monotonic_s(self) -> float:
        return self._speed * time.monotonic()


def fast_loop(speed: float) -> asyncio.AbstractEventLoop:
    """An event loop whose timers run *speed* times as fast."""

    class Selector(selectors.DefaultSelector):
        def select(self, timeout: float | None = None):
            return super().select(timeout / speed if timeout and timeout > 0 else timeout)

    class Loop(asyncio.SelectorEventLoop):
        def time(self) -> float:
            return speed * super().time()

    return Loop(Selector())


def daemon(settings_file: Path, speed: float) -> None:
    """What the child runs: ``aiops run`` with another clock."""
    from aiops import app, memory, settings  # noqa: PLC0415
    from aiops.cli import console  # noqa: PLC0415

    memory.be_frugal()
    console.configure("warning", "json")
    with asyncio.Runner(loop_factory=lambda: fast_loop(speed)) as runner:
        runner.run(app.run(lambda: settings.load(settings_file), FastClock(speed)))


def settings_of(node: reference_node.Node, folder: Path, port: int) -> dict:
    return {
        "web": {"listen": f"127.0.0.1:{port}"},
        "state": {"dir": str(folder / "state")},
        "collect": {
            "access_log": {"discover": False, "paths": [str(node.access_log)], "service": "chat"},
            "log_tail": {"discover": False, "files": [{"path": str(node.log), "instance": f"127.0.0.1:{node.server_ports[0]}"}]},
            # deadlines are of its own time too: a page must come within so many real seconds
            "inference": {"deadline": "60s", "discover": False, "targets": [{"url": f"http://127.0.0.1:{p}/metrics"} for p in node.server_ports]},
            "gpu_nvml": {"deadline": "120s"},
            "journal": {"enabled": False}, "kernel_log": {"enabled": False},
        },
    }  # fmt: skip


def read(agent: node_agents.Agent, began_s: float) -> dict:
    place = Path(f"/proc/{agent.process.pid}")
    used = node_agents.usage(agent.process.pid)
    return {
        "at_s": round(time.monotonic() - began_s, 1),
        "rss_bytes": used.rss_bytes,
        "children_rss_bytes": used.children_rss_bytes,
        "descriptors": len(list((place / "fd").iterdir())),
        "threads": len(list((place / "task").iterdir())),
        "cpu_s": used.cpu_s,
    }


def slope(readings: list[dict], key: str) -> float:
    """Per second, the median of the slopes between all pairs (Theil 1950, Sen 1968)."""
    thinned = readings[:: max(1, len(readings) // 200)]
    slopes = [(b[key] - a[key]) / (b["at_s"] - a["at_s"]) for a, b in combinations(thinned, 2) if b["at_s"] > a["at_s"]]
    return machine.quantile(slopes, 0.5)


def verdict(readings: list[dict], speed: float) -> dict:
    settled = readings[int(len(readings) * SETTLE_SHARE) :]
    third = max(1, len(settled) // 3)
    first, last = settled[:third], settled[-third:]

    def change(key: str) -> float:
        return machine.quantile([r[key] for r in last], 0.5) - machine.quantile([r[key] for r in first], 0.5)

    return {
        "rss_slope_bytes_per_hour": round(slope(settled, "rss_bytes") * 3600 / speed),
        "rss_change_bytes": round(change("rss_bytes")),
        "children_rss_change_bytes": round(change("children_rss_bytes")),
        "descriptors_change": change("descriptors"),
        "threads_change": change("threads"),
        "held": {
            "rss": change("rss_bytes") <= NOISE_BYTES,
            "children_rss": change("children_rss_bytes") <= NOISE_BYTES,
            "descriptors": change("descriptors") <= 1,
            "threads": change("threads") <= 1,
        },
    }


def measure(args: argparse.Namespace, folder: Path) -> dict:
    with reference_node.open_node(folder, args.pages, args.speed) as node:
        port = node_agents.free_port()
        file = folder / "aiops.yaml"
        file.write_text(json.dumps(settings_of(node, folder, port)))
        command = [sys.executable, __file__, str(args.pages), "--speed", str(args.speed), "--inside", str(file)]
        url = f"http://127.0.0.1:{port}/metrics"
        with node_agents.started("aiops", command, url, folder, node.environment) as agent:
            began_s, readings = time.monotonic(), []
            while time.monotonic() - began_s < args.seconds:
                agent.scrape()
                readings.append(read(agent, began_s))
                time.sleep(READ_S)
            page = node_agents.fetch(url).decode()
            said = (folder / "aiops.log").read_text().splitlines()
    counted = {
        line.partition("{")[0] + line[line.index("{") : line.index("}") + 1]: float(line.rpartition(" ")[2])
        for line in page.splitlines()
        if line.startswith(
            ("aiops_internal_errors_total{", "aiops_samples_dropped_total{", "aiops_ticks_merged_total{")
        )
    }
    return {
        "settings": {
            "speed": args.speed,
            "seconds": args.seconds,
            "hours_of_its_time": round(args.seconds * args.speed / 3600, 2),
        },
        "readings": len(readings),
        "rss_bytes_max": max(r["rss_bytes"] for r in readings),
        "descriptors_max": max(r["descriptors"] for r in readings),
        "threads_max": max(r["threads"] for r in readings),
        "cpu_share": round(
            (readings[-1]["cpu_s"] - readings[0]["cpu_s"]) / (readings[-1]["at_s"] - readings[0]["at_s"]), 4
        ),
        "series": agent.series,
        "counted": counted,
        "log_lines_of_ours": len(said),
        **verdict(readings, args.speed),
        "rss_mib": [round(r["rss_bytes"] / 2**20, 1) for r in readings[:: max(1, len(readings) // 50)]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory, descriptors and threads over a long time.")
    parser.add_argument("pages", type=Path, help="folder with vllm-*.prom and sglang-*.prom")
    parser.add_argument("--seconds", type=float, default=3600.0, help="real time")
    parser.add_argument("--speed", type=float, default=1.0, help="how much faster the daemon's time runs")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        daemon(args.inside, args.speed)
        return
    compileall.compile_dir(str(Path(__file__).parents[1] / "aiops"), quiet=1)
    with tempfile.TemporaryDirectory(prefix="aiops-bench-") as folder:
        result = measure(args, Path(folder))
    print(json.dumps(result, indent=2))
    print(machine.write(f"soak_{args.speed:g}x", result))
    sys.exit(0 if all(result["held"].values()) else 1)


if __name__ == "__main__":
    main()
