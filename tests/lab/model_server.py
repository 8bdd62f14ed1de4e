"""
A model server of a house: an OpenAI-like API, a metrics page and a log in the words of vLLM or SGLang, an engine on a
card, a pool of connections to PostgreSQL.

Faults are switched on under ``POST /admin/WHAT``: they change what this process really does, from the next request or
step on. WHAT is weights {version, factor}, pace {factor}, block {share, seconds, how}, leak {mib}, vram_leak {mib},
kv_leak {blocks}, stall {how}, crash {text}, queue {max_waiting, max_running}, blocks {number}, fatal {how, share}, tokenizer_process {seconds},
pool {…, see `TenantPool.switch`}, licence {refused_share}, keepalive {idle_s}.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import json
import os
import random
import re
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from psycopg import Error

from aiops.demo import stage, wire
from aiops.demo.card import OutOfMemory
from aiops.demo.engine import Output
from aiops.demo.kv import Batcher
from tests.lab.cards import CudaError
from tests.lab.checks import Check, Refused
from tests.lab.checks import build as build_checks
from tests.lab.engine import EngineDead, LabEngine
from tests.lab.engine_log import EngineLog, open_log
from tests.lab.kv_peer import KvClient, TransferError
from tests.lab.pages import LabRequest, open_page
from tests.lab.server_code import RequestFailed, ServerCode
from tests.lab.server_start import BLOCK_SIZE, ENGINE_VERSION, MODEL, Door, NotStarted, parser, prepare
from tests.lab.tenant_pool import LibraryLog, TenantPool, is_timeout, worded

_PATHS = ("/v1/completions", "/v1/chat/completions")
_HEALTH_S = 20.0
_BACKLOG = 32
"""As often asyncio tries, and says so, when it cannot accept a connection."""
_TRANSFER_S = 5.0
_WORK = bytes(16 * 1024)
_REGEX = re.compile(r"^(\w+\s?)*$")
_WORDS = ("the", "cache", "holds", "what", "was", "asked", "before", "and", "gives", "it", "again", "in", "time")


class ModelServer:
    """
    The HTTP face of one engine.

    Args:
        engine: Which generates.
        page: Its metrics.
        log: Its log.
        pool: Where tenants are looked up.
        peer: Where blocks are fetched from, if the engine is a split one.
        seed: Of its words and of the requests that faults choose.
    """

    def __init__(
        self, engine: LabEngine, page: Any, journal: EngineLog, pool: TenantPool, peer: KvClient | None, seed: int
    ) -> None:
        self.engine, self.page, self.journal, self.pool, self.peer = engine, page, journal, pool, peer
        self.dialect = engine.dialect
        self.random = random.Random(seed)
        self.deferred = 0
        self.version = ENGINE_VERSION
        self.health_generates = False
        self.code = ServerCode(journal, seed)
        self.refused_share = self.block_share = self.block_s = self.tokenizer_s = self.leak_mib = 0.0
        self.block_how = "sleep"
        self.patience = wire.Patience()
        self.checks: list[Check] = []
        self._kept: list[bytearray] = []
        self._ids = itertools.count()
        page.deferred = lambda: self.deferred

    async def handle(self, request: wire.Request) -> wire.Reply:
        """Answer one request."""
        if request.path.startswith("/admin/") and request.method == "POST":
            return await self._switch(request.path.removeprefix("/admin/"), request.json())
        reply = await self._answer(request)
        status = f"{reply.status} {wire.HTTPStatus(reply.status).phrase}"
        self.journal.access(f"{wire.HOST}:{self.random.randrange(32768, 60999)}", request.method, request.path, status)
        if request.path in _PATHS:
            self.page.answered(request.path, reply.status)
        return reply

    async def _answer(self, request: wire.Request) -> wire.Reply:
        if request.path in _PATHS and request.method == "POST":
            return await self._complete(request)
        if request.path == "/metrics":
            return wire.Reply(200, self.page.page(), "text/plain; version=0.0.4; charset=utf-8")
        if request.path in {"/health", "/health_generate"}:
            return await self._health()
        if request.path == "/version" and self.dialect == "vllm":
            return wire.as_json({"version": self.version})
        if request.path == "/v1/models":
            return wire.as_json({"object": "list", "data": [{"id": MODEL, "object": "model"}]})
        return wire.as_json({"detail": "Not Found"}, 404)

    async def _health(self) -> wire.Reply:
        """vLLM says whether its engine lives; SGLang waits for a sign of life of what is running."""
        if self.engine.dead:
            return wire.Reply(503)
        if self.health_generates:
            return await self._generate(["health"], 1, f"HEALTH_CHECK_{time.time()}", streaming=False)
        if self.dialect == "vllm" or not self.engine.batcher.running:
            return wire.Reply(200)
        began = time.strftime("%H:%M:%S")
        moved = self.engine.steps
        for _ in range(int(_HEALTH_S * 4)):
            await asyncio.sleep(0.25)
            if self.engine.steps != moved or not self.engine.batcher.running:
                return wire.Reply(200)
        self.journal.info("", "Health check failed. Server couldn't get a response from detokenizer for last "
                      f"{_HEALTH_S:.0f} seconds. tic start time: {began}. last_heartbeat time: {began}")  # fmt: skip
        return wire.Reply(503)

    async def _complete(self, http: wire.Request) -> wire.Reply:
        body = http.json()
        prompt = _prompt_of(body)
        most = int(body.get("max_tokens") or 16) if str(body.get("max_tokens", 16)).lstrip("-").isdigit() else 0
        request_id = f"cmpl-{os.getpid():x}{next(self._ids):08x}"
        if not prompt or most < 1 or not self.engine.batcher.fits(len(prompt), most):
            return _error(400, "This model's maximum context length is "
                          f"{self.engine.batcher.blocks * BLOCK_SIZE} tokens, or the prompt is empty.")  # fmt: skip
        if self.engine.dead:
            return _error(500, "EngineCore encountered an issue. See stack trace (above) for the root cause.")
        self._front_work()
        if self.random.random() < self.refused_share:
            seat = self.random.randrange(400, 900)
            self.journal.error("licence.py:88", f"seat {seat} lease renewal answered status 7731, generation withheld")
            return _error(503, "generation withheld")
        if (refusal := await self._check(" ".join(prompt))) is not None:
            return refusal
        if (refusal := await self._look_up(request_id, str(body.get("user", "")))) is not None:
            return refusal
        try:
            await self.code.before_queue(request_id, prompt)
        except RequestFailed as error:
            return _error(500, str(error))
        return await self._generate(prompt, most, request_id, streaming=bool(body.get("stream", False)))

    async def _check(self, prompt: str) -> wire.Reply | None:
        """What this house asks of its own; the refusal if something does not agree."""
        try:
            for check in self.checks:
                await check(prompt)
        except Refused as refused:
            self.journal.error(refused.place, refused.told)
            return _error(refused.status, refused.answer)
        return None

    async def _look_up(self, request_id: str, tenant: str) -> wire.Reply | None:
        """Ask the database whose request it is; the refusal if it does not say."""
        try:
            await self.pool.ask(f"tenant {tenant or request_id}")
        except Error as error:
            if is_timeout(error):
                self.page.pool_timeouts.inc()
            self.journal.error("serving.py:214", f"Tenant lookup for {request_id} failed: {worded(error)}")
            return _error(503, "tenant lookup failed")
        return None

    async def _generate(self, prompt: list[str], most: int, request_id: str, *, streaming: bool) -> wire.Reply:
        engine = self.engine
        if len(engine.batcher.waiting) + self.deferred >= engine.batcher.max_waiting:
            return self._busy(request_id)
        request = LabRequest(request_id, len(prompt), most, asyncio.get_running_loop().time())
        if self.peer is not None:
            try:
                await self._transfer(self.peer, request)
            except TransferError as error:
                return self._not_transferred(request, error)
        request.cached = engine.cached_tokens(prompt)
        if (output := engine.submit(request)) is None:
            return self._busy(request_id)
        return await self._stream(request, output, streaming=streaming)

    async def _transfer(self, peer: KvClient, request: LabRequest) -> None:
        self.deferred += 1
        began_s = request.arrived_s
        try:
            size = await peer.fetch(request.id, request.prompt_tokens)
            self.page.transferred(asyncio.get_running_loop().time() - began_s, size)
        finally:
            self.deferred -= 1

    def _not_transferred(self, request: LabRequest, error: TransferError) -> wire.Reply:
        self.page.transfer_failed(error.stage)
        self.page.finished["error"].inc()
        if self.dialect == "vllm":
            self.journal.from_engine("ERROR", "nixl_connector.py:1876", (
                f"NIXL transfer failure: {'handshake' if error.stage == 'bootstrap' else 'transfer'}_failed | Context: "
                f"{{'failure_type': '{error.stage}_failed', 'request_id': '{request.id}', 'error': '{error}'}}"))  # fmt: skip
        else:
            self.journal.from_engine("ERROR", "", (
                f"Decode {error.stage} failed for request rank=0 decode_req.req.rid='{request.id}' "
                f"decode_req.req.bootstrap_room={self.random.randrange(2**60)} with exception KVTransferError: {error}"))  # fmt: skip
        return _error(500, "Internal Server Error: failed to load the KV cache of the request")

    def _busy(self, request_id: str) -> wire.Reply:
        self.page.rejected.inc()
        self.journal.refused(request_id, self.engine.batcher.max_waiting)
        if self.dialect == "vllm":
            return _error(503, "the engine is currently busy")
        return _error(503, "The request queue is full.")

    async def _stream(self, request: LabRequest, output: Output, *, streaming: bool) -> wire.Reply:
        tokens = self.engine.tokens(request, output)
        try:
            first = await anext(tokens)
            if streaming:
                return wire.Reply(200, content_type="text/event-stream", stream=self._events(first, tokens))
            text = self._text(first) + "".join([self._text(count) async for count in tokens])
        except (OutOfMemory, CudaError, EngineDead) as error:
            return _error(500, str(error))
        return wire.as_json({"choices": [{"text": text}], "usage": {"completion_tokens": request.max_tokens}})

    async def _events(self, first: int, tokens: AsyncIterator[int]) -> AsyncIterator[bytes]:
        try:
            yield self._event(first)
            try:
                async for count in tokens:
                    yield self._event(count)
            except (OutOfMemory, CudaError, EngineDead) as error:
                yield b"data: " + json.dumps({"error": {"message": str(error), "code": 500}}).encode() + b"\n\n"
            yield b"data: [DONE]\n\n"
        finally:
            close = getattr(tokens, "aclose", None)
            if close is not None:
                await close()

    def _event(self, count: int) -> bytes:
        return b"data: " + json.dumps({"choices": [{"text": self._text(count)}]}).encode() + b"\n\n"

    def _text(self, count: int) -> str:
        return " ".join(self.random.choices(_WORDS, k=count)) + " "

    def _front_work(self) -> None:
        """What the front end does with a request before the engine sees it, in its event loop."""
        if self.tokenizer_s:
            until_s = time.thread_time() + self.tokenizer_s
            while time.thread_time() < until_s:
                hashlib.blake2b(_WORK).digest()
        if self.leak_mib:
            self._kept.append(bytearray(os.urandom(4096) * int(self.leak_mib * 256)))
        if self.block_share and self.random.random() < self.block_share:
            _block(self.block_how, self.block_s)

    async def _switch(self, what: str, value: dict[str, Any]) -> wire.Reply:
        habits, batcher = self.engine.habits, self.engine.batcher
        if what == "weights":
            self.version, self.engine.factor = str(value["version"]), float(value["factor"])
            self.journal.info("gpu_model_runner.py:2801", f"Loaded weights of {MODEL} {self.version}")
        elif what == "pace":
            self.engine.factor = float(value["factor"])
        elif what == "block":
            self.block_share, self.block_s = float(value["share"]), float(value.get("seconds", 0.0))
            self.block_how = str(value.get("how", "sleep"))
        elif what == "leak":
            self.leak_mib = float(value["mib"])
            if not self.leak_mib:
                self._kept.clear()
        elif what == "pool":
            await self.pool.switch(value)
        elif what == "keepalive":
            self.patience.idle_s = None if value["idle_s"] is None else float(value["idle_s"])
        elif what == "licence":
            self.refused_share = float(value["refused_share"])
        elif what == "queue":
            batcher.max_waiting = int(value["max_waiting"])
            batcher.max_running = int(value.get("max_running", batcher.max_running))
        elif what == "blocks":
            batcher.blocks = int(value["number"])
        elif what == "vram_leak":
            habits.vram_leak_mib = float(value["mib"])
        elif what == "kv_leak":
            habits.kv_leak = float(value["blocks"])
        elif what == "stall":
            habits.stall = str(value["how"])
        elif what == "crash":
            habits.crash = str(value["text"])
        elif not self.code.switch(what, value):
            return wire.as_json({"error": f"no switch {what}"}, 404)
        return wire.as_json({"ok": True})


def _prompt_of(body: dict[str, Any]) -> list[str]:
    messages = body.get("messages")
    if isinstance(messages, list):
        return " ".join(str(message.get("content", "")) for message in messages if isinstance(message, dict)).split()
    return str(body.get("prompt", "")).split()


def _block(how: str, seconds: float) -> None:
    """What must not be called in an event loop, for about *seconds*."""
    if how == "sleep":
        time.sleep(seconds)
        return
    if how == "thread":  # moved to a thread, which keeps the interpreter's lock all the same
        threading.Thread(target=_block, args=("regex", seconds), daemon=True).start()
        return
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        _REGEX.match("abcdefghijklm " + "x" * 5 + "!")  # backtracks, and holds the interpreter's lock


def _error(status: int, message: str) -> wire.Reply:
    kind = {400: "BadRequestError", 503: "ServiceUnavailableError"}.get(status, "InternalServerError")
    return wire.as_json({"error": {"message": message, "type": kind, "param": None, "code": status}}, status)


async def _furnish(server: ModelServer, args: argparse.Namespace) -> None:
    """What the command line says of its engine and its code."""
    engine = server.engine
    engine.habits.survives_oom, engine.habits.vram_leak_mib = args.survives_oom, args.vram_leak
    engine.factor = args.factor
    adapter = args.log.with_suffix(".adapter")
    server.checks = build_checks(
        args.checks, adapter=adapter, sidecar_port=args.sidecar_port, query=server.pool.first_row
    )
    server.version, server.health_generates, server.tokenizer_s = args.version, args.health_generates, args.tokenizer
    await server.code.furnish(args)


@asynccontextmanager
async def model_server(args: argparse.Namespace) -> AsyncIterator[dict[str, Any]]:
    """Load the weights and serve."""
    journal = open_log(args.dialect, args.log)
    journal.info("api_server.py:1500", f"Starting {args.dialect} on http://{wire.HOST}:{args.port}, model {MODEL}, pid {os.getpid()}")  # fmt: skip
    door = Door()
    listening = await wire.serve(door.handle, args.port, host="0.0.0.0") if args.listens_early else None
    try:
        with stage.starting():
            card = await prepare(args, journal)
    except NotStarted as error:
        journal.not_started(str(error))
        sys.exit(1)
    libraries = LibraryLog(journal.warning)
    libraries.attach()
    pool = TenantPool(args.dsn, size=args.pool_size, timeout_s=args.pool_timeout, seed=args.seed)
    batcher = Batcher(args.kv_blocks, BLOCK_SIZE, args.max_running, args.max_waiting)
    peer = KvClient(args.kv_peer, _TRANSFER_S) if args.kv_peer else None
    page = open_page(args.dialect, args.served_name, batcher, pool, split=peer is not None)
    engine = LabEngine(card, batcher, page, journal, args.dialect)
    server = ModelServer(engine, page, journal, pool, peer, args.seed)
    await _furnish(server, args)
    await pool.open()
    door.server = server.handle
    if listening is None:
        listening = await wire.serve(door.handle, args.port, host="0.0.0.0", patience=server.patience, backlog=_BACKLOG)
    journal.info("launcher.py:46", "Application startup complete.")
    try:
        async with stage.background(engine.run(), engine.report(), engine.watch()):
            yield {"port": wire.port_of(listening)}
            journal.told_to_end()
    finally:
        listening.close()
        server.code.close()
        await pool.close()
        card.close()
        libraries.detach()
        journal.close()


def main() -> None:
    """Serve until told to stop."""
    args = parser().parse_args()
    stage.perform(lambda: model_server(args))


if __name__ == "__main__":
    main()
