"""
Change events from files: a deploy script appends one line of JSON, as ``POST /api/v1/events`` takes it.

A path is a file, or a folder of ``*.json`` and ``*.jsonl``, of which the 64 newest are followed. A file is read when it
has changed, its last 256 KiB. A line
without a time happened when it was first seen; what stood there before the daemon looked is history then, and is left
out. The same line is told once. Files are as untrusted as requests: a line that is no event is counted, not taken.
"""

from __future__ import annotations

import heapq
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from aiops.errors import RequestError
from aiops.model import Event, Labels, Observation, Sample, Sight
from aiops.model.pushed import parse_events

_MAX_FILES = 64
_MAX_BYTES = 256 * 2**10
_MAX_LINE_BYTES = 16 * 2**10
_MAX_TOLD = 4_096
_OLDEST_S = 86_400.0
"""What is older explains nothing that happens now."""
_REPEAT_S = 10.0
_SETTLED_S = 2.0
_ENDINGS = (".json", ".jsonl", ".ndjson")


class EventFiles:
    """
    Follows the files of events.

    Args:
        paths: Files and folders.
        root: Where the file system begins.
        host: This host's name.
    """

    def __init__(self, paths: Sequence[Path], root: Path, host: str) -> None:
        self._paths = [root / path.relative_to(path.anchor) for path in paths]
        self._feed = Labels.of(host_name=host, feed="files")
        self._seen: dict[Path, tuple[int, int, int]] = {}
        self._listed: dict[Path, tuple[int, list[Path]]] = {}
        self._told: dict[bytes, None] = {}
        self._said: dict[str, str] = {}
        self._first = True
        self._told_s = float("-inf")

    def read(self, now_s: float) -> Iterator[Observation]:
        """Events of lines that are new, and whether all files can be read."""
        whole = True
        for path in self._paths:
            try:
                bad = 0
                for file in self._files(path, now_s):
                    events, wrong = self._read_file(file, now_s)
                    bad += wrong
                    yield from events
            except OSError as error:
                whole = False
                yield from self._say(path, error.strerror or "cannot be read", seen=False)
            else:
                yield from self._say(path, f"{bad} lines that are no events" if bad else "", seen=True)
        self._first = False
        if self._paths and not 0.0 <= now_s - self._told_s < _REPEAT_S:
            self._told_s = now_s
            yield Sample("change_feed_up", self._feed, now_s, 1.0 if whole else 0.0)

    def _files(self, path: Path, now_s: float) -> list[Path]:
        state = path.stat()
        if not stat.S_ISDIR(state.st_mode):
            return [path]
        listed_ns, files = self._listed.get(path, (-1, []))
        # a folder changes when a file comes or goes; two may come in one tick of its clock
        if listed_ns != state.st_mtime_ns or now_s - state.st_mtime < _SETTLED_S:
            with os.scandir(path) as entries:
                found = [(each.stat().st_mtime_ns, each.name) for each in entries if each.name.endswith(_ENDINGS)]
            files = sorted(path / name for _, name in heapq.nlargest(_MAX_FILES, found))
            self._listed[path] = state.st_mtime_ns, files
        return files

    def _read_file(self, path: Path, now_s: float) -> tuple[list[Event], int]:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:  # noqa: PTH123 (a handle)
            state = os.fstat(handle)
            seen = (state.st_ino, state.st_size, state.st_mtime_ns)
            if not stat.S_ISREG(state.st_mode) or self._seen.get(path) == seen:
                return [], 0
            if state.st_size > _MAX_BYTES:
                file.seek(-_MAX_BYTES, os.SEEK_END)
                file.readline()
            text = file.read(_MAX_BYTES)
        if len(self._seen) >= 2 * _MAX_FILES:
            self._seen.clear()
        self._seen[path] = seen
        events: list[Event] = []
        wrong = 0
        for line in text[: text.rfind(b"\n") + 1].splitlines():  # the last one may still be being written
            if line.strip() and (found := self._line(line, now_s)) is not None:
                events += found
                wrong += not found
        return events, wrong

    def _line(self, line: bytes, now_s: float) -> list[Event] | None:
        """The events of a line; none if it is no event, None if there is nothing to say of it."""
        if line in self._told:
            return None
        if len(self._told) >= _MAX_TOLD:
            del self._told[next(iter(self._told))]
        self._told[line] = None
        try:
            if len(line) > _MAX_LINE_BYTES:
                return []
            found = [each for each in parse_events(line, now_s) if isinstance(each, Event)]
        except RequestError:
            return []
        dated = b'"time"' in line
        if (self._first and not dated) or any(event.at_s < now_s - _OLDEST_S for event in found):
            return None
        return [
            Event(each.kind, each.action, each.at_s, each.labels.merge(seen_by="files"), each.message) for each in found
        ]

    def _say(self, path: Path, detail: str, *, seen: bool) -> Iterator[Sight]:
        said = f"{seen} {detail}"
        if self._said.get(str(path)) != said:
            self._said[str(path)] = said
            yield Sight("changes", f"events in {path}", seen=seen, detail=detail or "read")
