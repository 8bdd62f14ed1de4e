"""
Log files of inference servers, line by line, on their way to masking and clustering.

Files are named in the settings, or found: what a local inference server writes its standard output to, or keeps open
as a ``.log``, is its log, and the port it listens on says which replica wrote it. Nothing is judged here; a line becomes
a `LogRecord` whatever is in it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from aiops.collect.addresses import read_addresses
from aiops.collect.discovery import instance_of
from aiops.collect.listeners import listening
from aiops.collect.tail import Follower, Losses, expand, reading_hint
from aiops.document import Duration, doc
from aiops.model import Labels, LogRecord, Observation, Sample, Sight
from aiops.ports import World

_MAX_FILES = 32
_MAX_HANDLES = 256
"""Open files of one process that are looked at."""
_LOOK_S = 10.0
_LOOK_AT_PROCESSES_S = 60.0
_UP_S = 5.0
_ROUND_LINES = 20_000
_ROUND_BYTES = 2 * 2**20
"""Text taken in one round, all files together; the rest waits in its file."""
_MAX_AWAY_S = 120.0
"""A line gets the time it is read at, so what was written longer ago must not be read as news after a restart."""
_ENGINES = re.compile(
    rb"vllm|sglang|text-generation|tritonserver|trtllm|llama-server|llama_cpp|lmdeploy|ray::|ray/serve"
)
_MAX_COMMAND_BYTES = 4096


@dataclass(frozen=True, slots=True)
class LogFile:
    """One file, or several by wildcard."""

    path: str = field(metadata=doc("the file; * and ? are allowed"))
    instance: str = field(default="", metadata=doc("host:port of the replica that writes it"))


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of the log-tail collector."""

    enabled: bool = field(default=True, metadata=doc("follow log files of inference servers"))
    interval: Duration = field(default=1.0, metadata=doc("time between readings"))
    deadline: Duration = field(default=2.0, metadata=doc("a reading that takes longer is given up"))
    files: tuple[LogFile, ...] = field(default=(), metadata=doc("files to follow"))
    discover: bool = field(default=True, metadata=doc("find the log files of local inference servers too"))


class _Source:
    """One file that is followed."""

    def __init__(self, follower: Follower, host: str, name: str, instance: str) -> None:
        self.follower = follower
        self.name = name
        self.instance = instance
        self.labels = Labels.of(host_name=host, source=name, **({"instance": instance} if instance else {}))
        self.losses = Losses(host, name)
        self.backlog_bytes = 0
        self.said: str | None = None
        self.up_said_s = float("-inf")


