"""The engine's loop at a thousand times its speed: tokens, failures of the card, clients that leave."""

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from aiops.demo.card import OutOfMemory, Room
from aiops.demo.engine import Engine, Pace
from aiops.demo.kv import Batcher, Sequence
from aiops.demo.pool import ConnectionPool
from aiops.demo.server_log import ServerLog
from aiops.demo.server_metrics import ServerMetrics

FAST = Pace(host_s=0.0, step_s=0.0001, per_running_s=0.0, per_prompt_token_s=0.0)


class FakeCard:
    """Gives memory, or refuses it."""

    def __init__(self) -> None:
        self.full = False
        self.held = 0

    async def room(self) -> Room:
        return Room(0.0 if self.full else 512.0, 1024.0)

    async def alloc(self, mib: float) -> int:
        if self.full:
            raise OutOfMemory(1, mib, await self.room(), 512.0)
        self.held += 1
        return self.held

    async def free(self, handle: int) -> None:
        self.held -= 1

    async def busy(self, share: float) -> None:
        pass

    def close(self) -> None:
        pass


class Bench:
    def __init__(self, folder: Path, blocks: int = 100) -> None:
        self.card = FakeCard()
        self.batcher = Batcher(blocks, block_size=16, max_running=8, max_waiting=8)
        self.log = folder / "server.log"
        journal = ServerLog(self.log)
        self.metrics = ServerMetrics("m", self.batcher, ConnectionPool(0, size=1, overflow=0, timeout_s=1.0))
        self.engine = Engine(self.card, self.batcher, self.metrics, journal, pace=FAST)
        self.journal = journal

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, {"model_name": "m", "engine": "0"} | labels)

    def run(self, play):
        async def run():
            stepping = asyncio.create_task(self.engine.run())
            try:
                async with asyncio.timeout(10):
                    return await play()
            finally:
                stepping.cancel()
                await asyncio.gather(stepping, return_exceptions=True)
                self.journal.close()

        return asyncio.run(run())


async def counts(engine: Engine, name: str, output: int, prompt: int = 40) -> list[int]:
    sequence = Sequence(name, prompt, output, asyncio.get_running_loop().time())
    tokens = engine.submit(sequence)
    assert tokens is not None
    return [count async for count in engine.tokens(sequence, tokens)]


@pytest.mark.parametrize("output", [1, 2, 8, 9, 10, 17, 40])
def test_every_token_is_delivered_and_the_first_alone(tmp_path: Path, output: int):
    """The first piece makes time to first token; a miscount would hang the client for ever."""
    bench = Bench(tmp_path)

    pieces = bench.run(lambda: counts(bench.engine, "a", output))

    assert pieces[0] == 1
    assert sum(pieces) == output
    assert bench.value("vllm:generation_tokens_total") == output
    assert (bench.batcher.used, bench.card.held) == (0, 0)


def test_requests_beyond_the_kv_cache_are_preempted_and_still_finish(tmp_path: Path):
    """A full KV cache must cost time, not answers."""
    bench = Bench(tmp_path, blocks=10)

    async def play():
        return await asyncio.gather(*(counts(bench.engine, str(n), 60) for n in range(4)))

    totals = [sum(pieces) for pieces in bench.run(play)]

    assert totals == [60] * 4
    assert (bench.value("vllm:num_preemptions_total") or 0) > 0
    assert bench.value("vllm:request_success_total", finished_reason="length") == 4


def test_a_card_without_memory_fails_the_request_with_pytorchs_words_and_frees_its_blocks(tmp_path: Path):
    """That line and that 503 are what VRAM exhaustion looks like in the field."""
    bench = Bench(tmp_path)
    bench.card.full = True

    async def play():
        with pytest.raises(OutOfMemory):
            await counts(bench.engine, "a", 5)
        bench.card.full = False
        return await counts(bench.engine, "b", 5)

    assert sum(bench.run(play)) == 5
    assert "torch.OutOfMemoryError: CUDA out of memory" in bench.log.read_text()
    assert bench.value("vllm:request_success_total", finished_reason="error") == 1
    assert bench.batcher.used == 0


def test_a_client_that_leaves_frees_its_blocks(tmp_path: Path):
    """Otherwise every impatient client would leak KV cache."""
    bench = Bench(tmp_path)

    async def play():
        sequence = Sequence("a", 40, 500, 0.0)
        output = bench.engine.submit(sequence)
        assert output is not None
        async with aclosing(bench.engine.tokens(sequence, output)) as tokens:
            await anext(tokens)
        return bench.batcher.used

    assert bench.run(play) == 0
    assert bench.value("vllm:request_success_total", finished_reason="abort") == 1


def test_prompts_that_begin_alike_hit_the_prefix_cache(tmp_path: Path):
    """Hits and queries are counted in tokens, as the page's names say."""
    bench = Bench(tmp_path)
    prompt = [f"w{n}" for n in range(50)]

    bench.engine.look_up_prefix(prompt)
    bench.engine.look_up_prefix([*prompt[:32], "another", "end"])
    bench.engine.look_up_prefix(prompt[:10])
    bench.journal.close()

    assert bench.value("vllm:prefix_cache_queries_total") == 94
    assert bench.value("vllm:prefix_cache_hits_total") == 32
