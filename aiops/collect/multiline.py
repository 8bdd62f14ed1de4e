"""
Lines of one log joined to records: tracebacks, stacks, panics and reports that a program wrote as one thing.

Only what says so belongs together: a record begins with a line of a known form, goes on with lines that its grammar
(`multiline_forms`) takes, and ends with the first that it does not. Lines of other writers in between are passed on
as they come. vLLM and its like put the same prefix before each line of a record; the prefix then tells writers apart, and
several records may be open at once. What is taken, waits: until another line ends the record, the caller has no more
lines for now and the record looks whole, or nothing came for a while. Plain string tests only, so a hostile line costs time
linear in its length; a record's lines and bytes are bounded, and of a longer one the beginning and the end are kept,
for a traceback says last what happened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from aiops.collect.multiline_forms import Grammar, begins, prefix_of, tells_time
from aiops.heads import head_form

MAX_LINES = 256
MAX_CHARS = 64 * 2**10
_TAIL_LINES = 56
_TAIL_CHARS = 16 * 2**10
_MAX_OPEN = 8
_MAX_TAKEN = 2_048
"""After so many lines a record is given out, whatever follows."""
_MAX_BETWEEN = 64
"""After so many lines of others an unfinished record is not waited for any more."""


@dataclass(frozen=True, slots=True)
class Joined:
    """One record: a line, or several with newlines between them."""

    text: str
    lines: int
    """Physical lines it was made of."""
    at_s: float
    """When its first line was written or read."""
    truncated: bool = False
    """Whether something of it was left out."""
    passed_by: int = 0
    """Lines that were given out while it waited."""


class _Record:
    """A record that is still open."""

    __slots__ = (
        "_chars", "_grammar", "_head", "_is_take_all", "_prefixes", "_tail", "_tail_chars",
        "at_s", "between", "lines", "prefix", "touched_s", "truncated",
    )  # fmt: skip

    def __init__(self, line: str, grammar: Grammar, now_s: float, at_s: float, *, truncated: bool) -> None:
        self.at_s = at_s
        self.touched_s = now_s
        self.truncated = truncated
        self.lines = 0
        self.between = 0
        self.prefix: str | None = None
        """What stands before each of its lines; None until the second line shows it."""
        self._prefixes = prefix_of(line, grammar)
        self._grammar = grammar
        self._is_take_all = False
        self._head: list[str] = []
        self._chars = 0
        self._tail: deque[str] = deque()
        self._tail_chars = 0
        self._keep(line)

    @property
    def looks_whole(self) -> bool:
        """Whether nothing needs to follow."""
        return self._grammar.looks_whole

    @property
    def is_headed(self) -> bool:
        """Whether it is one line yet, which opens a record of its log: what follows without a head may go on with it."""
        return self.lines == 1 and bool(head_form(self._head[0].encode("utf-8", "replace")))

    @property
    def is_full(self) -> bool:
        """Whether it is given out, whatever follows."""
        return self.lines >= _MAX_TAKEN or self.between >= _MAX_BETWEEN

    def takes(self, line: str, now_s: float) -> bool:
        """Take *line* if it belongs to this record."""
        if self.prefix is None:
            self._find_prefix(line)
        if self.prefix and not line.startswith(self.prefix):
            return False
        body = line[len(self.prefix or "") :]
        if not (self._grammar.takes(body) or (self._is_take_all and not self._grammar.is_new(body))):
            return False
        self.prefix = self.prefix or ""
        self.touched_s = now_s
        self._keep(line)
        return True

    def closed(self) -> Joined:
        """The record."""
        text = "\n".join((*self._head, *self._tail))
        return Joined(text, self.lines, self.at_s, self.truncated, self.between)

    def _find_prefix(self, line: str) -> None:
        """The second line shows whether the prefix of the first one stands before every line."""
        self.prefix = next((prefix for prefix in self._prefixes if line.startswith(prefix)), None)
        # with a time in it, it is that of one call of a logger, and whatever follows under it is of that call
        self._is_take_all = self.prefix is not None and tells_time(self.prefix)

    def _keep(self, line: str) -> None:
        self.lines += 1
        room = MAX_CHARS - _TAIL_CHARS - self._chars
        if not self._tail and self.lines <= MAX_LINES - _TAIL_LINES and (len(line) < room or self.lines == 1):
            self._head.append(line)
            self._chars += len(line) + 1
            return
        if len(line) > _TAIL_CHARS:
            line, self.truncated = line[:_TAIL_CHARS], True
        self._tail.append(line)
        self._tail_chars += len(line) + 1
        while len(self._tail) > _TAIL_LINES or self._tail_chars > _TAIL_CHARS + _TAIL_LINES:
            self._tail_chars -= len(self._tail.popleft()) + 1
            self.truncated = True


class Joiner:
    """
    Joins the lines of one log, in order.

    Args:
        wait_s: How long an unfinished record waits for its next line.
    """

    def __init__(self, wait_s: float = 1.5) -> None:
        self._wait_s = wait_s
        self._open: list[_Record] = []

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits."""
        return not self._open

    def passes(self, line: str) -> bool:
        """Whether *line* is a record of its own, for certain: what `add` would give out alone and at once."""
        return not self._open and begins(line) is None

    def add(self, line: str, now_s: float, at_s: float | None = None, *, truncated: bool = False) -> Iterator[Joined]:
        """
        Records that are known to be whole now that *line* has come.

        Args:
            line: Without its newline.
            now_s: The time now, for waiting.
            at_s: When the line was written, if not now.
            truncated: Whether something of the line was left out.
        """
        if self._open:
            for record in self._open:
                if record.takes(line, now_s):
                    record.truncated = record.truncated or truncated
                    if record.is_full:
                        yield self._close(record)
                    return
            yield from self._close_finished(line)
        at_s = now_s if at_s is None else at_s
        grammar = begins(line)
        if grammar is None:
            yield Joined(line, 1, at_s, truncated)
            return
        if len(self._open) >= _MAX_OPEN:
            yield self._close(self._open[0])
        self._open.append(_Record(line, grammar, now_s, at_s, truncated=truncated))

    def flush(self, now_s: float) -> Iterator[Joined]:
        """Records that look whole or have waited long enough; to be called when there are no more lines for now."""
        for record in list(self._open):
            if record.looks_whole or not 0.0 <= now_s - record.touched_s < self._wait_s:
                yield self._close(record)

    def close(self) -> Iterator[Joined]:
        """All that waits: no more lines will come."""
        for record in list(self._open):
            yield self._close(record)

    def _close_finished(self, line: str) -> Iterator[Joined]:
        """Records that *line*, which belongs to none of them, has ended."""
        for record in list(self._open):
            # what is not whole yet waits on: another writer's line came between
            if (
                record.looks_whole
                or record.is_full
                or (record.is_headed and not head_form(line.encode("utf-8", "replace")))
            ):
                yield self._close(record)
            else:
                record.between += 1

    def _close(self, record: _Record) -> Joined:
        self._open.remove(record)
        return record.closed()
