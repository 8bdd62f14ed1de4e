"""
A recording read back, step by step, in the order in which things came (docs/adr/0008-record-and-replay.md).

Two ways of being broken are told apart. A file that ends too soon belongs to a recording that was cut off: what is
whole is given out, and `Recording.cut_off` says so. A file in which something else stands than should is damaged, and
refused with its line.
"""

from __future__ import annotations

import gzip
import itertools
import json
import re
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Self

import msgspec

from aiops.errors import RecordingError
from aiops.export.recording import EVENTS, LOGS, META, REVISED, SAMPLES
from aiops.export.tape import FORMAT, READABLE, Beginning, Ruling
from aiops.model import Event, Labels, Sample, TemplateNote, from_json
from aiops.ports import Part

_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)",?')
_ESCAPED = re.compile(r"\\(.)")
_REVISED = REVISED.encode()
_MAX_LINE_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Held:
    """What memory held when the recording began."""

    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Took:
    """Samples that went into memory."""

    part: Part
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Heard:
    """An event."""

    event: Event


@dataclass(frozen=True, slots=True)
class Noted:
    """What the log path counted."""

    notes: tuple[TemplateNote, ...]


@dataclass(frozen=True, slots=True)
class Ticked:
    """A tick, and its time."""

    tick: str
    now_s: float


Step = Held | Took | Heard | Noted | Ruling | Ticked


class _Over(Exception):
    """A file ends here although more was to come."""


