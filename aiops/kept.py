"""
What survives a reload: the port, the state file with the one thread that owns it, recent series, what waits to be sent.

`keep` opens it once, before the first session, and closes it after the last.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from aiops.clock import Clock
from aiops.errors import StateError
from aiops.export.intake import BoundedInbox
from aiops.export.server import bind
from aiops.notify.memory_outbox import MemoryOutbox
from aiops.plan import Plan
from aiops.ports import RunBlocking
from aiops.saving import Saver
from aiops.selfstat import SelfStat
from aiops.store.lock import held
from aiops.store.rings import Rings
from aiops.store.state_sqlite import StateSqlite

T = TypeVar("T")

_OTHERS_S = 5.0
"""How long a command may hold the state folder while a daemon starts; it needs milliseconds."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What survives a reload."""

    clock: Clock
    host: str
    socket: socket.socket
    registry: CollectorRegistry
    stat: SelfStat
    state: StateSqlite
    rings: Rings
    inbox: BoundedInbox
    emergency: MemoryOutbox
    """Pages the state file would not take; a reload must not lose them."""
    saver: Saver
    """What is on its way to the state file; a reload must not lose that either."""
    on_writer: RunBlocking
    """Runs on the thread that owns the state file."""
    token: str
    readers: ThreadPoolExecutor
    """Where blocking collectors run; never the loop's default executor, which also serves DNS."""


@contextlib.contextmanager
def keep(plan: Plan, clock: Clock) -> Iterator[Kept]:
    """Bind the port, open the state."""
    with contextlib.ExitStack() as stack:
        sock = bind(plan.settings.web.listen)
        stack.callback(sock.close)
        directory = plan.settings.state.dir
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            stack.enter_context(held(directory, _OTHERS_S))
            token = api_token(directory)
        except (OSError, UnicodeDecodeError) as error:
            raise StateError(f"state.dir: {directory} cannot be used: {error}") from error
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        stat = SelfStat(registry)
        state = StateSqlite(directory / "state.db", clock.now_s(), plan.settings.state.max_size)
        stack.callback(state.close)
        writer = ThreadPoolExecutor(1, thread_name_prefix="state")
        stack.callback(writer.shutdown, wait=False, cancel_futures=True)
        readers = ThreadPoolExecutor(len(plan.plugins) + 4, thread_name_prefix="collect")
        stack.callback(readers.shutdown, wait=False, cancel_futures=True)
        on_writer, emergency = _on(writer), MemoryOutbox()
        yield Kept(
            clock=clock,
            host=socket.gethostname(),
            socket=sock,
            registry=registry,
            stat=stat,
            state=state,
            rings=Rings(stat),
            inbox=BoundedInbox(stat),
            emergency=emergency,
            saver=Saver(state, emergency, stat, on_writer),
            on_writer=on_writer,
            token=token,
            readers=readers,
        )


def _on(executor: ThreadPoolExecutor) -> RunBlocking:
    async def run(work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(executor, work)

    return run


def api_token(directory: Path) -> str:
    """The token that changes need, made at first start in ``state.dir/token`` for the owner's eyes only."""
    path = directory / "token"
    with contextlib.suppress(FileExistsError), open(path, "x", opener=_private) as file:
        file.write(secrets.token_urlsafe(32) + "\n")
    return path.read_text(encoding="ascii").strip()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
