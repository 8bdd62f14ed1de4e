"""
Who runs on this machine, remembered from look to look.

A machine has hundreds of processes and a reading costs ten microseconds each, so a look lists /proc and reads only
those it does not know. A young process is read again, since it may still become another program (exec) or give itself
a title; of the old ones a few are read each time, in turn, so that an id that was given away is noticed in the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from aiops.collect.process_files import read_stat, seconds
from aiops.collect.process_names import Engine, engine_of, program
from aiops.collect.procfs import read_file

_MAX_PROCESSES = 32_768
_MAX_NEW = 2_000
"""Unknown processes read in one look; the rest are read in the next."""
_YOUNG_S = 25.0
_TITLED_S = (60.0, 70.0)
"""A server's workers give themselves a title once their libraries are loaded: a last reading at this age."""
_TURNS = 60
"""Looks in which every old process is read once."""
_MAX_COMMAND_BYTES = 8_192
_MAX_WORDS = 256


@dataclass(frozen=True, slots=True)
class Process:
    """One process, as it was when it was read last."""

    pid: int
    parent: int
    """As it was first: a child outlives its parent's name for it."""
    start_ticks: int
    command: tuple[str, ...]
    """Its command line; its short name if it has none."""
    engine: Engine | None
    """The inference server its program is; of children mostly None."""
    program: str
    """Its program's name; empty for the kernel's own threads and for zombies, which have no memory."""


class ProcessTable:
    """
    All processes of this machine.

    Args:
        root: Where the file system begins.
    """

    def __init__(self, root: Path) -> None:
        self._proc = str(root / "proc")
        self._known: dict[int, Process] = {}
        self._turn = 0

    def look(self, uptime_s: float) -> Mapping[int, Process]:
        """
        Processes by id.

        Args:
            uptime_s: Seconds since the machine started.

        Raises:
            OSError: /proc cannot be listed.
        """
        # names only: scandir would make an object each
        pids = {int(name) for name in os.listdir(self._proc) if name.isdecimal()}  # noqa: PTH208
        for pid in self._known.keys() - pids:
            del self._known[pid]
        self._turn = (self._turn + 1) % _TURNS
        for pid in list(self._due(pids, uptime_s)):
            found = self._read(pid)
            if found is not None:
                self._known[pid] = found
            else:
                self._known.pop(pid, None)
        return self._known

    def _due(self, pids: set[int], uptime_s: float) -> Iterator[int]:
        unknown = sorted(pids - self._known.keys())
        yield from unknown[: min(_MAX_NEW, max(_MAX_PROCESSES - len(self._known), 0))]
        for pid, known in self._known.items():
            age_s = uptime_s - seconds(known.start_ticks)
            if pid % _TURNS == self._turn or age_s < _YOUNG_S or _TITLED_S[0] <= age_s < _TITLED_S[1]:
                yield pid

    def _read(self, pid: int) -> Process | None:
        folder = f"{self._proc}/{pid}"
        try:
            stat = read_stat(f"{folder}/stat")
            text = read_file(f"{folder}/cmdline")[:_MAX_COMMAND_BYTES]
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None  # ended meanwhile
        except OSError:  # hidden, or we have no file left to open: what was known still holds
            return self._known.get(pid)
        words = [word.decode("utf-8", "replace") for word in text.rstrip(b"\0").split(b"\0")[:_MAX_WORDS]]
        if len(words) == 1:  # a title: the program overwrote its arguments with one line
            words = words[0].split() or [stat.name]
        # of a title no more than the first word: others put addresses and statements into it
        name = program(words)[0] if text.strip(b"\0") else ""
        known = self._known.get(pid)
        same = known is not None and known.start_ticks == stat.start_ticks
        parent = known.parent if known is not None and same else stat.parent
        return Process(pid, parent, stat.start_ticks, tuple(words), engine_of(words), name)
