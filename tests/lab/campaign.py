"""
Many runs, several at a time. What is there already is not run again; a run that was no experiment is kept apart under
failed/, and drawn anew once: the same draw would mostly fail the same way.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aiops.units import format_duration
from tests.lab.faults import FAULTS
from tests.lab.jobs import Job, PlanError, read_plan
from tests.lab.needs import check_possible
from tests.lab.run import FAILED, SPOILT

Runner = Callable[[Job], int]
"""Runs a job; its exit status."""


class Campaign:
    """
    The runs of a plan that are still to be made.

    Args:
        jobs: All of the plan.
        out: Where runs are.
        runner: Makes one.
        say: Takes lines of progress.
    """

    def __init__(self, jobs: Sequence[Job], out: Path, runner: Runner, say: Callable[[str], None]) -> None:
        self._out, self._runner, self._say = out, runner, say
        self._left = [job for job in jobs if not is_made(out, job) and self._tries(job)]
        self._known = len(jobs) - len(self._left)
        self._count, self._good, self._bad = len(jobs), 0, 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._started_s = time.monotonic()

    def run(self, at_once: int) -> int:
        """All of them, those that need the machine for themselves last; how many were no experiment."""
        if self._known:
            self._say(f"{self._known} of {self._count} runs are there already, or failed twice")
        together = [job for job in self._left if not FAULTS[job.fault].alone]
        alone = [job for job in self._left if FAULTS[job.fault].alone]
        for jobs, workers in ((together, at_once), (alone, 1)):
            with ThreadPoolExecutor(workers) as pool:
                try:
                    list(pool.map(self._make, jobs))
                except BaseException:
                    self._stopped.set()
                    pool.shutdown(cancel_futures=True)
                    raise
        return self._bad

    def _tries(self, job: Job) -> list[Job]:
        """*job* and the same with another draw, less what was no experiment."""
        return [each for each in (job, job.redrawn) if not has_failed(self._out, each)]

    def _make(self, job: Job) -> None:
        for attempt in self._tries(job):
            if self._stopped.is_set():
                return
            started_s = time.monotonic()
            code = self._runner(attempt)
            took = format_duration(round(time.monotonic() - started_s))
            if code != SPOILT or attempt != job:
                self._tell(attempt, took, good=code == 0)
                return
            self._say(f"  {job.line}: no experiment after {took}; once more, drawn anew")

    def _tell(self, job: Job, took: str, *, good: bool) -> None:
        with self._lock:
            self._good += good
            self._bad += not good
            done = self._good + self._bad
            left_s = (time.monotonic() - self._started_s) / done * (len(self._left) - done)
            self._say(
                f"[{self._known + done}/{self._count}] {job.line}: {'good' if good else 'NO EXPERIMENT'} after {took}"
                f" ({self._bad} failed, about {format_duration(round(left_s))} left)"
            )


def is_made(out: Path, job: Job) -> bool:
    """Whether there is a run of it, as it was drawn or drawn anew."""
    return any((out / each.name).is_dir() for each in (job, job.redrawn))


def has_failed(out: Path, job: Job) -> bool:
    """Whether *job* was no experiment."""
    return any((out / FAILED).glob(f"{job.name}.*"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of ``campaign``."""
    parser.add_argument("plan", type=Path, help="a file of lines: fault gateway dialect seed")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--traffic", default="", metavar="DIR", help="recorded demand that shapes arrivals")
    parser.add_argument("--jobs", type=int, default=4, metavar="N", help="runs at a time (default 4)")


def main(args: argparse.Namespace) -> int:
    """Exit status 0; 3 when some runs were no experiments."""
    try:
        jobs = read_plan(args.plan.read_text().splitlines(), FAULTS)
    except (PlanError, OSError) as error:
        print(f"{args.plan}: {error}", file=sys.stderr)
        return 2
    check_possible(jobs)
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)

    def runner(job: Job) -> int:
        leash = ("-m", "aiops.demo.leash", str(os.getpid()), str(int(signal.SIGKILL)))
        command = (sys.executable, *leash, sys.executable, "-m", "tests.lab", *job.arguments(out, args.traffic))
        with (out / "campaign.err").open("ab") as errors:
            return subprocess.run(command, stdin=subprocess.DEVNULL, stderr=errors, check=False).returncode

    campaign = Campaign(jobs, out, runner, lambda line: print(line, flush=True))
    return 3 if campaign.run(args.jobs) else 0
