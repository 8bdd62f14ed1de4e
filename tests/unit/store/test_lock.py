"""A state folder belongs to one process at a time, however that one ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from aiops.errors import StateError
from aiops.store.lock import held

HOLD = "import sys; from pathlib import Path; from aiops.store.lock import held\nwith held(Path(sys.argv[1])): print('held', flush=True); input()"


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that holds the folder until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_folder_that_another_process_holds_is_refused_by_name(tmp_path: Path, holder: subprocess.Popen[str]):
    """What two write, one of them loses."""
    with pytest.raises(StateError, match=f"another process works with {tmp_path}"), held(tmp_path):
        pass


def test_kill_9_gives_the_folder_back_and_who_waits_has_it(tmp_path: Path, holder: subprocess.Popen[str]):
    """A restart after a crash must not need somebody to remove a file."""
    holder.kill()
    with held(tmp_path, wait_s=5.0):
        assert list(tmp_path.iterdir()) == []


def test_a_folder_is_free_after_its_block(tmp_path: Path):
    """A second command a moment later is no conflict."""
    taken = 0
    for _ in range(2):
        with held(tmp_path):
            taken += 1

    assert taken == 2
