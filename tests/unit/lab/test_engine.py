"""The lab's engine: what it caches, what it leaves behind, and houses that are as large as their demand needs."""

import asyncio
import random
import time
from pathlib import Path

import pytest

from aiops.demo.kv import Batcher
from tests.lab.engine import LabEngine
from tests.lab.engine_log import open_log
from tests.lab.faults.on_card import tight
from tests.lab.pages import LabRequest, open_page
from tests.lab.plan import Plan


class NoPool:
    used = idle = limit = pending = 0


class IdleCard:
    """Has time and memory for everybody."""

    def __init__(self) -> None:
        self.kept: list[float] = []

    async def alloc(self, mib: float) -> int:
        self.kept.append(mib)
        return len(self.kept)

    async def free(self, handle: int) -> None:
        pass

    async def run(self, work_s: float, intensity: float, ahead_s: float) -> float:
        assert 0.0 < intensity <= 1.0
        assert 0.0 <= ahead_s <= work_s
        return time.monotonic()

    async def busy(self, share: float) -> None:
        pass


class Bench:
    def __init__(self, folder: Path, dialect: str = "vllm") -> None:
        self.card, self.batcher = IdleCard(), Batcher(100, 16, 8, 8)
        self.page = open_page(dialect, "m", self.batcher, NoPool(), split=False)
        self.journal = open_log(dialect, folder / "log")
        self.engine = LabEngine(self.card, self.batcher, self.page, self.journal, dialect)

    def serve(self, requests: int) -> None:
        asyncio.run(self._serve(requests))

    async def _serve(self, requests: int) -> None:
        running = asyncio.create_task(self.engine.run())
        for number in range(requests):
            request = LabRequest(f"r{number}", 40, 3, 0.0)
            output = self.engine.submit(request)
            assert sum([count async for count in self.engine.tokens(request, output)]) == 3
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.journal.close()


def test_only_whole_blocks_from_the_beginning_on_are_cached(bench):
    engine = bench.engine
    prompt = [f"w{n}" for n in range(40)]

    found = [
        engine.cached_tokens(prompt),
        engine.cached_tokens(prompt),
        engine.cached_tokens([*prompt[:20], "other", *prompt[21:]]),
        engine.cached_tokens(["other", *prompt[1:]]),
        engine.cached_tokens(prompt[:32]),
    ]

    assert found == [0, 32, 16, 0, 31]


def test_blocks_that_requests_leave_behind_are_never_free_again(bench):
    bench.engine.habits.kv_leak = 1.5

    bench.serve(4)

    assert not bench.batcher.running
    assert bench.batcher.used == 6


def test_memory_that_requests_leave_behind_is_taken_from_the_card(bench):
    bench.engine.habits.vram_leak_mib = 7.5

    bench.serve(3)

    assert bench.card.kept.count(7.5) == 3


@pytest.mark.parametrize(
    ("dialect", "words"), [("vllm", "] torch.OutOfMemoryError: no"), ("sglang", "Scheduler hit an")]
)
def test_an_engine_that_ends_says_so_in_its_own_words(tmp_path, dialect, words):
    log = open_log(dialect, tmp_path / "log")

    log.died("torch.OutOfMemoryError: no")
    log.close()

    assert words in (tmp_path / "log").read_text()


@pytest.mark.parametrize("speed", [0.75, 0.6, 0.4])
def test_a_tight_house_has_room_while_all_is_well(speed):
    for seed in range(20):
        plan, used = tight(Plan(1, "nginx", "vllm"), speed, random.Random(seed))
        assert 0.55 <= used <= 0.85
        assert 3 <= plan.max_running < 20
