"""
What a line says when its digits are not looked at.

Most lines of a log were there before with other digits. What is found out about such a *form* (all digits made zero)
holds for each of its lines, as long as the question does not depend on digits. Some signatures do: HTTP 503 is
trouble, 200 is none. Such a pattern is made blind: rewritten so that it finds the form of every line that the pattern
itself finds. It may find more, never less. A form that neither a blind pattern finds, nor one that does not tell digits
apart, therefore belongs to lines that no signature matches, whatever their digits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_DIGITS = bytes.maketrans(b"0123456789", b"0000000000")
_TEN = frozenset("0123456789")
_TEN_BYTES = b"0123456789"
_OTHERS = bytes(byte for byte in range(256) if byte not in _TEN_BYTES)
_DIGIT = re.compile("[0-9]")
_REPETITION = re.compile(r"\{[0-9]+(?:,[0-9]*)?\}")
_FOREIGN = frozenset("xQE01234567")
"""After a backslash: a code or a quotation, which may hold digits that are not what they seem."""


def form_of(line: bytes) -> bytes:
    """*line* with every digit a zero."""
    return line.translate(_DIGITS)


def digits_of(line: bytes, places: Sequence[int]) -> bytes:
    """Those digits of *line* that stand at *places*, counted among its digits from zero."""
    digits = line.translate(None, _OTHERS)
    return bytes([digits[place] for place in places])


def has_digits(text: str) -> bool:
    """Whether there is a digit in *text*."""
    return _DIGIT.search(text) is not None


def split_at_digits(text: str) -> list[str]:
    """What stands between the digits of *text*."""
    return _DIGIT.split(text)


def blind(pattern: str) -> str | None:
    """
    *pattern* for forms; None where that cannot be said.

    Literal digits become zeros. In a class, a digit or a range that ends in one becomes zero too: what it matched, it
    still matches after the line's digits became zeros. A class of everything but some digits may match any digit.
    """
    made: list[str] = []
    place = 0
    while place < len(pattern):
        char = pattern[place]
        if char == "\\":
            piece = _escape(pattern, place)
            made.append(piece or "")
        elif char == "[":
            piece = _class(pattern, place)
            made.append(_blind_class(piece) if piece else "")
        elif char == "{":
            repetition = _REPETITION.match(pattern, place)
            piece = repetition[0] if repetition else char
            made.append(piece)
        elif pattern.startswith("(?P<", place) or pattern.startswith("(?<", place):
            piece = None  # a name may hold digits, and two names must not become one
        else:
            piece = char
            made.append("0" if char in _TEN else char)
        if not piece:
            return None
        place += len(piece)
    return "".join(made)


def _escape(pattern: str, place: int) -> str | None:
    """The escape that begins at *place*; None if it is one that may name a digit."""
    following = pattern[place + 1 : place + 2]
    if following in _FOREIGN or not following:
        return None
    if following in "pP" and pattern[place + 2 : place + 3] == "{":
        return pattern[place : pattern.find("}", place) + 1] or None
    return pattern[place : place + 3] if following in "pP" else pattern[place : place + 2]


def _class(pattern: str, place: int) -> str | None:
    """The class in brackets that begins at *place*; None if it holds an escape that may name a digit."""
    end = place + 1 + (pattern[place + 1 : place + 2] == "^")
    end += pattern[end : end + 1] == "]"  # a first bracket is a member
    while end < len(pattern) and pattern[end] != "]":
        if pattern[end] == "\\":
            escape = _escape(pattern, end)
            if escape is None:
                return None
            end += len(escape)
        elif pattern.startswith("[:", end):
            end = pattern.find(":]", end) + 2
            if end < 2:
                return None
        else:
            end += 1
    return pattern[place : end + 1] if end < len(pattern) else None


def _blind_class(text: str) -> str:
    held = text.replace("0-9", "")
    if not any(char in _TEN for char in held):
        return text  # it holds all digits or none
    return "(?s:.)" if text.startswith("[^") else "".join("0" if char in _TEN else char for char in text)
