"""Starts the actors, each a process of its own group on a leash, and ends every one of them again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiops.errors import ChildError

_READY_S = 30.0
"""Without persistence mode a driver wakes every card for the first process."""
_STOP_S = 6.0
_KILL_S = 10.0
"""A driver takes the memory of a killed process back in its own time."""


class Process:
    """A started program."""

    def __init__(self, name: str, handle: asyncio.subprocess.Process, errors: Path) -> None:
        self.name = name
        self.pid = handle.pid
        self.errors = errors
        """What it wrote to standard error."""
        self.ready: dict[str, Any] = {}
        """What an actor said when it was ready: its ports."""
        self.handle = handle

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.handle.returncode is None

    def signal(self, number: int) -> None:
        """Signal it and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL if that is not heeded; whatever its group still holds is killed too."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                self.handle.terminate()
            try:
                async with asyncio.timeout(_STOP_S):
                    await self.handle.wait()
            except TimeoutError:
                pass
        self.signal(signal.SIGKILL)
        async with asyncio.timeout(_KILL_S):
            await self.handle.wait()


class Processes:
    """
    Everything that was started, ended last-in first-out by `stop`.

    Args:
        folder: Where standard error of each goes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Process] = []

    async def start(
        self, name: str, command: Sequence[str], *, ends_by: int = signal.SIGKILL, output: Path | None = None
    ) -> Process:
        """
        Start *command*; it gets the signal *ends_by* if this process dies. Its standard output is piped to us, or
        appended to the file *output*.

        Raises:
            OSError: it cannot be started.
        """
        errors = self._folder / f"{name}.err"
        leash = (sys.executable, "-m", "aiops.demo.leash", str(os.getpid()), str(int(ends_by)))
        with errors.open("ab") as sink, contextlib.ExitStack() as stack:
            out = asyncio.subprocess.PIPE if output is None else stack.enter_context(output.open("ab"))
            handle = await asyncio.create_subprocess_exec(
                *leash, *command, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=sink,
                start_new_session=True,  # Ctrl-C reaches only us; we end the others in order
            )  # fmt: skip
        process = Process(name, handle, errors)
        self._started.append(process)
        return process

    async def actor(self, name: str, module: str, *arguments: str) -> Process:
        """
        Start an actor of the demo and wait until it is ready.

        Raises:
            ChildError: it ended, or was not ready within 30 s; the text holds its last words.
        """
        return await self.actor_of(name, (sys.executable, "-m", f"aiops.demo.{module}", *arguments))

    async def actor_of(self, name: str, command: Sequence[str]) -> Process:
        """
        Start *command*, an actor that prints its ports when it is ready, and wait for that.

        Raises:
            ChildError: it ended, or was not ready within 30 s; the text holds its last words.
        """
        process = await self.start(name, command)
        assert process.handle.stdout is not None  # noqa: S101 - asked for above
        try:
            async with asyncio.timeout(_READY_S):
                line = await process.handle.stdout.readline()
        except TimeoutError:
            line = b""
        if not line:
            raise ChildError(f"{name} did not start: {last_words(process.errors)}")
        process.ready = json.loads(line)
        return process

    def dead(self) -> list[Process]:
        """Those that ended by themselves."""
        return [process for process in self._started if not process.running]

    async def end(self, process: Process) -> None:
        """End one before the others."""
        await process.stop()
        self._started.remove(process)

    async def stop(self) -> None:
        """End all."""
        while self._started:
            await self._started.pop().stop()


def last_words(path: Path, lines: int = 5) -> str:
    """The last lines a process wrote to standard error."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.strip().splitlines()[-lines:])
