"""
What a line that no signature knows probably means.

A linear model over hashed words, trained offline from the samples of the lexicon and lines beside them
(bench/train_guess.py), and shipped as plain numbers: reading it runs no code. Calling an ordinary line trouble is worse
than missing trouble, so the answer is benign below a probability set by cross-validation, and for a line without a
single word of failure, whatever it speaks of. For offline commands and child processes; the daemon counts only what a
signature says.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
import numpy.typing as npt
import re2

from aiops.errors import AiopsError
from aiops.logs.features import COLUMNS, columns
from aiops.model import LogSeverity
from aiops.rulebook.signatures import LogClass

FAILURE = re2.compile(
    r"(?i)fail|error|\berr\b|exception|time[ -]?out|timed out|refus|\blost|\bdead|\bdied|kill|crash|abort|exceed|exhaust"
    r"|unable|cannot|can.?t\b|could ?n.t|could not|denied|reject|dropp|unavailable|unreachable|unhealthy|corrupt|invalid"
    r"|mismatch|missing|not found|\bfull\b|overload|too many|out of|insufficient|not enough|stuck|\bhung|hang\b|stall"
    r"|\bno (?:space|memory|route|room|answer|response|free|healthy|live)|panic|fatal|fault|degrad|throttl|overheat|too hot"
    r"|expired|evict|preempt|\bdown\b|reset|unexpected|disconnect|respond|gone|violat"
    r"|broken|damaged|unsupported|incompatible|misbehav|self[ -]signed|no such|unknown host|did not|not ready|interrupted"
    r"|\bbad\b|limit (?:reached|hit)|vanish|silent|starv|unanswered|\bOOM\b"
)
"""Words of failure."""
_MIN_COLUMNS = 16
"""About three words: one alone, repeated or not, says too little."""
FILE = "guess.json"
FORMAT = "aiops-guess-1"


@dataclass(frozen=True, slots=True)
class Guess:
    """An answer of the model."""

    log_class: LogClass
    severity: LogSeverity
    probability: float
    """Of the class answered, 0 to 1. Where no class of trouble was sure enough this is that of benign, however low."""


class Guesser:
    """
    The model.

    Args:
        classes: One per column of *weights*; benign is among them.
        severities: Of a line of each class.
        weights: Shape (COLUMNS, classes).
        bias: Shape (classes,).
        threshold: Probability from which a class of trouble is answered.
    """

    def __init__(
        self,
        classes: Sequence[LogClass],
        severities: Sequence[LogSeverity],
        weights: npt.NDArray[np.float32],
        bias: npt.NDArray[np.float32],
        threshold: float,
    ) -> None:
        self._classes = classes
        self._severities = severities
        self._weights = weights
        self._bias = bias
        self._threshold = threshold
        self._benign = classes.index(LogClass.BENIGN)

    @classmethod
    def load(cls) -> Guesser:
        """
        The model that ships with aiops.

        Raises:
            AiopsError: the file is damaged.
        """
        try:
            return cls.from_json(resources.files("aiops.logs").joinpath(FILE).read_text(encoding="ascii"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise AiopsError(f"{FILE}, which ships with aiops, cannot be used: {error!r}") from error

    @classmethod
    def from_json(cls, text: str) -> Guesser:
        """The model in *text*; ValueError, KeyError or TypeError if it is none."""
        plain = json.loads(text)
        if plain["format"] != FORMAT:
            raise ValueError(f"format {plain['format']!r}")
        classes = [LogClass(name) for name in plain["classes"]]
        steps = np.frombuffer(base64.b64decode(plain["weights"], validate=True), np.int8)
        return cls(
            classes,
            [LogSeverity(name) for name in plain["severities"]],
            steps.reshape(COLUMNS, len(classes)).astype(np.float32) * np.float32(plain["step"]),
            np.array(plain["bias"], np.float32),
            float(plain["threshold"]),
        )

    def guess(self, lines: Sequence[str]) -> list[Guess]:
        """One answer a line."""
        return [self._guess(line.encode("utf-8", "replace")) for line in lines]

    def _guess(self, line: bytes) -> Guess:
        filled = columns(line)
        each = self._probabilities(filled)
        best = int(each.argmax())
        if each[best] < self._threshold or len(filled) < _MIN_COLUMNS or FAILURE.search(line) is None:
            best = self._benign
        return Guess(self._classes[best], self._severities[best], round(float(each[best]), 3))

    def _probabilities(self, filled: list[int]) -> npt.NDArray[np.float32]:
        """Of each class, in the model's order; they add up to 1."""
        scores = self._bias
        if filled:
            scores = scores + self._weights[filled].sum(axis=0) / np.sqrt(np.float32(len(filled)))
        odds = np.exp(scores - scores.max())
        return np.asarray(odds / odds.sum(), np.float32)
