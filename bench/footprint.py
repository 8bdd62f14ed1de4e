"""
What the daemon costs a node, beside node_exporter, Netdata and collectd: ``python bench/footprint.py PAGES``.

All four watch the same node at the same time: this host with 500 processes; ours also eight stub GPUs, two inference
servers' recorded pages, twenty log lines and ten requests a second, which the others do not know. First with ours at its
default cadence, then all at 1, 5 and 15 s. Each is scraped as often as it reads, since node_exporter works only when it is
scraped; the default phase is scraped every 15 s. CPU is the kernel's count, children (NVML's, Netdata's plug-ins) apart.

PAGES holds recorded pages, ``vllm-*.prom`` and ``sglang-*.prom``. Writes bench/results/footprint.json.
"""

from __future__ import annotations

import argparse
import compileall
import concurrent.futures
import contextlib
import tempfile
import time
from pathlib import Path

import machine
import node_agents
from node_agents import Agent
from reference_node import GPUS, LINES_PER_S, PROCESSES, REQUESTS_PER_S, Node, open_node

WARM_UP_S = 75.0
"""Local ports are looked at once a minute: by then every server has been found."""
INTERVALS_S = (1.0, 5.0, 15.0)
DEFAULT_SCRAPE_S = 15.0
SCRAPES, SCRAPERS = 200, 10
STARTS = 5
# goals: of one core, of the whole daemon with its children; bytes; seconds
GOALS = {
    "cpu_share": 0.010,
    "rss_bytes": 75 * 10**6,
    "nvml_child_rss_bytes": 20 * 10**6,
    "start_s": 0.5,
    "scrape_cpu_s": 0.005,
}


def phase(node: Node, folder: Path, interval_s: float | None, seconds: float, *, with_peers: bool) -> dict:
    """All agents side by side; a cost each."""
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        agents = [stack.enter_context(node_agents.aiops(node, folder, interval_s))]
        if with_peers:
            peers_s = interval_s or DEFAULT_SCRAPE_S
            agents += [
                stack.enter_context(agent)
                for agent in (
                    node_agents.node_exporter(folder), node_agents.netdata(folder, peers_s), node_agents.collectd(folder, peers_s),
                )
            ]  # fmt: skip
        node_agents.fetch(agents[0].url.removesuffix("metrics"))  # the page, opened once
        pace(agents, interval_s or DEFAULT_SCRAPE_S, WARM_UP_S, read=False)
        pace(agents, interval_s or DEFAULT_SCRAPE_S, seconds, read=True)
        costs = {agent.name: agent.cost() for agent in agents}
        costs["aiops"]["nvml_child_rss_bytes"] = agents[0].child_rss_bytes("aiops.collect.nvml")
        if interval_s is None:
            costs["aiops"]["scrape"] = scrape_cost(agents[0])
    return costs


def pace(agents: list[Agent], every_s: float, seconds: float, *, read: bool) -> None:
    """Scrape every *every_s* for *seconds*; costs are read at the beginning and end, memory every second."""
    end_s = time.monotonic() + seconds
    due_s = time.monotonic()
    while True:
        if read:
            for agent in agents:
                agent.read()
        if time.monotonic() >= due_s:
            due_s += every_s
            for agent in agents:
                agent.scrape()
        if time.monotonic() >= end_s:
            return
        time.sleep(max(0.0, min(1.0, end_s - time.monotonic())))


def scrape_cost(agent: Agent) -> dict:
    """CPU seconds of one scrape, one after another and ten at a time, idle cost taken off."""

    def cpu_s() -> float:
        return node_agents.usage(agent.process.pid).cpu_s

    def during(work) -> tuple[float, float]:
        before, began_s = cpu_s(), time.monotonic()
        work()
        return cpu_s() - before, time.monotonic() - began_s

    idle_cpu_s, idle_s = during(lambda: time.sleep(20.0))
    with concurrent.futures.ThreadPoolExecutor(SCRAPERS) as pool:
        single, single_s = during(lambda: [node_agents.fetch(agent.url) for _ in range(SCRAPES)])
        together, together_s = during(lambda: list(pool.map(node_agents.fetch, [agent.url] * SCRAPES)))
    idle_share = idle_cpu_s / idle_s
    return {
        "one_by_one_s": round((single - idle_share * single_s) / SCRAPES, 6),
        "ten_at_once_s": round((together - idle_share * together_s) / SCRAPES, 6),
    }


