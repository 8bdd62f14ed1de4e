"""
A recording as files: what the tape says, in a folder (docs/adr/0008-record-and-replay.md has the format).

``samples.om.gz`` is OpenMetrics text. An hour of a node is a million samples, and text of them is small only where
like stands beside like; but a recording that is cut off must be good up to the cut. So it is written by the minute:
each minute is a gzip member of its own in which families and series stand together, and the order in which samples came
is kept beside it, in ``meta.json``, as lists of series numbers that mostly repeat. Series are numbered as they first
appear in the file. A sample that revises an older one, or is of the same millisecond, is written as a remark: Prometheus'
backfill refuses a file in which a series goes back in time.

Whatever happens to this process or its disk, the folder holds whole minutes: ``meta.json`` is replaced after a minute's
other files were written, and says of a recording that was not ended that it was not.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import msgspec

from aiops.catalog import CATALOG, MetricKind
from aiops.errors import RecordingError
from aiops.export.tape import FORMAT

REVISED = "# HELP aiops_revised "
"""Before a sample that is not newer than the one before it of its series."""
SAMPLES, LOGS, EVENTS, META = "samples.om.gz", "logs.jsonl.gz", "events.jsonl", "meta.json"
MAX_BYTES = 2**30
_MINUTE_S = 60.0
_FAR_S = 1e15
"""Times further away are none; their milliseconds need not be told apart."""
_LEVEL = 9
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_GZIP = 31
"""zlib's name for deflate with gzip's header."""


@dataclass(slots=True)
class _Series:
    """One series, and what came of it this minute."""

    metric: str
    name: str
    """As OpenMetrics writes it."""
    arrived: int
    number: int | None = None
    """Its place in the file; None until it stands there."""
    newest_ms: int = -(2**63)
    """As Prometheus reads times."""
    points: list[tuple[float, float]] = field(default_factory=list)


class RecordingFolder:
    """
    Writes a recording into *path*, line by line as `tape.Tape` gives them.

    Args:
        path: A folder that is empty, or not there yet.
        max_bytes: The recording is ended when its files reach this.

    Raises:
        RecordingError: *path* is something else, or cannot be made.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise RecordingError(f"{path} is not empty; a recording needs a folder of its own")
            self._samples, self._logs, self._events = (_Appended(path / name) for name in (SAMPLES, LOGS, EVENTS))
        except OSError as error:
            raise RecordingError(f"{path}: {error.strerror}") from error
        self.ended = ""
        """Why nothing more is taken; empty while it is."""
        self.samples = 0
        self._begin: Mapping[str, Any] = {}
        self._by_tape: dict[int, _Series] = {}
        self._by_name: dict[str, _Series] = {}
        self._families: dict[str, int] = {}
        self._numbered = 0
        self._orders: dict[tuple[int, ...], int] = {}
        self._ticks: list[list[Any]] = []
        """Of whole minutes."""
        self._running: list[list[Any]] = []
        """Of the minute that runs; with what came then as series, not yet as numbers."""
        self._running_events: list[bytes] = []
        self._running_notes: list[bytes] = []
        self._touched: dict[int, _Series] = {}
        self._minute_s: float | None = None
        self._last_s = 0.0
        self._held: _Held | None = None
        self._kinds: Mapping[str, Callable[..., None]] = {
            "begin": self._take_begin,
            "series": self._take_series,
            "held": self._take_held,
            "samples": self._take_samples,
            "event": self._take_event,
            "judged": self._take_judged,
            "notes": self._take_notes,
            "tick": self._take_tick,
            "end": self._take_end,
        }

    @property
    def size_bytes(self) -> int:
        """What the files take, but for `META`."""
        return self._samples.size + self._logs.size + self._events.size

    def take(self, line: bytes) -> None:
        """
        Take in one line of a tape.

        Raises:
            OSError: the disk refuses; what was written before stays whole.
            RecordingError: it is no such line.
        """
        try:
            kind, *rest = msgspec.json.decode(line)
            self._kinds[kind](*rest)
        except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
            raise RecordingError(f"the daemon said something that is no part of a recording: {error!r}") from error

    def close(self, why: str, *, whole: bool = True) -> None:
        """
        End the recording.

        Args:
            why: What a reader is told.
            whole: False to leave the running minute out: the disk would not have it.

        Raises:
            OSError: the disk refuses; the recording then reads as one that was cut off.
        """
        with contextlib.ExitStack() as stack:
            for part in (self._samples, self._logs, self._events):
                stack.callback(part.close)
            if whole:
                self._end_minute()
            self._samples.append(gzip.compress(b"# EOF\n", mtime=0))
            if not self._logs.size:
                self._logs.append(gzip.compress(b"", mtime=0))
            self._write_meta(why)

    # --- lines ------------------------------------------------------------------------------------------------------

    def _take_begin(self, begin: Mapping[str, Any]) -> None:
        if begin["format"] != FORMAT:
            raise RecordingError("the daemon is of another version than this command; restart it")
        self._begin = begin
        self._write_meta(None)  # whoever is killed within the first minute leaves a short recording, not none

    def _take_series(self, number: int, metric: str, labels: Mapping[str, str]) -> None:
        name = _written(metric, labels)
        series = self._by_name.get(name)
        if series is None:
            series = self._by_name[name] = _Series(metric, name, len(self._by_name))
            self._families.setdefault(metric, len(self._families))
        self._by_tape[number] = series

    def _take_held(self, number: int, times: list[float], values: list[float]) -> None:
        if self._held is None:
            self._held = _Held(self._samples)
        series = self._by_tape[number]
        self._number(series)
        self._held.write(series, zip(times, values, strict=True))
        self.samples += len(times)

    def _end_held(self) -> None:
        if self._held is not None:
            self._held.close()
            self._ticks.append(["held", self._held.count])
            self._held = None

    def _take_samples(
        self, part: str, now_s: float, numbers: list[int], values: list[float], times: float | list[float]
    ) -> None:
        self._end_held()
        taken = [self._by_tape[number] for number in numbers]
        at_s = times if isinstance(times, list) else [times] * len(numbers)
        for series, moment, value in zip(taken, at_s, values, strict=True):
            series.points.append((moment, value))
            self._touched[series.arrived] = series
        self.samples += len(values)
        self._running.append([part, now_s, taken])

    def _take_event(self, event: Any) -> None:
        self._running_events.append(msgspec.json.encode(event) + b"\n")
        self._running.append(["event"])

    def _take_judged(self, ruling: Any) -> None:
        self._running.append(["judged", ruling])

    def _take_notes(self, notes: Any) -> None:
        self._end_held()
        self._running_notes.append(msgspec.json.encode(notes) + b"\n")
        self._running.append(["notes"])

    def _take_tick(self, tick: str, now_s: float) -> None:
        self._end_held()
        self._running.append([tick, now_s])
        self._last_s = now_s
        if self._minute_s is None:
            self._minute_s = now_s
        elif tick == "evaluate" and not 0.0 <= now_s - self._minute_s < _MINUTE_S:
            self._minute_s = now_s
            self._end_minute()
            if self.size_bytes > self._max_bytes:
                self.ended = "the recording reached its largest size"

    def _take_end(self, why: str) -> None:
        self.ended = why

    # --- minutes ----------------------------------------------------------------------------------------------------

    def _end_minute(self) -> None:
        """Write what has come since the last minute."""
        self._end_held()
        touched = sorted(self._touched.values(), key=lambda one: (self._families[one.metric], one.arrived))
        count = sum(len(series.points) for series in touched)
        text = "".join(self._lines(touched)).encode()
        if text:
            self._samples.append(gzip.compress(text, _LEVEL, mtime=0))
        if self._running_notes:
            self._logs.append(gzip.compress(b"".join(self._running_notes), _LEVEL, mtime=0))
        if self._running_events:
            self._events.append(b"".join(self._running_events))
        self._ticks.append(["minute", count])
        self._ticks.extend(self._numbered_tick(tick) for tick in self._running)
        self._touched, self._running, self._running_notes, self._running_events = {}, [], [], []
        self._write_meta(None)

    def _lines(self, touched: Iterable[_Series]) -> Iterator[str]:
        metric = ""
        for series in touched:
            if series.metric != metric:
                metric = series.metric
                yield _type_of(metric)
            self._number(series)
            yield from _points(series, series.points)
            series.points = []

    def _number(self, series: _Series) -> None:
        if series.number is None:
            series.number = self._numbered
            self._numbered += 1

    def _numbered_tick(self, tick: list[Any]) -> list[Any]:
        if len(tick) < 3:
            return tick
        part, now_s, taken = tick
        order = tuple(series.number for series in taken)
        return [part, now_s, self._orders.setdefault(order, len(self._orders))]

    def _write_meta(self, why: str | None) -> None:
        ended = None if why is None else {"at_s": self._last_s, "why": why}
        # one thing a line, so that a complaint can name it, and so that what is left of a cut file can be read
        parts = [
            f'"ended": {json.dumps(ended)}',
            *(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in self._begin.items()),
            '"orders": [\n' + ",\n".join(json.dumps(order) for order in self._orders) + "\n]",
            '"ticks": [\n' + ",\n".join(json.dumps(tick) for tick in self._ticks) + "\n]",
        ]
        beside = self._path / (META + ".part")
        try:
            beside.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")
            beside.replace(self._path / META)
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            raise


