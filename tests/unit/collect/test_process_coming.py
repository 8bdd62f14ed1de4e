"""Who will own a port is told from the command lines of those that own theirs, and from nothing less."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.collect.process_coming import coming, other_port
from aiops.collect.process_names import program
from aiops.collect.process_table import Process

CASES = json.loads((Path(__file__).parents[2] / "cases/collect/process_coming.json").read_text())


def words(line: str) -> tuple[str, ...]:
    return tuple(line.split())


def process(pid: int, line: str, parent: int = 1, *, start_ticks: int = 0) -> Process:
    command = words(line)
    return Process(pid, parent, start_ticks or pid, command, None, program(command)[0])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["why"])
def test_the_port_a_process_will_own_is_told_by_the_command_line_of_a_server(case):
    assert other_port(words(case["command"]), words(case["server"]), case["owns"]) == case["port"]


def test_of_a_parent_and_its_child_the_parent_is_the_server_and_of_two_starts_the_later():
    known = {words("python serve.py --port 8001"): 8001}
    young = [
        process(10, "python serve.py --port 8002"),
        process(11, "python serve.py --port 8002", parent=10),
        process(20, "python serve.py --port 8003"),
        process(30, "python serve.py --port 8003"),
    ]
    assert coming(young, known, {8001}) == {10: 8002, 30: 8003}


def test_a_port_that_somebody_owns_is_nobody_s_to_come():
    known = {words("python serve.py --port 8001"): 8001, words("python serve.py --port 8002"): 8002}
    assert coming([process(10, "python serve.py --port 8002")], known, {8001, 8002}) == {}


def test_the_kernel_s_threads_and_zombies_will_own_nothing():
    young = [Process(9, 2, 9, ("serve.py", "--port", "8002"), None, "")]
    assert coming(young, {("serve.py", "--port", "8001"): 8001}, {8001}) == {}


_WORDS = st.lists(st.sampled_from(("python", "-m", "-c", "--port", "--port=8001", "8001", ":", "=", "-", "", "é8", "٣")) | st.text(max_size=6), max_size=6)  # fmt: skip


@given(command=_WORDS, known=_WORDS, own=st.integers(1, 65_535))
def test_any_command_line_names_another_port_or_none(command, known, own):
    port = other_port(tuple(command), tuple(known), own)
    assert port is None or (0 < port < 65_536 and port != own and command != known)
