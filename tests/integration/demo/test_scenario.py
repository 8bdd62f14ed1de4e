"""The whole play on a stand-in daemon: right, wrong, interrupted, killed; nothing may be left behind."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

PLAY = """
import sys
from aiops.demo.scenario import Options, Timing, run_demo
timing = Timing(healthy_s={healthy}, undetermined_s=2.0, diagnosis_s=20.0, lingers_s=0.0)
daemon = (sys.executable, {stub!r}, *{arguments!r})
sys.exit(run_demo(Options({fault!r}, json_output=True, seed=3, timing=timing, daemon=daemon)))
"""


class Running:
    """A demo in a process of its own, whose descendants carry a mark in their environment."""

    def __init__(self, folder: Path, fault: str, *arguments: str, healthy_s: float = 0.6) -> None:
        self.folder = folder
        self.mark = uuid.uuid4().hex
        stub = str(Path(__file__).with_name("stub_daemon.py"))
        code = PLAY.format(stub=stub, fault=fault, arguments=arguments, healthy=healthy_s)
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "TMPDIR": str(folder), "DEMO_TEST": self.mark}, start_new_session=True,
        )  # fmt: skip

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err

    def wait_for(self, condition, timeout_s: float = 15.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "it did not come to that"
            time.sleep(0.05)

    def alive(self) -> list[str]:
        """Command lines of processes with the mark."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    if self.mark.encode() in (entry / "environ").read_bytes():
                        found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
                except OSError:
                    continue
        return found

    def everything_runs(self) -> bool:
        return sum("load" in command for command in self.alive()) == 1


def test_a_refusal_nobody_describes_is_played_from_start_to_end(tmp_path: Path):
    """The stage itself, without the daemon's brains: processes, messages, verdict, JSON line, cleaning up."""
    demo = Running(tmp_path, "unknown")

    status, out, err = demo.end()

    found = json.loads(out.splitlines()[-1])
    assert status == 0, err
    assert list(found) == ["fault", "first_503", "message_at", "seconds", "cause", "probability", "incident"]
    assert (found["fault"], found["cause"], found["incident"]) == ("unknown", None, "inc-1")
    assert found["message_at"] > found["first_503"]
    assert "simulated" in err
    assert list(tmp_path.iterdir()) == []
    demo.wait_for(lambda: demo.alive() == [])


def test_a_daemon_that_names_a_cause_for_the_unknown_fails_the_demo(tmp_path: Path):
    """Exit status 1 is what CI sees."""
    status, out, err = Running(tmp_path, "unknown", "slow_node").end()

    assert status == 1
    assert json.loads(out.splitlines()[-1])["cause"] == "slow_node"
    assert "WRONG" in err


def test_ctrl_c_leaves_no_process_and_no_file(tmp_path: Path):
    """People stop demos in the middle."""
    demo = Running(tmp_path, "random", healthy_s=60.0)
    demo.wait_for(demo.everything_runs)

    os.killpg(demo.process.pid, signal.SIGINT)
    status, _, err = demo.end()

    assert status == 130
    assert "Traceback" not in err
    demo.wait_for(lambda: demo.alive() == [])
    assert list(tmp_path.iterdir()) == []


def test_even_a_killed_demo_leaves_nothing(tmp_path: Path):
    """The out-of-memory killer gives nobody time to clean up."""
    demo = Running(tmp_path, "traffic_burst", healthy_s=60.0)
    demo.wait_for(demo.everything_runs)

    demo.process.kill()
    demo.end()

    demo.wait_for(lambda: demo.alive() == [])
    demo.wait_for(lambda: list(tmp_path.iterdir()) == [])


@pytest.mark.parametrize("command", [("-c", "raise SystemExit('no such settings')"), ("-c", "print('bye')")])
def test_a_daemon_that_does_not_start_fails_at_once_with_its_last_words(tmp_path: Path, command: tuple[str, ...]):
    """Half a minute of waiting for nothing, then no reason: that is how demos get a bad name."""
    code = (
        "import sys; from aiops.demo.scenario import Options, run_demo; "
        f"sys.exit(run_demo(Options('unknown', daemon=(sys.executable, *{command!r}))))"
    )
    started_s = time.monotonic()

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip

    assert done.returncode == 1
    assert "The demo failed: daemon ended" in done.stdout
    assert time.monotonic() - started_s < 15