def starts(node: Node, folder: Path) -> list[float]:
    """Seconds from exec to the first /metrics page, again and again, nothing else running."""
    found = []
    for number in range(STARTS):
        place = folder / f"start{number}"
        place.mkdir()
        with node_agents.aiops(node, place, None) as agent:
            found.append(round(agent.start_s, 3))
    return found


def verdict(result: dict) -> dict[str, bool]:
    default = result["phases"]["default"]
    ours = default["aiops"]
    whole = {
        seconds: costs["aiops"]["cpu_share"] + costs["aiops"]["children_cpu_share"]
        for seconds, costs in result["phases"].items()
    }

    def peer(seconds: str, name: str) -> float:
        cost = result["phases"][seconds][name]
        return cost["cpu_share"] + cost["children_cpu_share"]

    return {
        "cpu": whole["default"] <= GOALS["cpu_share"],
        "rss": ours["rss_bytes_max"] <= GOALS["rss_bytes"],
        "nvml_child_rss": ours["nvml_child_rss_bytes"] <= GOALS["nvml_child_rss_bytes"],
        "start": machine.quantile(result["starts_s"], 0.5) <= GOALS["start_s"],
        "scrape": ours["scrape"]["one_by_one_s"] <= GOALS["scrape_cpu_s"],
        "scrapers_do_not_multiply": ours["scrape"]["ten_at_once_s"] <= 1.5 * ours["scrape"]["one_by_one_s"],
        **{f"at_most_netdata_{s:g}s": whole[f"{s:g}"] <= peer(f"{s:g}", "netdata") for s in INTERVALS_S},
        **{f"within_2x_node_exporter_{s:g}s": whole[f"{s:g}"] <= 2 * peer(f"{s:g}", "node_exporter") for s in INTERVALS_S},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU and memory of the daemon beside three other agents.")
    parser.add_argument("pages", type=Path, help="folder with vllm-*.prom and sglang-*.prom")
    parser.add_argument("--seconds", type=float, default=60.0, help="measured of each phase")
    parser.add_argument(
        "--only-default", action="store_true", help="our default cadence alone, no peers; nothing is written"
    )
    args = parser.parse_args()
    # as an installed package is; a checkout may forbid Python to write compiled files at its first import
    compileall.compile_dir(str(Path(__file__).parents[1] / "aiops"), quiet=1)
    versions = {
        "node_exporter": machine.version_of("prometheus-node-exporter"),
        "netdata": machine.version_of("netdata", "-v"),
    }
    with tempfile.TemporaryDirectory(prefix="aiops-bench-") as name:
        folder = Path(name)
        with open_node(folder, args.pages) as node:
            result: dict = {
                "settings": {"gpus": GPUS, "processes": PROCESSES, "lines_per_s": LINES_PER_S, "requests_per_s": REQUESTS_PER_S,
                             "warm_up_s": WARM_UP_S, "default_scrape_s": DEFAULT_SCRAPE_S},
                "goals": GOALS,
                "versions": versions,
                "starts_s": starts(node, folder),
                "phases": {"default": phase(node, folder / "default", None, args.seconds, with_peers=False)},
            }  # fmt: skip
            if args.only_default:
                print(result)
                return
            for interval_s in INTERVALS_S:
                at = phase(node, folder / f"at{interval_s:g}", interval_s, args.seconds, with_peers=True)
                result["phases"][f"{interval_s:g}"] = at
    result["reached"] = verdict(result)
    for seconds, costs in result["phases"].items():
        for name, cost in costs.items():
            print(f"{seconds:>8} {name:<14} {cost['cpu_share']:7.2%} + {cost['children_cpu_share']:6.2%}  "
                  f"{cost['rss_bytes_max'] / 1e6:6.1f} + {cost['children_rss_bytes_max'] / 1e6:5.1f} MB  {cost['series']:>6} series")  # fmt: skip
    print(result["starts_s"], result["phases"]["default"]["aiops"]["scrape"], result["reached"])
    print(machine.write("footprint", result))


if __name__ == "__main__":
    main()
