"""
Pages on nodes where nobody is hurt: traffic of real services' shapes, through the daemon's own pipeline.

Each series of requests in FOLDER is a node; its rate is read off between the points, scaled so that the busiest hundredth of
the time is at 70 % of what the node can do, and its requests arrive at random (Poisson). The node is a queueing model
(`calm_node`); what its collectors see goes through memory, detectors, alert book, correlator and wording as in the daemon,
symptoms every second, all other rules every five. Every six hours are played by a daemon started afresh, in an order drawn
once: if there is no time for all (``--minutes``), what was played is a fair sample of it.

Counted apart, by a rule that knows nothing of the daemon: ten minutes (by the clock) in which full queues refused at least
five requests and more than 0.05 % of all, the ten before them and the hour after. There users are hurt, and a page is right.

``python bench/false_pages.py FOLDER [--days 30] [--processes 1] [--minutes N] [--kept FILE]``; what stands in FILE is not played again.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import logging
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import calm_node
import lab_play
import machine
import numpy as np
import structlog
from calm_node import Build, Node

from aiops.model import AlertState, ChangeKind, Notification
from tests.recorded import Live, Source

SEED = 20_261_127
DAY_S, PART_S = 86_400, 21_600
START_S = 1_800_000_000.0
OBJECTIVE = 0.9995
BUSY, QUANTILE = 0.7, 0.99
STRETCH_S, MIN_REFUSED = 600, 5
NO_REQUESTS = ("latency", "duty", "queue")
"""In the names of files that hold no rate of requests."""


@dataclass(frozen=True)
class Job:
    """Six hours, or what is left of them, of one node."""

    file: str
    part: int
    seconds: int

    @property
    def name(self) -> str:
        return f"{self.file} {self.part} {self.seconds}"


def read_shape(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Seconds from the start, increasing, and values."""
    with path.open() as lines:
        rows = [(row["timestamp"], row["value"]) for row in csv.DictReader(lines)]
    points = {_seconds(at): float(value) for at, value in rows if value}
    at_s = np.array(sorted(points))
    return at_s - at_s[0], np.array([points[at] for at in sorted(points)])


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text + "+00:00").timestamp()


def share_out(lengths: dict[str, float], days: float) -> dict[str, int]:
    """Seconds of each file: the whole of short ones, as much as needed, and alike, of long ones."""
    left, found = days * DAY_S, {}
    for number, name in enumerate(sorted(lengths, key=lengths.__getitem__)):
        found[name] = int(min(lengths[name], left / (len(lengths) - number)))
        left -= found[name]
    return found


