"""
The class of every line, for offline commands: what a signature says, or else a guess.

Lines that differ in digits only are guessed alike, and most lines of a log do, so guesses are remembered by hash. What
signatures know is found by one search over all lines asked about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aiops.logs.digits import form_of
from aiops.logs.guess import Guesser
from aiops.logs.lexicon import Hit, Lexicon
from aiops.logs.privacy import Privacy
from aiops.model import LogSeverity
from aiops.rulebook.signatures import LogClass, LogSignature

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
        self._remembered: dict[int, Answer] = {}

    def classify(self, lines: Sequence[str]) -> list[Answer]:
        """
        One answer a line. Blank lines, and those with somebody's request in them, are benign without a guess.

        Args:
            lines: The next ones of a log, raw, without their line feeds.
        """
        texts = [line.encode("utf-8", "replace").rstrip() for line in lines]
        private = self._privacy.follow(texts, [""] * len(texts))  # what is indented has no head
        texts = [text.lstrip() for text in texts]
        hits = self._lexicon.among(texts)
        forms = form_of(b"\n".join(texts)).split(b"\n")
        return [
            _NOTHING
            if not text or number in private
            else _known(hits[number])
            if number in hits
            else self._guess(text, forms[number])
            for number, text in enumerate(texts)
        ]

    def _guess(self, text: bytes, form: bytes) -> Answer:
        key = hash(form)
        answer = self._remembered.get(key)
        if answer is None:
            (guess,) = self._guesser.guess([text.decode()])
            benign = guess.log_class is LogClass.BENIGN
            severity = self._lexicon.severity(text) if benign else guess.severity
            answer = Answer(guess.log_class, severity, guess=True, probability=guess.probability)
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = answer
        return answer


def _known(hit: Hit) -> Answer:
    signature = hit.signature
    return Answer(signature.log_class, signature.severity, guess=False, probability=1.0, values=hit.values)
