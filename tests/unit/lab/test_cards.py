"""The lab's cards: kernels share the card, the clock slows them, heat cuts it, broken cards fail what runs."""

import asyncio
import json

import pytest

from tests.lab.card_process import Job, LabCards, LabGpu


def job(seconds: float, owner: int = 1, told: list | None = None) -> Job:
    return Job(owner, seconds, 0.5, (told if told is not None else []).append)


def test_two_processes_share_a_card_and_a_low_clock_slows_both():
    gpu = LabGpu(0)
    first, second = job(1.0), job(0.5, owner=2)
    gpu.jobs = [first, second]

    assert gpu.advance(0.9) == []
    assert gpu.advance(1.0) == [second]
    gpu.clock = 0.5
    assert gpu.next_s() == pytest.approx(2.0)
    assert gpu.advance(2.0) == [first]
    assert gpu.busy_s == pytest.approx(2.0)


def test_a_kernel_that_waited_for_a_late_host_has_begun_already():
    gpu = LabGpu(0, advanced_s=10.0)
    gpu.launch(job(0.03), 0.01)

    assert gpu.next_s() == pytest.approx(10.02)
    assert gpu.busy_s == pytest.approx(0.01)


def test_a_kernel_that_hangs_keeps_the_card_busy_at_little_power_and_is_never_done():
    gpu = LabGpu(0, jobs=[Job(1, float("inf"), 0.1, print)])

    assert gpu.next_s() is None
    assert gpu.advance(60.0) == []
    assert gpu.busy_s == pytest.approx(60.0)
    assert gpu.watts() < 100.0


def test_without_cooling_the_clock_is_cut_only_once_it_is_hot_and_given_back_later():
    gpu = LabGpu(0, hot_c=93.0, cut=0.4)
    clocks = []
    for tenth in range(120):
        gpu.govern(tenth * 0.5)
        clocks.append(gpu.clock)
    reasons = gpu.reasons()
    gpu.hot_c = 0.0
    for tenth in range(120, 300):
        gpu.govern(tenth * 0.5)

    assert clocks[2] == 1.0
    assert clocks[-1] == pytest.approx(0.6)
    assert reasons == 0x20
    assert gpu.clock == 1.0
    assert gpu.reasons() == 0


def test_memory_is_listed_by_process_and_freed_with_it(tmp_path):
    async def play():
        cards = LabCards([LabGpu(0), LabGpu(1)], tmp_path / "state")
        told: list = []
        cards.answer(77, {"op": "alloc", "gpu": 1, "mib": 1000.0}, told.append)
        cards.answer(77, {"op": "alloc", "gpu": 1, "mib": 90_000.0}, told.append)
        cards.publish(0.0)
        held = (tmp_path / "state").read_text()
        cards.leave(77)
        cards.publish(1.0)
        return told, held, (tmp_path / "state").read_text()

    told, held, after = asyncio.run(play())
    assert [answer["ok"] for answer in told] == [True, False]
    assert f"proc.1=77:{1000 * 2**20}" in held.splitlines()
    assert "proc.1=0:0" in after.splitlines()


def test_a_card_off_the_bus_fails_what_runs_and_whatever_comes(tmp_path):
    async def play():
        cards = LabCards([LabGpu(0)], tmp_path / "state")
        told: list = []
        cards.answer(5, {"op": "run", "gpu": 0, "s": 10.0, "intensity": 1.0, "ahead": 0.0}, told.append)
        change = {"op": "set", "gpu": 0, "lost": True, "error": "CUDA error: unknown error", "xid": 79}
        cards.answer(0, change, lambda answer: None)
        cards.answer(5, {"op": "alloc", "gpu": 0, "mib": 1.0}, told.append)
        cards.publish(0.0)
        return told, (tmp_path / "state").read_text().splitlines()

    told, state = asyncio.run(play())
    assert told == [{"ok": False, "cuda": "CUDA error: unknown error"}] * 2
    assert {"xid=1:0:79", "lost=0"} <= set(state)
    json.dumps(told)
