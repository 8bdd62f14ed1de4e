"""
The state file when the process is killed.

A child performs a fixed sequence of writes and notes each one that returned in a file of marks. It is killed with SIGKILL
before its n-th SQL statement, for every n. Whatever n: the file opens, what was marked is there, and of what was not
marked either all or nothing is.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aiops.store.state_sqlite import StateSqlite
from tests.unit.store.builders import notification

CHILD = """
import os, signal, sys
from pathlib import Path
from aiops.model import ChangeSet
from aiops.store.state_sqlite import StateSqlite
from tests.unit.store.builders import alert, deploy, incident, notification

def steps(directory, die_before):
    marks = os.open(directory / "marks", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    state = StateSqlite(directory / "state.db", 0.0)
    seen = 0
    def trace(statement):
        nonlocal seen
        seen += 1
        if seen == die_before:
            os.kill(os.getpid(), signal.SIGKILL)
    state._database._writer.set_trace_callback(trace)
    def mark(name):
        os.write(marks, name.encode() + b"\\n")
    state.commit(ChangeSet((alert(),), (incident(),), (notification(),), (deploy(),)))
    mark("committed")
    state.put("tail", b"7")
    state.write_checkpoints(state.changed_checkpoints())
    mark("flushed")
    (claimed,) = state.claim(100.0, 60.0, 9)
    mark("claimed")
    state.ack(claimed.key, 101.0)
    mark("acknowledged")
    os._exit(0)

root = Path(sys.argv[1])
for die_before in range(1, 100):
    directory = root / f"{die_before:02d}"
    directory.mkdir()
    child = os.fork()
    if child == 0:
        steps(directory, die_before)
    if os.waitpid(child, 0)[1] == 0:
        sys.exit(0)
sys.exit(1)
"""

ENDLESS = """
import sys
from pathlib import Path
from aiops.model import ChangeSet
from aiops.store.state_sqlite import StateSqlite
from tests.unit.store.builders import incident, notification

state = StateSqlite(Path(sys.argv[1]), 0.0)
for i in range(100_000):
    state.commit(ChangeSet(incidents=(incident(f"i{i}"),), notifications=(notification(f"k{i}", f"i{i}"),)))
    print(i, flush=True)
"""


def test_a_kill_between_any_two_statements_leaves_all_or_nothing(tmp_path: Path):
    """ "Committed" is a promise to a person who sleeps."""
    subprocess.run([sys.executable, "-c", CHILD, str(tmp_path)], check=True, timeout=60)
    directories = sorted(tmp_path.iterdir())

    seen = set()
    for directory in directories:
        marks = (directory / "marks").read_text().split()
        state = StateSqlite(directory / "state.db", 200.0)
        parts = (
            bool(state.alerts()),
            bool(state.open_incidents()),
            bool(state.events(0.0, 1e9)),
            bool(state._database.read("SELECT 1 FROM outbox")),
        )
        assert parts in {(False,) * 4, (True,) * 4}, directory.name
        if "committed" in marks:
            assert all(parts), directory.name
        if "flushed" in marks:
            assert state.get("tail") == b"7"
        if "acknowledged" in marks:
            assert state.waiting_count() == 0
        elif all(parts) and state.waiting_count():
            assert [n.key for n in state.claim(200.0, 60.0, 9)] == [notification().key]
        seen.add((parts[0], *marks))
        state.close()

    assert len(directories) >= 14  # one for each statement of the sequence
    assert {len(marks) for marks in seen} >= {1, 2, 3, 4, 5}  # killed within every step, and not at all


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_kill_at_any_moment_loses_no_acknowledged_write(tmp_path: Path, seed: int):
    """The same with the clock as the executioner, in the middle of whatever SQLite is doing."""
    path = tmp_path / "state.db"
    with subprocess.Popen([sys.executable, "-c", ENDLESS, str(path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "0\n"
        time.sleep(random.Random(seed).uniform(0.02, 0.2))
        os.kill(child.pid, signal.SIGKILL)
        promised = ["0", *child.stdout.read().split("\n")[:-1]]

    state = StateSqlite(path, 1.0)
    kept = {incident.id for incident in state.open_incidents()}
    subjects = {row[0] for row in state._database.read("SELECT subject FROM outbox")}
    state.close()

    assert {f"i{number}" for number in promised} <= kept
    assert kept == subjects
