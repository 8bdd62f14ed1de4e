"""
Many runs, several at a time. What is there already is not run again; a run that was no experiment is repeated once and
kept apart under failed/.
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

_TRIES = 2

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
        self._left = [job for job in jobs if not (out / job.name).is_dir() and tries(out, job) < _TRIES]
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

    def _make(self, job: Job) -> None:
        while tries(self._out, job) < _TRIES and not self._stopped.is_set():
            started_s = time.monotonic()
            code = self._runner(job)
            took = format_duration(round(time.monotonic() - started_s))
            if code != SPOILT or tries(self._out, job) >= _TRIES:
                self._tell(job, took, good=code == 0)
                return
            self._say(f"  {job.line}: no experiment after {took}; once more")

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


def tries(out: Path, job: Job) -> int:
    """How many times *job* was no experiment."""
    return len(list((out / FAILED).glob(f"{job.name}.*")))


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
