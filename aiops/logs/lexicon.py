"""
What a raw line means: its log class, its severity, and the values worth keeping.

Masking hides just what tells lines apart (Xid 79, errno 28, HTTP 503 all become a number), and clusters merge, so
classes are decided on the raw line, each line for itself. One union of all patterns says "none of them" for nearly
every line, in two to four microseconds; for the others an RE2 set says which. The first signature that matches wins.

Both are automata over all patterns at once and stay that quick only while they are small: counted repetitions such as
``.{0,60}`` made them fifty times slower, which is why the rulebook refuses patterns that compile to large programs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import re2

from aiops.logs.sweep import Sweep
from aiops.model import LogSeverity
from aiops.rulebook.signatures import LogSignature, quiet

_SEVERITY_HEAD_BYTES = 160
"""Lines name their severity near the start; further on, the word is somebody's text."""
_MAX_VALUE_CHARS = 64

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
        unions = ["|".join(f"(?:{pattern})" for pattern in signature.patterns).encode() for signature in signatures]
        self._each = [re2.compile(union, quiet()) for union in unions]
        self._any = re2.compile(b"|".join(unions), quiet()) if unions else None
        self._sweep = Sweep(b"|".join(b"(?:" + union + b")" for union in unions), quiet()) if unions else None
        self._which = re2.Set.SearchSet(quiet())
        for union in unions:
            self._which.Add(union)
        self._which.Compile()
        self._severity = re2.compile(b"|".join(b"(" + pattern + b")" for _, pattern in _WORDS), quiet())
        self._order = [severity for severity, _ in _WORDS]

    def classify(self, line: bytes) -> Hit | None:
        """The first signature that matches *line*, UTF-8; None if none does."""
        if self._any is None or self._any.search(line) is None:
            return None
        # a set gives up, without a word, where its automaton outgrows its memory; then each is asked in turn
        matching = self._which.Match(line) or [i for i, each in enumerate(self._each) if each.search(line) is not None]
        number = min(matching)
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
        if self._sweep is None:
            return {}
        return {n: hit for n in self._sweep.candidates(lines) if (hit := self.classify(lines[n])) is not None}

    def severity(self, line: bytes) -> LogSeverity:
        """How bad *line* is by the first severity word at its head; INFO if it names none."""
        found = self._severity.search(line[:_SEVERITY_HEAD_BYTES])
        if found is None:
            return LogSeverity.INFO
        return next(
            (severity for number, severity in enumerate(self._order, 1) if found[number] is not None), LogSeverity.INFO
        )
