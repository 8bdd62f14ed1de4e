"""
A child process that answers questions: one JSON line in, one JSON line out.

What may hang for ever (a sick GPU driver) or grow without measure (a model that is fitted) runs in a child, so that it
can be killed. Every question has a deadline and every answer a size; a child that misses either is killed, and so is
one whose asker gave up, since its answer would be taken for the next one's. It is started again at the next question,
after a pause that doubles while it keeps failing.

A process in uninterruptible sleep cannot be killed. It is abandoned and never waited for; with two such children none
is started any more until one of them has gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from aiops.errors import ChildError, ChildResting, ChildTimeout

_MAX_ABANDONED = 2
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_PART_BYTES = 64 * 2**10
_COMPLAINT_BYTES = 4096
"""What is remembered of a child's standard error, to say why it ended."""
_REAP_S = 0.05


class Child:
    """
    A child process, started when it is first asked.

    Args:
        command: Program and arguments.
        max_bytes: Longest answer taken.
    """

    def __init__(self, command: Sequence[str], *, max_bytes: int = 2**20) -> None:
        self._command = tuple(command)
        self._max_bytes = max_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._kill: weakref.finalize[Any, Any] | None = None
        self._dying: list[subprocess.Popen[bytes]] = []
        self._answer = b""
        self._complaint = b""
        self._failures = 0
        self._not_before_s = 0.0
        self._turn = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return None if self._process is None else self._process.pid

    async def ask(self, question: Any, deadline_s: float) -> Any:
        """
        The child's answer to *question*; a second caller waits for the first.

        Args:
            question: Plain data.
            deadline_s: Seconds for all of it, the child's start included.

        Raises:
            ChildTimeout: no answer in time, or earlier children still hang in the kernel.
            ChildResting: it failed a moment ago and is not started again yet.
            ChildError: it ended, or spoke nonsense.
        """
        async with self._turn:
            process = self._process or self._start()
            try:
                async with asyncio.timeout(deadline_s):
                    await self._write(process, json.dumps(question).encode() + b"\n")
                    answer = json.loads(await self._line(process))
            except TimeoutError as error:
                self._fail()
                raise ChildTimeout(f"no answer within {deadline_s:g} s") from error
            except (ValueError, RecursionError) as error:
                self._fail()
                raise ChildError("answered with something that is not JSON") from error
            except ChildError:
                self._fail()
                raise
            except BaseException:
                self._drop()
                raise
            self._failures = 0
            return answer

    def close(self) -> None:
        """Kill the child, if it runs."""
        self._drop()

    # --- starting and ending ----------------------------------------------------------------------------------------

    def _start(self) -> subprocess.Popen[bytes]:
        self._forget_dead()
        if len(self._dying) >= _MAX_ABANDONED:
            raise ChildTimeout(f"{len(self._dying)} earlier children still hang in the kernel")
        wait_s = self._not_before_s - asyncio.get_running_loop().time()
        if wait_s > 0:
            raise ChildResting(f"failed {self._failures} times; started again in {wait_s:.0f} s")
        try:
            process = subprocess.Popen(  # noqa: S603 (the caller's own command, no shell)
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,  # Ctrl-C on our terminal is for us
            )
        except OSError as error:
            self._pause()
            raise ChildError(f"{self._command[0]} cannot be started: {error.strerror}") from error
        for stream in (process.stdin, process.stdout, process.stderr):
            os.set_blocking(_number(stream), False)
        self._answer = self._complaint = b""
        self._kill = weakref.finalize(self, _kill, process)
        self._process = process
        return process

    def _fail(self) -> None:
        """Kill the child and remember that it failed."""
        self._drop()
        self._pause()

    def _pause(self) -> None:
        pause_s = min(_FIRST_PAUSE_S * 2.0 ** min(self._failures, 16), _LONGEST_PAUSE_S)
        self._failures += 1
        self._not_before_s = asyncio.get_running_loop().time() + pause_s

    def _drop(self) -> None:
        if self._process is not None and self._kill is not None:
            self._kill()
            self._dying.append(self._process)
        self._process = self._kill = None
        self._forget_dead()

    def _forget_dead(self) -> None:
        self._dying = [process for process in self._dying if process.poll() is None]

    # --- speaking ---------------------------------------------------------------------------------------------------

    async def _write(self, process: subprocess.Popen[bytes], message: bytes) -> None:
        handle, loop = _number(process.stdin), asyncio.get_running_loop()
        rest = memoryview(message)
        while rest:
            try:
                rest = rest[os.write(handle, rest) :]
            except BlockingIOError:
                await _ready(loop.add_writer, loop.remove_writer, handle)
            except BrokenPipeError as error:
                raise ChildError(self._why_ended(process)) from error

    async def _line(self, process: subprocess.Popen[bytes]) -> bytes:
        handle, loop = _number(process.stdout), asyncio.get_running_loop()
        while b"\n" not in self._answer:
            if len(self._answer) > self._max_bytes:
                raise ChildError(f"answered with more than {self._max_bytes} bytes")
            try:
                part = os.read(handle, _PART_BYTES)
            except BlockingIOError:
                await _ready(loop.add_reader, loop.remove_reader, handle)
                continue
            if not part:
                raise ChildError(self._why_ended(process))
            self._answer += part
        self._listen(process)
        line, _, self._answer = self._answer.partition(b"\n")
        return line

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        """Take what the child wrote to its standard error: a full pipe would stop it."""
        with contextlib.suppress(BlockingIOError):
            while part := os.read(_number(process.stderr), _PART_BYTES):
                self._complaint = (self._complaint + part)[-_COMPLAINT_BYTES:]

    def _why_ended(self, process: subprocess.Popen[bytes]) -> str:
        self._listen(process)
        last = self._complaint.decode("utf-8", "replace").strip().rpartition("\n")[2]
        return f"ended: {last[:200]}" if last else "ended"


async def ask_once(command: Sequence[str], question: Any, deadline_s: float, *, max_bytes: int = 2**20) -> Any:
    """
    The answer of a child that lives for one *question*.

    Args:
        command: Program and arguments.
        question: Plain data.
        deadline_s: Seconds for all of it.
        max_bytes: Longest answer taken.

    Raises:
        ChildTimeout: no answer in time.
        ChildError: the child ended without one, or spoke nonsense.
    """
    child = Child(command, max_bytes=max_bytes)
    try:
        return await child.ask(question, deadline_s)
    finally:
        child.close()


async def _ready(add: Callable[..., None], remove: Callable[[int], bool], handle: int) -> None:
    """Wait until *handle* can be read or written."""
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    add(handle, wake)
    try:
        await ready
    finally:
        remove(handle)


def _number(stream: Any) -> int:
    return int(stream.fileno())


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill, let go of the pipes, and reap what dies at once, as all do that are not in uninterruptible sleep."""
    process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_REAP_S)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
