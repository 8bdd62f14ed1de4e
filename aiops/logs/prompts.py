"""
How far a prompt reaches that is not over at the end of its line.

Two things end it for certain. A line that opens a record, in the form in which this log opens its records: what is quoted in
a prompt may look like a log, but seldom like this one. And the end of what Python or JSON wrote, read by their rules: quotes
of the kind that began, escapes, brackets outside of quotes, and after it what only a program writes there. A line feed
within quotes is written by neither, so such a text is somebody's own, and no quote or bracket in it means anything.

Where the log has heads, all that follows a prompt without a certain end belongs to its record, up to the next head. Where it has
none, what a program writes after its quotes ends the text, or a bound does.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import Enum

import re2

_STRING = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
_LETTER = r"[\w\x80-\xff]"
_OTHER = r"""(?:[^\w"'\\\x80-\xff]|\\.)"""
_WRITTEN = re2.compile(
    rf"(?s)\A(?:{_OTHER}|[bfruBFRU]{{0,2}}{_STRING}(?:[\s,;:)\]}}>.=|+]|\z)|{_LETTER}+(?:{_OTHER}|\z))*\z".encode()
)
"""A program's own text: every quote is closed, and none touches a letter, as an apostrophe does."""
_FIRST = re2.compile(rf"(?s)\A{_STRING}".encode())
_STRINGS = re.compile(
    rf"\\.|{_STRING}".encode(), re.DOTALL
)  # asked only where every quote is closed, which makes it linear
_KEY = r"""\s*(?:,\s*["']?[A-Za-z_][\w.]*["']?\s*[:=]|\s[A-Za-z_][\w.]*=)"""
_GOES_ON = re2.compile(rf"(?:\s*[)\]}}]|{_KEY})".encode())
_ENDS = {
    quote: re2.compile(rf"(?:\A|[^\\])(?:\\\\)*{quote.decode()}{_KEY}".encode()) for quote in (b'"', b"'")
}  # fmt: skip
_OPENING = re2.compile(rb"[=:]\s*\\*[\"'\[({]")
_ESCAPED = re2.compile(rb"\\+[\"']")
_INSIDE = {
    b'"': re2.compile(rb'(?s)(?:[^"\\]|\\.)*'),
    b"'": re2.compile(rb"(?s)(?:[^'\\]|\\.)*"),
}
_BARE = re2.compile(
    rb"(?i)\b(?:\w+_)?(?:prompts?|text|inputs?|outputs?|response|body|answer|message|query|question)"
    rb"\s*[:=]\s*[^\s\"'\[({\\]"
)
"""A text without quotes: it ends nowhere."""
_PAIRS = ((b"[", b"]"), (b"{", b"}"), (b"(", b")"))
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}()"))
_BEFORE_BYTES = 4_096
_MAX_FOLLOWING = 500
"""Lines taken for the rest of a prompt in a log without heads."""
_MAX_FOLLOWING_HEADED = 5_000
"""The same where a head will end it: only a log that changes its form gets there."""
_MAX_OTHERS = 4
"""Forms of heads with a time of day, other than the log's own; what has more is no text but a collection of logs."""


class _End(Enum):
    """How a line ends that holds a prompt."""

    CERTAIN = "what a program wrote is over"
    LIKELY = "it seems to be over; or somebody's text goes on"
    BARE = "nothing encloses it; somebody's text may go on"
    OPEN_TEXT = "somebody's text goes on"
    OPEN_BRACKET = "a bracket is open, and all in it is a program's"


class Prompt:
    """
    What is still to come of a prompt that runs over several lines.

    Args:
        line: The line with its beginning.
        start: Where in it a prompt is known by its name.
        forms: Of this log's heads (`heads.head_form`); empty if it has none.
    """

    __slots__ = ("_depths", "_forms", "_is_likely_over", "_kind", "_left", "_others", "_quote", "is_open")

    def __init__(self, line: bytes, start: int, forms: Collection[bytes]) -> None:
        self._forms = forms
        self._left = _MAX_FOLLOWING_HEADED if forms else _MAX_FOLLOWING
        self._others: set[bytes] = set()
        opening = _OPENING.search(line, start)
        place = opening.end() - 1 if opening else start
        first = line[place : place + 1]
        self._quote = first if opening and first in _ENDS else b""
        if opening is None:
            end = _bare_end(line[start:])
        elif self._quote:
            end = _quoted_end(line, start, place)
        else:
            end = _bracketed_end(line, start, place)
        self._depths: list[int] | None = None
        """Open brackets of each kind; None where brackets mean nothing."""
        self._kind = 0
        if end is _End.OPEN_BRACKET:
            self._depths = _depths(line[place:])
            self._kind = next(kind for kind, depth in enumerate(self._depths) if depth > 0)
        self._is_likely_over = end is _End.LIKELY
        if forms:  # what follows is of the same record
            self.is_open = end is not _End.CERTAIN
        else:
            is_over = end in {_End.CERTAIN, _End.LIKELY, _End.BARE}
            self.is_open = not is_over and not (self._quote and self._ends_in(line[place + 1 :]))

    def takes(self, line: bytes, form: bytes) -> bool:
        """
        Whether *line* belongs to it; its end is remembered.

        Args:
            line: Or a record of several.
            form: Of its head.
        """
        is_head = form in self._forms
        if form.endswith(b"0:0:0") and not is_head:
            self._others.add(form)
            is_head = self._is_likely_over or len(self._others) > _MAX_OTHERS
        if self._left == 0 or is_head:
            self.is_open = False
            return False
        self._left -= 1
        if self._depths is not None:
            self.is_open = all(self._stays_open(part) for part in line.split(b"\n"))
        elif self._quote and not self._forms:
            self.is_open = not self._ends_in(line)
        return True

    def _ends_in(self, text: bytes) -> bool:
        return _ENDS[self._quote].search(text) is not None

    def _stays_open(self, line: bytes) -> bool:
        """Whether brackets are open after *line*."""
        if self._depths is None:
            return True
        if not _WRITTEN.match(line):
            self._depths = None
            return True
        self._depths = [depth + more for depth, more in zip(self._depths, _depths(line), strict=True)]
        if self._depths[self._kind] <= 0 and max(self._depths) <= 0:
            return False
        if min(self._depths) < 0:  # no program writes that
            self._depths = None
        return True


def _bare_end(text: bytes) -> _End:
    """Of a text that nothing encloses, except perhaps a bracket of what holds it."""
    return _End.OPEN_BRACKET if _WRITTEN.match(text) and max(_depths(text)) > 0 else _End.BARE


def _quoted_end(line: bytes, start: int, place: int) -> _End:
    """Of a text that begins with a quote at *place*."""
    if (end := _escaped_end(line, start, place)) is not None:
        return end
    text = _without_outer_quote(line, start, place)
    first = _FIRST.match(text)
    if first is None or not _WRITTEN.match(text):
        return _End.OPEN_TEXT
    rest = text[first.end() :].strip()
    is_key = line[:place].rstrip(b" :=")[-1:] in _ENDS
    if _BARE.search(line, start, place):
        return _End.BARE
    if not rest or (rest == b"," and is_key):
        return _End.LIKELY
    if not _GOES_ON.match(text, first.end()):
        return _End.OPEN_TEXT
    return _End.CERTAIN if _balances(line[:place], text) else _End.LIKELY


def _bracketed_end(line: bytes, start: int, place: int) -> _End:
    """Of what begins with a bracket at *place*."""
    if (end := _escaped_end(line, start, place)) is not None:
        return end
    text = _without_outer_quote(line, start, place)
    if not _WRITTEN.match(text):
        return _End.OPEN_TEXT
    if _BARE.search(line, start, place):
        return _End.BARE
    if _balances(line[:place], text):
        return _End.CERTAIN
    kind = next(kind for kind, (opening, _) in enumerate(_PAIRS) if text.startswith(opening))
    return _End.OPEN_BRACKET if _depths(text)[kind] > 0 else _End.LIKELY


def _escaped_end(line: bytes, start: int, place: int) -> _End | None:
    """Of a body within a string of JSON or Python; None if it is in none."""
    if b"\\x22" in line[start : place + 4]:  # nginx writes one line
        return _End.CERTAIN
    escaped = _ESCAPED.search(line, start, place + 1)
    if escaped is None:
        return None
    return _End.CERTAIN if _INSIDE[escaped[0][-1:]].match(line, start).end() < len(line) else _End.OPEN_TEXT


def _without_outer_quote(line: bytes, start: int, place: int) -> bytes:
    """*line* from *place* on, without the end of what a shell's quote before *start* encloses."""
    text = line[place:]
    outer = line[max(0, start - 2) : start].strip(b"{[( ")
    if outer in _ENDS:
        inner, _, after = text.rpartition(outer)
        return inner + after
    return text


def _balances(before: bytes, text: bytes) -> bool:
    """Whether *text* closes just the brackets that it and what stands *before* it opened."""
    open_: list[int] = []
    for bracket in before[-_BEFORE_BYTES:].translate(None, _NO_BRACKETS):
        if bracket in b"[{(":
            open_.append(bracket)
        elif open_ and b"[{(".index(open_[-1]) == b"]})".index(bracket):
            open_.pop()
    counts = [bytes(open_).count(opening) for opening, _ in _PAIRS]
    return all(count + depth == 0 for count, depth in zip(counts, _depths(text), strict=True))


def _depths(text: bytes) -> list[int]:
    """Of each kind, brackets that *text*, a program's, opens and does not close; those within quotes are none."""
    bare = _STRINGS.sub(b"", text)
    return [bare.count(opening) - bare.count(closing) for opening, closing in _PAIRS]
