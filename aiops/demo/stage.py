"""
What every actor does the same way: run until SIGTERM or SIGINT, and say when it is ready.

The orchestrator learns an actor's ports from the one line of JSON it prints when it listens.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any

Actor = Callable[[], AbstractAsyncContextManager[dict[str, Any]]]
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_stop: ContextVar[asyncio.Event] = ContextVar("stop")


def perform(actor: Actor) -> None:
    """Start *actor*, print what it yields as one line of JSON, and wait for the signal to stop."""
    asyncio.run(_perform(actor))


async def _perform(actor: Actor) -> None:
    stop = asyncio.Event()
    _stop.set(stop)
    _heed(stop)
    async with actor() as ready:
        print(json.dumps(ready), flush=True)
        await stop.wait()


def _heed(stop: asyncio.Event) -> None:
    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


@contextmanager
def starting() -> Iterator[None]:
    """While an actor is in this block, a signal ends it at once, as it ends programs that do not serve yet."""
    for number in _SIGNALS:
        asyncio.get_running_loop().remove_signal_handler(number)
    yield
    _heed(_stop.get())


@asynccontextmanager
async def background(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run *coroutines* beside the block and cancel them after it; if one fails, the block fails with it."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(coroutine) for coroutine in coroutines]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
