"""
A continuous-batching scheduler with a KV block budget, as inference engines have it: pure, no clock, no I/O.

Requests wait in a bounded queue, are admitted when blocks for their prompt are free, grow by a block every
`block_size` tokens, and when no block is left the newest running request is put back to the queue's head and computed
again later (preemption by recomputation). `model_server` runs it against time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Sequence:
    """A request on its way through the engine."""

    id: str
    prompt_tokens: int
    max_tokens: int
    arrived_s: float
    generated: int = 0
    computed: int = 0
    """Tokens whose keys and values are in the cache; 0 before the prefill and after a preemption."""
    blocks: int = 0
    preempted: int = 0
    cached: int = 0
    """Tokens at its beginning whose keys and values were there already, in blocks that it shares."""
    first_token_s: float | None = None
    last_token_s: float | None = None

    @property
    def tokens(self) -> int:
        """Prompt and output so far."""
        return self.prompt_tokens + self.generated

    @property
    def own_tokens(self) -> int:
        """Tokens that need blocks of its own."""
        return self.tokens - self.cached

    @property
    def done(self) -> bool:
        """Whether it has all its tokens."""
        return self.generated >= self.max_tokens


@dataclass(slots=True)
class Batcher:
    """
    Who runs, who waits, and which KV blocks are taken.

    Args:
        blocks: KV blocks in all.
        block_size: Tokens a block holds.
        max_running: Requests in the batch at most.
        max_waiting: Requests in the queue at most; more are refused.
    """

    blocks: int
    block_size: int
    max_running: int
    max_waiting: int
    waiting: deque[Sequence] = field(default_factory=deque)
    running: list[Sequence] = field(default_factory=list)
    used: int = 0

    @property
    def usage(self) -> float:
        """Share of KV blocks in use, 0 to 1."""
        return self.used / self.blocks

    def fits(self, prompt_tokens: int, max_tokens: int) -> bool:
        """Whether such a request could ever be served here."""
        return self._need(prompt_tokens + max_tokens) <= self.blocks

    def offer(self, sequence: Sequence) -> bool:
        """Take it into the queue; False when that is full."""
        if len(self.waiting) >= self.max_waiting:
            return False
        self.waiting.append(sequence)
        return True

    def admit(self, most: int) -> list[Sequence]:
        """Move up to *most* waiting requests into the batch, in order, as long as blocks are free."""
        admitted: list[Sequence] = []
        while self.waiting and len(admitted) < most and len(self.running) < self.max_running:
            need = self._need(self.waiting[0].own_tokens + 1)
            if need > self.blocks - self.used:
                break
            sequence = self.waiting.popleft()
            sequence.blocks = need
            self.used += need
            self.running.append(sequence)
            admitted.append(sequence)
        return admitted

    def grow(self) -> list[Sequence]:
        """Give every running request the blocks for its next token; returns those put back for want of blocks."""
        preempted: list[Sequence] = []
        for sequence in list(self.running):
            while sequence in self.running and self._need(sequence.own_tokens + 1) > sequence.blocks:
                if self.used < self.blocks:
                    sequence.blocks += 1
                    self.used += 1
                else:
                    preempted.append(self._preempt())
        return preempted

    def remove(self, sequence: Sequence) -> None:
        """Forget it wherever it is, and free its blocks."""
        if sequence in self.running:
            self.running.remove(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)
        self._free(sequence)

    def _preempt(self) -> Sequence:
        newest = self.running.pop()
        self._free(newest)
        newest.computed = 0
        newest.preempted += 1
        self.waiting.appendleft(newest)
        return newest

    def _free(self, sequence: Sequence) -> None:
        self.used -= sequence.blocks
        sequence.blocks = 0

    def _need(self, tokens: int) -> int:
        return -(-tokens // self.block_size)
