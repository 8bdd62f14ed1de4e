"""
Words that an expression cannot do without.

A line that holds none of them need not be asked about the expression, which then need not even be compiled. What is found
here errs on one side only: a line that an expression is found in always holds its words; one that holds them may be
another. Words are compared without case. An expression that cannot be understood is said to need nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

Clause = frozenset[bytes]
"""Words of which a line must hold at least one."""

_MAX_EXACT = 16
"""Texts an expression may stand for before they are taken for words that must be there."""
_MAX_CLAUSES = 2
"""A third would turn few more lines away."""
_LEAST_WEIGHT = 2
_STRONG = 12
"""A clause whose words are that long needs no second one."""
_COMMON = b" :/-.,"
"""In nearly every line."""
_RARE = b"{}|#%"
_MOST_BYTES = 14
"""The start of a long word is as rare as all of it."""
_MAX_CLASS = 4
_FLAGS = re.compile(r"\(\?[a-zA-Z-]*([:)])")
_NAME = re.compile(r"\(\?P?<\w+>")
_REPEATED = re.compile(r"([*+?]|\{([0-9]+)(?:,[0-9]*)?\})\??")
_PLACES = frozenset("bBAz")
_KINDS = frozenset("dDwWsSCntrfva")
_FOLDED = frozenset("kKsS")
"""Outside of ASCII there are other characters that these match without case."""


class _UnknownError(Exception):
    """An expression that this module cannot read."""


@dataclass(frozen=True, slots=True)
class _Need:
    """What a part of an expression stands for: exactly one of some texts, or anything that holds some words."""

    exact: Clause | None
    clauses: tuple[Clause, ...] = ()

    def all(self) -> tuple[Clause, ...]:
        """What it needs, exact or not."""
        own = () if self.exact is None else tuple(_useful([self.exact]))
        return (*self.clauses, *own)


_ANY = _Need(None)
_EMPTY = _Need(frozenset([b""]))


def needed(expression: str) -> tuple[tuple[Clause, ...], ...]:
    """
    What a line must hold for *expression* to be found in it: all clauses of one of the alternatives.

    An alternative without clauses may be found in any line.
    """
    try:
        reader = _Reader(expression)
        branches = reader.branches()
        if reader.rest:
            return ((),)
    except (_UnknownError, RecursionError):
        return ((),)
    return tuple(_best(branch.all()) for branch in branches)


class _Reader:
    """Reads an expression from its start."""

    def __init__(self, expression: str) -> None:
        self.rest = expression
        self._ascii = expression.isascii()

    def branches(self) -> list[_Need]:
        """Alternatives, up to the end or a closing parenthesis."""
        found = [self._row()]
        while self._take("|"):
            found.append(self._row())
        return found

    def _row(self) -> _Need:
        """Parts that follow one another."""
        exact: Clause | None = _EMPTY.exact
        clauses: list[Clause] = []
        while self.rest and self.rest[0] not in "|)":
            part = self._repeated(self._part())
            if exact is not None and part.exact is not None and len(exact) * len(part.exact) <= _MAX_EXACT:
                exact = frozenset(a + b for a, b in product(exact, part.exact))
                continue
            clauses += [*_useful([exact] if exact is not None else []), *part.clauses]
            # what comes next follows this text, or something unknown: its own words begin anew
            exact = part.exact or _EMPTY.exact
            clauses.append(frozenset())
        return _joined(exact, clauses)

    def _part(self) -> _Need:
        if self.rest[0] == "(":
            return self._group()
        if self.rest[0] == "[":
            return self._class()
        if self.rest[0] == "\\":
            return self._escape()
        char = self._next()
        if char in "^$":
            return _EMPTY
        return _ANY if char == "." else self._literal(char)

    def _literal(self, char: str) -> _Need:
        if not self._ascii and (char in _FOLDED or not char.isascii()):
            return _ANY
        return _Need(frozenset([char.lower().encode()]))

    def _group(self) -> _Need:
        if flags := _FLAGS.match(self.rest):
            self.rest = self.rest[flags.end() :]
            if flags[1] == ")":
                return _EMPTY
        elif name := _NAME.match(self.rest):
            self.rest = self.rest[name.end() :]
        elif self.rest.startswith("(?"):
            raise _UnknownError
        else:
            self._next()
        found = _either(self.branches())
        if not self._take(")"):
            raise _UnknownError
        return found

    def _class(self) -> _Need:
        """One of a few characters, or any."""
        self._next()
        few = not self.rest.startswith("^")
        members: list[str] = []
        first = True
        while first or not self.rest.startswith("]"):
            char = self._next()
            if char == "^" and first and not few:
                continue  # a bracket right behind it is a member too
            first = False
            if char == "[" and self.rest.startswith(":"):
                few, self.rest = False, self.rest.partition(":]")[2]
            if char == "\\":
                few = few and not self.rest[:1].isalnum()
                char = self._escaped_in_class()
            members.append(char)
        self._next()
        if not few or len(members) > _MAX_CLASS or "-" in members[1:-1]:
            return _ANY
        return _either([self._literal(member) for member in members])

    def _escaped_in_class(self) -> str:
        char = self._next()
        if char in "pPQExX01234567":
            raise _UnknownError
        return char

    def _escape(self) -> _Need:
        self._next()
        char = self._next()
        if char in _PLACES:
            return _EMPTY
        if char in _KINDS:
            return _ANY
        if char.isalnum():
            raise _UnknownError
        return self._literal(char)

    def _repeated(self, part: _Need) -> _Need:
        """*part* with what says how often it comes."""
        while found := _REPEATED.match(self.rest):
            self.rest = self.rest[found.end() :]
            if found[1] == "?":
                part = _ANY if part.exact is None else _Need(part.exact | {b""})
            elif found[1] == "*" or (found[2] and int(found[2]) == 0):
                part = _ANY
            else:
                part = _Need(None, part.all())
        return part

    def _next(self) -> str:
        if not self.rest:
            raise _UnknownError
        char, self.rest = self.rest[0], self.rest[1:]
        return char

    def _take(self, char: str) -> bool:
        taken = self.rest.startswith(char)
        self.rest = self.rest[taken:]
        return taken


def _joined(exact: Clause | None, clauses: Sequence[Clause]) -> _Need:
    if not clauses:
        return _Need(exact)
    return _Need(None, tuple(_useful([*clauses, exact or frozenset()])))


def _either(branches: Sequence[_Need]) -> _Need:
    """One of *branches*."""
    texts = [branch.exact for branch in branches if branch.exact is not None]
    if len(texts) == len(branches):
        whole = frozenset().union(*texts)
        return _Need(whole) if len(whole) <= _MAX_EXACT else _Need(None, tuple(_useful([whole])))
    best = [max(branch.all(), key=_worth, default=None) for branch in branches]
    known = [clause for clause in best if clause is not None]
    return _Need(None, tuple(_useful([frozenset().union(*known)]))) if len(known) == len(best) else _ANY


def _best(clauses: Iterable[Clause]) -> tuple[Clause, ...]:
    ranked = sorted(clauses, key=_worth, reverse=True)
    return tuple(ranked[: 1 if ranked and _worth(ranked[0])[0] >= _STRONG else _MAX_CLAUSES])


def _useful(clauses: Iterable[Clause]) -> Iterable[Clause]:
    """Those of *clauses* that turn lines away, without words that hold another of theirs."""
    for clause in clauses:
        if clause and min(map(_weight, clause)) >= _LEAST_WEIGHT:
            words = frozenset(word[:_MOST_BYTES] for word in clause)
            yield frozenset(word for word in words if not any(other in word for other in words if other != word))


def _worth(clause: Clause) -> tuple[int, int]:
    """Long words are rare."""
    return min(map(_weight, clause)), -len(clause)


def _weight(word: bytes) -> int:
    """Its length, but none if it is in nearly every line."""
    if not word.translate(None, _COMMON):
        return 0
    return len(word) - word.count(b" ") + any(char in _RARE for char in word)
