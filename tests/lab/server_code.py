"""
What a model server's own code does with a request before its engine gets it, and how that can go wrong.

A request is tokenised in a process of its own, if the server has one, and written into the books, if the server keeps
some. A fatal request is one that ends the process: by an exit where an exception was meant, or by an abort in a library.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import faulthandler
import json
import os
import random
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.lab.engine_log import EngineLog

_RECORD = 3000
"""Bytes of a request's record in the books."""
_SPOOLED = 200
"""Files that wait to be shipped."""


class RequestFailed(Exception):
    """This request cannot be served; the text is what its client is told."""


class Books:
    """
    Where a server writes down every request, as usage accounting and audits want it.

    Args:
        folder: Of the records.
        name: Of the server.
        how: ``file``: one that grows; ``synced``: one, whose record must be on the disk before its request goes on;
            ``spool``: a file for each, which a shipper takes away later.
    """

    def __init__(self, folder: Path, name: str, how: str) -> None:
        self._folder, self._name, self._how = folder, name, how
        self._file = None if how == "spool" else (folder / f"usage-{name}.jsonl").open("ab", buffering=0)
        self._spooled: deque[Path] = deque()
        self._lock = asyncio.Lock()

    async def write(self, request_id: str, prompt: str) -> None:
        """
        Write a record.

        Raises:
            OSError: the disk refuses it.
        """
        record = json.dumps({"id": request_id, "prompt": prompt[:_RECORD]}).encode().ljust(_RECORD) + b"\n"
        if self._how == "synced":
            async with self._lock:  # one record after the other, as a log with an order has it
                await asyncio.to_thread(self._append, record)
        elif self._how == "file":
            self._append(record)
        else:
            self._spool(self._folder / f"{self._name}-{request_id}.json", record)

    def close(self) -> None:
        """End."""
        if self._file is not None:
            self._file.close()

    def _append(self, record: bytes) -> None:
        assert self._file is not None
        if (self._file.write(record) or 0) < len(record):  # the disk took a part of it
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._how == "synced":
            os.fdatasync(self._file.fileno())

    def _spool(self, path: Path, record: bytes) -> None:
        path.write_bytes(record)
        self._spooled.append(path)
        if len(self._spooled) > _SPOOLED:
            self._spooled.popleft().unlink(missing_ok=True)


class Tokenizer:
    """The process that tokenises for a server, one request after the other. Use `start`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lock = asyncio.Lock()
        self.cost_s = 0.0
        """CPU time a request takes."""

    @classmethod
    async def start(cls) -> Tokenizer:
        """Start the process; it ends with its standard input."""
        pipe = asyncio.subprocess.PIPE
        command = (sys.executable, "-m", "tests.lab.tokenizer")
        return cls(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe))

    async def tokenise(self, prompt: str) -> None:
        """Have *prompt* tokenised; those who come meanwhile wait."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        async with self._lock:
            stdin.write(f"{self.cost_s} {prompt}\n".encode())
            await stdin.drain()
            await stdout.readline()

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


class ServerCode:
    """
    The code of one server.

    Args:
        journal: Its log.
        seed: Of the choice which requests are fatal.
    """

    def __init__(self, journal: EngineLog, seed: int) -> None:
        self.books: Books | None = None
        self.tokenizer: Tokenizer | None = None
        self._journal, self._random = journal, random.Random(seed)
        self._fatal: tuple[str, float] = ("none", 0.0)

    async def furnish(self, args: argparse.Namespace) -> None:
        """Open what the command line asks for."""
        if args.books:
            self.books = Books(args.books_folder, str(args.port), args.books)
        if args.tokenizer_process:
            self.tokenizer = await Tokenizer.start()
            self.tokenizer.cost_s = args.tokenizer_process

    def switch(self, what: str, value: dict[str, Any]) -> bool:
        """``fatal`` {how, share}: exit or abort; ``tokenizer_process`` {seconds}. False when *what* is neither."""
        if what == "fatal":
            self._fatal = (str(value["how"]), float(value["share"]))
        elif what == "tokenizer_process" and self.tokenizer is not None:
            self.tokenizer.cost_s = float(value["seconds"])
        else:
            return False
        return True

    async def before_queue(self, request_id: str, prompt: list[str]) -> None:
        """
        All that is done with a request before the engine gets it.

        Raises:
            RequestFailed: it cannot go on.
        """
        how, share = self._fatal
        if self._random.random() < share:
            self._end(how, request_id)
        text = " ".join(prompt)
        if self.tokenizer is not None:
            await self.tokenizer.tokenise(text)
        if self.books is not None:
            try:
                await self.books.write(request_id, text)
            except OSError as error:
                self._journal.error("usage.py:61", f"Usage record of request {request_id} was not written: "
                                    f"OSError: [Errno {error.errno}] {error.strerror}")  # fmt: skip
                raise RequestFailed("Internal Server Error") from error

    def close(self) -> None:
        """End."""
        for part in (self.books, self.tokenizer):
            if part is not None:
                part.close()

    def _end(self, how: str, request_id: str) -> None:
        if how == "exit":
            self._journal.error("protocol.py:391", f"RuntimeError: request {request_id}: logits processor "
                                "'schema-v3' is not known to this build")  # fmt: skip
            os._exit(1)
        faulthandler.enable()  # what it says goes to standard error, as it does in a container
        os.write(2, b"terminate called after throwing an instance of 'std::length_error'\n  what():  vector::reserve\n")
        os.abort()
