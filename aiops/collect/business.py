"""
Business metrics that are fetched: from a page of JSON, a file of CSV, a database.

What the business sees (success, complaints, requests, revenue) is often counted elsewhere and known late. Values go in
under their own times, oldest first, and are revised when their source revises them (model/business.py says how late
they may be). Each source has its own task, so that a database that hangs delays no file. Haste changes nothing here:
what is counted once a minute is not known sooner for being asked every second.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from aiops.collect.business_rows import Row, Rows
from aiops.collect.business_sources import CsvConfig, CsvReader, JsonConfig, JsonReader, Reader, SqlConfig, SqlReader
from aiops.collect.fetch import instance_of
from aiops.document import Duration, FieldError, doc
from aiops.errors import SourceError
from aiops.model import Observation, Sight
from aiops.ports import World

_NAME = "business"
_MAX_SOURCES = 32
_PATIENCE_S = 2.0


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of the collector of business metrics that are fetched; pushed ones need no settings."""

    enabled: bool = field(default=True, metadata=doc("read the sources that are named"))
    interval: Duration = field(default=60.0, metadata=doc("time between readings of pages and files, in haste too"))
    deadline: Duration = field(default=10.0, metadata=doc("a page, file or query that takes longer is given up"))
    json: tuple[JsonConfig, ...] = field(default=(), metadata=doc("pages of JSON"))
    csv: tuple[CsvConfig, ...] = field(default=(), metadata=doc("files of comma-separated values"))
    sql: tuple[SqlConfig, ...] = field(default=(), metadata=doc("queries; needs SQLAlchemy (pip install 'aiops[sql]')"))

    def __post_init__(self) -> None:
        for name in ("json", "csv", "sql"):
            if len(getattr(self, name)) > _MAX_SOURCES:
                raise FieldError(name, f"expected at most {_MAX_SOURCES}")

    @property
    def configured(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.json or self.csv or self.sql)


@dataclass(slots=True)
class Source:
    """One source, and what is under way."""

    name: str
    reader: Reader
    rows: Rows
    every_s: float
    asked_s: float = -math.inf
    asking: asyncio.Task[Sequence[Row]] | None = None
    said: str = ""


class Business:
    """The collector; *executor* is where files are read, ended with it."""

    def __init__(self, config: Config, sources: Sequence[Source], executor: ThreadPoolExecutor) -> None:
        self.interval_s = config.interval
        self.deadline_s = _PATIENCE_S + 2.0  # a round ends by itself before this
        self._source_deadline_s = config.deadline
        self._sources = sources
        self._executor = executor

    async def gather(self, now_s: float) -> Sequence[Observation]:
        for source in self._sources:
            if source.asking is None and not 0.0 <= now_s - source.asked_s < source.every_s - 0.5:
                source.asked_s = now_s
                source.asking = asyncio.create_task(source.reader.rows(self._source_deadline_s), name=source.name)
        asking = [source.asking for source in self._sources if source.asking is not None]
        if asking:
            await asyncio.wait(asking, timeout=_PATIENCE_S)
        observations: list[Observation] = []
        for source in self._sources:
            if source.asking is not None and source.asking.done():
                observations += _take(source, now_s)
        return observations

    def close(self) -> None:
        """End what is under way."""
        for source in self._sources:
            if source.asking is not None:
                source.asking.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)


def _take(source: Source, now_s: float) -> Iterator[Observation]:
    if source.asking is None:
        return
    asking, source.asking = source.asking, None
    try:
        yield from source.rows.samples(asking.result(), now_s)
    except SourceError as error:
        yield from _say(source, str(error), seen=False)
    else:
        yield from _say(source, source.rows.refused and f"left out: {source.rows.refused}", seen=True)


def _say(source: Source, detail: str, *, seen: bool) -> Iterator[Sight]:
    said = f"{seen} {detail}"
    if said != source.said:
        source.said = said
        yield Sight(_NAME, source.name, seen=seen, detail=detail or "read")


def build(config: Config, world: World) -> Business:
    """The collector over *world*'s HTTP client and files."""
    executor = ThreadPoolExecutor(max(len(config.csv), 1), thread_name_prefix="business")
    sources = [
        *(
            Source(
                f"{each.metric} at {instance_of(each.url)}", JsonReader(each, world.http), _rows(each), config.interval
            )
            for each in config.json
        ),
        *(
            Source(f"{each.metric} in {each.path}", CsvReader(each, world.root, executor), _rows(each), config.interval)
            for each in config.csv
        ),
        *(
            Source(f"{each.metric} of {each.service} by query", SqlReader(each), _rows(each), each.every)
            for each in config.sql
        ),
    ]
    return Business(config, sources, executor)


def _rows(config: JsonConfig | CsvConfig | SqlConfig) -> Rows:
    return Rows(config.metric, config.service, config.scale)
