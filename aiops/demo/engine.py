"""
The engine loop of a model server: batches, prefills, decodes, against real time, real CPU work and a card's memory.

A step gives every running request one token. It costs host work (hashing, in proportion to the batch) and time in which
a GPU would compute (slept, longer for larger batches and longer prompts). A prefill needs working memory of the card;
when the card refuses, the request fails as it would in PyTorch.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiops.demo.card import Card, OutOfMemory
from aiops.demo.kv import Batcher, Sequence
from aiops.demo.server_log import ServerLog
from aiops.demo.server_metrics import ServerMetrics

_PREFILLS_A_STEP = 4
_TOKENS_A_PIECE = 8
_PREFIX_TOKENS = 32
_PREFIXES_KEPT = 64
_REPORT_S = 0.5
_STATS_S = 5.0
_WORK = bytes(64 * 1024)
"""Hashed once per running request and step: about 70 µs of a core."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What a step costs. Seconds."""

    host_s: float = 0.005
    """Scheduling between two steps, during which the GPU idles."""
    step_s: float = 0.027
    per_running_s: float = 0.0003
    per_prompt_token_s: float = 0.00004

    def gpu_s(self, running: int, prefilled_tokens: int, factor: float) -> float:
        """Time the GPU needs for a step of the weights whose work is *factor* times the first version's."""
        return (self.step_s + self.per_running_s * running + self.per_prompt_token_s * prefilled_tokens) * factor


@dataclass(frozen=True, slots=True)
class Memory:
    """What a prefill takes of the card. MiB."""

    prefill_mib: float = 48.0
    per_prompt_token_mib: float = 0.9

    def activation_mib(self, tokens: int) -> float:
        """Working memory of one prefill."""
        return self.prefill_mib + self.per_prompt_token_mib * tokens


Output = asyncio.Queue[int | Exception]
"""Tokens generated since the last entry; the last entry makes the request done, or is why it failed."""