class _Appended:
    """A file that only grows, and by whole pieces."""

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = path.open("xb", buffering=0)
        self.size = 0

    def append(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            self.cut(self.size)
            raise
        self.size += len(data)

    def cut(self, size: int) -> None:
        """Go back to *size*."""
        with contextlib.suppress(OSError):
            self._file.truncate(size)
            self._file.seek(size)
        self.size = size

    def close(self) -> None:
        self._file.close()


class _Held:
    """What memory held at the beginning: a gzip member written as it comes, since it may be a million samples."""

    def __init__(self, file: _Appended) -> None:
        self._file = file
        self._begins = file.size
        self._deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        self._metric = ""
        self.count = 0

    def write(self, series: _Series, points: Iterable[tuple[float, float]]) -> None:
        lines = list(_points(series, points))
        self.count += len(lines)
        if series.metric != self._metric:
            self._metric = series.metric
            lines.insert(0, _type_of(series.metric))
        self._append(self._deflate.compress("".join(lines).encode()))

    def close(self) -> None:
        self._append(self._deflate.flush())

    def _append(self, data: bytes) -> None:
        try:
            self._file.append(data)
        except OSError:
            self._file.cut(self._begins)
            raise


def _points(series: _Series, points: Iterable[tuple[float, float]]) -> Iterator[str]:
    for at_s, value in points:
        at_ms = int(max(min(at_s, _FAR_S), -_FAR_S) * 1000.0)
        remark = "" if at_ms > series.newest_ms else REVISED
        series.newest_ms = max(series.newest_ms, at_ms)
        # repr gives the shortest text that reads back as the same double
        yield f"{remark}{series.name} {value!r} {at_s!r}\n"


def _type_of(metric: str) -> str:
    known = CATALOG.get(metric)
    if known is not None and known.kind is MetricKind.COUNTER and metric.endswith("_total"):
        return f"# TYPE {metric.removesuffix('_total')} counter\n"
    return f"# TYPE {metric} {'gauge' if known is not None and known.kind is MetricKind.GAUGE else 'unknown'}\n"


def _written(metric: str, labels: Mapping[str, str]) -> str:
    if not labels:
        return metric
    pairs = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())
    return f"{metric}{{{pairs}}}"
