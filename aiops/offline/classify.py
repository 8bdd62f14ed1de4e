"""The answers of `logs.classify` as text for people or JSON for programs; the line itself is never repeated."""

from __future__ import annotations

import json
from functools import lru_cache

from aiops.logs.classify import Answer
from aiops.model import LogSeverity
from aiops.offline.table import printable
from aiops.rulebook.signatures import LogClass


def as_text(answer: Answer) -> str:
    """Class, severity, and what was found or how sure a guess is; separated by tabs."""
    notes = [f"{name}={printable(value)}" for name, value in answer.values.items()]
    if answer.guess and answer.log_class is not LogClass.BENIGN:
        notes.append(f"guess, {answer.probability:.0%}")
    return f"{answer.log_class}\t{answer.severity}\t{', '.join(notes)}"


def as_json(line: int, answer: Answer) -> str:
    """
    One JSON object.

    Args:
        line: Its number, from one, over all inputs.
        answer: What it means.
    """
    values = json.dumps(dict(answer.values)) if answer.values else "{}"
    # most lines of a log have one of a few answers, and there are millions of lines
    meaning = _meaning(answer.log_class, answer.severity, guess=answer.guess, probability=answer.probability)
    return f'{{"line": {line}, {meaning}, "values": {values}}}'


@lru_cache(maxsize=4_096)
def _meaning(log_class: LogClass, severity: LogSeverity, *, guess: bool, probability: float) -> str:
    return json.dumps(
        {"class": log_class, "severity": severity, "guess": guess, "probability": probability}
    )[1:-1]  # fmt: skip
