"""
What a model server asks PostgreSQL, over psycopg's own pool: each request's tenant, and what it used.

It has the face of the demo's pool (`ask`, `used`, `idle`, `limit`, `pending`), so that the demo's metrics page shows
it. What goes wrong with it goes wrong in psycopg: the words in the log are its own.
"""

from __future__ import annotations

import asyncio
import logging
import random
import zlib
from collections.abc import Callable
from typing import Any

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

NAME = "metadata"
_LIBRARIES = ("psycopg.pool", "asyncio")
TENANTS = 500
_LOOK_UP = "UPDATE tenants SET requests = requests + 1 WHERE id = %s RETURNING name"


class TenantPool:
    """
    A pool of connections to the cell's PostgreSQL.

    Args:
        dsn: Of the database.
        size: Connections at most.
        timeout_s: How long a caller waits for one.
        seed: Of the choice which connections leak, when the code leaks.
    """

    def __init__(self, dsn: str, *, size: int, timeout_s: float, seed: int = 0) -> None:
        self._pool = AsyncConnectionPool(
            dsn, min_size=min(2, size), max_size=size, timeout=timeout_s, max_idle=60.0, name=NAME, open=False,
            kwargs={"connect_timeout": 3},
        )  # fmt: skip
        self._random = random.Random(seed)
        self._leaked: list[AsyncConnection[Any]] = []
        self.leak_share = 0.0
        """Share of requests whose code path takes a connection and returns early without giving it back."""
        self.quota_s = 0.0
        """How long the quota service is waited for inside the transaction."""

    async def open(self) -> None:
        """Connect."""
        await self._pool.open(wait=True, timeout=20.0)

    async def close(self) -> None:
        """Disconnect."""
        self.mend()
        await self._pool.close(timeout=1.0)

    @property
    def limit(self) -> int:
        """Connections at most."""
        return self._pool.max_size

    @property
    def used(self) -> int:
        """Connections in somebody's hands."""
        stats = self._pool.get_stats()
        return stats.get("pool_size", 0) - stats.get("pool_available", 0)

    @property
    def idle(self) -> int:
        """Connections open and free."""
        return self._pool.get_stats().get("pool_available", 0)

    @property
    def pending(self) -> int:
        """Callers waiting for one."""
        return self._pool.get_stats().get("requests_waiting", 0)

    async def ask(self, question: str) -> str:
        """
        Look up whose request *question* names, and count it.

        Raises:
            psycopg_pool.PoolTimeout: no connection came free in time.
            psycopg.Error: the database cannot be reached, or refuses.
        """
        tenant = zlib.crc32(question.encode()) % TENANTS
        if self._random.random() < self.leak_share:
            connection = await self._pool.getconn()
            self._leaked.append(connection)
            name = await _look_up(connection, tenant)
            await connection.commit()  # what is lost is the connection; its rows are free
            return name
        async with self._pool.connection() as connection:
            name = await _look_up(connection, tenant)
            if self.quota_s:
                await asyncio.sleep(self._random.expovariate(1.0 / self.quota_s))
        return name

    async def first_row(self, statement: str) -> tuple[Any, ...] | None:
        """
        Run *statement*; its first row.

        Raises:
            psycopg.Error: as of `ask`.
        """
        async with self._pool.connection() as connection:
            return await (await connection.execute(statement)).fetchone()

    async def switch(self, value: dict[str, Any]) -> None:
        """Change how this server uses its pool: `leak_share`, `quota_s`, `size` (a whole configuration's)."""
        self.leak_share = float(value.get("leak_share", self.leak_share))
        self.quota_s = float(value.get("quota_s", self.quota_s))
        if "size" in value:
            await self._pool.resize(1, int(value["size"]))
        if not self.leak_share:
            self.mend()

    def mend(self) -> None:
        """Give back what was leaked: the corrected code is live."""
        for connection in self._leaked:
            asyncio.get_running_loop().create_task(_give_back(self._pool, connection))
        self._leaked.clear()


async def _look_up(connection: AsyncConnection[Any], tenant: int) -> str:
    row = await (await connection.execute(_LOOK_UP, (tenant,))).fetchone()
    return str(row[0]) if row else ""


async def _give_back(pool: AsyncConnectionPool[Any], connection: AsyncConnection[Any]) -> None:
    await connection.rollback()
    await pool.putconn(connection)


def worded(error: Exception) -> str:
    """*error* as the last line of its traceback has it."""
    kind = type(error)
    return f"{kind.__module__}.{kind.__qualname__}: {error}"


def is_timeout(error: Exception) -> bool:
    """Whether *error* is that of a caller that waited in vain for a connection."""
    return isinstance(error, PoolTimeout)


class LibraryLog(logging.Handler):
    """
    Brings what libraries log of themselves into the server's log: psycopg's pool, and the event loop.

    Args:
        write: Appends one line, said at a place in the code.
    """

    def __init__(self, write: Callable[[str, str], None]) -> None:
        super().__init__(logging.WARNING)
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        """Write each line of *record*."""
        for line in self.format(record).splitlines():
            self._write(f"{record.filename}:{record.lineno}", line)

    def attach(self) -> None:
        """Listen to them from now on."""
        for name in _LIBRARIES:
            logging.getLogger(name).addHandler(self)

    def detach(self) -> None:
        """No more: the server's log is closed."""
        for name in _LIBRARIES:
            logging.getLogger(name).removeHandler(self)
