"""
What one look at an incident costs with two thousand series in memory, in CPU time.

The scene is a scripted scenario of tests/scenarios on a bigger node: eight replicas on eight cards with four processes
each, a quarter of an hour of readings, and beside the scenario's series those of the rest of the catalogue. An ordinary
look weighs every cause at every place; a thorough one also scores every series and draws charts. Milliseconds hold for
one machine, so the cost of a fixed piece of work stands beside them: a thousand sorts of small arrays, Python and numpy
in about the mix that a look is made of. The ratio is of the quickest rounds, which others on the machine disturb least.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import machine
import numpy as np
from prometheus_client import CollectorRegistry

sys.path.insert(0, str(Path(__file__).parent.parent))

from aiops import memory
from aiops.catalog import CATALOG, Metric, MetricKind
from aiops.correlate import IncidentContext, diagnose
from aiops.document import decode, load
from aiops.model import Diagnosis, Sample
from aiops.rulebook.causes import load_causes
from aiops.rulebook.places import shipped_rules
from aiops.rulebook.signatures import LogClass
from aiops.selfstat import SelfStat
from aiops.store.rings import Rings
from tests.fakes import FakeEvents, FakeTemplates
from tests.scenarios import scenario
from tests.scenarios.scenario import START_S, Scenario, Track

SERIES = 2_000
EARLIER_S = 840
"""So much more history than the scenario has."""
LOOK_S = 15
"""After the first bad second: causes and states are still sought, once a second."""
SCENES = ("vram_exhaustion/another_process_takes_the_card", "kv_cache_exhaustion/no_trigger_in_sight")
GOALS = {"thorough_s": 0.100}
UNIT_SORTS, UNIT_SIZE = 1_000, 150

INSTANCES = [f"127.0.0.1:{8001 + number}" for number in range(8)]
GPUS = [str(number) for number in range(8)]
PROCESSES = ["server", "engine", "worker", "worker 2"]
LABELS = {
    "host_name": ["node"], "instance": INSTANCES, "upstream": INSTANCES, "gpu": GPUS, "process": PROCESSES,
    "service": ["chat"], "device": ["eth0", "eth1"], "resource": ["cpu", "memory", "io"], "share": ["some", "full"],
    "direction": ["receive", "transmit"], "kind": ["voluntary", "involuntary"], "quantile": ["0.5", "0.95", "0.99"],
    "route": [f"/v1/route-{number}" for number in range(32)], "error_type": ["corrected", "uncorrected"],
}  # fmt: skip
"""What the rest of the catalogue is about; any other label has one value."""
EVERY = {
    "replicas": INSTANCES, "0|1|2": GPUS, "server": PROCESSES,
    "vram_exhaustion|pool_exhausted|rate_limit_queue_full": [each.value for each in LogClass],
}  # fmt: skip
"""What the healthy scene says of three replicas, for all."""


def scene(name: str) -> tuple[Scenario, Rings]:
    """The scenario *name*, and two thousand series in memory as a daemon's collectors leave them."""
    read = scenario.read(scenario.HERE / f"{name}.yaml")
    moved = replace(read, first_bad=read.first_bad + EARLIER_S, end=read.first_bad + EARLIER_S + LOOK_S)
    rings = Rings(SelfStat(CollectorRegistry()))
    tracks: dict[tuple[str, object], Track] = {}
    healthy = decode(load(scenario.HERE / "healthy.yaml"), scenario.Healthy).series
    widened = (replace(track, labels=wider(track.labels)) for track in (*healthy, *read.series))
    for track in itertools.chain(cards_and_processes(), widened):
        for labels in scenario.expand(track.labels):
            tracks[track.metric, labels] = later(track)
    rest = others({metric for metric, _ in tracks})
    tracks |= itertools.islice(rest, SERIES - len(tracks))
    for (metric, labels), track in tracks.items():
        points = scenario._points(track, moved, random.Random(f"{metric} {labels}"))
        rings.extend([Sample(metric, labels, at_s, value) for at_s, value in points.items()])
    assert rings.series_count() == SERIES, rings.series_count()
    return moved, rings


def wider(labels: Mapping[str, str]) -> dict[str, str]:
    """Of all replicas, cards, processes and classes of lines what a scenario says of a few."""
    return {name: "|".join(EVERY.get(value, [value])) for name, value in labels.items()}


def later(track: Track) -> Track:
    """*track* with its history longer by `EARLIER_S`."""

    def moved(levels: Mapping[str, float]) -> dict[str, float]:
        return {str(int(at) + EARLIER_S if int(at) else 0): value for at, value in levels.items()}

    return replace(track, values=moved(track.values), rates=moved(track.rates))


