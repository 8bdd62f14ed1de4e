"""
Many series in one CSV file: a `time` column in epoch seconds, every other column a series.

Files come from spreadsheets, exporters and scripts, so much is forgiven and said: cells that are no number are missing
readings, rows out of order are sorted, a row that ends early has missing readings at its end. What cannot be meant is
an error with its line. The size is bounded: a compressed file may unpack to anything.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np

from aiops.errors import DataError, Problem
from aiops.stats import Floats

TIME = "time"
_MAX_CELLS = 30_000_000
"""A quarter of a gigabyte; 700 series a second for half a day."""
_MAX_LINE_CHARS = 8 << 20
_MISSING = frozenset({"", "nan", "na", "n/a", "null", "none", "-"})
_LARGEST = 1e150
"""Its square is still a number."""
_LATEST_S = 1e11
"""The year 5138; what is later was not written in seconds."""
_MAX_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Columns:
    """
    What the file holds.

    Args:
        path: Where it was read.
        names: Of the series, in the file's order.
        at_s: Times, shape (n,), never falling.
        values: Readings, shape (m, n); NaN where missing.
        notes: What was forgiven, a sentence each.
    """

    path: str
    names: tuple[str, ...]
    at_s: Floats
    values: Floats
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Forgiven:
    """Counted while reading; the first of a kind is shown."""

    text: int = 0
    first_text: str = ""
    short: int = 0
    first_short: str = ""


@dataclass(slots=True)
class _Rows:
    """Cells as they are read, row after row."""

    path: str
    names: list[str]
    time_at: int
    times: array[float] = field(default_factory=lambda: array("d"))
    cells: array[float] = field(default_factory=lambda: array("d"))
    forgiven: _Forgiven = field(default_factory=_Forgiven)

    def take(self, row: Sequence[str], line: int) -> None:
        """One row of text."""
        if len(row) > len(self.names):
            raise _error(self.path, line, f"{len(row)} cells, but the head names {len(self.names)} columns")
        if len(row) <= self.time_at:
            raise _error(self.path, line, "the row ends before its time")
        self.times.append(self._time(row[self.time_at], line))
        try:
            numbers = [float(cell) for cell in row]
        except ValueError:
            numbers = [self._number(cell, line) for cell in row]
        if missing := len(self.names) - len(row):
            numbers += [math.nan] * missing
            self.forgiven.short += 1
            self.forgiven.first_short = self.forgiven.first_short or f"{self.path}:{line}"
        self.cells.extend(numbers)
        if len(self.cells) > _MAX_CELLS:
            message = f"more than {_MAX_CELLS:,} readings; cut the file to the hours around the incident"
            raise _error(self.path, line, message)

    def _time(self, cell: str, line: int) -> float:
        try:
            at_s = float(cell)
        except ValueError:
            at_s = math.nan
        if not math.isfinite(at_s):
            raise _error(self.path, line, f"time {_shown(cell)} is no number of seconds since 1970")
        if abs(at_s) > _LATEST_S:
            raise _error(self.path, line, f"time {_shown(cell)} is not in seconds; milliseconds?")
        return at_s

    def _number(self, cell: str, line: int) -> float:
        try:
            return float(cell)
        except ValueError:
            if cell.strip().lower() not in _MISSING:
                self.forgiven.text += 1
                self.forgiven.first_text = self.forgiven.first_text or f"{_shown(cell)} at {self.path}:{line}"
            return math.nan


def read_columns(path: Path) -> Columns:
    """
    The series of a file; it is uncompressed while it is read if its name ends in ``.gz``.

    Raises:
        DataError: it cannot be read, or what it holds cannot be meant.
    """
    name = str(path)
    try:
        with ExitStack() as stack:
            return _columns(_read(_open(path, stack), name))
    except OSError as error:
        raise _error(name, 1, error.strerror or str(error)) from error


def _open(path: Path, stack: ExitStack) -> TextIO:
    raw = stack.enter_context(path.open("rb"))
    binary = stack.enter_context(gzip.GzipFile(fileobj=raw, mode="rb")) if path.name.endswith(".gz") else raw
    return stack.enter_context(io.TextIOWrapper(binary, "utf-8-sig", "replace", newline=""))


def _read(file: TextIO, name: str) -> _Rows:
    reader = csv.reader(_lines(file, name))
    try:
        head = next(reader, [])
        rows = _Rows(name, head, _time_column(head, name))
        for row in reader:
            if row:
                rows.take(row, reader.line_num)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _error(name, reader.line_num + 1, f"damaged: {error}") from error
    except csv.Error as error:
        raise _error(name, reader.line_num, f"no CSV: {error}") from error
    return rows


def _lines(file: TextIO, name: str) -> Iterator[str]:
    number = 0
    while line := file.readline(_MAX_LINE_CHARS):
        number += 1
        if len(line) == _MAX_LINE_CHARS:
            raise _error(name, number, "the line has no end")
        yield line


def _time_column(head: Sequence[str], path: str) -> int:
    if not head:
        raise _error(path, 1, "the file is empty; expected a head of column names")
    names = [name.strip() for name in head]
    if names.count(TIME) != 1:
        found = f"{names.count(TIME)} columns" if TIME in names else "no column"
        message = f"{found} named {TIME!r} among {', '.join(map(_shown, head[:5]))}{', …' if len(head) > 5 else ''}"
        raise _error(path, 1, message)
    seen: set[str] = set()
    for name in names:
        if name and name in seen:
            raise _error(path, 1, f"two columns are named {_shown(name)}")
        seen.add(name)
    if len(names) == 1:
        raise _error(path, 1, f"no column besides {TIME!r}")
    return names.index(TIME)


def _columns(rows: _Rows) -> Columns:
    if not rows.times:
        raise _error(rows.path, 2, "no row of readings")
    names = [name.strip() for name in rows.names]
    kept = [place for place, name in enumerate(names) if name and place != rows.time_at]
    at_s = np.frombuffer(rows.times, dtype=np.float64)
    cells = np.frombuffer(rows.cells, dtype=np.float64).reshape(at_s.size, len(names))
    notes = list(_notes(rows))
    if (np.diff(at_s) < 0).any():
        order = np.argsort(at_s, kind="stable")
        at_s, cells = at_s[order], cells[order]
        notes.append("Rows were out of order and were sorted by time.")
    values = np.ascontiguousarray(cells.T[kept])
    values[~np.isfinite(values)] = np.nan
    np.clip(values, -_LARGEST, _LARGEST, out=values)
    return Columns(rows.path, tuple(names[place] for place in kept), at_s, values, tuple(notes))


def _notes(rows: _Rows) -> Iterator[str]:
    if count := rows.forgiven.text:
        yield f"{count:,} cells hold text and count as missing, the first {rows.forgiven.first_text}."
    if count := rows.forgiven.short:
        yield f"{count:,} rows end early and lack their last readings, the first {rows.forgiven.first_short}."
    if unnamed := sum(not name.strip() for name in rows.names):
        yield f"{unnamed} columns have no name and were left out."


def _shown(cell: str) -> str:
    text = "".join(c if c.isprintable() else " " for c in cell[: _MAX_SHOWN + 1])
    return f"{text[:_MAX_SHOWN]}…" if len(text) > _MAX_SHOWN else repr(text)


def _error(path: str, line: int, text: str) -> DataError:
    return DataError(Problem(path, line, text))