class Engine:
    """
    One replica's engine.

    Args:
        card: Its card.
        batcher: Its scheduler.
        metrics: Its page.
        log: Its log.
        pace: What its steps cost.
    """

    def __init__(self, card: Card, batcher: Batcher, metrics: ServerMetrics, log: ServerLog, *, pace: Pace) -> None:
        self.batcher = batcher
        self.factor = 1.0
        """Work of a step relative to the first version of the weights."""
        self._card, self._metrics, self._log = card, metrics, log
        self._pace, self._memory = pace, Memory()
        self._outputs: dict[Sequence, Output] = {}
        self._prefixes: OrderedDict[str, None] = OrderedDict()
        self._work_left = asyncio.Event()
        self._busy_s = 0.0
        self._tokens = [0, 0]  # prompt, generated: since the last line of statistics

    async def load_weights(self, mib: float) -> None:
        """Take memory for weights and KV cache, as --gpu-memory-utilization does."""
        await self._card.alloc(mib)

    def submit(self, sequence: Sequence) -> Output | None:
        """Queue a request; None when the queue is full."""
        if not self.batcher.offer(sequence):
            return None
        output: Output = asyncio.Queue()
        self._outputs[sequence] = output
        self._work_left.set()
        return output

    async def tokens(self, sequence: Sequence, output: Output) -> AsyncIterator[int]:
        """
        Counts of new tokens until *sequence* is done; leaving early aborts it.

        Raises:
            OutOfMemory: the card refused its prefill.
            Exception: whatever else the engine says it failed of.
        """
        try:
            sent = 0
            while sent < sequence.max_tokens:
                piece = await output.get()
                if isinstance(piece, Exception):
                    raise piece
                sent += piece
                yield piece
        finally:
            if self._outputs.pop(sequence, None) is not None:
                self.batcher.remove(sequence)
                self._metrics.finished["abort"].inc()

    async def run(self) -> None:
        """Step for ever; sleep while there is nothing to do."""
        loop = asyncio.get_running_loop()
        while True:
            if not self.batcher.running and not self.batcher.waiting:
                self._work_left.clear()
                await self._work_left.wait()
            await self._step(loop)

    async def report(self) -> None:
        """Tell the card how busy it was, and the log how things stand, for ever."""
        loop = asyncio.get_running_loop()
        reported_s = logged_s = loop.time()
        while True:
            await asyncio.sleep(_REPORT_S)
            now_s = loop.time()
            share, self._busy_s = self._busy_s / (now_s - reported_s), 0.0
            reported_s = now_s
            await self._card.busy(share)
            if now_s - logged_s >= _STATS_S:
                self._log_statistics(now_s - logged_s)
                logged_s = now_s

    async def _step(self, loop: asyncio.AbstractEventLoop) -> None:
        started_s = loop.time()
        admitted = self.batcher.admit(_PREFILLS_A_STEP)
        handles = await self._take_memory(admitted, started_s)
        prefilled = sum(s.own_tokens for s in self.batcher.running if s.computed == 0)
        self._count_preempted(self.batcher.grow())
        batch = list(self.batcher.running)
        self._host_work(len(batch))
        spent_s = loop.time() - started_s
        gpu_s = self._pace.gpu_s(len(batch), prefilled, self.factor) if batch else 0.0
        await self._compute(max(self._pace.host_s - spent_s, 0.0), gpu_s)
        self._busy_s += gpu_s
        for handle in handles:
            await self._card.free(handle)
        now_s = loop.time()
        for sequence in batch:
            if sequence in self._outputs:  # not aborted meanwhile
                self._emit(sequence, now_s)

    async def _compute(self, idle_s: float, gpu_s: float) -> None:
        """Let a step's time pass, on the host and then on the card."""
        await asyncio.sleep(idle_s + gpu_s)

    async def _take_memory(self, admitted: list[Sequence], now_s: float) -> list[int]:
        handles: list[int] = []
        for sequence in admitted:
            try:
                handles.append(await self._card.alloc(self._memory.activation_mib(sequence.tokens)))
            except OutOfMemory as error:
                self._fail(sequence, error)
                continue
            if sequence.preempted == 0:
                self._metrics.queued.observe(now_s - sequence.arrived_s)
        return handles

    def _fail(self, sequence: Sequence, error: OutOfMemory) -> None:
        self.batcher.remove(sequence)
        self._metrics.finished["error"].inc()
        self._log.error("gpu_model_runner.py:3210", f"Prefill of request {sequence.id} failed: "
                        f"torch.OutOfMemoryError: {error}")  # fmt: skip
        if (output := self._outputs.pop(sequence, None)) is not None:
            output.put_nowait(error)

    def _count_preempted(self, sequences: list[Sequence]) -> None:
        if sequences:
            self._metrics.preemptions.inc(len(sequences))

    def _host_work(self, running: int) -> None:
        for _ in range(round(running * self.factor)):
            hashlib.blake2b(_WORK).digest()

    def _emit(self, sequence: Sequence, now_s: float) -> None:
        if sequence.computed == 0:
            self._tokens[0] += sequence.tokens
        sequence.computed = sequence.tokens
        sequence.generated += 1
        self._tokens[1] += 1
        self._metrics.generation_tokens.inc()
        if sequence.first_token_s is None:
            sequence.first_token_s = now_s
            self._metrics.ttft.observe(now_s - sequence.arrived_s)
            self._metrics.prompt_tokens.inc(sequence.prompt_tokens)
        elif sequence.last_token_s is not None:
            self._metrics.itl.observe(now_s - sequence.last_token_s)
        sequence.last_token_s = now_s
        if sequence.done:
            self.batcher.remove(sequence)
            self._finished(sequence, now_s)
            self._outputs.pop(sequence).put_nowait((sequence.generated - 2) % _TOKENS_A_PIECE + 1
                                                   if sequence.generated > 1 else 1)  # fmt: skip
        elif sequence.generated == 1:
            self._outputs[sequence].put_nowait(1)
        elif (sequence.generated - 1) % _TOKENS_A_PIECE == 0:
            self._outputs[sequence].put_nowait(_TOKENS_A_PIECE)

    def _finished(self, sequence: Sequence, now_s: float) -> None:
        """Count *sequence*, which has all its tokens."""
        self._metrics.finished["length"].inc()
        self._metrics.e2e.observe(now_s - sequence.arrived_s)

    def look_up_prefix(self, prompt: list[str]) -> None:
        """Count how much of *prompt* was seen before: its first 32 tokens, among the last 64 beginnings."""
        self._metrics.prefix_queries.inc(len(prompt))
        if len(prompt) < _PREFIX_TOKENS:
            return
        prefix = " ".join(prompt[:_PREFIX_TOKENS])
        if prefix in self._prefixes:
            self._metrics.prefix_hits.inc(_PREFIX_TOKENS)
            self._prefixes.move_to_end(prefix)
        else:
            self._prefixes[prefix] = None
            if len(self._prefixes) > _PREFIXES_KEPT:
                self._prefixes.popitem(last=False)

    def _log_statistics(self, passed_s: float) -> None:
        prompt, generated = self._tokens
        self._tokens = [0, 0]
        self._log.info(
            "loggers.py:248",
            f"Engine 000: Avg prompt throughput: {prompt / passed_s:.1f} tokens/s, "
            f"Avg generation throughput: {generated / passed_s:.1f} tokens/s, "
            f"Running: {len(self.batcher.running)} reqs, Waiting: {len(self.batcher.waiting)} reqs, "
            f"GPU KV cache usage: {self.batcher.usage * 100:.1f}%",
        )
