"""Control groups of a cell, of either version; what is left of a cell is known by its dead owner."""

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from tests.lab import cell
from tests.lab.cell import Cell, CellError, Group, NotRoot, parents


def hierarchy(folder: Path, *controllers: str) -> Path:
    for name in controllers:
        (folder / name).mkdir()
        (folder / name / "cgroup.procs").touch()
    return folder


def test_a_command_joins_every_control_group_before_it_runs(tmp_path: Path):
    folders = {name: hierarchy(tmp_path, name) / name for name in ("cpu", "memory")}

    command = Group(folders).command(("sh", "-c", "echo $$ is $0", "it's me"))
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert said.endswith("is it's me\n")
    for folder in folders.values():
        assert (folder / "cgroup.procs").read_text().split() == [said.split()[0]]


def test_version_one_is_used_where_it_has_the_controllers(tmp_path: Path):
    hierarchy(tmp_path, "cpu", "cpuacct", "memory", "pids", "unified")

    assert parents(tmp_path) == {name: tmp_path / name for name in ("cpu", "cpuacct", "memory", "pids")}


def test_version_two_has_one_folder_for_all(tmp_path: Path):
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids")
    (tmp_path / "cgroup.subtree_control").touch()

    found = parents(tmp_path)

    assert set(found.values()) == {tmp_path}
    assert Group(found).version == 2


@pytest.mark.parametrize(
    ("cores", "one", "two"),
    [
        (0.5, "50000", "50000 100000"),
        (2.0, "200000", "200000 100000"),
        (0.002, "1000", "1000 100000"),
        (None, "-1", "max"),
    ],
)
def test_a_limit_of_cores_is_written_as_each_version_has_it(tmp_path: Path, cores: float | None, one: str, two: str):
    (tmp_path / "cpu").mkdir()

    Group({"cpu": tmp_path / "cpu", "memory": tmp_path}).limit_cores(cores)
    Group({"cpu": tmp_path, "memory": tmp_path}).limit_cores(cores)

    assert (tmp_path / "cpu/cpu.cfs_quota_us").read_text() == one
    assert (tmp_path / "cpu.max").read_text() == two


def test_groups_of_a_cell_lie_in_its_own_and_are_made_once(tmp_path: Path):
    top = Group({name: hierarchy(tmp_path, name) / name for name in ("cpu", "memory")})
    house = Cell(top, tmp_path)

    group = house.group("replica-0")

    assert group is house.group("replica-0")
    assert set(group.folders.values()) == {tmp_path / "cpu/replica-0", tmp_path / "memory/replica-0"}


def test_whoever_is_not_root_is_told_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(NotRoot, match="needs root"):
        cell.check_root()


def test_a_group_of_version_two_hands_controllers_down_to_those_inside(tmp_path: Path):
    """Else there is nothing in them to set a limit with."""
    house = Cell(Group(dict.fromkeys(("cpu", "memory"), tmp_path)), tmp_path)

    house.group("pods/replica-0").limit_memory(100)

    for folder in (tmp_path, tmp_path / "pods"):
        assert (folder / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    assert (tmp_path / "pods/replica-0/memory.max").read_text() == "100"


def test_a_hierarchy_that_may_not_be_written_to_is_told(tmp_path: Path):
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids")
    (tmp_path / "cgroup.subtree_control").mkdir()  # as unwritable as can be, also for root

    with pytest.raises(CellError, match="cannot hand its controllers down"):
        parents(tmp_path)


def test_a_limit_where_there_are_no_control_groups_says_so():
    with pytest.raises(CellError, match="no control groups of memory"):
        Cell(Group({}), Path()).group("pods").limit_memory(1)


def test_only_a_run_that_lives_keeps_its_cell():
    sleeper = subprocess.Popen(["tests.lab", "60"], executable="/bin/sleep")
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        assert cell.lives(str(sleeper.pid))
        assert not cell.lives(str(stranger.pid))
    finally:
        sleeper.kill()
        stranger.kill()
        sleeper.wait()
        stranger.wait()
    assert not cell.lives(str(sleeper.pid))


def test_a_run_that_must_be_alone_waits_for_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Also for those of another campaign."""
    monkeypatch.setattr(cell, "FOLDERS", tmp_path)

    def free(how: int) -> bool:
        with (tmp_path / "turn").open("w") as lock:
            try:
                fcntl.flock(lock, how | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    with cell.turn(alone=False):
        assert free(fcntl.LOCK_SH)
        assert not free(fcntl.LOCK_EX)
    with cell.turn(alone=True):
        assert not free(fcntl.LOCK_SH)


def test_what_lies_under_our_own_number_is_from_somebody_before_us(monkeypatch: pytest.MonkeyPatch):
    """Numbers of processes are used again."""
    sleeper = subprocess.Popen(["tests.lab", "60"], executable="/bin/sleep")
    monkeypatch.setattr(os, "getpid", lambda: sleeper.pid)
    try:
        assert not cell.lives(str(sleeper.pid))
    finally:
        sleeper.kill()
        sleeper.wait()


@pytest.mark.parametrize(
    ("controllers", "stat"),
    [(("memory",), "anon 5000\nfile 900\nkernel_stack 96\n"), (("cpu", "memory"), "rss 1\ntotal_rss 5000\ntotal_unevictable 96\n")],
)  # fmt: skip
def test_what_a_group_holds_leaves_out_what_can_be_dropped(tmp_path: Path, controllers: tuple[str, ...], stat: str):
    hierarchy(tmp_path, *controllers)
    (tmp_path / "memory" / "memory.stat").write_text(stat)

    assert Group({name: tmp_path / name for name in controllers}).memory() == 5096


def test_a_running_process_is_moved_in_every_controller(tmp_path: Path):
    folders = {name: hierarchy(tmp_path, name) / name for name in ("cpu", "memory")}

    Group(folders).move(4711)

    assert {(folder / "cgroup.procs").read_text() for folder in folders.values()} == {"4711"}
