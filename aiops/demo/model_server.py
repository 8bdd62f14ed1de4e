"""
A small model server: ``POST /v1/completions`` (streaming or not), ``/metrics`` in vLLM's names, ``/health``.

A request looks its tenant up over the connection pool, enters the engine's bounded queue, and streams its tokens.
Faults are switched on under ``POST /admin/…``: they change what really happens, never what is reported.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiops.demo import stage, wire
from aiops.demo.card import OutOfMemory, open_card
from aiops.demo.engine import Engine, Output, Pace
from aiops.demo.kv import Batcher, Sequence
from aiops.demo.pool import ConnectionPool, PoolTimeout
from aiops.demo.server_log import ServerLog
from aiops.demo.server_metrics import ServerMetrics

MODEL = "demo-7b"
KV_BLOCKS, BLOCK_SIZE = 200, 16
MAX_RUNNING, MAX_WAITING = 32, 10
_WORDS = ("the", "cache", "holds", "what", "was", "asked", "before", "and", "gives", "it", "again", "in", "time")


@dataclass(frozen=True, slots=True)
class Identity:
    """Which replica this is and what it uses."""

    gpu: int
    card: str
    """Address of its card."""
    hold: float
    """MiB taken at start."""
    metadata_port: int
    log: Path
    port: int = 0
    seed: int = 0


class ModelServer:
    """The HTTP face of one engine."""

    def __init__(self, engine: Engine, pool: ConnectionPool, metrics: ServerMetrics, log: ServerLog, seed: int) -> None:
        self._engine, self._pool, self._metrics, self._log = engine, pool, metrics, log
        self._random = random.Random(seed)
        self._ids = itertools.count()
        self._refused_share = 0.0
        self._version = "v1.0"

    async def handle(self, request: wire.Request) -> wire.Reply:
        """Answer one request."""
        if request.path == "/v1/completions" and request.method == "POST":
            return await self._complete(request.json())
        if request.path == "/metrics":
            return wire.Reply(200, self._metrics.page(), "text/plain; version=0.0.4; charset=utf-8")
        if request.path == "/health":
            return wire.as_json({"status": "ok", "version": self._version})
        if request.path.startswith("/admin/") and request.method == "POST":
            return self._switch(request.path.removeprefix("/admin/"), request.json())
        return wire.as_json({"error": "not found"}, 404)

    def _switch(self, what: str, value: dict[str, Any]) -> wire.Reply:
        """Change what this server really does, from the next step or request on."""
        if what == "weights":
            self._version, self._engine.factor = str(value["version"]), float(value["factor"])
            self._log.info("gpu_model_runner.py:2801", f"Loaded weights of {MODEL} {self._version}")
        elif what == "pace":
            self._engine.factor = float(value["factor"])
        elif what == "leak":
            self._pool.leak_share = float(value["share"])
            if self._pool.leak_share == 0:
                self._pool.mend()
        elif what == "licence":
            self._refused_share = float(value["refused_share"])
        else:
            return wire.as_json({"error": f"no switch {what}"}, 404)
        return wire.as_json({"ok": True})

    async def _complete(self, body: dict[str, Any]) -> wire.Reply:
        prompt = str(body.get("prompt", "")).split()
        max_tokens = int(body.get("max_tokens", 16))
        if not prompt or max_tokens < 1 or not self._engine.batcher.fits(len(prompt), max_tokens):
            return wire.as_json({"error": "prompt and max_tokens do not fit"}, 400)
        request_id = f"cmpl-{next(self._ids):08x}"
        if self._random.random() < self._refused_share:
            seat = self._random.randrange(400, 900)
            self._log.error("licence.py:88", f"seat {seat} lease renewal answered status 7731, generation withheld")
            return _unavailable("generation withheld")
        try:
            await self._pool.ask(f"tenant {request_id}")
        except PoolTimeout as error:
            self._metrics.pool_timeouts.inc()
            self._log.error("serving_completion.py:214",
                            f"Tenant lookup for {request_id} failed: sqlalchemy.exc.TimeoutError: {error}")  # fmt: skip
            return _unavailable("tenant lookup timed out")
        self._engine.look_up_prefix(prompt)
        sequence = Sequence(request_id, len(prompt), max_tokens, asyncio.get_running_loop().time())
        if (output := self._engine.submit(sequence)) is None:
            self._metrics.rejected.inc()
            self._log.warning("async_llm.py:301", f"Request {request_id} rejected: the engine is currently busy, "
                              f"queue holds max_num_queued_reqs={MAX_WAITING}")  # fmt: skip
            return _unavailable("the engine is currently busy")
        return await self._answer(sequence, output, streaming=bool(body.get("stream", True)))

    async def _answer(self, sequence: Sequence, output: Output, *, streaming: bool) -> wire.Reply:
        tokens = self._engine.tokens(sequence, output)
        try:
            first = await anext(tokens)
        except OutOfMemory:
            return _unavailable("out of memory")
        if streaming:
            return wire.Reply(200, content_type="text/event-stream", stream=self._events(first, tokens))
        text = self._text(first) + "".join([self._text(count) async for count in tokens])
        return wire.as_json({"text": text, "usage": {"completion_tokens": sequence.max_tokens}})

    async def _events(self, first: int, tokens: AsyncIterator[int]) -> AsyncIterator[bytes]:
        try:
            yield self._event(first)
            async for count in tokens:
                yield self._event(count)
            yield b"data: [DONE]\n\n"
        finally:
            close = getattr(tokens, "aclose", None)
            if close is not None:
                await close()

    def _event(self, count: int) -> bytes:
        return b"data: " + json.dumps({"text": self._text(count)}).encode() + b"\n\n"

    def _text(self, count: int) -> str:
        return " ".join(self._random.choices(_WORDS, k=count)) + " "


def _unavailable(reason: str) -> wire.Reply:
    return wire.as_json({"error": {"message": f"503 Service Unavailable: server busy ({reason})"}}, 503)


@asynccontextmanager
async def model_server(identity: Identity) -> AsyncIterator[dict[str, Any]]:
    """Load the weights and serve."""
    card = await open_card(identity.card, identity.gpu)
    journal = ServerLog(identity.log)
    pool = ConnectionPool(identity.metadata_port, size=5, overflow=5, timeout_s=1.5, seed=identity.seed)
    batcher = Batcher(KV_BLOCKS, BLOCK_SIZE, MAX_RUNNING, MAX_WAITING)
    metrics = ServerMetrics(MODEL, batcher, pool)
    engine = Engine(card, batcher, metrics, journal, pace=Pace())
    await engine.load_weights(identity.hold)
    server = ModelServer(engine, pool, metrics, journal, identity.seed)
    listening = await wire.serve(server.handle, identity.port)
    journal.info("api_server.py:1500", f"Starting server on http://{wire.HOST}:{wire.port_of(listening)}, "
             f"model {MODEL}, pid {os.getpid()}")  # fmt: skip
    try:
        async with stage.background(engine.run(), engine.report()):
            yield {"port": wire.port_of(listening)}
    finally:
        listening.close()
        pool.close()
        card.close()
        journal.close()


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="aiops.demo.model_server", description="A small model server.")
    parser.add_argument("--gpu", type=int, required=True)
    parser.add_argument(
        "--card", required=True, metavar="ADDRESS", help="unix:SOCKET of the card process, or cuda:UUID"
    )
    parser.add_argument("--hold", type=float, required=True, metavar="MIB", help="memory taken at start")
    parser.add_argument("--metadata-port", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    identity = Identity(**vars(parser.parse_args()))
    stage.perform(lambda: model_server(identity))


if __name__ == "__main__":
    main()
