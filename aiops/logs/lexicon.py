"""
What a raw line means: its log class, its severity, and the values worth keeping.

Masking hides just what tells lines apart (Xid 79, errno 28, HTTP 503 all become a number), and clusters merge, so
classes are decided on the raw line, each line for itself. The first signature that matches wins.

Hundreds of patterns with `.*` in them make one automaton that is too large to be quick: joined into one, these cost
nearly a millisecond a line. RE2's filter instead looks for the words that each pattern cannot do without, all at once,
and asks only the patterns whose words are there: two to three microseconds for nearly every line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import re2

from aiops.model import LogSeverity
from aiops.rulebook.signatures import LogSignature, quiet

_SEVERITY_HEAD_BYTES = 160
"""Lines name their severity near the start; further on, the word is somebody's text."""
_MAX_VALUE_CHARS = 64
_MAX_EXPRESSION_BYTES = 150_000
_TOGETHER = 4
"""Lines asked about at once; with more, words of different lines make it ask for patterns in vain."""

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
        self._extract = [
            [(name, re2.compile(pattern.encode(), quiet())) for name, pattern in signature.extract.items()]
            for signature in signatures
        ]
        self._owner = [number for number, signature in enumerate(signatures) for _ in signature.patterns]
        self._filter = re2.Filter()
        for signature in signatures:
            for expression in signature.expressions:
                self._filter.Add(expression.encode(), _options(expression))
        if self._owner:
            self._filter.Compile()
        # these mean the ends of the text, wherever its lines end
        alone = any(
            mark in expression for one in signatures for expression in one.patterns for mark in ("\\A", "\\z", "(?-")
        )
        self._together = 1 if alone else _TOGETHER
        self._severity = re2.compile(b"|".join(b"(" + pattern + b")" for _, pattern in _WORDS), quiet())
        self._order = [severity for severity, _ in _WORDS]

    def classify(self, line: bytes) -> Hit | None:
        """The first signature that matches *line*, UTF-8; None if none does."""
        matching = self._filter.Match(line) if self._owner else None
        if matching is None:
            return None
        number = self._owner[min(matching)]
        values = {
            name: found[1][:_MAX_VALUE_CHARS].decode(errors="replace")
            for name, pattern in self._extract[number]
            if (found := pattern.search(line)) is not None and found[1]
        }
        return Hit(number, self._signatures[number], values)

    def among(self, lines: Sequence[bytes]) -> dict[int, Hit]:
        """
        What `classify` says to those of *lines* it knows, by their place.

        Args:
            lines: Without line feeds.
        """
        found: dict[int, Hit] = {}
        for start in range(0, len(lines), self._together):
            some = lines[start : start + self._together]
            # whatever is found in a line is found in a text that holds it; the opposite does not hold
            if self._owner and self._filter.Match(b"\n".join(some)) is not None:
                found.update(
                    (start + n, hit) for n, line in enumerate(some) if (hit := self.classify(line)) is not None
                )
        return found

    def severity(self, line: bytes) -> LogSeverity:
        """How bad *line* is by the first severity word at its head; INFO if it names none."""
        found = self._severity.search(line[:_SEVERITY_HEAD_BYTES])
        if found is None:
            return LogSeverity.INFO
        return next(
            (severity for number, severity in enumerate(self._order, 1) if found[number] is not None), LogSeverity.INFO
        )


def _options(expression: str) -> re2.Options:
    """
    Those that keep an expression small in memory; there are hundreds.

    To one that names ASCII only any byte is a character, which makes it a tenth smaller. What it remembers of lines
    it was asked about is bounded at a tenth of a megabyte, which is enough to be as quick as with RE2's eight.
    """
    options = quiet()
    options.max_mem = _MAX_EXPRESSION_BYTES
    if expression.isascii():
        options.encoding = re2.Options.Encoding.LATIN1
    return options
