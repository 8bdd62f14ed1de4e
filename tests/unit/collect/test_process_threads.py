"""The busiest of hundreds of threads is found by reading few of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiops.collect.process_threads import Threads

TAIL = "0 0 20 0 1 0 100 0 0"


class Task:
    """/proc/<pid>/task with threads whose CPU is set by hand; counts which are read by what is there."""

    def __init__(self, root: Path, pid: int, count: int) -> None:
        self.folder = root
        self.pid = pid
        self.ticks = dict.fromkeys(range(pid, pid + count), 0)
        self.states = dict.fromkeys(self.ticks, "S")
        for tid in self.ticks:
            (self.folder / "task" / str(tid)).mkdir(parents=True)
            self.write(tid)

    def run(self, **grown: int) -> None:
        for name, ticks in grown.items():
            tid = int(name[1:])
            self.ticks[tid] += ticks
            self.write(tid)

    def write(self, tid: int) -> None:
        path = self.folder / "task" / str(tid) / "stat"
        path.write_text(f"{tid} (a) {self.states[tid]} 1 1 1 0 -1 0 0 0 0 0 {self.ticks[tid]} 0 {TAIL}\n")


def test_a_thread_hidden_among_many_is_found_in_the_second_look(tmp_path):
    """A tokenizer thread is seldom the main one."""
    task = Task(tmp_path, 100, 50)
    threads = Threads(str(tmp_path), 100)
    assert threads.look(0.0, 0.0).ratio == 0.0
    ratios = []
    for number in (1, 2, 3):
        task.run(t137=950, t100=20)
        ratios.append(threads.look(0.97, 10.0 * number).ratio)
    assert ratios == [None, pytest.approx(0.95), pytest.approx(0.95)]


def test_once_found_only_a_few_are_read(tmp_path):
    """Reading two hundred threads of each process in every round would cost more than all other collectors."""
    task = Task(tmp_path, 100, 50)
    threads = Threads(str(tmp_path), 100)
    for number in range(4):
        task.run(t137=950)
        threads.look(0.95, 10.0 * number)
    assert len(threads._before) <= 9
    assert 137 in threads._before


def test_another_busy_thread_is_looked_for_when_the_known_ones_fall_idle(tmp_path):
    """Work moves: the thread that was full an hour ago is not the one that is full now."""
    task = Task(tmp_path, 100, 50)
    threads = Threads(str(tmp_path), 100)
    for number in range(4):
        task.run(t137=950)
        threads.look(0.95, 10.0 * number)
    seen = []
    for number in range(4, 20):
        task.run(t141=950)
        seen.append(threads.look(0.95, 10.0 * number).ratio)
    assert seen[-1] == pytest.approx(0.95)
    assert None in seen, "meanwhile it is unknown, and not zero"


def test_a_thread_found_once_is_known_again_after_a_quiet_hour(tmp_path):
    """Traffic comes in waves; the search must not begin anew with each."""
    task = Task(tmp_path, 100, 50)
    threads = Threads(str(tmp_path), 100)
    for number in range(4):
        task.run(t137=950)
        threads.look(0.95, 10.0 * number)
    for number in range(4, 364):
        threads.look(0.0, 10.0 * number)
    seen = []
    for number in range(364, 367):
        task.run(t137=950)
        seen.append(threads.look(0.95, 10.0 * number).ratio)
    assert seen == [None, pytest.approx(0.95), pytest.approx(0.95)]


def test_work_spread_over_many_threads_is_searched_for_ever_more_seldom(tmp_path):
    """Twelve threads at a fifth of a core: there is no busiest one to find, and looking costs."""
    task = Task(tmp_path, 100, 30)
    threads = Threads(str(tmp_path), 100)
    scans = []
    for number in range(40):
        task.run(**{f"t{tid}": 200 for tid in range(110, 122)})
        before = threads._baseline
        threads.look(2.4, 10.0 * number)
        if threads._baseline is not None and before is None:
            scans.append(10.0 * number)
    assert 2 <= len(scans) <= 4, scans


def test_a_quiet_process_is_not_looked_into(tmp_path):
    """No thread takes more than the process; its CPU is an upper bound."""
    Task(tmp_path, 100, 50)
    threads = Threads(str(tmp_path), 100)
    assert threads.look(0.3, 10.0).ratio == 0.3
    assert list(threads._before) == [100]


def test_blocked_threads_are_counted(tmp_path):
    """A server whose threads hang in the kernel uses no CPU at all."""
    task = Task(tmp_path, 100, 3)
    task.states[100] = "D"
    task.write(100)
    assert Threads(str(tmp_path), 100).look(0.0, 10.0).blocked == 1


def test_threads_that_end_and_folders_that_vanish_are_survived(tmp_path):
    """Between the listing and the reading, pools shrink and processes end."""
    threads = Threads(str(tmp_path / "gone"), 100)
    assert [threads.look(2.4, 10.0 * number).ratio for number in range(3)] == [None] * 3
