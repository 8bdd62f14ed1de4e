"""
Where business rows come from: a page of JSON, a file of CSV, a query to a database.

Each reader gives rows or raises `SourceError`; nothing it meets can block longer than its deadline or grow beyond its
bound. What the rows mean is for business_rows.py.
"""

from __future__ import annotations

import asyncio
import csv
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx
import msgspec

from aiops.child import ask_once
from aiops.collect.business_rows import MAX_ROWS, Row
from aiops.collect.fetch import fetch_page, instance_of
from aiops.document import Duration, FieldError, Secret, doc
from aiops.errors import ChildError, SourceMalformed, SourceUnavailable
from aiops.model.business import BUSINESS

_MAX_PAGE_BYTES = 2**20
_MAX_FILE_BYTES = 2**20
"""The end of a file, in which its last hour should be."""
_MAX_HEAD_BYTES = 4_096
_MAX_ANSWER_BYTES = 2**20
_COMMAND = (sys.executable, "-m", "aiops.collect.business_sql")
_EVERY_S = 300.0


@dataclass(frozen=True, slots=True)
class JsonConfig:
    """A page of JSON."""

    url: str = field(metadata=doc("address of the page"))
    metric: str = field(metadata=doc(f"one of {', '.join(BUSINESS)}"))
    service: str = field(metadata=doc("whose it is, where the page names none"))
    value: str = field(
        metadata=doc("where the value stands: keys and list positions joined by dots, such as data.0.rate")
    )
    time: str = field(default="", metadata=doc("likewise its time: epoch seconds or ISO; none means now"))
    service_key: str = field(default="", metadata=doc("likewise its service"))
    rows: str = field(
        default="", metadata=doc("where a list of readings stands; the others then count from each of them")
    )
    scale: float = field(default=1.0, metadata=doc("multiplies the value: 0.01 for percent"))
    token: Secret = field(default=Secret(""), metadata=doc("sent as bearer token, if there is one; use https with it"))

    def __post_init__(self) -> None:
        check_metric(self.metric)
        try:
            instance_of(self.url)
        except ValueError as error:
            raise FieldError("url", str(error).removeprefix("url: ")) from error


@dataclass(frozen=True, slots=True)
class CsvConfig:
    """A file of comma-separated values with a line of names at its head, which may grow."""

    path: Path = field(metadata=doc("the file; its last megabyte is read when it has changed"))
    metric: str = field(metadata=doc(f"one of {', '.join(BUSINESS)}"))
    service: str = field(metadata=doc("whose it is, where the file names none"))
    value: str = field(default="value", metadata=doc("name of the column"))
    time: str = field(default="time", metadata=doc("name of the column: epoch seconds or ISO, UTC without a zone"))
    service_column: str = field(default="service", metadata=doc("name of the column, if there is one"))
    scale: float = field(default=1.0, metadata=doc("multiplies the value: 0.01 for percent"))

    def __post_init__(self) -> None:
        check_metric(self.metric)


@dataclass(frozen=True, slots=True)
class SqlConfig:
    """A query to a database that SQLAlchemy knows; give it a user that may only read."""

    url: Secret = field(
        metadata=doc("as SQLAlchemy has it: postgresql+pg8000://reader@db/shop; better as {file: PATH}")
    )
    query: str = field(metadata=doc("its columns value, time, service; one row or several, best of the last hour only"))
    metric: str = field(metadata=doc(f"one of {', '.join(BUSINESS)}"))
    service: str = field(metadata=doc("whose it is, where the row names none"))
    scale: float = field(default=1.0, metadata=doc("multiplies the value: 0.01 for percent"))
    every: Duration = field(default=_EVERY_S, metadata=doc("time between queries; each starts a process"))

    def __post_init__(self) -> None:
        check_metric(self.metric)
        if self.every < 1.0:
            raise FieldError("every", "expected a duration of 1s or more")


def check_metric(metric: str) -> None:
    """
    Refuse what is no business metric.

    Raises:
        FieldError: it is none.
    """
    if metric not in BUSINESS:
        raise FieldError("metric", f"expected one of {', '.join(BUSINESS)}, found {metric!r}")


class Reader(Protocol):
    """Reads one source."""

    async def rows(self, deadline_s: float) -> Sequence[Row]:
        """
        What it holds.

        Raises:
            SourceError: it cannot be read, or is something else.
        """
        ...