class LogTail:
    """The collector: follows every file."""

    def __init__(self, config: Config, world: World) -> None:
        self.interval_s = config.interval
        self.deadline_s = config.deadline
        self._config = config
        self._world = world
        self._addresses = read_addresses(world.root, world.host)
        self._sources: dict[str, _Source] = {}
        self._looked_s: float | None = None
        self._looked_at_processes_s: float | None = None
        self._turn = 0
        self._nothing_said = False

    def collect(self, now_s: float) -> Iterator[Observation]:
        if self._looked_s is None or not 0.0 <= now_s - self._looked_s < _LOOK_S:
            self._look(now_s)
        if not self._sources and not self._nothing_said:
            self._nothing_said = True
            hint = "name files under collect.log_tail.files: {path: /var/log/vllm/a.log, instance: 127.0.0.1:8000}"
            yield Sight("log_tail", "logs of inference servers", seen=False, detail="none found", hint=hint)
        lines, size = _ROUND_LINES, _ROUND_BYTES
        sources = list(self._sources.values())
        self._turn = (self._turn + 1) % max(len(sources), 1)
        for source in (*sources[self._turn :], *sources[: self._turn]):  # who was last is first: none starves
            for line in source.follower.lines(now_s, lines):
                lines -= 1
                size -= len(line)
                yield LogRecord(now_s, source.labels, line.decode("utf-8", "replace"))
                if size <= 0:
                    break
            yield from self._state(source, now_s)
            if lines <= 0 or size <= 0:
                return

    # --- finding files ----------------------------------------------------------------------------------------------

    def _look(self, now_s: float) -> None:
        first, self._looked_s = self._looked_s is None, now_s
        for file in self._config.files:
            for path in expand(file.path, _MAX_FILES):
                self._follow(path, path, self._addresses.instance(file.instance), is_new=not first)
        if not self._config.discover:
            return
        since_s = self._looked_at_processes_s
        if since_s is None or not 0.0 <= now_s - since_s < _LOOK_AT_PROCESSES_S:
            self._looked_at_processes_s = now_s
            self._drop_ended()
            for path, (opened, instance) in _logs_of_servers(self._world.root).items():
                self._follow(opened, path, instance, is_new=since_s is not None)

    def _follow(self, opened: str, path: str, instance: str, *, is_new: bool) -> None:
        name = os.path.realpath(path)
        if name in self._sources or len(self._sources) >= _MAX_FILES:
            return
        follower = Follower(
            opened, self._world.checkpoints, name=f"log_tail:{path}", max_away_s=_MAX_AWAY_S, from_start=is_new
        )
        self._sources[name] = _Source(follower, self._world.host, path, instance)

    def _drop_ended(self) -> None:
        """Forget files of processes that ended, seen through a handle that is gone: their places are needed."""
        for name, source in list(self._sources.items()):
            if source.follower.problem and source.follower.path != source.name:
                source.follower.close()
                del self._sources[name]

    # --- what is said of them ---------------------------------------------------------------------------------------

    def _state(self, source: _Source, now_s: float) -> Iterator[Observation]:
        follower = source.follower
        if follower.truncated:
            source.losses.counts["oversize"] = follower.truncated
        if follower.skipped_bytes != source.backlog_bytes:
            source.backlog_bytes = follower.skipped_bytes
            source.losses.counts["backlog"] += 1
        yield from source.losses.samples(now_s)
        changed = follower.problem != source.said
        if changed:
            source.said = follower.problem
            hint = reading_hint(follower.path) if follower.problem == "permission denied" else ""
            detail = follower.problem or (f"log of {source.instance}" if source.instance else "followed")
            yield Sight("log_tail", f"log {source.name}", seen=not follower.problem, detail=detail, hint=hint)
        if changed or not 0.0 <= now_s - source.up_said_s < _UP_S:
            source.up_said_s = now_s
            yield Sample("log_source_up", source.labels, now_s, 0.0 if follower.problem else 1.0)


def _logs_of_servers(root: Path) -> dict[str, tuple[str, str]]:
    """Log files of local inference servers: the file's name to what to open and the replica that writes it."""
    instances: dict[int, str] = {}
    with contextlib.suppress(OSError):  # no /proc/net: nothing to be found this way
        for listener in listening(root):  # by port: the lowest one is the API, higher ones are the engine's own
            if listener.pid is not None and listener.pid != os.getpid():
                instances.setdefault(listener.pid, instance_of(listener))
    found: dict[str, tuple[str, str]] = {}
    for pid, instance in instances.items():
        process = root / "proc" / str(pid)
        with contextlib.suppress(OSError):  # ended meanwhile, or another user's
            if _ENGINES.search(_start_of(process / "cmdline")):
                for path, opened in _open_logs(process):
                    # one file for several replicas: whose line it is cannot be told
                    found[path] = (opened, "" if found.get(path, ("", instance))[1] != instance else instance)
    return found


def _open_logs(process: Path) -> Iterator[tuple[str, str]]:
    """Regular files a process writes its output to: name and what to open."""
    for handle in sorted((process / "fd").iterdir(), key=lambda handle: int(handle.name))[:_MAX_HANDLES]:
        with contextlib.suppress(OSError):
            path = os.readlink(handle)  # noqa: PTH115 (as text: "pipe:[1]" is no path)
            if not path.startswith("/") or not (handle.name in {"1", "2"} or path.endswith(".log")):
                continue
            if handle.is_file() and _is_written(process / "fdinfo" / handle.name):
                here = Path(path).is_file() and Path(path).samefile(handle)  # else in another mount namespace
                yield path, path if here else str(handle)


def _is_written(fdinfo: Path) -> bool:
    """Whether a handle is open for writing."""
    flags = next(line for line in fdinfo.read_text().splitlines() if line.startswith("flags:"))
    return bool(int(flags.split()[1], 8) & os.O_ACCMODE)


def _start_of(path: Path) -> bytes:
    with path.open("rb", buffering=0) as file:
        return file.read(_MAX_COMMAND_BYTES)


def build(config: Config, world: World) -> LogTail:
    """The collector of *config*."""
    return LogTail(config, world)
