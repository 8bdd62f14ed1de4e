"""Which runs there shall be: lines of a file, and the drawing of a balanced set of them."""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.lab.faults.fault import Fault

HOUSES = (("python", "vllm"), ("nginx", "sglang"))
"""Gateway and dialect: rules are made on the first, and tried on the second."""
_MOST_SEED = 10**6
_SEEDS_TRIED = 12
"""Enough that a variant that is drawn one time in four is among them."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run."""

    fault: str
    seed: int
    gateway: str
    dialect: str

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.fault}-{self.gateway}-{self.dialect}-{self.seed}"

    @property
    def line(self) -> str:
        """As it stands in a plan."""
        return f"{self.fault} {self.gateway} {self.dialect} {self.seed}"

    @property
    def redrawn(self) -> Job:
        """The same fault in the same kind of house, all else drawn anew."""
        return replace(self, seed=self.seed + _MOST_SEED)

    def arguments(self, out: Path, traffic: str) -> tuple[str, ...]:
        """Of ``python -m tests.lab``."""
        return (
            "run", "--fault", self.fault, "--seed", str(self.seed), "--gateway", self.gateway, "--dialect", self.dialect,
            "--out", str(out), "--traffic", traffic,
        )  # fmt: skip


class PlanError(ValueError):
    """A line of a plan is wrong; the text says which."""


def read_plan(lines: Iterable[str], faults: Mapping[str, type[Fault]]) -> list[Job]:
    """
    The jobs of a plan: ``fault gateway dialect seed`` a line; # begins a remark.

    Raises:
        PlanError: a line is something else.
    """
    found: list[Job] = []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 4 or not words[3].isdigit():
            raise PlanError(f"line {number}: expected fault, gateway, dialect and seed")
        name, gateway, dialect, seed = words
        fault = faults.get(name)
        if fault is None:
            raise PlanError(f"line {number}: there is no fault {name}")
        if gateway not in fault.gateways or dialect not in fault.dialects:
            raise PlanError(f"line {number}: {name} is not possible on {gateway} with {dialect}")
        found.append(Job(name, int(seed), gateway, dialect))
    return list(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many runs of what."""

    per_cause: int = 4
    none: int = 4
    lookalikes: int = 1
    """Of each look-alike."""
    undescribed: int = 2
    """Of each fault no cause file describes."""
    two: int = 8


def draw_plan(wanted: Wanted, faults: Mapping[str, type[Fault]], rng: random.Random) -> list[Job]:
    """
    A plan in which every cause has its runs, spread evenly over its faults, their variants, and both kinds of houses.

    The order is random, so that a campaign that is ended early has some of everything.
    """
    jobs: list[Job] = []
    by_cause: dict[str, list[type[Fault]]] = {}
    for fault in faults.values():
        if fault.kind == "fault" and fault.cause:
            by_cause.setdefault(fault.cause, []).append(fault)
    counts = {"none": wanted.none, "lookalike": wanted.lookalikes, "undescribed": wanted.undescribed, "two": wanted.two}
    for cause in sorted(by_cause):
        jobs += _spread(by_cause[cause], wanted.per_cause, rng)
    for fault in faults.values():
        jobs += _spread([fault], counts.get(fault.kind, 0), rng)
    rng.shuffle(jobs)
    return jobs


def _spread(faults: Sequence[type[Fault]], count: int, rng: random.Random) -> list[Job]:
    """*count* runs, in turn over *faults*, their variants, and the houses each is possible in."""
    found = []
    seen: Counter[tuple[str, str]] = Counter()
    order = rng.sample(list(faults), len(faults))
    first = rng.randrange(len(HOUSES))
    for number in range(count):
        turn, place = divmod(number, len(order))
        fault = order[place]
        houses = possible(fault)
        gateway, dialect = houses[(first + turn + place) % len(houses)]
        seed, variant = _seed(fault, seen, rng)
        seen[fault.name, variant] += 1
        found.append(Job(fault.name, seed, gateway, dialect))
    return found


def _seed(fault: type[Fault], seen: Counter[tuple[str, str]], rng: random.Random) -> tuple[int, str]:
    """A seed whose variant of *fault* was *seen* least so far; all else that it draws is left to chance."""
    seeds = [rng.randrange(1, _MOST_SEED) for _ in range(_SEEDS_TRIED)]
    variants = [str(start(fault, seed)[0].magnitudes.get("variant", "")) for seed in seeds]
    place = min(range(len(seeds)), key=lambda index: seen[fault.name, variants[index]])
    return seeds[place], variants[place]


def start(fault: type[Fault], seed: int) -> tuple[Fault, random.Random]:
    """The fault of a run, and the rest of its chance."""
    rng = random.Random(f"{fault.name} {seed}")
    return fault(random.Random(rng.random())), rng


def possible(fault: type[Fault]) -> list[tuple[str, str]]:
    """The houses it can happen in, of `HOUSES` first; any other combination where those are all impossible."""
    usual = [
        (gateway, dialect) for gateway, dialect in HOUSES if gateway in fault.gateways and dialect in fault.dialects
    ]
    return usual or [(fault.gateways[0], fault.dialects[0])]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of ``plan``."""
    wanted = Wanted()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--runs-per-cause", type=int, default=wanted.per_cause, metavar="N")
    parser.add_argument("--none", type=int, default=wanted.none, metavar="N")
    parser.add_argument("--lookalikes", type=int, default=wanted.lookalikes, metavar="N", help="of each")
    parser.add_argument("--undescribed", type=int, default=wanted.undescribed, metavar="N", help="of each")
    parser.add_argument("--two", type=int, default=wanted.two, metavar="N")


def main(args: argparse.Namespace) -> int:
    """Print a plan."""
    from tests.lab.faults import FAULTS

    wanted = Wanted(args.runs_per_cause, args.none, args.lookalikes, args.undescribed, args.two)
    for job in draw_plan(wanted, FAULTS, random.Random(args.seed)):
        print(job.line)
    return 0