def cards_and_processes() -> Iterator[Track]:
    """Whose card each replica's is, and what holds its memory."""
    for number, (instance, gpu) in enumerate(zip(INSTANCES, GPUS, strict=True)):
        yield Track("gen_ai_server_gpu", 5, {"instance": instance, "gpu": gpu}, {"0": 1.0})
        for place, process in enumerate(PROCESSES):
            labels = {"gpu": gpu, "pid": str(1000 + 10 * number + place), "process": process}
            yield Track("hw_gpu_process_memory_usage_bytes", 5, labels, {"0": 2e10})


def others(known: set[str]) -> Iterator[tuple[tuple[str, object], Track]]:
    """Series of metrics that are not *known*, as quiet as on a node where nothing is wrong."""
    for metric in CATALOG.values():
        if metric.name in known or metric.name.startswith("aiops_"):
            continue
        for values in itertools.product(*(LABELS.get(name, ["x"]) for name in metric.labels)):
            track = quiet(metric, dict(zip(metric.labels, values, strict=True)))
            (labels,) = scenario.expand(track.labels)
            yield (metric.name, labels), track


def quiet(metric: Metric, labels: dict[str, str]) -> Track:
    every = 15 if metric.name.startswith(("system_", "process_")) else 5
    if metric.kind is MetricKind.COUNTER:
        return Track(metric.name, every, labels, rates={"0": 1.0}, noise=0.1)
    level = {"bool": 0.0, "info": 1.0, "ratio": 0.2, "seconds": 0.1}.get(metric.unit, 10.0)
    return Track(metric.name, every, labels, {"0": level}, noise=0.1 if metric.unit not in {"bool", "info"} else 0.0)


def unit() -> None:
    rows = np.random.default_rng(503).normal(size=(UNIT_SORTS, UNIT_SIZE))
    for row in rows:
        np.sort(row)[UNIT_SIZE // 2]


def took_s(work: Callable[[], object]) -> float:
    began_s = time.process_time()
    work()
    return time.process_time() - began_s


def measure(name: str, rounds: int) -> dict:
    """The scene *name* looked at in turns with the fixed piece of work."""
    causes = load_causes([shipped_rules()])
    memory.settle()  # as the daemon does when it has started
    played, rings = scene(name)
    now_s, first_bad_s = START_S + played.end, START_S + played.first_bad
    context = IncidentContext("chat", tuple(scenario.symptoms(played, now_s)), first_bad_s, first_bad_s + 3.0)

    def look(*, thorough: bool) -> Diagnosis:
        return diagnose(context, causes, rings, FakeEvents(feed=True), FakeTemplates(), now_s, thorough=thorough)

    answer = look(thorough=True)
    ways = {"ordinary": lambda: look(thorough=False), "thorough": lambda: look(thorough=True), "unit": unit}
    costs = {way: [] for way in ways}
    for _ in range(rounds):
        for way, work in ways.items():
            costs[way].append(took_s(work))
    least = {way: min(numbers) for way, numbers in costs.items()}
    return {
        "hypotheses": len(answer.hypotheses),
        "roots": [root.cause for root in answer.roots],
        "seconds": {way: {"median": machine.quantile(costs[way], 0.5), "least": least[way]} for way in ways},
        "over_unit": {way: round(least[way] / least["unit"], 1) for way in ("ordinary", "thorough")},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="write no result")
    args = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    scenes = {name: measure(name, args.rounds) for name in SCENES}
    for name, row in scenes.items():
        cost = row["seconds"]
        print(f"{name}: {', '.join(row['roots']) or 'nothing named'}")
        for way in ("ordinary", "thorough"):
            print(f"  {way}  {cost[way]['median'] * 1e3:6.1f} ms, least {cost[way]['least'] * 1e3:6.1f}  {row['over_unit'][way]:6.1f} units")  # fmt: skip
    dearest_s = max(row["seconds"]["thorough"]["median"] for row in scenes.values())
    result = {
        "settings": {"series": SERIES, "replicas": len(INSTANCES), "cards": len(GPUS), "processes": len(INSTANCES) * len(PROCESSES)},
        "scenes": scenes,
        "goals": {"thorough_s": {"goal": GOALS["thorough_s"], "value": dearest_s, "reached": dearest_s <= GOALS["thorough_s"]}},
    }  # fmt: skip
    if not args.quick:
        print(machine.write("evaluation", result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
