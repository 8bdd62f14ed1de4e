"""
The class of every line, for offline commands: what a signature says, or else a guess.

Lines that differ in digits only are guessed alike, and most lines of a log do, so guesses are remembered by hash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aiops.logs.guess import Guess, Guesser
from aiops.logs.lexicon import Lexicon
from aiops.logs.privacy import Privacy
from aiops.model import LogSeverity
from aiops.rulebook.signatures import LogClass, LogSignature

_DIGITS = bytes.maketrans(b"0123456789", b"0000000000")
_MAX_REMEMBERED = 50_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What a line means."""

    log_class: LogClass
    severity: LogSeverity
    guess: bool
    """Whether the model said so rather than a signature."""
    probability: float
    """Of the class, 0 to 1; 1 where it is no guess."""
    values: Mapping[str, str] = field(default_factory=dict)
    """What the signature takes from the line: "gpu", "xid"."""


_NOTHING = Answer(LogClass.BENIGN, LogSeverity.INFO, guess=False, probability=1.0)


class Classifier:
    """
    Answers line by line.

    Args:
        signatures: The lexicon, in order of precedence.
        guesser: Asked about lines no signature knows.
    """

    def __init__(self, signatures: Sequence[LogSignature], guesser: Guesser) -> None:
        self._lexicon = Lexicon(signatures)
        self._privacy = Privacy()
        self._guesser = guesser
        self._remembered: dict[int, Guess] = {}

    def classify(self, lines: Sequence[str]) -> list[Answer]:
        """
        One answer a line. Blank lines, and those with somebody's request in them, are benign without a guess.

        Args:
            lines: Raw, without their line feeds.
        """
        texts = [line.encode("utf-8", "replace").strip() for line in lines]
        return [
            _NOTHING if not text or self._privacy.is_private(text) else self._answer(text, line)
            for text, line in zip(texts, lines, strict=True)
        ]

    def _answer(self, text: bytes, line: str) -> Answer:
        hit = self._lexicon.classify(text)
        if hit is not None:
            known = hit.signature
            return Answer(known.log_class, known.severity, guess=False, probability=1.0, values=hit.values)
        guess = self._guess(text, line)
        severity = self._lexicon.severity(text) if guess.log_class is LogClass.BENIGN else guess.severity
        return Answer(guess.log_class, severity, guess=True, probability=guess.probability)

    def _guess(self, text: bytes, line: str) -> Guess:
        key = hash(text.translate(_DIGITS))
        guess = self._remembered.get(key)
        if guess is None:
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            (guess,) = self._guesser.guess([line])
            self._remembered[key] = guess
        return guess
