"""Pages on nodes where nobody is hurt, as a table for docs/quality.md."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from sheet import table

GOAL_IN_30 = 1.0


def calm(result: Mapping) -> Iterator[str]:
    days, pages = result["calm_node_days"], len(result["false_pages"])
    low, high = poisson_interval(pages)
    in_30 = pages * 30 / days
    text = f"{pages} in {days:.1f} node-days: {in_30:.1f} in 30 (95 % interval {low * 30 / days:.1f} to {high * 30 / days:.1f})"
    yield f"**Goal: at most {GOAL_IN_30:.0f} false page in 30 node-days. Reached: {text}.**"
    yield ""
    rows = [
        (
            node["file"].removesuffix(".csv"), f"{node['calm_days']:.2f} of {node['days']:.2f}", f"{node['requests']:,}",
            str(node["build"]["replicas"]), f"{node['capacity']:.1f}", f"{node['build']['errors'] * 100:.3f} %",
            str(node["false_pages"]), str(node["quiet_messages"]), str(node["pages_while_hurt"]),
        )
        for node in result["nodes"]
    ]  # fmt: skip
    yield from table(
        ("traffic", "calm days of those played", "requests", "replicas", "capacity, requests/s", "5xx", "false pages",
         "quiet messages", "pages while users were refused"),
        rows,
    )  # fmt: skip
    yield (
        f"{result['requests']:,} requests, {result['refused']:,} of them refused by full queues; {result['series_a_node'][0]} to "
        f"{result['series_a_node'][1]} series a node; {result['cpu_s']:.0f} s of CPU. Seed {result['seed']}."
    )
    yield ""
    for page in result["false_pages"]:
        yield f"- {page['file']}, part {page['part']}, second {page['second']}: {page['title']}"
    if result["false_pages"]:
        yield ""
    if result["fired"]:
        often = ", ".join(f"{rule} {count}" for rule, count in list(result["fired"].items())[:10])
        yield f"Rows that fired, most often first: {often}."
        yield ""


def poisson_interval(count: int) -> tuple[float, float]:
    """Bounds of a Poisson mean, 2.5 % on either side, exact (Garwood 1936); by halving, for scipy is not at hand."""
    low = 0.0 if count == 0 else _solve(lambda mean: 1.0 - _at_most(count - 1, mean), 0.025)
    return low, _solve(lambda mean: 1.0 - _at_most(count, mean), 0.975)


def _at_most(count: int, mean: float) -> float:
    return sum(math.exp(-mean + k * math.log(mean) - math.lgamma(k + 1)) for k in range(count + 1)) if mean else 1.0


def _solve(grows, wanted: float) -> float:
    low, high = 0.0, 1e4
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if grows(middle) < wanted else (low, middle)
    return high
