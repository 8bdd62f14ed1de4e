"""
What a service asks before it answers, and no cause file knows: a flag service, tickets, a daily quota, an adapter's file.

A model server that is started with ``--checks`` asks them at every request (flags and tickets are kept for a moment, as
clients of such services do). Whatever goes wrong goes wrong in these lines, with the words of a house of its own.
"""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiops.demo.wire import Client

SHARDS, SHARD_BYTES = 64, 4096
_KEPT_S = 1.0
_SKEW_S = 5.0
QUOTA_SQL = (
    "UPDATE daily_quota SET used = used + 1 WHERE day = current_date AND used < allowed RETURNING allowed - used"
)
"""No row comes back when there is nothing left."""


class Refused(Exception):
    """
    A check does not let the request through.

    Args:
        status: Of the answer.
        place: Of the code, for the log.
        told: To the log.
        answer: To the client.
    """

    def __init__(self, status: int, place: str, told: str, answer: str) -> None:
        super().__init__(told)
        self.status, self.place, self.told, self.answer = status, place, told, answer


Check = Callable[[str], Awaitable[None]]
"""Looks at a prompt.

Raises:
    Refused: it is not answered.
"""
Query = Callable[[str], Awaitable[Any]]
"""Runs a statement in the house's database; its first row, or None."""


class Adapter:
    """
    The file of an adapter: shards with their sums, of which a request reads one.

    Args:
        path: Of the file; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            write_adapter(path)
        self._path = path

    async def check(self, prompt: str) -> None:
        number = zlib.crc32(prompt.encode()) % SHARDS
        with self._path.open("rb") as file:
            file.seek(number * SHARD_BYTES)
            shard = file.read(SHARD_BYTES)
        known, found = int.from_bytes(shard[:4], "big"), zlib.crc32(shard[4:])
        if known != found:
            told = (
                f"adapter shard {number:03d}/{SHARDS}: sum {found:08x} is not the manifest's {known:08x}, row dropped"
            )
            raise Refused(500, "adapter_rows.py:131", told, "adapter row unavailable")


def write_adapter(path: Path) -> None:
    """A whole file."""
    pieces = []
    for number in range(SHARDS):
        body = (number.to_bytes(2, "big") * SHARD_BYTES)[: SHARD_BYTES - 4]
        pieces.append(zlib.crc32(body).to_bytes(4, "big") + body)
    path.write_bytes(b"".join(pieces))


def spoil_adapter(path: Path, shards: list[int]) -> None:
    """Turn bits around in the middle of *shards*, as a bad disk or a copy that was cut short does."""
    with path.open("r+b") as file:
        for number in shards:
            file.seek(number * SHARD_BYTES + SHARD_BYTES // 2)
            byte = file.read(1)
            file.seek(-1, 1)
            file.write(bytes([byte[0] ^ 0x55]))


class Flags:
    """Whether the chat is open to a segment, as the flag service says; closed when it says nothing sensible."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: Any = None
        self._until_s = 0.0
        self._lock = asyncio.Lock()

    async def check(self, prompt: str) -> None:
        async with self._lock:
            if time.monotonic() >= self._until_s:
                answer = await self._client.send("GET", "/flags")
                self._known, self._until_s = await answer.read(), time.monotonic() + _KEPT_S
        segment = f"s{zlib.crc32(prompt.encode()) % 10}"
        try:
            share = json.loads(self._known)["chat"][segment]
        except (ValueError, KeyError, TypeError) as error:
            told = f"segment {segment} unresolved in rollout table ({type(error).__name__}), treating as closed"
            raise Refused(503, "segments.py:57", told, "segment closed") from None
        if share is not True:
            told = f"segment {segment} evaluates to {share!r}, treating as closed"
            raise Refused(503, "segments.py:61", told, "segment closed")


class Tickets:
    """Tickets of a ticket service, which must be valid by this machine's clock."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._ticket: dict[str, float] = {}
        self._until_s = 0.0
        self._lock = asyncio.Lock()

    async def check(self, prompt: str) -> None:
        async with self._lock:
            if time.monotonic() >= self._until_s:
                self._ticket = (await self._client.call("GET", "/ticket"))[1]
                self._until_s = time.monotonic() + _KEPT_S
        now_s, ticket = time.time(), self._ticket
        if not ticket["from_s"] - _SKEW_S <= now_s <= ticket["to_s"]:
            off_s = now_s - ticket["from_s"]
            told = f"ticket window {off_s:+.0f} s off local clock, session for {zlib.crc32(prompt.encode()):08x} not opened"
            raise Refused(500, "session_tickets.py:92", told, "session not opened")


class Quota:
    """The day's quota in the database."""

    def __init__(self, query: Query) -> None:
        self._query = query

    async def check(self, prompt: str) -> None:
        if await self._query(QUOTA_SQL) is None:
            raise Refused(503, "daily_quota.py:40", "day row spent, generation deferred to tomorrow", "try tomorrow")


def build(names: str, *, adapter: Path, sidecar_port: int, query: Query) -> list[Check]:
    """The checks of a comma-separated list of adapter, flags, tickets and quota, in its order."""
    client = Client(sidecar_port)
    known: dict[str, Callable[[], Check]] = {
        "adapter": lambda: Adapter(adapter).check,
        "flags": lambda: Flags(client).check,
        "tickets": lambda: Tickets(client).check,
        "quota": lambda: Quota(query).check,
    }
    return [known[name]() for name in names.split(",") if name]
