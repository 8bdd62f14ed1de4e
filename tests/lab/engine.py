"""
The lab's engine: the demo's, computing on a card that may be slow, shared or broken, and ending as real engines end.

What faults switch is what an engine really does: blocks that it forgets to free, memory that it keeps, a step that
never comes back, an exception in its loop. A failed allocation or a CUDA error ends the loop and the process with it,
as in vLLM and SGLang; an engine may also be told to survive failed allocations, as TGI does.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from aiops.demo.card import OutOfMemory
from aiops.demo.engine import Engine, Pace
from aiops.demo.kv import Batcher, Sequence
from tests.lab.cards import CudaError, LabCard
from tests.lab.engine_log import EngineLog, Frame
from tests.lab.pages import LabRequest

PACE = Pace(host_s=0.005, step_s=0.027, per_running_s=0.0003, per_prompt_token_s=0.00012)
_NOTED_EVERY = 40
"""Decode steps between two lines of SGLang's scheduler."""
_PREFIX_BLOCK = 16
_PREFIX_BLOCKS_KEPT = 512
_SILENT_S = 60.0
_IDLE_NOTED_EVERY_S = 30.0
_TOO_LATE_S = 0.06
"""A step is launched one ahead of the one that runs; after this time the engine was idle, or its host does not keep up."""
_EXIT_AFTER_S = 0.4
_SPIN_INTENSITY = 0.12
"""Units that a kernel keeps busy which only waits for another rank."""
_CUDA_NOTE = (
    "CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be "
    "incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
    "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
)
_ALLOCATION: tuple[Frame, ...] = (
    ("/usr/local/lib/python3.12/dist-packages/torch/nn/modules/module.py", 1784, "_call_impl",
     "return forward_call(*args, **kwargs)"),
)  # fmt: skip


class EngineDead(Exception):
    """The engine's process has ended under a request."""


class Crash(Exception):
    """What a fault lets the loop raise; the text is the last line of the traceback."""


@dataclass(slots=True)
class Habits:
    """What faults change of an engine."""

    survives_oom: bool = False
    kv_leak: float = 0.0
    """Blocks that a request leaves behind."""
    vram_leak_mib: float = 0.0
    """Memory that a request leaves behind."""
    stall: str = ""
    """``deadlock`` or ``spin``."""
    crash: str = ""


