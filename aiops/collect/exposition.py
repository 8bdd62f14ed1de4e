"""
An allow-list parser of the Prometheus text format.

A vLLM page has a thousand lines of which we want some three hundred. A full parser takes 15 ms for it, and the daemon
reads several such pages every second while an incident is open. So a line is cut at the first brace and dropped unless
the name before it is wanted; only then are labels and value read, and labels seen before come from a cache.

Between two readings of one server hardly anything but numbers changes. A `Follower` therefore remembers the layout of
the last page: for each line the bytes it began with (for a line that is not wanted just its name), and where the value
begins in those that are. If every line still begins so, the wanted values are cut out and nothing is parsed.

The page is hostile input: lines that are not understood are counted and skipped, long ones not looked at, and a page
with more lines or wanted readings than any honest server has is refused. Names in quotes (``{"my.name",x="y"} 1``),
exemplars, time stamps and OpenMetrics' comments are read or skipped as the format says.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from aiops.errors import SourceMalformed

_MAX_LINES = 100_000
_MAX_LINE_BYTES = 16 * 2**10
_MAX_READINGS = 6_000
_MAX_CACHED = 4_096
_MAX_CACHED_BYTES = 1_024
_MAX_LABELS = 64
_MAX_REMEMBERED_LINES = 10_000
"""A layout of so many lines takes a megabyte; vLLM's page has about five hundred for each of its engines."""
_MAX_VALUE_BYTES = 32
"""On average; a longer number is not remembered but parsed, with the bound on the line."""

_QUOTED = rb'"((?:[^"\\]|\\.)*)"'
_NAME = rb"([a-zA-Z_][a-zA-Z0-9_.]*)"
_LABEL = re.compile(rb"[ \t]*(?:" + _NAME + rb"|" + _QUOTED + rb")[ \t]*=[ \t]*" + _QUOTED + rb"[ \t]*(,|$)")
_BLOCK = re.compile(rb'\{((?:[^"}]++|"(?:[^"\\]|\\.)*+")*+)\}')
_QUOTED_NAME = re.compile(rb"\{[ \t]*" + _QUOTED + rb"[ \t]*(?=[,}])")
_ESCAPE = re.compile(r"\\(.)")
_UNESCAPED = {"n": "\n", "\\": "\\", '"': '"'}


class Reading(NamedTuple):
    """One line of a page."""

    labels: Mapping[str, str]
    value: float
    text: bytes
    """The labels as written: the same series has the same text every time."""


@dataclass(frozen=True, slots=True)
class Page:
    """What was wanted and found."""

    readings: Mapping[str, list[Reading]]
    """Per name, in page order; only names that have at least one finite value."""
    skipped: int
    """Lines of wanted names that could not be understood."""


class Series(NamedTuple):
    """One wanted line of a page, without its value."""

    name: str
    labels: Mapping[str, str]
    text: bytes


class _Line(NamedTuple):
    """A line as far as it is understood."""

    begins: bytes
    """What a line must begin with to mean the same again; empty if that cannot be told."""
    series: Series | None = None
    value: float = math.nan
    value_at: int = 0
    broken: bool = False


class Parser:
    """
    Reads pages of one kind of server.

    Args:
        wanted: Names to read, as they stand on the page: with ``_total``, ``_bucket``, ``_sum`` or ``_count``.
    """

    def __init__(self, wanted: Collection[str]) -> None:
        self._wanted = {name.encode(): name for name in wanted}
        self._labels: dict[bytes, Mapping[str, str] | None] = {}

    def parse(self, page: bytes) -> Page:
        """
        The wanted readings of *page*; values that are no finite number are left out.

        Raises:
            SourceMalformed: more lines or wanted readings than an honest page has.
        """
        return Follower(self).parse(page)

    def lines(self, page: bytes) -> Iterator[_Line]:
        """
        Every line of *page* in turn.

        Raises:
            SourceMalformed: more lines or wanted readings than an honest page has.
        """
        if page.count(b"\n") > _MAX_LINES:
            raise SourceMalformed(f"a page of more than {_MAX_LINES} lines")
        wanted, names = self._wanted, dict[bytes, _Line]()
        taken = 0
        for line in page.split(b"\n"):
            head, brace, _ = line.partition(b"{")
            if head in wanted:
                found = self._reading(head, line)
            elif known := names.get(head):
                yield known
                continue
            elif line[:1] == b"#":
                found = _COMMENT
            elif not line:
                found = _BLANK
            else:
                found = self._other(head + brace, line)
                if found.series is None and head and brace and found.begins:
                    names[head] = found
            taken += found.series is not None
            if taken > _MAX_READINGS:
                raise SourceMalformed(f"more than {_MAX_READINGS} readings")
            yield found

    def _other(self, head: bytes, line: bytes) -> _Line:
        """A line whose name does not stand right before a brace: it has no labels, or a name in quotes, or is rubbish."""
        if quoted := _QUOTED_NAME.match(line) if line[:1] == b"{" else None:
            name = _ESCAPE.sub(_unescape, quoted[1].decode("utf-8", "replace")).encode()
            if name not in self._wanted:
                return _Line(line[: quoted.end() + 1])
            return self._reading(name, line, after=quoted.end())
        # a line may be blank in more ways than the format knows (form feeds): then there is no word on it
        words = head.rstrip(b"{").split(None, 1) if head[:1] not in _NAMELESS else ()
        name = words[0] if words else b""
        begins = line[: len(name) + 1] if name and len(line) > len(name) else b""
        return self._reading(name, line) if name in self._wanted else _Line(begins)

    def _reading(self, name: bytes, line: bytes, after: int | None = None) -> _Line:
        """Labels and value of *line*, whose labels begin at *after* where the name stands among them."""
        if len(line) > _MAX_LINE_BYTES:
            return _BROKEN
        found: Mapping[str, str] | None = {}
        text, rest = b"", line[len(name) :].lstrip(b" \t")
        if after is not None:
            rest = b"{" + line[after:].lstrip(b",")
        if rest[:1] == b"{":
            text, rest = _cut_labels(rest)
            found = self._labels_of(text)
        fields = rest.split(maxsplit=1)
        if found is None or not fields or b"_" in fields[0]:  # Python reads 1_000, the format does not know it
            return _BROKEN
        try:
            value = float(fields[0])
        except ValueError:
            return _BROKEN
        value_at = len(line) - len(rest.lstrip())
        return _Line(line[:value_at], Series(self._wanted[name], found, text), value, value_at)

    def _labels_of(self, text: bytes) -> Mapping[str, str] | None:
        if text in self._labels:
            return self._labels[text]
        labels = _parse_labels(text.rstrip(b" \t"))
        if len(text) <= _MAX_CACHED_BYTES:
            if len(self._labels) >= _MAX_CACHED:
                self._labels.clear()
            self._labels[text] = labels
        return labels