class JsonReader:
    """Reads a page of JSON."""

    def __init__(self, config: JsonConfig, http: httpx.AsyncClient) -> None:
        self._config = config
        self._http = http

    async def rows(self, deadline_s: float) -> Sequence[Row]:
        token = self._config.token.reveal()
        page = await fetch_page(
            self._http, self._config.url, deadline_s=deadline_s, limit_bytes=_MAX_PAGE_BYTES,
            headers={"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {}),
        )  # fmt: skip
        try:
            data = msgspec.json.decode(page)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise SourceMalformed("no JSON") from error
        readings = at(data, self._config.rows)
        if not isinstance(readings, list):
            readings = [readings]
        found = list(self._read(readings))
        if not found:
            raise SourceMalformed(f"no value at {self._config.value}")
        return found

    def _read(self, readings: Sequence[Any]) -> Iterator[Row]:
        config = self._config
        for reading in readings[: MAX_ROWS + 1]:
            value = at(reading, config.value)
            if value is not None:
                time = (at(reading, config.time) or "nothing") if config.time else None
                yield Row(value, time, at(reading, config.service_key) if config.service_key else None)


def at(data: Any, path: str) -> Any:
    """What stands in *data* under dotted keys; None if nothing does."""
    for key in path.split(".") if path else ():
        if isinstance(data, dict):
            data = data.get(key)
        elif isinstance(data, list) and key.isdecimal() and int(key[:9]) < len(data):
            data = data[int(key[:9])]
        else:
            return None
    return data


class CsvReader:
    """Reads a file when it has changed, in a thread of its own: a dead mount keeps that, and nothing else."""

    def __init__(self, config: CsvConfig, root: Path, executor: Executor) -> None:
        self._config = config
        self._path = root / config.path.relative_to(config.path.anchor)
        self._executor = executor
        self._reading: asyncio.Future[list[Row]] | None = None
        self._seen: tuple[int, int, int] | None = None

    async def rows(self, deadline_s: float) -> Sequence[Row]:
        if self._reading is None:
            self._reading = asyncio.get_running_loop().run_in_executor(self._executor, self._read)
        done, _ = await asyncio.wait({self._reading}, timeout=deadline_s)
        if not done:
            raise SourceUnavailable(f"no answer within {deadline_s:g} s")
        reading, self._reading = self._reading, None
        try:
            return reading.result()
        except OSError as error:
            raise SourceUnavailable(error.strerror or "cannot be read") from error

    def _read(self) -> list[Row]:
        handle = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:  # noqa: PTH123 (a handle)
            state = os.fstat(handle)
            if not stat.S_ISREG(state.st_mode):
                raise SourceMalformed("not a file")
            seen = (state.st_ino, state.st_size, state.st_mtime_ns)
            if seen == self._seen:
                return []
            head = file.readline(_MAX_HEAD_BYTES)
            if state.st_size > _MAX_FILE_BYTES:
                file.seek(-_MAX_FILE_BYTES, os.SEEK_END)
                file.readline()  # the rest of a line
            body = file.read(_MAX_FILE_BYTES)
        rows = list(self._rows(head, body[: body.rfind(b"\n") + 1]))  # the last line may still be being written
        self._seen = seen
        return rows

    def _rows(self, head: bytes, body: bytes) -> Iterator[Row]:
        try:
            names = next(csv.reader([head.decode("utf-8-sig", "replace")]), [])
            lines = csv.reader(body.decode("utf-8", "replace").replace("\0", "").splitlines())
            columns = {name.strip(): number for number, name in enumerate(names)}
            if self._config.value not in columns:
                raise SourceMalformed(f"no column {self._config.value} in its first line")
            value, time, service = (
                columns.get(name, -1) for name in (self._config.value, self._config.time, self._config.service_column)
            )
            for cells in lines:
                if 0 <= max(value, time, service) < len(cells):
                    yield Row(
                        cells[value], cells[time] if time >= 0 else None, cells[service] if service >= 0 else None
                    )
        except csv.Error as error:
            raise SourceMalformed("not comma-separated values") from error


class SqlReader:
    """Asks a database, from a process of its own."""

    def __init__(self, config: SqlConfig, command: Sequence[str] = _COMMAND) -> None:
        self._config = config
        self._command = command

    async def rows(self, deadline_s: float) -> Sequence[Row]:
        question = {
            "url": self._config.url.reveal(), "query": self._config.query, "limit": MAX_ROWS + 1,
            "timeout_s": deadline_s,
        }  # fmt: skip
        try:
            answer = await ask_once(self._command, question, deadline_s, max_bytes=_MAX_ANSWER_BYTES)
        except ChildError as error:
            raise SourceUnavailable(str(error)) from error
        if not isinstance(answer, dict) or not isinstance(answer.get("rows"), list):
            raise SourceUnavailable(str(answer.get("error", "no answer")) if isinstance(answer, dict) else "no answer")
        return [Row(*row) for row in answer["rows"] if isinstance(row, list) and len(row) == 3]
