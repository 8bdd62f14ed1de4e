"""
What a raw line means: its log class, its severity, and the values worth keeping.

Masking hides just what tells lines apart (Xid 79, errno 28, HTTP 503 all become a number), and clusters merge, so
classes are decided on the raw line, each line for itself. The first signature that matches wins.

Hundreds of patterns with `.*` in them make one automaton that is too large to be quick: joined into one, these cost
nearly a millisecond a line. Instead the words that each pattern cannot do without (`needed`) are looked for, all at once,
and only patterns whose words are there are asked: about two microseconds for nearly every line. A pattern is compiled when it
is first asked; most never are, and all together they would hold five megabytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import re2

from aiops.logs.digits import blind
from aiops.logs.words import Words
from aiops.model import LogSeverity
from aiops.rulebook.signatures import LogSignature, quiet

_SEVERITY_HEAD_BYTES = 160
"""Lines name their severity near the start; further on, the word is somebody's text."""
_MAX_VALUE_CHARS = 64
_MAX_EXPRESSION_BYTES = 150_000
_WORDS = (
    (LogSeverity.CRITICAL, rb"(?i:\b(?:critical|crit|fatal|panic|emerg|alert)\b)|\bF\d{4} "),
    (LogSeverity.ERROR, rb"(?i:\b(?:error|err|severe|failed|traceback)\b)|\w(?:Error|Exception)\b|\bE\d{4} "),
    (LogSeverity.WARNING, rb"(?i:\bwarn(?:ing)?\b)|\bW\d{4} "),
    (LogSeverity.INFO, rb"(?i:\b(?:info|debug|notice|trace)\b)|\bI\d{4} "),
)


@dataclass(frozen=True, slots=True)
class Hit:
    """A signature that matched a line."""

    number: int
    """The signature's place in the lexicon."""
    signature: LogSignature
    values: Mapping[str, str] = field(default_factory=dict)
    """What `extract` found: "gpu", "xid"."""


class Lexicon:
    """
    Signatures, compiled.

    Args:
        signatures: In order of precedence.
    """

    def __init__(self, signatures: Sequence[LogSignature]) -> None:
        self._signatures = signatures
        self._expressions = [expression for one in signatures for expression in one.expressions]
        self._owner = [number for number, one in enumerate(signatures) for _ in one.patterns]
        self._words = Words(self._expressions)
        self._finders: list[re2.Set | None] = [None] * len(self._expressions)
        self._blind: dict[int, re2.Set | None] = {}
        self._extract: dict[str, re2._Regexp[bytes]] = {}
        self._severity = re2.compile(b"|".join(b"(" + pattern + b")" for _, pattern in _WORDS), quiet())
        self._order = [severity for severity, _ in _WORDS]

    def classify(self, line: bytes) -> Hit | None:
        """The first signature that matches *line*, UTF-8; None if none does."""
        for place in self._words.places(line):
            if self._finder(place).Match(line):
                return self._hit(self._owner[place], line)
        return None

    def may_know(self, form: bytes) -> bool:
        """False only if `classify` knows no line of this *form* (`digits`)."""
        for place in self._words.places(form, form=True):
            if place not in self._blind:
                self._blind[place] = self._made_blind(place)
            finder = self._blind[place]
            if finder is None or finder.Match(form):
                return True
        return False

    def _finder(self, place: int) -> re2.Set:
        finder = self._finders[place]
        if finder is None:
            finder = self._finders[place] = _finder(self._expressions[place])
        return finder

    def _made_blind(self, place: int) -> re2.Set | None:
        """An expression as it is looked for in forms; None if it may be found in any."""
        expression = self._expressions[place]
        made = blind(expression)
        if made is None:
            return None
        return self._finder(place) if made == expression else _finder(made)

    def _hit(self, number: int, line: bytes) -> Hit:
        signature = self._signatures[number]
        values = {
            name: found[1][:_MAX_VALUE_CHARS].decode(errors="replace")
            for name, expression in signature.extract.items()
            if (found := self._value(expression).search(line)) is not None and found[1]
        }
        return Hit(number, signature, values)

    def _value(self, expression: str) -> re2._Regexp[bytes]:
        found = self._extract.get(expression)
        if found is None:
            found = self._extract[expression] = re2.compile(expression.encode(), quiet())
        return found

    def among(self, lines: Sequence[bytes]) -> dict[int, Hit]:
        """
        What `classify` says to those of *lines* it knows, by their place.

        Args:
            lines: Without line feeds.
        """
        return {place: hit for place, line in enumerate(lines) if (hit := self.classify(line)) is not None}

    def severity(self, line: bytes) -> LogSeverity:
        """How bad *line* is by the first severity word at its head; INFO if it names none."""
        found = self._severity.search(line[:_SEVERITY_HEAD_BYTES])
        if found is None:
            return LogSeverity.INFO
        return next(
            (severity for number, severity in enumerate(self._order, 1) if found[number] is not None), LogSeverity.INFO
        )


def _finder(expression: str) -> re2.Set:
    """
    *expression* as a set of one: in half the memory, and asked in half the time, since nothing but yes or no is wanted.

    To one that names ASCII only any byte is a character, which makes it a tenth smaller. What it remembers of lines it was
    asked about is bounded, which is enough to be as quick as with RE2's eight megabytes.
    """
    options = quiet()
    options.max_mem = _MAX_EXPRESSION_BYTES
    if expression.isascii():
        options.encoding = re2.Options.Encoding.LATIN1
    found = re2.Set.SearchSet(options)
    found.Add(expression.encode())
    found.Compile()
    return found
