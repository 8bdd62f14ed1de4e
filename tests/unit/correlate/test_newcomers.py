from __future__ import annotations

import numpy as np

from aiops.correlate.newcomers import newcomers
from aiops.model import Labels
from aiops.ports import Window

SERVER = [0.0, 15.0, 30.0, 45.0, 60.0, 75.0, 90.0]


def held(pid: str, at_s: list[float]) -> Window:
    return Window(Labels.of(gpu="1", pid=pid), np.array(at_s), np.ones(len(at_s)))


def test_a_process_beside_a_server_that_stays_is_a_newcomer():
    found = newcomers([held("28", SERVER), held("72", [60.0, 75.0, 90.0])], 0.0, 90.0)

    assert found is not None
    assert (found.more, [labels.get("pid") for labels in found.who]) == (1, ["72"])
    assert (found.onset.after_s, found.onset.by_s) == (45.0, 60.0)


def test_a_process_that_takes_the_place_of_one_that_ended_is_none():
    found = newcomers([held("28", SERVER[:4]), held("72", [75.0, 90.0])], 0.0, 90.0)

    assert found is not None
    assert found.more == 0


def test_who_was_there_before_the_window_is_none():
    found = newcomers([held("28", SERVER), held("72", SERVER)], 40.0, 90.0)

    assert found is not None
    assert found.more == 0


def test_nothing_is_said_where_nobody_looked_long_enough():
    assert newcomers([held("28", [80.0]), held("72", [90.0])], 0.0, 90.0) is None
    assert newcomers([], 0.0, 90.0) is None
