"""`aiops demo` as somebody types it who has just cloned the project: the real stage, the real daemon."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.daemon import fetch, processes_marked, wait_for

pytestmark = [pytest.mark.demo, pytest.mark.timeout(330)]


class Demo:
    """
    A demo in a session of its own.

    Everything it starts inherits a mark in its environment, and puts its temporary files into *folder*.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self._mark = uuid.uuid4().hex
        self._out, self._err = folder / "out.txt", folder / "err.txt"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "aiops", "demo", *arguments],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
                env={**os.environ, "TMPDIR": str(self.temporary), "AIOPS_DEMO_TEST": self._mark},
            )  # fmt: skip

    @property
    def told(self) -> str:
        """What it tells people; with ``--json``, on standard error."""
        return self._err.read_text()

    @property
    def verdict(self) -> dict[str, Any]:
        """The last line of standard output."""
        found: dict[str, Any] = json.loads(self._out.read_text().splitlines()[-1])
        return found

    def page(self) -> str:
        """Address of the daemon's page; empty until it is told."""
        found = re.search(r"Incident page: (http://\S+)", self.told)
        return found[1].rstrip("/") if found else ""

    def processes(self) -> list[int]:
        """What runs of it."""
        return processes_marked(self._mark)

    def end(self, within_s: float) -> int:
        """Wait for its end; the exit status."""
        return self.process.wait(within_s)

    def close(self) -> None:
        """After a failed test."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20.0)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10.0)

    def assert_nothing_is_left(self) -> None:
        """No process, no port, no file."""
        wait_for(lambda: not self.processes(), 5.0, "its processes have ended")
        assert list(self.temporary.iterdir()) == []
        with pytest.raises(OSError, match="refused"):
            fetch(self.page())


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Any]:
    started: list[Demo] = []

    def start(*arguments: str) -> Demo:
        started.append(Demo(tmp_path, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture(scope="module")
def plays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Demo]]:
    """Three stages at once, each with its own processes, ports and files: two minutes instead of six."""
    started = {}
    for fault in ("traffic_burst", "vram_exhaustion", "lookalike"):
        started[fault] = Demo(tmp_path_factory.mktemp(fault), "--fault", fault, "--json")
    yield started
    for play in started.values():
        play.close()


@pytest.mark.parametrize("fault", ["traffic_burst", "vram_exhaustion"])
def test_a_fault_is_named_within_half_a_minute_of_the_first_503(plays: dict[str, Demo], fault: str):
    """The promise of the first page: one command, a real 503, its cause. The burst fills the KV cache, and is named."""
    play = plays[fault]

    status = play.end(300.0)

    assert status == 0, play.told
    assert list(play.verdict) == ["fault", "first_503", "message_at", "seconds", "cause", "probability", "incident"]
    assert (play.verdict["fault"], play.verdict["cause"]) == (fault, fault)
    assert 0.0 <= play.verdict["seconds"] <= 30.0
    assert 0.0 <= play.verdict["message_at"] - play.verdict["first_503"] <= 30.0
    assert 0.0 < play.verdict["probability"] <= 1.0
    play.assert_nothing_is_left()


def test_a_lookalike_is_met_with_silence(plays: dict[str, Demo]):
    """A deploy, a busy card and a batch of long prompts that hurt nobody: whoever is woken for it stops reading."""
    play = plays["lookalike"]

    status = play.end(300.0)

    assert status == 0, play.told
    assert play.verdict == {
        "fault": "lookalike", "first_503": None, "message_at": None, "seconds": None, "cause": None,
        "probability": None, "incident": None,
    }  # fmt: skip
    play.assert_nothing_is_left()


@pytest.mark.parametrize(("running", "pause_s"), [(3, 0.0), (6, 8.0)], ids=["while it starts", "in the middle"])
def test_ctrl_c_leaves_nothing_behind(demo, running: int, pause_s: float):
    """People stop a demo when they have seen enough, and want their machine back."""
    play = demo("--fault", "vram_exhaustion")
    wait_for(lambda: len(play.processes()) >= running, 30.0, "the stage is being set", every_s=0.02)
    time.sleep(pause_s)
    assert play.process.poll() is None, "it ended by itself"

    os.killpg(play.process.pid, signal.SIGINT)

    assert play.end(15.0) == 130, play.told
    wait_for(lambda: not play.processes(), 5.0, "its processes have ended")
    assert list(play.temporary.iterdir()) == []
