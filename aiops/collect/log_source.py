"""
One log on its way to records: rubbish left out, unwrapped, joined, dated.

A line gets the time at which it is read, unless its container runtime says when it was written. While a stop is caught
up with, that would make old lines news; then a line's own words tell its time, or those of the line before it, or else the
time at which reading had stopped. What is older than two minutes is marked as late.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from aiops.collect.container_format import Unwrapped, Unwrapper, Wrapping
from aiops.collect.file_names import reading_hint
from aiops.collect.losses import Losses
from aiops.collect.multiline import Joined, Joiner
from aiops.collect.rubbish import Sieve
from aiops.collect.sampling import CutLine, Ration
from aiops.model import Labels, LogRecord, Observation, Sample, Sight
from aiops.stamps import Stamps

_LATE_S = 120.0
_UP_S = 5.0


class Followed(Protocol):
    """What gives the lines: a `Follower`, or standard input."""

    path: str
    skipped_bytes: int

    @property
    def truncated(self) -> int: ...

    @property
    def skipped_lines(self) -> int: ...

    @property
    def problem(self) -> str: ...

    @property
    def place(self) -> tuple[int, int]: ...

    @property
    def lost_files(self) -> int: ...

    @property
    def behind_since_s(self) -> float | None: ...

    @property
    def is_open(self) -> bool: ...

    def lines(self, now_s: float, ration: Ration | None = None) -> Iterator[bytes]: ...

    def backlog_bytes(self) -> int: ...

    def note(self, now_s: float, place: tuple[int, int] | None = None) -> None: ...

    def save(self) -> None: ...

    def close(self) -> None: ...


class LogSource:
    """
    One log that is followed.

    Args:
        followed: Gives its lines.
        host: This node.
        name: What people call it.
        instance: The replica that writes it; empty where that is not known.
        wrapping: How its lines are wrapped.
    """

    def __init__(self, followed: Followed, host: str, name: str, instance: str, wrapping: Wrapping) -> None:
        self.followed = followed
        self.name = name
        self.labels = Labels.of(host_name=host, source=name, **({"instance": instance} if instance else {}))
        self._instance = instance
        self._losses = Losses(host, name)
        self._read = Labels.of(host_name=host, source=name)
        self._sieve = Sieve()
        self._unwrapper = Unwrapper(wrapping)
        self._joiners: dict[str, Joiner] = {}
        self._lines = 0
        self._lines_told: int | None = None
        self._backlog_bytes = 0
        self._file = 0
        self._passed = followed.place
        """Everything before it was handed on."""
        self._stamps: Stamps | None = None
        self._stamped_s = 0.0
        self._said: str | None = None
        self._up_said_s = float("-inf")

    # --- records ----------------------------------------------------------------------------------------------------

    def read(self, now_s: float, ration: Ration) -> Iterator[LogRecord]:
        """Records of the lines that were appended, as far as *ration* reaches."""
        followed, unwrapper, joiner = self.followed, self._unwrapper, self._joiner("")
        is_behind = followed.behind_since_s is not None
        for line in followed.lines(now_s, ration):
            self._lines += 1
            place = followed.place
            if place[0] != self._file:
                self._file = place[0]
                yield from self._ended(now_s)
            if self._sieve.is_rubbish(line):
                self._losses.counts["binary"] += 1
                continue
            if unwrapper.is_plain and not is_behind:
                text = line.decode("utf-8", "replace")
                if joiner.passes(text):  # as nearly all lines do
                    self._passed = place
                    yield LogRecord(now_s, self.labels, text, isinstance(line, CutLine))
                    continue
            for unwrapped in unwrapper.add(line, now_s, truncated=isinstance(line, CutLine)):
                yield from self._join(unwrapped, now_s)
            if self._is_idle:
                self._passed = place
        yield from self._flush(now_s)
        if self._is_idle:
            self._passed = followed.place
        followed.note(now_s, self._passed)

    @property
    def _is_idle(self) -> bool:
        """Whether no line waits for others."""
        return self._unwrapper.is_idle and all(joiner.is_idle for joiner in self._joiners.values())

    def _joiner(self, stream: str) -> Joiner:
        joiner = self._joiners.get(stream)
        if joiner is None:
            joiner = self._joiners[stream] = Joiner()
        return joiner

    def _join(self, unwrapped: Unwrapped, now_s: float) -> Iterator[LogRecord]:
        at_s = self._at_s(unwrapped, now_s)
        for joined in self._joiner(unwrapped.stream).add(unwrapped.text, now_s, at_s, truncated=unwrapped.truncated):
            yield self._record(joined, now_s)

    def _flush(self, now_s: float) -> Iterator[LogRecord]:
        """What has waited long enough, or need not wait."""
        if self._is_idle:
            return
        for unwrapped in self._unwrapper.flush(now_s):
            yield from self._join(unwrapped, now_s)
        for joiner in self._joiners.values():
            for joined in joiner.flush(now_s):
                yield self._record(joined, now_s)

    def _ended(self, now_s: float) -> Iterator[LogRecord]:
        """Another file begins: no record goes on in it."""
        self._unwrapper.begin()
        for joiner in self._joiners.values():
            for joined in joiner.close():
                yield self._record(joined, now_s)

    def _record(self, joined: Joined, now_s: float) -> LogRecord:
        late = joined.at_s < now_s - _LATE_S
        return LogRecord(joined.at_s, self.labels, joined.text, joined.truncated, late, joined.passed_by)

    def _at_s(self, unwrapped: Unwrapped, now_s: float) -> float:
        """When a line was written, as far as that matters."""
        since_s = self.followed.behind_since_s
        if unwrapped.at_s is not None:
            return min(unwrapped.at_s, now_s)
        if since_s is None:
            self._stamps = None
            return now_s
        if self._stamps is None:
            self._stamps, self._stamped_s = Stamps(now_s), since_s
        stamp_s = self._stamps.at_s(unwrapped.text)
        if stamp_s is not None:
            self._stamped_s = min(stamp_s, now_s)
        return self._stamped_s

    # --- what is said of it -----------------------------------------------------------------------------------------

    def state(self, now_s: float) -> Iterator[Observation]:
        """What was lost of it, whether it is followed, and why not."""
        followed, counts = self.followed, self._losses.counts
        for reason, count in (
            ("oversize", followed.truncated),
            ("flood", followed.skipped_lines),
            ("rotated_away", followed.lost_files),
        ):
            if count:
                counts[reason] = count
        if followed.skipped_bytes != self._backlog_bytes:
            self._backlog_bytes = followed.skipped_bytes
            counts["backlog"] += 1
        yield from self._losses.samples(now_s)
        detail = followed.problem or (f"log of {self._instance}" if self._instance else "followed")
        if counts["binary"] and not followed.problem:
            detail += "; binary data among its lines is left out"
        changed = detail != self._said
        if changed:
            self._said = detail
            hint = reading_hint(followed.path) if followed.problem == "permission denied" else ""
            yield Sight("log_tail", f"log {self.name}", seen=not followed.problem, detail=detail, hint=hint)
        if changed or not 0.0 <= now_s - self._up_said_s < _UP_S:
            self._up_said_s = now_s
            yield Sample("log_source_up", self.labels, now_s, 0.0 if followed.problem else 1.0)
            yield from self._lines_read(now_s)

    def _lines_read(self, now_s: float) -> Iterator[Sample]:
        if self._lines != self._lines_told and self._lines:
            if not self._lines_told:
                yield Sample("log_lines_read_total", self._read, now_s - 1.0, 0.0)
            self._lines_told = self._lines
            yield Sample("log_lines_read_total", self._read, now_s, float(self._lines))
