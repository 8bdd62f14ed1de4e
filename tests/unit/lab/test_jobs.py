"""Plans: lines that are read, and sets that are drawn in balance."""

import random
from collections import Counter

import pytest

from tests.lab.faults.fault import Fault
from tests.lab.jobs import Job, PlanError, Wanted, draw_plan, read_plan, start


class Simple(Fault):
    async def begin(self, house):
        pass

    async def end(self, house):
        pass


class Pool(Simple):
    name = cause = "pool"


class PoolToo(Simple):
    name, cause = "pool_too", "pool"


class OnlyNginx(Simple):
    name = cause = "limit"
    gateways = ("nginx",)


class Crash(Simple):
    name = cause = "crash"

    def __init__(self, rng):
        super().__init__(rng)
        self.magnitudes["variant"] = rng.choice(("killed", "killed", "killed", "exit"))


class Nothing(Simple):
    name, cause, kind, hurts = "none", None, "none", False


FAULTS = {fault.name: fault for fault in (Pool, PoolToo, OnlyNginx, Nothing)}


def test_a_plan_is_read_without_its_remarks_and_repetitions():
    lines = ["# the first", "", "pool python vllm 3", "pool python vllm 3  # again", "limit nginx sglang 4"]

    assert read_plan(lines, FAULTS) == [Job("pool", 3, "python", "vllm"), Job("limit", 4, "nginx", "sglang")]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("pool python vllm", "expected fault"),
        ("pool python vllm three", "expected fault"),
        ("flood python vllm 3", "no fault flood"),
        ("limit python vllm 3", "not possible on python"),
        ("pool python triton 3", "not possible"),
    ],
)
def test_a_wrong_line_of_a_plan_is_named(line: str, complaint: str):
    with pytest.raises(PlanError, match=rf"line 2: .*{complaint}"):
        read_plan(["pool python vllm 1", line], FAULTS)


@pytest.mark.parametrize("seed", range(20))
def test_a_drawn_plan_can_be_read_and_has_what_was_wanted(seed: int):
    jobs = draw_plan(Wanted(per_cause=4, none=3), FAULTS, random.Random(seed))

    assert sorted(read_plan([job.line for job in jobs], FAULTS), key=lambda job: job.name) == sorted(
        jobs, key=lambda job: job.name
    )
    assert Counter(job.fault for job in jobs) == {"pool": 2, "pool_too": 2, "limit": 4, "none": 3}


@pytest.mark.parametrize("seed", range(20))
def test_both_kinds_of_houses_see_every_fault_that_is_possible_in_both(seed: int):
    jobs = draw_plan(Wanted(per_cause=4, none=2), FAULTS, random.Random(seed))

    seen = Counter((job.fault, job.gateway, job.dialect) for job in jobs)
    for fault in ("pool", "pool_too", "none"):
        assert seen[fault, "python", "vllm"] == seen[fault, "nginx", "sglang"] == 1
    assert seen["limit", "nginx", "sglang"] == 4


@pytest.mark.parametrize("seed", range(10))
def test_variants_of_a_fault_have_their_turns(seed: int):
    jobs = draw_plan(Wanted(per_cause=4), {"crash": Crash}, random.Random(seed))

    variants = Counter(start(Crash, job.seed)[0].magnitudes["variant"] for job in jobs)
    assert variants == {"killed": 2, "exit": 2}


def test_the_same_seed_draws_the_same_plan():
    first, second = (draw_plan(Wanted(), FAULTS, random.Random(7)) for _ in range(2))

    assert first == second
