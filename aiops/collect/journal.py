"""
The systemd journal: what services write that keep no log file of their own.

journalctl follows it for us as a child, one JSON object a line; its pipe never blocks us, and what we take in a round
is bounded: it waits when the pipe is full, and so loses nothing. Should it fall behind by minutes, it is started anew
from the present, which is counted. After a restart of ours or of journalctl, reading goes on behind the last message
that arrived. A service's traceback comes line by line and is joined as in files. The kernel's lines come by the
kernel log, and our own lines would feed themselves: both are left out. No journalctl, no journal or no right to read
it is a blind spot.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import subprocess
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from aiops.collect.losses import Losses
from aiops.collect.multiline import Joined, Joiner
from aiops.document import Duration, doc
from aiops.model import Labels, LogRecord, Observation, Sight
from aiops.ports import World

_COMMAND = (
    "journalctl", "--output=json", "--all", "--follow", "--no-pager",
    "--output-fields=MESSAGE,_SYSTEMD_UNIT,SYSLOG_IDENTIFIER,_PID,_TRANSPORT",
)  # fmt: skip
_PLACES = ("var/log/journal", "run/log/journal")
_ROUND_BYTES = 2 * 2**20
_MAX_LINE_BYTES = 512 * 2**10
"""Of JSON; a message in it is cut at 64 KiB."""
_MAX_CHARS = 64 * 2**10
_CHECKPOINT = "journal"
_MAX_AWAY_S = 86_400.0
_REFRESH_S = 30.0
_LATE_S = 120.0
_TOO_LATE_S = 60.0
"""Further behind than this while running, the past is given up for the present."""
_MAX_SOURCES = 64
"""Units told apart; the rest is called "other"."""
_RETRY_S = 60.0
_KEPT_COMPLAINT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of the journal collector."""

    enabled: bool = field(default=True, metadata=doc("follow the systemd journal"))
    interval: Duration = field(default=1.0, metadata=doc("time between readings"))
    deadline: Duration = field(default=2.0, metadata=doc("a reading that takes longer is given up"))


