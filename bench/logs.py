"""
The log path beside drain3 and Brain, in one run on one core: speed, how well it groups, hostile lines and memory.

Time is the CPU time of the process, of all its threads. Every way gets the same lines in the same order, without
storing anything. A way that would take longer than ``--limit`` seconds is stopped there and measured on what it did.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path

import grouping
import loglines
import logpath
import machine
import peers
import polars as pl

from aiops.logs import cluster
from aiops.logs.mask import PASSES, Masker, for_rust
from aiops.model import LogSeverity

SEED = 503
SIZES = (500, 2_000, 20_000)
SIMILARITIES, DEPTHS = (0.7, 0.75, 0.8, 0.85, 0.875, 0.885, 0.9, 0.95), (4, 5, 6)
GOALS = {
    "batch_20000_ratio": 20, "batch_2000_ratio": 10, "batch_500_ratio": 6, "stream_ratio": 5, "stream_core_share": 0.05,
    "grouping_identical": 1.0, "throughput_kept": 0.95, "hostile_s": 0.1, "memory_bytes": 25 * 2**20,
    "ga": 0.95, "fga": 0.92, "pa": 0.68, "fta": 0.66,
}  # fmt: skip


def timed(way: peers.Way, lines: Sequence[str], size: int, limit_s: float) -> tuple[dict, peers.Groups]:
    groups = peers.Groups()
    gc.collect()
    started_s = time.process_time()
    taken = 0
    while taken < len(lines) and time.process_time() - started_s < limit_s:
        way(groups, lines[taken : taken + size])
        taken += size
    cpu_s = time.process_time() - started_s
    taken = min(taken, len(lines))
    return {"lines": taken, "cpu_s": round(cpu_s, 2), "us_per_line": round(cpu_s / taken * 1e6, 3)}, groups


def throughput(lines: Sequence[str], limit_s: float, brain: str | None) -> dict:
    rows: dict[str, dict] = {}
    rows["drain3_default"], _ = timed(peers.drain3_default(), lines, 1_000, limit_s)
    rows["drain3_example"], _ = timed(peers.drain3_example(), lines, 1_000, limit_s)
    rows["drain3_our_masks"], expected = timed(peers.drain3_our_masks()(lines), lines, 1_000, limit_s)
    rows["stream"] = stream(lines)
    identical = {}
    for size in SIZES:
        rows[f"batch_{size}"], found = timed(peers.batches(), lines, size, limit_s)
        count = len(expected.names)
        identical[str(size)] = grouping.same_groups(found.names[:count], expected.names)
    if brain and (found := peers.brain(brain, lines, limit_s)):
        cpu_s = found["cpu_s"]
        rows["brain"] = {
            "lines": len(lines),
            "cpu_s": round(cpu_s, 2),
            "us_per_line": round(cpu_s / len(lines) * 1e6, 3),
        }
    base = rows["drain3_our_masks"]["us_per_line"]
    for row in rows.values():
        row["ratio"] = round(base / row["us_per_line"], 2)
    return {
        "rows": rows,
        "identical": identical,
        "templates": len(set(expected.names)),
        "stream_core_share_at_1000_a_second": rows["stream"]["us_per_line"] * 1e-3,
    }


def stream(lines: Sequence[str]) -> dict:
    """The daemon's path, a second's worth of lines a call: private? class, values, template, and samples each second."""
    path = logpath.log_path()
    cpu_s = 0.0
    for start in range(0, len(lines), 1_000):
        records = logpath.records(lines[start : start + 1_000], start / 1_000)
        started_s = time.process_time()
        path.feed(records)
        list(path.samples(start / 1_000))
        cpu_s += time.process_time() - started_s
    return {"lines": len(lines), "cpu_s": round(cpu_s, 2), "us_per_line": round(cpu_s / len(lines) * 1e6, 3)}


def scaling(short: int, long: int, templates: int, limit_s: float) -> dict:
    """Throughput over many lines beside that over few, with the same number of templates."""
    both = {count: loglines.many_templates(count, templates, SEED) for count in (short, long)}
    ways = {
        "batch_20000": lambda lines: timed(peers.batches(), lines, 20_000, limit_s)[0],
        "stream": stream,
        "drain3_our_masks": lambda lines: timed(peers.drain3_our_masks()(lines), lines, 1_000, limit_s)[0],
        "drain3_default": lambda lines: timed(peers.drain3_default(), lines, 1_000, limit_s)[0],
    }
    found: dict[str, dict] = {}
    for name, way in ways.items():
        first, second = (way(both[count]) for count in (short, long))
        found[name] = {"short": first, "long": second, "kept": round(first["us_per_line"] / second["us_per_line"], 3)}
    return {"lines": [short, long], "templates": templates, "ways": found}


def hostile(size: int) -> dict:
    """
    CPU time of one hostile line; the slowest of three tries.

    drain3's example masks are left out: on the first line they take half a minute.
    """
    batch, path = peers.batches(), logpath.log_path()
    batch(peers.Groups(), ["warm"])
    path.feed(logpath.records(["warm"]))
    rows = {}
    for name, line in loglines.hostile(size):
        took = {"batch": 0.0, "stream": 0.0}
        for _ in range(3):
            started_s = time.process_time()
            batch(peers.Groups(), [line])
            between_s = time.process_time()
            path.feed(logpath.records([line]))
            took["batch"] = max(took["batch"], between_s - started_s)
            took["stream"] = max(took["stream"], time.process_time() - between_s)
        rows[name] = {way: round(cpu_s, 4) for way, cpu_s in took.items()}
    return {"size": size, "rows": rows}


def accuracy(sets: Sequence[loglines.LabelledSet], brain: str | None) -> dict:
    ways = {"drain3_default": peers.drain3_default, "drain3_example": peers.drain3_example, "aiops": peers.batches}
    found = {name: {each.name: of_set(make(), each) for each in sets} for name, make in ways.items()}
    if brain:
        answers = {each.name: peers.brain(brain, each.contents, 300) for each in sets}
        if all(answers.values()):
            found["brain"] = {
                each.name: grouping.score(
                    answers[each.name]["groups"], answers[each.name]["templates"], each.groups, each.templates
                )
                for each in sets
            }
    return {
        name: {"sets": {each: asdict(scores) for each, scores in by_set.items()},
               "mean": asdict(grouping.mean(list(by_set.values())))}
        for name, by_set in found.items()
    }  # fmt: skip


def of_set(way: peers.Way, each: loglines.LabelledSet) -> grouping.Scores:
    groups = peers.Groups()
    way(groups, each.contents)
    return grouping.score(
        groups.names, [groups.template_of(name) for name in groups.names], each.groups, each.templates
    )


def leave_one_out(sets: Sequence[loglines.LabelledSet]) -> dict:
    """The numbers are chosen on all sets but one, by GA + FGA, and judged on that one."""
    masker = Masker()
    table = grid([
        replace(each, contents=[masker.mask(line.encode()).decode() for line in each.contents]) for each in sets
    ])  # fmt: skip
    rows = {}
    for left_out, each in enumerate(sets):

        def worth(numbers: tuple[float, int], left_out: int = left_out) -> float:
            return sum(one.ga + one.fga for place, one in enumerate(table[numbers]) if place != left_out)

        best = max(table, key=worth)
        rows[each.name] = {"similarity": best[0], "depth": best[1], **asdict(table[best][left_out])}
    names = ("ga", "fga", "pa", "fta")
    return {
        "sets": rows,
        "mean": {name: sum(row[name] for row in rows.values()) / len(rows) for name in names},
        "grid": means(table),
    }


def without_own_passes(sets: Sequence[loglines.LabelledSet]) -> dict:
    """
    Each set judged without the passes of masks that change no line of another set.

    What was written for one set only is no help on sets nobody has seen. An alternation is one pass.
    """
    lines = [pl.Series(each.contents) for each in sets]
    whole = [apply(PASSES, series) for series in lines]
    own: dict[str, list[int]] = {each.name: [] for each in sets}
    for number in range(len(PASSES)):
        others = PASSES[:number] + PASSES[number + 1 :]
        changed = [
            each.name
            for each, series, as_is in zip(sets, lines, whole, strict=True)
            if not apply(others, series).equals(as_is)
        ]
        if len(changed) == 1:
            own[changed[0]].append(number)
    masked = []
    for each, series in zip(sets, lines, strict=True):
        others = [one for number, one in enumerate(PASSES) if number not in own[each.name]]
        masked.append(replace(each, contents=apply(others, series).to_list()))
    table = grid(masked)
    kept = table[cluster.SIMILARITY, cluster.DEPTH]
    return {
        "sets": {
            each.name: {**asdict(scores), "left_out": [PASSES[number][0] for number in own[each.name]]}
            for each, scores in zip(sets, kept, strict=True)
        },
        "mean": asdict(grouping.mean(kept)),
        "grid": means(table),
    }


def apply(passes: Sequence[tuple[str, str]], lines: pl.Series) -> pl.Series:
    for pattern, masked in passes:
        lines = lines.str.replace_all(for_rust(pattern), masked)
    return lines


Table = dict[tuple[float, int], list[grouping.Scores]]


def grid(masked: Sequence[loglines.LabelledSet]) -> Table:
    """Scores of the sets, whose lines are masked already, for each similarity and depth."""
    chosen = cluster.SIMILARITY, cluster.DEPTH
    table = {}
    for cluster.SIMILARITY in SIMILARITIES:
        for cluster.DEPTH in DEPTHS:
            table[cluster.SIMILARITY, cluster.DEPTH] = [of_set(ours(), each) for each in masked]
    cluster.SIMILARITY, cluster.DEPTH = chosen
    return table


def means(table: Table) -> list[dict]:
    return [
        {"similarity": similarity, "depth": depth, **asdict(grouping.mean(scores))}
        for (similarity, depth), scores in table.items()
    ]


def ours() -> peers.Way:
    clusters = cluster.Clusters(100_000)

    def take(groups: peers.Groups, lines: Sequence[str]) -> None:
        groups.template_of = lambda found: found.template
        groups.names += [clusters.assign(line, LogSeverity.INFO) for line in lines]

    return take


def reached(result: dict) -> dict[str, dict]:
    rows, mean = result["throughput"]["rows"], result["accuracy"]["aiops"]["mean"]
    remembered = result["memory"]
    values = {
        **{f"batch_{size}_ratio": rows[f"batch_{size}"]["ratio"] for size in SIZES},
        "stream_ratio": rows["stream"]["ratio"],
        "stream_core_share": result["throughput"]["stream_core_share_at_1000_a_second"],
        "grouping_identical": min(result["throughput"]["identical"].values()),
        "throughput_kept": min(result["scaling"]["ways"][way]["kept"] for way in ("batch_20000", "stream")),
        "hostile_s": max(max(row.values()) for row in result["hostile"]["rows"].values()),
        "memory_bytes": remembered["first_line_bytes"] + remembered["clusters_bytes"],
        **mean,
    }
    at_most = {"stream_core_share", "hostile_s", "memory_bytes"}
    return {
        name: {"goal": goal, "value": values[name],
               "reached": values[name] <= goal if name in at_most else values[name] >= goal}
        for name, goal in GOALS.items()
    }  # fmt: skip


def measure(args: argparse.Namespace) -> dict:
    sets = loglines.labelled(args.folder)
    short, long, templates = (3_000, 6_000, 1_000) if args.quick else (30_000, 300_000, 10_000)
    count = 20_000 if args.quick else 320_000
    command = [sys.executable, str(Path(__file__).parent / "logpath.py"), str(templates)]
    result = {
        "seed": SEED,
        "sets": [each.name for each in sets],
        "parameters": {"similarity": cluster.SIMILARITY, "depth": cluster.DEPTH, "max_children": cluster.MAX_CHILDREN},
        "versions": {name: metadata.version(name) for name in ("drain3", "google-re2", "polars")},
        "memory": json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout),
        "accuracy": accuracy(sets, args.brain),
        "leave_one_out": leave_one_out(sets),
        "without_own_passes": without_own_passes(sets),
        "hostile": hostile(2**20),
        "throughput": throughput(loglines.mixed(args.folder, count, SEED), args.limit, args.brain),
        "scaling": scaling(short, long, templates, args.limit),
    }
    return {**result, "goals": reached(result)}


def main() -> None:
    parser = argparse.ArgumentParser(description="The log path beside drain3 and Brain.")
    parser.add_argument("folder", type=Path, help="labelled sets: NAME.log and NAME.csv (content, event_id, template)")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds of CPU after which a way is stopped")
    parser.add_argument("--brain", metavar="PYTHON", help="interpreter of a venv that holds logparser3")
    parser.add_argument("--quick", action="store_true", help="few lines; prints, and writes no result")
    args = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    result = measure(args)
    for name, row in result["throughput"]["rows"].items():
        print(f"{name:<18} {row['us_per_line']:8.2f} us a line  {row['ratio']:6.2f} x  ({row['lines']} lines)")
    for name, goal in result["goals"].items():
        print(
            f"{name:<20} {goal['value']:<12.4g} goal {goal['goal']:<10.4g} {'reached' if goal['reached'] else 'MISSED'}"
        )
    print(json.dumps({name: found["mean"] for name, found in result["accuracy"].items()}, indent=1))
    if not args.quick:
        # where the sets and the other interpreter lie here helps nobody
        sys.argv = ["bench/logs.py", "LABELLED_SETS", *(["--brain", "PYTHON"] if args.brain else [])]
        print(machine.write("logs", result))


if __name__ == "__main__":
    main()