class LabEngine(Engine):
    """
    One replica's engine.

    Args:
        card: Its card.
        batcher: Its scheduler.
        page: Its metrics.
        log: Its log.
        dialect: vllm or sglang.
    """

    def __init__(self, card: LabCard, batcher: Batcher, page: Any, log: EngineLog, dialect: str) -> None:
        super().__init__(card, batcher, page, log, pace=PACE)
        self.habits = Habits()
        self.dead = ""
        """Why it has ended."""
        self._lab_card, self._page, self._words, self.dialect = card, page, log, dialect
        self._blocks_seen: OrderedDict[int, None] = OrderedDict()
        self._kv_owed = 0.0
        self.steps = self._decoded = 0
        self._noted_s = self._stepped_s = self._done_s = 0.0

    async def run(self) -> None:
        """Step until something ends it."""
        try:
            await super().run()
        except (CudaError, Crash, OutOfMemory) as error:
            await self._die(error)

    def fail_all(self, error: Exception) -> None:
        """Answer every request with *error*."""
        outputs, self._outputs = self._outputs, {}
        for output in outputs.values():
            output.put_nowait(error)

    async def watch(self) -> None:
        """What the engine's front says when a step does not come back, and SGLang's scheduler when it idles; for ever."""
        loop = asyncio.get_running_loop()
        said_s = noted_s = self._stepped_s = loop.time()
        while True:
            await asyncio.sleep(1.0)
            if self.batcher.running or self.batcher.waiting:
                noted_s = loop.time()
            elif self.dialect == "sglang" and loop.time() - noted_s >= _IDLE_NOTED_EVERY_S:
                noted_s = loop.time()
                self._page.noted(prefill=False, throughput=0.0)
            quiet_s = loop.time() - max(self._stepped_s, said_s)
            if self.dialect == "vllm" and self.batcher.running and quiet_s >= _SILENT_S:
                said_s = loop.time()
                self._words.from_engine("INFO", "shm_broadcast.py:548", (
                    "No available shared memory broadcast block found in 60 seconds. This typically happens when some "
                    "processes are hanging or doing some time-consuming work (e.g. compilation, weight/kv cache "
                    "quantization)."))  # fmt: skip

    def cached_tokens(self, prompt: list[str]) -> int:
        """How many tokens of *prompt* are cached, whole blocks from its beginning on; it is cached from now on."""
        self._metrics.prefix_queries.inc(len(prompt))
        cached, hashed, unbroken = 0, 0, True
        for start in range(0, len(prompt) - _PREFIX_BLOCK + 1, _PREFIX_BLOCK):
            hashed = hash((hashed, *prompt[start : start + _PREFIX_BLOCK]))
            unbroken = unbroken and hashed in self._blocks_seen
            cached += _PREFIX_BLOCK if unbroken else 0
            self._blocks_seen[hashed] = None
            self._blocks_seen.move_to_end(hashed)
        while len(self._blocks_seen) > _PREFIX_BLOCKS_KEPT:
            self._blocks_seen.popitem(last=False)
        cached = min(cached, len(prompt) - 1)  # the last token is always computed
        self._metrics.prefix_hits.inc(cached)
        return cached

    async def _step(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.habits.crash:
            raise Crash(self.habits.crash)
        self._stepped_s = loop.time()
        await super()._step(loop)
        self.steps += 1
        self._page.stepped()
        if self.steps % _NOTED_EVERY == 0:
            self._note_decode(loop.time())

    async def _compute(self, idle_s: float, gpu_s: float) -> None:
        """
        Launch a step's kernels when the host has done its part, which it does while the last step's run if it is late:
        that is what asynchronous scheduling is for. A host later than a step makes the card wait.
        """
        loop = asyncio.get_running_loop()
        due_s = self._done_s + PACE.host_s
        if not -PACE.host_s <= loop.time() - due_s <= _TOO_LATE_S:
            due_s = loop.time() + idle_s
        if (early_s := due_s - loop.time()) > 0.0:
            await asyncio.sleep(early_s)
        late_s = loop.time() - due_s
        ahead_s = min(max(late_s, 0.0), gpu_s) if late_s < _TOO_LATE_S else 0.0
        if self.habits.stall == "deadlock":
            await asyncio.Event().wait()
        elif self.habits.stall == "spin":
            await self._lab_card.run(float("inf"), _SPIN_INTENSITY)
        elif gpu_s:
            self._done_s = await self._lab_card.run(gpu_s, self._intensity(gpu_s), ahead_s)

    def _intensity(self, gpu_s: float) -> float:
        """How much of the card a step keeps busy: a prefill nearly all of it, decoding a part that grows with the batch."""
        running = len(self.batcher.running)
        decode_s = (PACE.step_s + PACE.per_running_s * running) * self.factor
        prefill = max(gpu_s - decode_s, 0.0) / gpu_s
        return min((0.5 + 0.3 * running / self.batcher.max_running) * (1.0 - prefill) + 0.95 * prefill, 1.0)

    async def _take_memory(self, admitted: list[Sequence], now_s: float) -> list[int]:
        for request in admitted:
            if isinstance(request, LabRequest) and request.started_s is None:
                request.started_s = now_s
        handles = await super()._take_memory(admitted, now_s)
        if self.habits.vram_leak_mib:
            for request in admitted:
                try:
                    await self._card.alloc(self.habits.vram_leak_mib)
                except OutOfMemory as error:
                    self._fail(request, error)
        if admitted and self.dialect == "sglang":
            self._note_prefill(admitted)
        return handles

    def _fail(self, sequence: Sequence, error: OutOfMemory) -> None:
        if not self.habits.survives_oom:
            raise error
        self.batcher.remove(sequence)
        self._metrics.finished["error"].inc()
        self._words.failed(sequence.id, f"torch.OutOfMemoryError: {error}", (*self._words.step_frames, *_ALLOCATION))
        if (output := self._outputs.pop(sequence, None)) is not None:
            output.put_nowait(error)

    def _host_work(self, running: int) -> None:
        """As the demo's for one request, whatever the batch: several houses share the machine's cores."""
        super()._host_work(min(running, 1))

    def _count_preempted(self, sequences: list[Sequence]) -> None:
        super()._count_preempted(sequences)
        if not sequences:
            return
        if self.dialect == "sglang":
            self._words.from_engine("WARNING", "", (
                f"KV cache pool is full. Retract requests. #retracted_reqs: {len(sequences)}, "
                "#new_token_ratio: 0.2474 -> 0.3845"))  # fmt: skip

    def _finished(self, sequence: Sequence, now_s: float) -> None:
        if isinstance(sequence, LabRequest):
            self._page.done(sequence, now_s)
        self._kv_owed += self.habits.kv_leak
        lost = min(int(self._kv_owed), self.batcher.blocks - self.batcher.used)
        self._kv_owed -= lost
        self.batcher.used += lost

    async def _die(self, error: Exception) -> None:
        """Say why, fail everybody, and end the process a moment later."""
        if isinstance(error, OutOfMemory):
            self._words.died(f"torch.OutOfMemoryError: {error}", _ALLOCATION)
        elif isinstance(error, CudaError):
            self._words.died(f"torch.AcceleratorError: {error}\n{_CUDA_NOTE}")
        else:
            self._words.died(str(error))
        self.dead = str(error)
        self.fail_all(EngineDead(self.dead))
        await asyncio.sleep(_EXIT_AFTER_S)
        os._exit(1)

    # --- lines of statistics ----------------------------------------------------------------------------------------

    def _log_statistics(self, passed_s: float) -> None:
        if self.dialect == "vllm":
            super()._log_statistics(passed_s)

    def _note_decode(self, now_s: float) -> None:
        passed_s, self._noted_s = now_s - self._noted_s, now_s
        generated, self._decoded = self._tokens[1] - self._decoded, self._tokens[1]
        throughput = generated / passed_s if passed_s < _SILENT_S else 0.0
        self._page.noted(prefill=False, throughput=throughput)
        if self.dialect == "sglang":
            batcher = self.batcher
            self._words.from_engine("INFO", "", (
                f"Decode batch, #running-req: {len(batcher.running)}, #token: {batcher.used * batcher.block_size}, "
                f"token usage: {batcher.usage:.2f}, cuda graph: True, gen throughput (token/s): {throughput:.2f}, "
                f"#queue-req: {len(batcher.waiting)},"))  # fmt: skip

    def _note_prefill(self, admitted: list[Sequence]) -> None:
        batcher, cached = self.batcher, sum(request.cached for request in admitted)
        self._page.noted(prefill=True, throughput=0.0)
        self._words.from_engine("INFO", "", (
            f"Prefill batch, #new-seq: {len(admitted)}, #new-token: {sum(r.tokens for r in admitted) - cached}, "
            f"#cached-token: {cached}, token usage: {batcher.usage:.2f}, #running-req: {len(batcher.running)}, "
            f"#queue-req: {len(batcher.waiting)},"))  # fmt: skip
