"""How a model server starts: its command line, its weights, the memory of its card, and what it answers meanwhile."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import time
from pathlib import Path

from aiops.demo import wire
from tests.lab.cards import CudaError, LabCard
from tests.lab.engine_log import EngineLog
from tests.lab.weights import WeightsError, load_weights

MODEL = "demo-7b"
ENGINE_VERSION = "0.33.0"
BLOCK_SIZE = 16
_WORK = bytes(16 * 1024)


class NotStarted(Exception):
    """The server cannot start; the log says why."""


async def prepare(args: argparse.Namespace, journal: EngineLog) -> LabCard:
    """Load the weights and take the card's memory, as both engines do before they serve."""
    began_s = time.monotonic()
    try:
        if args.weights is not None:
            size = await load_weights(args.weights, cold=args.cold, pace=args.weights_pace)
            journal.loaded(time.monotonic() - began_s, size)
        if args.compile:
            until_s = time.thread_time() + args.compile
            while time.thread_time() < until_s:
                await asyncio.sleep(0)
                hashlib.blake2b(_WORK).digest()
            journal.compiled(args.compile)
        card = await LabCard.connect(args.card, args.gpu)
        room = await card.room()
        wanted = room.total * args.memory_utilization
        if room.free < wanted:
            raise NotStarted(journal.no_room(args.gpu, room, args.memory_utilization))
        await card.alloc(wanted)
    except WeightsError as error:
        raise NotStarted(str(error)) from error
    except CudaError as error:
        raise NotStarted(f"torch.AcceleratorError: {error}") from error
    journal.allocated(args.kv_blocks * BLOCK_SIZE)
    return card


class Door:
    """What answers on a server's port: that the model is being loaded, until there is a server behind it."""

    def __init__(self) -> None:
        self.server: wire.Handler | None = None

    async def handle(self, request: wire.Request) -> wire.Reply:
        """Answer one request."""
        if self.server is None:
            message = {"message": "Loading model", "type": "unavailable_error", "code": 503}
            return wire.as_json({"error": message}, 503)
        return await self.server(request)


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    made = argparse.ArgumentParser(
        prog="tests.lab.model_server", description="A model server of a house.", fromfile_prefix_chars="@"
    )
    add = made.add_argument
    add("--dialect", choices=("vllm", "sglang"), default="vllm")
    add("--port", type=int, required=True)
    add("--card", type=Path, required=True, metavar="SOCKET")
    add("--gpu", type=int, required=True)
    add("--dsn", required=True, help="of the tenants' database")
    add("--log", type=Path, required=True)
    add("--seed", type=int, default=0)
    add("--memory-utilization", type=float, default=0.92, help="share of the card taken at start")
    add("--kv-blocks", type=int, default=200)
    add("--max-running", type=int, default=32)
    add("--max-waiting", type=int, default=10)
    add("--pool-size", type=int, default=10)
    add("--pool-timeout", type=float, default=1.5, metavar="SECONDS")
    add("--weights", type=Path, metavar="FOLDER", help="read at start")
    add("--cold", action="store_true", help="read them from the disk, not from the page cache")
    add("--compile", type=float, default=0.0, metavar="SECONDS", help="of a core, at start")
    add("--kv-peer", type=int, default=0, metavar="PORT", help="where prefills are fetched from")
    add("--survives-oom", action="store_true", help="a failed allocation fails one request only")
    add("--checks", default="", metavar="NAMES", help="what is asked before an answer; see `tests.lab.checks`")
    add("--sidecar-port", type=int, default=0, metavar="PORT", help="where flags and tickets are asked for")
    add("--vram-leak", type=float, default=0.0, metavar="MIB", help="what each request leaves on the card")
    add("--weights-pace", type=float, metavar="MIB", help="a second, at which a remote store sends them")
    add("--listens-early", action="store_true", help="answer 503 while the model is loaded")
    add("--version", default=ENGINE_VERSION)
    add("--served-name", default=MODEL)
    add("--factor", type=float, default=1.0, help="work of a step relative to the usual version's")
    add("--health-generates", action="store_true", help="the health path generates a token")
    add("--books", choices=("file", "synced", "spool"), help="write every request down")
    add("--books-folder", type=Path)
    add("--tokenizer", type=float, default=0.0, metavar="SECONDS", help="of CPU a request, in the event loop")
    add("--tokenizer-process", type=float, metavar="SECONDS", help="of CPU a request, in a process of its own")
    return made
