"""
Log files of inference servers, line by line, on their way to masking and clustering.

Files are named in the settings, or found (`server_logs`); ``-`` is standard input. Nothing is judged here; what is written
in a log becomes records whatever is in it (`log_source`). One round takes a bounded number of lines and bytes, shared
fairly among the files, and a bounded time: in a flood lines are sampled and counted, so that neither this collector nor
what comes after it holds up the others. Checkpoints move on when what was read has arrived.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from aiops.collect.addresses import read_addresses
from aiops.collect.container_format import Wrapping
from aiops.collect.file_names import expand
from aiops.collect.log_source import LogSource
from aiops.collect.place import Shelf
from aiops.collect.rotated import is_rotation
from aiops.collect.sampling import Ration
from aiops.collect.server_logs import FoundLog, container_logs, server_logs
from aiops.collect.standard_input import StandardInput
from aiops.collect.tail import Follower
from aiops.collect.trail import MISSING
from aiops.document import Duration, doc
from aiops.model import Observation, Sight
from aiops.ports import World

_MAX_FILES = 64
"""Each holds one open file."""
_LOOK_S = 10.0
_LOOK_AROUND_S = 60.0
_ROUND_LINES = 5_000
"""Lines taken in one round, all files together: what comes after needs some tens of microseconds for each."""
_ROUND_BYTES = 2 * 2**20
_ROUND_SCAN_BYTES = 64 * 2**20
"""Bytes looked at in one round, so that what is left out can be counted."""
_ROUND_S = 0.15
_MAX_AWAY_S = 7 * 86_400.0
"""What was written longer ago is of no use to anybody who is not looking for it."""
_KEPT_PLACES = 128


@dataclass(frozen=True, slots=True)
class LogFile:
    """One file, or several by wildcard."""

    path: str = field(metadata=doc("the file; * and ? are allowed; - is standard input"))
    instance: str = field(default="", metadata=doc("host:port of the replica that writes it"))
    wrapping: Wrapping = field(
        default=Wrapping.AUTO, metadata=doc("what a container runtime wraps around lines: auto, plain, docker or cri")
    )


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of the log-tail collector."""

    enabled: bool = field(default=True, metadata=doc("follow log files of inference servers"))
    interval: Duration = field(default=1.0, metadata=doc("time between readings"))
    deadline: Duration = field(default=2.0, metadata=doc("a reading that takes longer is given up"))
    files: tuple[LogFile, ...] = field(default=(), metadata=doc("files to follow"))
    discover: bool = field(
        default=True, metadata=doc("find the log files of local inference servers and of containers too")
    )


class LogTail:
    """The collector: follows every file."""

    def __init__(self, config: Config, world: World) -> None:
        self.interval_s = config.interval
        self.deadline_s = config.deadline
        self._config = config
        self._world = world
        self._addresses = read_addresses(world.root, world.host)
        self._shelf = Shelf(world.checkpoints, "log_tail", _KEPT_PLACES)
        self._sources: dict[str, LogSource] = {}
        self._named: set[str] = set()
        """Sources that the settings name without wildcards: they stay, there or not."""
        self._looked_s: float | None = None
        self._looked_around_s: float | None = None
        self._nothing_said = False
        self._reading = threading.Lock()

    def collect(self, now_s: float) -> Iterator[Observation]:
        with self._reading:
            if self._looked_s is None or not 0.0 <= now_s - self._looked_s < _LOOK_S:
                self._look(now_s)
            if not self._sources and not self._nothing_said:
                self._nothing_said = True
                hint = "name files under collect.log_tail.files: {path: /var/log/vllm/a.log, instance: 127.0.0.1:8000}"
                yield Sight("log_tail", "logs of inference servers", seen=False, detail="none found", hint=hint)
            yield from self._read(now_s)

    def _read(self, now_s: float) -> Iterator[Observation]:
        """A round of all sources: who has little goes first, and what it leaves is shared by the others."""
        clock = self._world.clock
        until_s = clock.monotonic_s() + _ROUND_S
        left = Ration(_ROUND_LINES, _ROUND_BYTES, _ROUND_SCAN_BYTES)
        sources = sorted(self._sources.values(), key=lambda source: source.followed.backlog_bytes())
        for number, source in enumerate(sources):
            among = len(sources) - number
            ration = Ration(
                max(1, left.lines // among),
                max(1, left.size_bytes // among),
                left.scan_bytes // among,
                thin=True,
                is_over=lambda: clock.monotonic_s() > until_s,
            )
            given = ration.lines, ration.size_bytes, ration.scan_bytes
            yield from source.read(now_s, ration)
            yield from source.state(now_s)
            left.lines -= given[0] - ration.lines
            left.size_bytes -= given[1] - ration.size_bytes
            left.scan_bytes -= given[2] - ration.scan_bytes

    def acknowledge(self, now_s: float) -> None:
        for source in self._sources.values():
            source.followed.save()
        self._shelf.keep()

    def close(self) -> None:
        """Let go of every file."""
        # a reading that hangs keeps its files: they cannot be taken from under it
        if self._reading.acquire(timeout=0.5):
            for source in self._sources.values():
                source.followed.close()
            self._reading.release()

    # --- finding files ----------------------------------------------------------------------------------------------

    def _look(self, now_s: float) -> None:
        first, self._looked_s = self._looked_s is None, now_s
        self._drop_ended()
        for file in self._config.files:
            instance = self._addresses.instance(file.instance)
            if file.path == "-":
                self._named.add("-")
                if "-" not in self._sources:
                    source = LogSource(StandardInput(), self._world.host, "stdin", instance, file.wrapping)
                    self._sources["-"] = source
                continue
            paths = expand(file.path, 4 * _MAX_FILES)
            if paths == [str(Path(file.path).expanduser())]:
                self._named.add(os.path.realpath(paths[0]))
            else:  # a rotation that the pattern matches too is read as what it was, or not at all
                paths = [path for path in paths if not is_rotation(path, set(self._sources))]
            for path in paths:
                self._follow(FoundLog(path, path, instance), file.wrapping, is_new=not first)
        since_s = self._looked_around_s
        if self._config.discover and (since_s is None or not 0.0 <= now_s - since_s < _LOOK_AROUND_S):
            self._looked_around_s = now_s
            for found in (*server_logs(self._world.root), *container_logs(self._world.root, self._world.host)):
                if not is_rotation(found.path, set(self._sources)):
                    self._follow(found, Wrapping.AUTO, is_new=since_s is not None)

    def _follow(self, log: FoundLog, wrapping: Wrapping, *, is_new: bool) -> None:
        name = os.path.realpath(log.path)
        if name in self._sources or len(self._sources) >= _MAX_FILES:
            return
        if any(source.name == log.path for source in self._sources.values()):  # a link that leads elsewhere by now
            return
        follower = Follower(log.opened, self._shelf, name=log.path, max_away_s=_MAX_AWAY_S, from_start=is_new)
        self._sources[name] = LogSource(follower, self._world.host, log.path, log.instance, wrapping)

    def _drop_ended(self) -> None:
        """Forget files that were found and are gone: their places are needed."""
        for name, source in list(self._sources.items()):
            if source.followed.problem == MISSING and not source.followed.is_open and name not in self._named:
                source.followed.close()
                del self._sources[name]


def build(config: Config, world: World) -> LogTail:
    """The collector of *config*."""
    return LogTail(config, world)
