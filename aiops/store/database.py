"""
The state file itself: opening, schema, transactions, damage.

One SQLite file in WAL mode with FULL sync: a transaction that returned has reached the disk, and one that did not left
nothing. One connection writes, one reads; each has a lock, so any thread may call. What SQLite raises becomes
`StateError` here and nowhere else.

A file that is no database any more is moved aside, loudly, and a fresh one is begun: a daemon that refuses to start
over last month's incidents would miss today's. A file written by a newer version is refused, since only that version
knows what is in it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import structlog

from aiops.errors import StateError

log = structlog.get_logger(__name__)

_SCHEMA = Path(__file__).with_name("schema")
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SIDE_FILES = ("", "-wal", "-shm")
_BUSY_TIMEOUT_MS = 5_000

_PROBES = (
    "SELECT * FROM alerts",
    "SELECT * FROM incidents WHERE state = 'open'",
    "SELECT summary FROM incidents ORDER BY opened_at_s DESC LIMIT 100",
    "SELECT * FROM outbox WHERE state = 'waiting'",
    "SELECT * FROM checkpoints",
    "SELECT * FROM series",
)
"""Not everything: closed incidents and history may be hundreds of megabytes, and the start is short."""

Row = tuple[Any, ...]


class Database:
    """
    An open state file.

    Args:
        path: The file; its directory is created with mode 0700 if absent, the file with 0600.
        now_s: Names a damaged file set aside.

    Raises:
        StateError: the file cannot be opened or created, or was written by a newer version.
    """

    def __init__(self, path: Path, now_s: float) -> None:
        self.path = path
        self._write_lock = threading.RLock()
        self._read_lock = threading.Lock()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                self._open()
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._set_aside(now_s, error)
                self._open()
        except (OSError, sqlite3.Error) as error:
            raise StateError(f"state file {path} cannot be opened: {error}") from error

    # --- opening ----------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        # SQLite would create it with the umask's mode; the side files inherit the mode of the main one
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        self._writer = self._connect()
        try:
            self._writer.execute("PRAGMA auto_vacuum = INCREMENTAL")  # has effect before the first table only
            self._writer.execute("PRAGMA journal_mode = WAL")
            self._writer.execute("PRAGMA synchronous = FULL")
            self._writer.execute("PRAGMA journal_size_limit = 16777216")
            self._migrate()
            self._probe()
            self._reader = self._connect()
            self._reader.execute("PRAGMA query_only = ON")
        except BaseException:
            self._writer.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        return connection

    def _migrate(self) -> None:
        (found,) = self._writer.execute("PRAGMA user_version").fetchone()
        migrations = {int(file.name[:4]): file for file in sorted(_SCHEMA.glob("[0-9][0-9][0-9][0-9]_*.sql"))}
        newest = max(migrations)
        if found > newest:
            raise StateError(
                f"state file {self.path} has schema {found}, this version knows {newest}: "
                "start the newer version, or set another state.dir"
            )
        for number in range(found + 1, newest + 1):
            script = migrations[number].read_text(encoding="utf-8")
            self._writer.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")

    def _probe(self) -> None:
        """Read what the daemon depends on, so that damage shows now and not in the middle of an incident."""
        for query in _PROBES:
            for _ in self._writer.execute(query):
                pass

    def _set_aside(self, now_s: float, error: sqlite3.Error) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged-{now_s:.0f}")
        for suffix in _SIDE_FILES:
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
        log.critical(
            "state file is damaged: set aside, starting with an empty one; open incidents and unsent messages in it are lost",
            file=str(self.path),
            kept_as=str(aside),
            error=str(error),
        )

    # --- use --------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def transaction(self, purpose: str) -> Iterator[sqlite3.Connection]:
        """
        One write transaction: on the disk when the block ends, undone if anything is raised.

        Raises:
            StateError: nothing of it was saved.
        """
        with self._write_lock:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException as error:
                with contextlib.suppress(sqlite3.Error):
                    self._writer.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error | OverflowError | UnicodeError):
                    raise StateError(f"{purpose}: {error}") from error
                raise

    def read(self, query: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """
        Rows as last committed.

        Raises:
            StateError: the file cannot be read.
        """
        with self._read_lock:
            try:
                return self._reader.execute(query, parameters).fetchall()
            except sqlite3.Error as error:
                raise StateError(f"state file {self.path} cannot be read: {error}") from error

    def used_bytes(self) -> int:
        """Bytes of the file that hold data."""
        ((pages, free, size),) = self.read(
            "SELECT page_count, freelist_count, page_size FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()"
        )
        return int((pages - free) * size)

    def shrink(self) -> None:
        """
        Give unused pages back to the file system.

        Raises:
            StateError: the file cannot be written.
        """
        with self._write_lock:
            try:
                self._writer.execute("PRAGMA incremental_vacuum").fetchall()
            except sqlite3.Error as error:
                raise StateError(f"state file {self.path} cannot be shrunk: {error}") from error

    def close(self) -> None:
        """Close both connections; what was committed stays."""
        with self._write_lock, self._read_lock:
            self._reader.close()
            self._writer.close()


def _is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)  # absent when Python itself raised
    return code is not None and code & 0xFF in _DAMAGE