class Layout:
    """
    What stands where on a page.

    Args:
        lines: Of the page, as the parser understands them.
    """

    def __init__(self, lines: Sequence[_Line]) -> None:
        self.series = tuple(line.series for line in lines if line.series is not None)
        self._places = [(number, line.value_at) for number, line in enumerate(lines) if line.series is not None]
        self._blank = [number for number, line in enumerate(lines) if line is _BLANK]
        self.skipped = sum(line.broken for line in lines)
        """Lines of wanted names that could not be understood."""
        unclear = any(line.broken or not (line.begins or line is _BLANK) for line in lines)
        self._begins = [] if unclear or len(lines) > _MAX_REMEMBERED_LINES else [line.begins for line in lines]

    def values(self, page: bytes) -> list[float] | None:
        """
        The values of `series` on *page*, finite or not.

        Returns:
            None if the page is laid out in another way, or in one that cannot be remembered.
        """
        begins = self._begins
        lines = page.split(b"\n", len(begins))  # one more than that is enough to see that there are too many
        if not begins or len(lines) != len(begins):
            return None
        if not all(map(bytes.startswith, lines, begins)) or any(map(lines.__getitem__, self._blank)):
            return None
        texts = [lines[number][value_at:] for number, value_at in self._places]
        together = b"".join(texts)
        if b"_" in together or len(together) > _MAX_VALUE_BYTES * len(texts):
            return None
        try:
            return list(map(float, texts))
        except ValueError:  # a time stamp or an exemplar behind the value, or no number
            return None


class Follower:
    """
    Reads one server's page again and again.

    Args:
        parser: For pages of its kind; may be shared.
    """

    def __init__(self, parser: Parser) -> None:
        self._parser = parser
        self._layout = Layout(())

    def read(self, page: bytes) -> tuple[Layout, list[float]]:
        """
        The layout of *page*, the same object as last time if it has not changed, and the values in it.

        Raises:
            SourceMalformed: more lines or wanted readings than an honest page has.
        """
        values = self._layout.values(page)
        if values is None:
            lines = list(self._parser.lines(page))
            before = self._layout.series
            self._layout, values = Layout(lines), [line.value for line in lines if line.series is not None]
            if self._layout.series == before:  # only what is not wanted has changed
                self._layout.series = before
        return self._layout, values

    def parse(self, page: bytes) -> Page:
        """As `Parser.parse`, at a fraction of its price on a page laid out like the last one."""
        layout, values = self.read(page)
        readings: dict[str, list[Reading]] = {}
        for (name, labels, text), value in zip(layout.series, values, strict=True):
            if math.isfinite(value):
                readings.setdefault(name, []).append(Reading(labels, value, text))
        return Page(readings, layout.skipped)


_COMMENT = _Line(b"#")
_BLANK = _Line(b"")
_BROKEN = _Line(b"", broken=True)
_NAMELESS = (b"", b" ", b"\t", b"\r", b"{")


def _cut_labels(rest: bytes) -> tuple[bytes, bytes]:
    """What stands inside the braces at the start of *rest*, and what follows; values may hold braces themselves."""
    end = rest.find(b"}")
    if end >= 0 and b"\\" not in rest[:end] and not rest.count(b'"', 0, end) % 2:
        return rest[1:end], rest[end + 1 :]
    block = _BLOCK.match(rest)
    return (block[1], rest[block.end() :]) if block else (b"{", b"")  # a brace is no label list


def _parse_labels(text: bytes) -> Mapping[str, str] | None:
    """Name-value pairs of *text*; None when it is no list of them."""
    labels: dict[str, str] = {}
    at = 0
    while at < len(text):
        found = _LABEL.match(text, at)
        if found is None or len(labels) >= _MAX_LABELS:
            return None
        name = found[1] if found[1] is not None else found[2]
        labels[_text(name)] = _text(found[3])
        at = found.end()
    return labels


def _text(quoted: bytes) -> str:
    text = quoted.decode("utf-8", "replace")
    return _ESCAPE.sub(_unescape, text) if "\\" in text else text


def _unescape(escape: re.Match[str]) -> str:
    return _UNESCAPED.get(escape[1], escape[0])
