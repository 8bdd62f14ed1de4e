"""
How servers and gateways spell what we want to know: the tables of engines.yaml, ready for use.

Every engine spells the same few facts in its own way, and spells them anew every few versions. The table holds the
spellings; page_plan.py and server_page.py turn a page into samples by it. A dialect is one engine's table, shared by
all its servers.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import resources
from typing import Final, NamedTuple

from aiops.collect.exposition import Parser
from aiops.document import decode, parse
from aiops.errors import SourceMalformed


class Combine(StrEnum):
    """How several series of a page become one."""

    SUM = "sum"
    MAX = "max"


FACTORS: Final = {"": 1.0, "ms": 1e-3, "us": 1e-6, "percent": 1e-2, "subtracted": -1.0}
"""From the unit of a page to the base unit. A family has one unit, whatever it is read for."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where one metric stands on an engine's page; fields as explained in engines.yaml."""

    metric: str
    names: tuple[str, ...]
    combine: Combine = Combine.SUM
    where: dict[str, tuple[str, ...]] = field(default_factory=dict)
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rename: dict[str, str] = field(default_factory=dict)
    fixed: dict[str, str] = field(default_factory=dict)
    value_of: str = ""
    over: tuple[str, ...] = ()
    unit: str = ""
    quantile: float | None = None

    def __post_init__(self) -> None:
        if self.unit not in FACTORS:
            raise ValueError(f"unit: expected one of {', '.join(filter(None, FACTORS))}, found {self.unit!r}")


@dataclass(frozen=True, slots=True)
class Health:
    """Where an engine says whether it is well."""

    path: str
    ports: dict[str, int] = field(default_factory=dict)
    """Port of the page to port of the path, where they differ; on no other port is it asked then."""


@dataclass(frozen=True, slots=True)
class Moving:
    """Numbers that change whenever an engine works."""

    names: tuple[str, ...]
    where: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Engine:
    """One program's spelling; fields as explained in engines.yaml."""

    title: str
    marks: tuple[str, ...]
    unless: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ("",)
    model: tuple[str, ...] = ()
    version: str = ""
    health: Health | None = None
    mirrored: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    progress: tuple[Moving, ...] = ()
    otherwise: str = ""
    blind: str = ""
    read: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class _File:
    engines: dict[str, Engine]
    gateways: dict[str, Engine]
    every_page: tuple[Source, ...]


class Row(NamedTuple):
    """One source, with its names as they stand on the page."""

    source: Source
    names: tuple[str, ...]
    over: tuple[str, ...]
    spare: bool
    """Used only where the engine's own rows find nothing of the metric."""


class Dialect:
    """
    One engine's table, ready for use and shared by all its servers.

    Args:
        name: As in the label ``server`` (or ``gateway``); empty for a page of no known engine.
        engine: Its spelling.
        every_page: What stands on every page, without prefix.
        otherwise: The engine whose table is used for metrics that this one does not show.
    """

    def __init__(
        self, name: str, engine: Engine, every_page: Sequence[Source] = (), otherwise: Engine | None = None
    ) -> None:
        self.name = name
        self.title = engine.title
        self.prefixes = engine.prefixes
        self.model = engine.model
        self.version_path = engine.version
        self.health = engine.health
        self.blind = engine.blind
        self.mirrored = frozenset(engine.mirrored)
        self.parts = engine.parts
        spare = (*otherwise.read,) if otherwise is not None else ()
        self.rows = (
            *(_row(source, engine.prefixes) for source in engine.read),
            *(_row(source, otherwise.prefixes if otherwise else (), spare=True) for source in spare),
            *(_row(source, ("",)) for source in every_page),
        )
        self.progress = {
            name: moving.where for moving in engine.progress for name in _spellings(moving.names, engine.prefixes)
        }
        wanted = {name for row in self.rows for name in (*row.names, *row.over)}
        self.wanted = frozenset(wanted | self.progress.keys())
        self.parser = Parser(self.wanted)
        self.strangers = engine.unless
        self._marks = _line_start(engine.marks)
        self._unless = _line_start(engine.unless)

    def wrote(self, page: bytes) -> bool:
        """Whether *page* is one of this engine's."""
        return bool(self._marks and self._marks.search(page) and not (self._unless and self._unless.search(page)))


def _row(source: Source, prefixes: Sequence[str], *, spare: bool = False) -> Row:
    suffix = "_bucket" if source.quantile is not None else ""
    names = _spellings(source.names, prefixes, suffix)
    return Row(source, names, _spellings(source.over, prefixes), spare)


def _spellings(names: Sequence[str], prefixes: Sequence[str], suffix: str = "") -> tuple[str, ...]:
    return tuple(f"{prefix}{name}{suffix}" for name in names for prefix in prefixes)


def _line_start(marks: Sequence[str]) -> re.Pattern[bytes] | None:
    if not marks:
        return None
    choice = b"|".join(re.escape(mark.encode()) for mark in marks)
    return re.compile(rb"^(?:# TYPE )?(?:" + choice + rb")", re.MULTILINE)


class Dialects:
    """All of one kind of program."""

    def __init__(self, engines: Mapping[str, Engine], every_page: Sequence[Source]) -> None:
        self.known = tuple(
            Dialect(name, engine, every_page, engines[engine.otherwise] if engine.otherwise else None)
            for name, engine in engines.items()
        )
        self.unknown = Dialect("", Engine("server", ()), every_page)

    def recognise(self, page: bytes) -> Dialect | None:
        """Whose page this is."""
        return next((dialect for dialect in self.known if dialect.wrote(page)), None)


@functools.cache
def _file() -> _File:
    text = resources.files("aiops.collect").joinpath("engines.yaml").read_text(encoding="utf-8")
    node = parse(text, "engines.yaml")
    if node is None:
        raise SourceMalformed("engines.yaml is empty")
    return decode(node, _File)


@functools.cache
def dialects() -> Dialects:
    """Inference servers, as shipped."""
    return Dialects(_file().engines, _file().every_page)


@functools.cache
def gateways() -> Dialects:
    """Gateways, as shipped."""
    return Dialects(_file().gateways, ())