class Journal:
    """
    The collector.

    Args:
        config: Its settings.
        world: Names this host; its root holds the journal.
        command: What writes the journal to its standard output.
    """

    def __init__(self, config: Config, world: World, command: Sequence[str] = _COMMAND) -> None:
        self.interval_s = config.interval
        self.deadline_s = config.deadline
        self._host = world.host
        self._places = tuple(world.root / place for place in _PLACES)
        self._command = tuple(command)
        self._child: subprocess.Popen[bytes] | None = None
        self._kill: weakref.finalize[Any, Any] | None = None
        self._tried_s: float | None = None
        self._said: str | None = None
        self._complaint = b""
        self._rest = b""
        self._in_overlong = False
        self._sources: dict[str, Labels] = {}
        self._joiners: dict[Labels, Joiner] = {}
        self._losses = Losses(world.host, "journal")
        self._checkpoints = world.checkpoints
        self._cursor = ""
        """Of the last message read."""
        self._passed = ""
        """Of the last message that was handed on, with all before it."""
        self._saved: tuple[str, float] = ("", 0.0)
        self._is_behind = False
        """Whether what comes was written before journalctl was started."""
        self._is_lagging = False
        self._decode = msgspec.json.Decoder(dict[str, Any]).decode
        self._own_pid = str(os.getpid())

    def collect(self, now_s: float) -> Iterator[Observation]:
        if self._child is None:
            if self._tried_s is not None and 0.0 <= now_s - self._tried_s < _RETRY_S:
                return
            self._tried_s = now_s
            problem = self._start(now_s)
            if problem:
                yield from self._say(problem)
                return
        for line in self._lines():
            yield from self._records(line, now_s)
        for labels, joiner in self._joiners.items():
            for joined in joiner.flush(now_s):
                yield _record(joined, labels, now_s)
        if self._cursor and all(joiner.is_idle for joiner in self._joiners.values()):
            self._passed = self._cursor
        yield from self._losses.samples(now_s)
        yield from self._state()
        if self._is_lagging:
            self._losses.counts["backlog"] += 1
            self._cursor = self._passed = ""
            self._is_lagging, self._tried_s, self._saved = False, None, ("", now_s)
            self.close()

    def acknowledge(self, now_s: float) -> None:
        cursor, at_s = self._saved
        if self._passed and (self._passed != cursor or not 0.0 <= now_s - at_s < _REFRESH_S):
            self._saved = (self._passed, now_s)
            self._checkpoints.put(_CHECKPOINT, json.dumps([self._passed, now_s]).encode())

    def close(self) -> None:
        """End journalctl."""
        if self._kill is not None:
            self._kill()
        self._child = self._kill = None

    # --- the child --------------------------------------------------------------------------------------------------

    def _arguments(self, now_s: float) -> list[str]:
        """Where journalctl begins: behind the last message that arrived, or now."""
        cursor = self._passed
        if not cursor and self._saved == ("", 0.0):
            try:
                cursor, at_s = json.loads(self._checkpoints.get(_CHECKPOINT) or b"null")
                cursor = str(cursor) if now_s - float(at_s) <= _MAX_AWAY_S else ""
            except (ValueError, TypeError):
                cursor = ""
        self._is_behind = bool(cursor)
        self._passed, self._saved = cursor, (cursor, now_s)
        return ["--no-tail", f"--after-cursor={cursor}"] if cursor else ["--lines=0"]

    def _start(self, now_s: float) -> str:
        """Start journalctl; why not, if it cannot be."""
        if not any(place.is_dir() for place in self._places):
            return "no journal on this machine"
        program = shutil.which(self._command[0])
        if program is None:
            return f"no {self._command[0]} on this machine"
        try:
            child = subprocess.Popen(  # noqa: S603 (a fixed command)
                [program, *self._command[1:], *self._arguments(now_s)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C on our terminal is for us
            )
        except OSError as error:
            return (error.strerror or "journalctl cannot be started").lower()
        for stream in (child.stdout, child.stderr):
            if stream is not None:
                os.set_blocking(stream.fileno(), False)
        self._child, self._complaint, self._rest, self._in_overlong = child, b"", b"", False
        self._kill = weakref.finalize(self, _end, child)
        return ""

    def _state(self) -> Iterator[Sight]:
        """What journalctl says on its standard error, and whether it still runs."""
        child = self._child
        if child is None:
            return
        self._complaint = (self._complaint + _available(child.stderr, _KEPT_COMPLAINT_BYTES))[-_KEPT_COMPLAINT_BYTES:]
        if child.poll() is not None:
            last = self._complaint.decode("utf-8", "replace").strip().rpartition("\n")[2]
            self.close()
            if b"cursor" in self._complaint:  # it cannot begin where it was to begin
                self._passed = ""
            yield from self._say(f"journalctl ended: {last[:200] or f'status {child.returncode}'}")
        elif b"not seeing messages" in self._complaint:
            yield from self._say("only this user's own messages may be read")
        elif b"No journal files were found" in self._complaint:
            yield from self._say("no journal files were found")
        else:
            yield from self._say("")

    def _say(self, problem: str) -> Iterator[Sight]:
        if problem == self._said:
            return
        self._said = problem
        hint = ""
        if "own messages" in problem:
            hint = f"add the user to the journal's group: usermod -aG systemd-journal {_user()}"
        yield Sight("journal", "systemd journal", seen=not problem, detail=problem or "followed", hint=hint)

    # --- its lines --------------------------------------------------------------------------------------------------

    def _lines(self) -> Iterator[bytes]:
        """Complete lines written since the last call, oversize ones left out."""
        if self._child is None:
            return
        *lines, self._rest = (self._rest + _available(self._child.stdout, _ROUND_BYTES)).split(b"\n")
        for line in lines:
            if not self._in_overlong and len(line) <= _MAX_LINE_BYTES:
                yield line
            else:
                self._losses.counts["oversize"] += not self._in_overlong
            self._in_overlong = False
        if len(self._rest) > _MAX_LINE_BYTES:
            self._losses.counts["oversize"] += not self._in_overlong
            self._rest, self._in_overlong = b"", True

    def _records(self, line: bytes, now_s: float) -> Iterator[LogRecord]:
        """Records that are whole now that *line* has come."""
        try:
            entry = self._decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._losses.counts["malformed"] += 1
            return
        cursor = entry.get("__CURSOR")
        self._cursor = cursor if isinstance(cursor, str) and len(cursor) < _KEPT_COMPLAINT_BYTES else self._cursor
        text = _text(entry.get("MESSAGE"))
        if not text or entry.get("_TRANSPORT") == "kernel" or entry.get("_PID") == self._own_pid:
            return
        unit = entry.get("_SYSTEMD_UNIT") or entry.get("SYSLOG_IDENTIFIER")
        labels = self._source(unit if isinstance(unit, str) else "journal")
        at_s = self._at_s(entry, now_s)
        truncated = len(text) > _MAX_CHARS
        self._losses.counts["oversize"] += truncated
        text = text[:_MAX_CHARS]
        if "\n" in text:  # whoever writes several lines as one message has joined them
            yield LogRecord(at_s, labels, text, truncated, at_s < now_s - _LATE_S)
            return
        for joined in self._joiners.setdefault(labels, Joiner()).add(text, now_s, at_s, truncated=truncated):
            yield _record(joined, labels, now_s)

    def _at_s(self, entry: dict[str, Any], now_s: float) -> float:
        """When a message came to the journal."""
        written = entry.get("__REALTIME_TIMESTAMP")
        if not isinstance(written, str) or not written.isdigit() or len(written) > 20:
            return now_s
        at_s = min(int(written) / 1e6, now_s)
        is_old = at_s < now_s - _TOO_LATE_S
        self._is_behind = self._is_behind and is_old
        self._is_lagging = is_old and not self._is_behind
        return at_s

    def _source(self, unit: str) -> Labels:
        labels = self._sources.get(unit)
        if labels is None:
            if len(self._sources) >= _MAX_SOURCES:
                unit = "other"
            labels = self._sources[unit] = Labels.of(host_name=self._host, source=unit[:128])
        return labels


def _record(joined: Joined, labels: Labels, now_s: float) -> LogRecord:
    late = joined.at_s < now_s - _LATE_S
    return LogRecord(joined.at_s, labels, joined.text, joined.truncated, late, joined.passed_by)


def _text(message: Any) -> str:
    """A message; journalctl writes what is no text as a list of bytes, and nothing for what is too long."""
    if isinstance(message, list):
        try:
            return bytes(message).decode("utf-8", "replace")
        except (TypeError, ValueError):
            return ""
    return message if isinstance(message, str) else ""


def _available(stream: Any, most: int) -> bytes:
    """What can be read from a pipe without waiting, at most *most* bytes."""
    parts: list[bytes] = []
    while most > 0:
        try:
            part = os.read(stream.fileno(), min(most, 64 * 2**10))
        except BlockingIOError:
            break
        if not part:
            break
        parts.append(part)
        most -= len(part)
    return b"".join(parts)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child and let go of its pipes."""
    child.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):  # in uninterruptible sleep: nobody can wait for that
        child.wait(1.0)
    for stream in (child.stdout, child.stderr):
        if stream is not None:
            stream.close()


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return "aiops"


def build(config: Config, world: World) -> Journal:
    """The collector of this machine's journal."""
    return Journal(config, world)
