"""One run: healthy, the decoy, the fault, its end, and what is kept of it."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import random
import shutil
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from aiops.errors import AiopsError
from tests.lab.cell import Cell, enter, run_in_cell, turn
from tests.lab.daemon import as_text
from tests.lab.faults import FAULTS
from tests.lab.faults.fault import Fault
from tests.lab.house import House, open_house
from tests.lab.jobs import Job, start
from tests.lab.needs import check_possible
from tests.lab.plan import draw
from tests.lab.truth import Spoilt, Truth, check_hurt

FAILED = "failed"
SPOILT = 3
"""Exit status of a run that is no experiment."""
_AFTER_S = 8.0
"""From the end of the fault to the end of the recording."""
_LIMIT_S = 420.0
_DECOYS = (
    ("search-ui", "4.2", "search-ui 4.2 is live"),
    ("billing", "2026.11", "billing 2026.11 is live"),
    ("mail-worker", "v88", "Rolled out mail-worker v88"),
)


def run(job: Job, out: Path, traffic: str) -> int:
    """
    Run *job* in a cell of its own; its folder in *out* is there when it is whole, and in *out*/failed when it is not.

    Raises:
        CellError: no cell can be made here, or a program is missing.
    """
    check_possible([job])
    out = out.resolve()
    partial, final, failed = out / f".{job.name}", out / job.name, out / FAILED
    for stale in (partial, final):
        shutil.rmtree(stale, ignore_errors=True)
    partial.mkdir(parents=True)
    with turn(alone=FAULTS[job.fault].alone):
        started_s, busy_s = time.monotonic(), _busy_s()
        code, cpu_s = run_in_cell(job.arguments(out, traffic), _LIMIT_S)
        wall_s = time.monotonic() - started_s
        others = max(_busy_s() - busy_s - cpu_s, 0.0) / wall_s / (os.cpu_count() or 1)
    cost = {"wall_s": round(wall_s, 1), "cpu_s": round(cpu_s, 1), "others_share": round(others, 3)}
    (partial / "cost.json").write_text(as_text(cost))
    if code == 0:
        partial.replace(final)
        return 0
    reason = partial / "reason.txt"
    if not reason.exists():
        reason.write_text("it took too long\n" if code < 0 else f"the run ended with {code}\n")
    print(f"{job.name}: {reason.read_text().strip()}", file=sys.stderr)
    failed.mkdir(exist_ok=True)
    numbers = [int(path.suffix[1:]) for path in failed.glob(f"{job.name}.*") if path.suffix[1:].isdigit()]
    partial.replace(failed / f"{job.name}.{max(numbers, default=0) + 1}")
    return SPOILT


def _busy_s() -> float:
    """CPU seconds of the whole machine so far."""
    numbers = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(numbers) - numbers[3] - numbers[4]) / os.sysconf("SC_CLK_TCK")


def inside(job: Job, args: argparse.Namespace) -> int:
    """The inside of `run`: exit status 0, or `SPOILT` with the reason in reason.txt."""
    kept = args.out / f".{job.name}"
    cell = enter(dict(entry.split("=", 1) for entry in args.group), args.cell)
    house_folder = args.cell / "house"
    house_folder.mkdir()
    try:
        asyncio.run(_play(job, args.traffic, cell, house_folder, kept))
    except (Spoilt, AiopsError, OSError, TimeoutError) as error:
        (kept / "reason.txt").write_text(f"{type(error).__name__}: {error}\n")
        return SPOILT
    except Exception:
        (kept / "reason.txt").write_text(traceback.format_exc())
        return SPOILT
    finally:
        cell.close()
        _keep_logs(house_folder, kept / "logs")
    return 0


def _keep_logs(house: Path, logs: Path) -> None:
    logs.mkdir(exist_ok=True)
    for path in house.iterdir():
        if path.is_file() and path.suffix in {".log", ".err", ".out", ".yaml", ".conf", ".csv"}:
            shutil.copy(path, logs / path.name)


async def _play(job: Job, traffic: str, cell: Cell, folder: Path, kept: Path) -> None:
    fault, rng = start(FAULTS[job.fault], job.seed)
    usual = draw(random.Random(rng.random()), job.seed, job.gateway, job.dialect)
    plan = fault.furnish(dataclasses.replace(usual, traffic=traffic))
    (kept / "plan.json").write_text(as_text({"plan": dataclasses.asdict(plan), "magnitudes": fault.magnitudes}))
    async with open_house(cell, folder, plan, fault, rng) as house:
        await house.daemon.record(house, folder / "recording")
        times = await _acts(house, fault, rng)
        await house.daemon.end_recording(house)
        house.check_alive()
        stats = await house.load.stats()
        (kept / "messages.json").write_text(as_text(await house.messages()))
        (kept / "incidents.json").write_text(as_text(await house.daemon.incidents()))
        shutil.copytree(folder / "recording", kept / "recording")
        first_bad_s, bad_share = check_hurt(
            hurts=fault.hurts, began_s=times.began_s, ended_s=times.ended_s, bad_s=stats["bad_s"], answers=times.answers
        )
        truth = Truth(
            fault=fault.name, cause=fault.cause, causes=fault.causes, kind=fault.kind, where=times.where,
            stub=fault.stub, gateway=job.gateway, dialect=job.dialect, seed=job.seed, magnitudes=fault.magnitudes,
            began_s=times.began_s, first_bad_s=first_bad_s, ended_s=times.ended_s, decoy_s=times.decoy_s,
            revision=revision(), answers=stats["answers"], bad_share=round(bad_share, 3), each=fault.each,
        )  # fmt: skip
        (kept / "truth.json").write_text(as_text(truth.as_json()))


@dataclass(slots=True)
class _Times:
    began_s: float = 0.0
    ended_s: float = 0.0
    decoy_s: float = 0.0
    where: dict[str, str] = field(default_factory=dict)
    answers: int = 0
    """What users got from about the first bad answer to the end of the fault."""


async def _acts(house: House, fault: Fault, rng: random.Random) -> _Times:
    times = _Times()
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    decoy = asyncio.create_task(_decoy(house, rng, rng.uniform(20.0, fault.healthy_s + 10.0), times))
    try:
        await _sleep_until(house, started_s + fault.healthy_s)
        times.began_s = time.time()
        try:
            await fault.begin(house)
            times.where = fault.where(house)
            times.answers = await _hurting(house, fault, times.began_s)
        finally:
            await fault.end(house)
        times.ended_s = time.time()
        await decoy
        await _sleep_until(house, loop.time() + _AFTER_S)
    finally:
        decoy.cancel()
    return times


async def _hurting(house: House, fault: Fault, began_s: float) -> int:
    """Let it hurt for its time; how many answers users got meanwhile."""
    loop = asyncio.get_running_loop()
    if not fault.hurts:
        await _sleep_until(house, loop.time() + began_s + fault.hurt_s - time.time())
        return 0
    until_s = loop.time() + began_s + fault.wait_s - time.time()
    while loop.time() < until_s:
        house.check_alive()
        stats = await house.load.stats()
        bad = sum(at_s >= began_s for at_s in stats["bad_s"])
        if bad:
            before = sum(stats["answers"].values()) - bad
            await _sleep_until(house, loop.time() + fault.hurt_s)
            return sum((await house.load.stats())["answers"].values()) - before
        await asyncio.sleep(0.5)
    raise Spoilt(f"nobody was hurt within {fault.wait_s:.0f} s")


async def _decoy(house: House, rng: random.Random, after_s: float, times: _Times) -> None:
    service, version, message = rng.choice(_DECOYS)
    await asyncio.sleep(after_s)
    await house.announce("deploy", message, service=service, version=version)
    times.decoy_s = time.time()


async def _sleep_until(house: House, until_s: float) -> None:
    loop = asyncio.get_running_loop()
    while (left_s := until_s - loop.time()) > 0:
        house.check_alive()
        await asyncio.sleep(min(left_s, 1.0))


def revision() -> str:
    """Of this tree, with a + when it was changed."""
    here = Path(__file__).parent
    try:
        asked = ("git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*")
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10.0).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of ``run``."""
    parser.add_argument("--fault", required=True, choices=sorted(FAULTS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gateway", choices=("python", "nginx"), default="python")
    parser.add_argument("--dialect", choices=("vllm", "sglang"), default="vllm")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--traffic", default="", metavar="DIR", help="recorded demand that shapes arrivals")
    parser.add_argument("--cell", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--group", action="append", default=[], help=argparse.SUPPRESS)


def main(args: argparse.Namespace) -> int:
    """Inside and outside of a cell."""
    job = Job(args.fault, args.seed, args.gateway, args.dialect)
    return run(job, args.out, args.traffic) if args.cell is None else inside(job, args)