class Recording:
    """
    The recording in the folder *path*.

    Raises:
        RecordingError: it is none, of a later version, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._meta = _read_meta(path / META)
        self.beginning = self._meta.beginning
        self.cut_off = ""
        """Where it ends too soon; known once all steps were given."""
        self.ended_s = self.beginning.at_s
        """The last tick that was given."""

    def steps(self) -> Iterator[Step]:
        """
        Everything that came, in order.

        Raises:
            RecordingError: a file is damaged.
        """
        with ExitStack() as stack:
            samples = _Samples(stack.enter_context(_Lines(self._path / SAMPLES)))
            events = stack.enter_context(_Lines(self._path / EVENTS))
            logs = stack.enter_context(_Lines(self._path / LOGS))
            try:
                for number, tick in enumerate(self._meta.ticks):
                    for step in self._step(number, tick, samples, events, logs):
                        if isinstance(step, Ticked):
                            self.ended_s = step.now_s
                        yield step
            except _Over as over:
                self.cut_off = f"{over} ends too soon"
                return
        if not self._meta.is_ended:
            self.cut_off = "it was not ended"

    def _step(self, number: int, tick: list[Any], samples: _Samples, events: _Lines, logs: _Lines) -> Iterator[Step]:
        match tick:
            case ["minute", int(count)] if count >= 0:
                samples.read(count)
            case ["held", int(count)] if count >= 0:
                for chunk in samples.held(count):
                    yield Held(chunk)
            case ["event"]:
                yield Heard(events.decode(Event))
            case ["notes"]:
                yield Noted(logs.decode(tuple[TemplateNote, ...]))
            case ["judged", dict(ruling)]:
                yield self._ruling(number, ruling)
            case ["evaluate" | "expire" as what, int() | float() as now_s]:
                yield Ticked(what, now_s)
            case ["collected" | "logs" | "ledger" as part, int() | float(), int(order)] if (
                0 <= order < len(self._meta.orders)
            ):
                yield Took(Part(part), samples.taken(self._meta.orders[order], self._where(number)))
            case _:
                raise RecordingError(f"{self._where(number)}: {json.dumps(tick)[:80]} is no tick of a recording")

    def _ruling(self, number: int, ruling: dict[str, Any]) -> Ruling:
        try:
            return from_json(json.dumps(ruling), Ruling)
        except msgspec.DecodeError as error:
            raise RecordingError(f"{self._where(number)}: damaged: {error}") from error

    def _where(self, number: int) -> str:
        return f"{self._path / META}:{self._meta.first_tick_line + number}"


# --- meta.json ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Meta:
    beginning: Beginning
    orders: list[list[int]]
    ticks: list[list[Any]]
    first_tick_line: int
    is_ended: bool


def _read_meta(path: Path) -> _Meta:
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RecordingError(f"{path.parent} is no recording: there is no {META}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecordingError(f"{path}: {error}") from error
    document, is_whole = _document(path, text)
    _check_format(path, document)
    try:
        beginning = from_json(json.dumps(document), Beginning)
        orders, ticks = document["orders"], document["ticks"]
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise RecordingError(f"{path}:1: is not what a recording says of itself: {error}") from error
    if not (isinstance(ticks, list) and isinstance(orders, list) and all(isinstance(each, list) for each in orders)):
        raise RecordingError(f"{path}:1: ticks and orders: expected lists")
    first = text[: text.index('"ticks"')].count("\n") + 2
    return _Meta(beginning, orders, ticks, first, is_whole and document.get("ended") is not None)


def _check_format(path: Path, document: Any) -> None:
    """Before anything else is asked of it: what a later version writes may look different all over."""
    if isinstance(document, dict) and "format" not in document:
        raise RecordingError(f"{path}:1: format: missing")
    given = document.get("format") if isinstance(document, dict) else None
    if isinstance(given, int) and given not in READABLE:
        raise RecordingError(f"{path}:1: format {given}; this program reads up to {FORMAT}")


def _document(path: Path, text: str) -> tuple[Any, bool]:
    """What is written, and whether it is there to its end."""
    try:
        return json.loads(text), True
    except RecursionError as error:
        raise RecordingError(f"{path}:1: damaged: nested too deeply") from error
    except ValueError as error:
        if not text.endswith("}\n"):
            try:  # cut within the ticks, which come last and one a line
                return json.loads(text[: text.rindex("\n")].rstrip(",\n") + "\n]}"), False
            except ValueError:
                pass
        line = getattr(error, "lineno", 1)
        raise RecordingError(f"{path}:{line}: damaged: {getattr(error, 'msg', error)}") from error


# --- the other files ------------------------------------------------------------------------------------------------


class _Lines:
    """Lines of a file, compressed or not."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number = 0
        try:
            self._file: gzip.GzipFile | BufferedReader = _opened(path)
        except FileNotFoundError as error:
            raise RecordingError(f"{path.parent} is no recording: there is no {path.name}") from error
        except OSError as error:
            raise RecordingError(f"{path}: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._file.close()

    def next(self) -> bytes:
        """The next line, without its end."""
        self._number += 1
        try:
            line = self._file.readline(_MAX_LINE_BYTES)
        except EOFError as error:
            raise _Over(self._path.name) from error
        except (OSError, zlib.error) as error:
            raise self.damaged(f"cannot be unpacked: {error}") from error
        if not line.endswith(b"\n"):
            if len(line) == _MAX_LINE_BYTES:
                raise self.damaged("a line too long for a recording")
            raise _Over(self._path.name)
        return line[:-1]

    def decode(self, kind: type[Any]) -> Any:
        """The next line, JSON of a *kind*."""
        line = self.next()
        try:
            return from_json(line, kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self.damaged(str(error)) from error

    def damaged(self, what: str) -> RecordingError:
        """The complaint about the line read last."""
        return RecordingError(f"{self._path}:{self._number}: damaged: {what}")


def _opened(path: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.GzipFile(path) if path.suffix == ".gz" else path.open("rb")


class _Samples:
    """Samples of OpenMetrics text, handed out in another order than they stand in."""

    def __init__(self, lines: _Lines) -> None:
        self._lines = lines
        self._numbers: dict[bytes, int] = {}
        self._series: list[tuple[str, Labels]] = []
        self._waiting: list[deque[tuple[float, float]]] = []

    def read(self, count: int) -> None:
        """Read *count* samples."""
        for number, at_s, value in itertools.islice(self._each(), count):
            self._waiting[number].append((at_s, value))

    def held(self, count: int) -> Iterator[tuple[Sample, ...]]:
        """*count* samples, series by series."""
        found = itertools.islice(self._each(), count)
        for number, points in itertools.groupby(found, key=lambda one: one[0]):
            metric, labels = self._series[number]
            yield tuple(Sample(metric, labels, at_s, value) for _, at_s, value in points)

    def taken(self, order: list[int], where: str) -> tuple[Sample, ...]:
        """The next sample of each series of *order*."""
        try:
            return tuple([Sample(*self._series[number], *self._waiting[number].popleft()) for number in order])
        except (IndexError, TypeError) as error:
            raise RecordingError(f"{where}: damaged: these samples are not in {SAMPLES}") from error

    def _each(self) -> Iterator[tuple[int, float, float]]:
        while True:
            line = self._lines.next()
            if line.startswith(_REVISED):
                line = line.removeprefix(_REVISED)
            elif line.startswith(b"#"):
                if line == b"# EOF":
                    raise self._lines.damaged(f"the text ends, and {META} says that more is to come")
                continue
            name, value, at_s = self._parts(line)
            number = self._numbers.get(name)
            if number is None:
                number = self._numbers[name] = len(self._series)
                self._series.append(self._parsed(name))
                self._waiting.append(deque())
            yield number, at_s, value

    def _parts(self, line: bytes) -> tuple[bytes, float, float]:
        try:
            name, value, at_s = line.rsplit(b" ", 2)
            return name, float(value), float(at_s)
        except ValueError as error:
            raise self._lines.damaged("expected a series, a value and a time") from error

    def _parsed(self, name: bytes) -> tuple[str, Labels]:
        try:
            metric, brace, rest = name.decode().partition("{")
        except UnicodeDecodeError as error:
            raise self._lines.damaged("no UTF-8") from error
        pairs: dict[str, str] = {}
        place = 0
        while brace and place < len(rest) - 1:
            found = _LABEL.match(rest, place)
            if found is None:
                break
            pairs[found[1]] = _ESCAPED.sub(lambda escape: {"n": "\n"}.get(escape[1], escape[1]), found[2])
            place = found.end()
        if not metric or (brace and rest[place:] != "}"):
            raise self._lines.damaged("expected a metric and its labels")
        return metric, Labels.from_mapping(pairs)