def jobs(folder: Path, days: float) -> list[Job]:
    lengths = {
        path.name: float(read_shape(path)[0][-1])
        for path in sorted(folder.glob("*.csv"))
        if not any(word in path.name for word in NO_REQUESTS)
    }
    found = [
        Job(name, part, min(PART_S, seconds - part * PART_S))
        for name, seconds in share_out(lengths, days).items()
        for part in range(-(-seconds // PART_S))
    ]
    np.random.default_rng(SEED).shuffle(found)
    return found


def hurt(refused: np.ndarray, answered: np.ndarray) -> np.ndarray:
    """By second: whether users are refused above the objective, or were within the hour; see the module."""
    found = np.zeros(refused.size, bool)
    for start in range(0, refused.size, STRETCH_S):
        part = slice(start, start + STRETCH_S)
        turned_away = refused[part].sum()
        if turned_away >= MIN_REFUSED and turned_away > (1 - OBJECTIVE) * answered[part].sum():
            found[max(start - STRETCH_S, 0) : start + STRETCH_S + 3600] = True
    return found


async def play(folder: Path, job: Job) -> dict:
    """What a day came to."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    seed = zlib.crc32(job.file.encode()) + SEED
    build = Build.drawn(np.random.default_rng(seed))
    rng = np.random.default_rng([seed, job.part])
    at_s, values = read_shape(folder / job.file)
    begin = job.part * PART_S
    whole = np.interp(np.arange(0, at_s[-1], 60.0), at_s, values)
    rates = np.interp(begin + np.arange(job.seconds), at_s, values)
    rates *= BUSY * build.capacity / float(np.quantile(whole, QUANTILE))
    node = Node(build, rng, START_S + begin)
    node.plan(job.seconds)
    refused, answered = np.zeros(job.seconds, int), np.zeros(job.seconds, int)
    fired: Counter[str] = Counter()
    began = time.process_time()
    with tempfile.TemporaryDirectory() as place:
        house = Live(Path(place) / "r", objective=OBJECTIVE)
        for second in range(job.seconds):
            now_s = START_S + begin + second + 0.25
            for seen in node.step(second, float(rates[second])):
                await house.pipeline.collect(Source(seen), now_s)
            await house.pipeline.evaluate(now_s + 0.25)
            if second % 5 == 0:
                await house.pipeline.tidy(now_s + 0.5)
            refused[second], answered[second] = node.refused, node.answered
            if second % 3600 == 0:
                _take_fired(house, fired)
    _take_fired(house, fired)
    users_hurt = hurt(refused, answered)
    return {
        **asdict(job),
        "build": asdict(build),
        "capacity": build.capacity,
        "requests": int(answered.sum()),
        "refused": int(refused.sum()),
        "hurt_seconds": int(users_hurt.sum()),
        "told": [
            {**each, "hurt": bool(users_hurt[min(each["second"], job.seconds - 1)])}
            for each in told(house.outcome.notifications, START_S + begin)
        ],
        "fired": dict(fired),
        "series": house.rings.series_count(),
        "cpu_s": round(time.process_time() - began, 1),
    }


def _take_fired(house: Live, fired: Counter[str]) -> None:
    """Count which rules fired, and forget the alerts: a day has tens of thousands of changes."""
    fired.update(a.rule for a in house.outcome.alerts if a.state is AlertState.FIRING)
    house.outcome.alerts.clear()


def told(notifications: Sequence[Notification], start_s: float) -> list[dict]:
    """What somebody on call got: each incident once, and once more if it became a page; grouped rows each time."""
    found, known = [], set()
    for each in notifications:
        message = each.message
        key = (each.subject, message.severity)
        if each.receiver != "oncall" or message.change is ChangeKind.RESOLVED or key in known:
            continue
        if message.change is not ChangeKind.TICKET:
            known.add(key)
        found.append(
            {"second": int(each.created_at_s - start_s), "severity": message.severity.value, "title": message.title}
        )
    return found


def run(folder: Path, job: Job, until_s: float) -> dict | None:
    return asyncio.run(play(folder, job)) if time.time() < until_s else None


def code() -> str:
    """Of everything that a day depends on."""
    own = b"".join(Path(path).read_bytes() for path in (calm_node.__file__, __file__))
    return f"{lab_play.code()}-{lab_play.today()}-{zlib.crc32(own):08x}"


def play_all(folder: Path, wanted: Sequence[Job], processes: int, kept: Path, until_s: float) -> list[dict]:
    """What each part came to, written as it comes; none is begun after *until_s*."""
    now = code()
    held = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    found = {name(each): each for each in held if each["code"] == now}
    missing = [job for job in wanted if job.name not in found]
    with ProcessPoolExecutor(processes) as pool, kept.open("a") as file:
        for done in as_completed([pool.submit(run, folder, job, until_s) for job in missing]):
            if (result := done.result()) is None:
                continue
            each = {**result, "code": now}
            found[name(each)] = each
            file.write(json.dumps(each) + "\n")
            file.flush()
            pages = sum(one["severity"] == "page" for one in each["told"])
            print(f"{name(each)}: {pages} pages, {len(each['told']) - pages} quiet, {each['hurt_seconds']} s hurt, "
                  f"{each['cpu_s']} s CPU", flush=True)  # fmt: skip
    return [found[job.name] for job in wanted if job.name in found]


def name(day: dict) -> str:
    return f"{day['file']} {day['part']} {day['seconds']}"


def summary(days: Sequence[dict]) -> dict:
    calm_s = sum(day["seconds"] - day["hurt_seconds"] for day in days)
    fired: Counter[str] = Counter()
    for day in days:
        fired.update(day["fired"])
    messages = [(day, one) for day in days for one in day["told"]]
    calm = [(day, one) for day, one in messages if not one["hurt"]]
    return {
        "seed": SEED,
        "parts": len(days),
        "node_days": sum(day["seconds"] for day in days) / DAY_S,
        "calm_node_days": calm_s / DAY_S,
        "requests": sum(day["requests"] for day in days),
        "refused": sum(day["refused"] for day in days),
        "series_a_node": [min(day["series"] for day in days), max(day["series"] for day in days)],
        "cpu_s": round(sum(day["cpu_s"] for day in days), 1),
        "false_pages": [{"file": day["file"], "part": day["part"], **one} for day, one in calm if one["severity"] == "page"],
        "pages_while_hurt": sum(one["severity"] == "page" for _, one in messages) - sum(one["severity"] == "page" for _, one in calm),
        "quiet_messages": sum(one["severity"] == "ticket" for _, one in calm),
        "fired": dict(fired.most_common()),
        "nodes": [_node(each, [day for day in days if day["file"] == each]) for each in dict.fromkeys(day["file"] for day in days)],
    }  # fmt: skip


def _node(file: str, days: Sequence[dict]) -> dict:
    messages = [one for day in days for one in day["told"] if not one["hurt"]]
    return {
        "file": file,
        "build": days[0]["build"],
        "capacity": round(days[0]["capacity"], 2),
        "days": sum(day["seconds"] for day in days) / DAY_S,
        "calm_days": sum(day["seconds"] - day["hurt_seconds"] for day in days) / DAY_S,
        "requests": sum(day["requests"] for day in days),
        "false_pages": sum(one["severity"] == "page" for one in messages),
        "pages_while_hurt": sum(one["severity"] == "page" and one["hurt"] for day in days for one in day["told"]),
        "quiet_messages": sum(one["severity"] == "ticket" for one in messages),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Pages a node-day on benign traffic.")
    parser.add_argument("folder", type=Path, help="CSV files with timestamp,value")
    parser.add_argument("--days", type=float, default=30.0, help="of all nodes together")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument(
        "--minutes", type=float, default=24 * 60.0, help="nothing is begun later than so long after the start"
    )
    parser.add_argument("--kept", type=Path, default=Path(tempfile.gettempdir()) / "aiops-false-pages.jsonl")
    args = parser.parse_args()
    found = summary(
        play_all(args.folder, jobs(args.folder, args.days), args.processes, args.kept, time.time() + 60 * args.minutes)
    )
    print(json.dumps({key: value for key, value in found.items() if key != "nodes"}, indent=2))
    print(machine.write("false_pages", found))


if __name__ == "__main__":
    main()
