"""The answers of `logs.classify` as text for people or JSON for programs; the line itself is never repeated."""

from __future__ import annotations

import json

from aiops.logs.classify import Answer
from aiops.offline.table import printable
from aiops.rulebook.signatures import LogClass


def as_text(answer: Answer) -> str:
    """Class, severity, and what was found or how sure a guess is; separated by tabs."""
    notes = [f"{name}={printable(value)}" for name, value in answer.values.items()]
    if answer.guess and answer.log_class is not LogClass.BENIGN:
        notes.append(f"guess, {answer.probability:.0%}")
    return f"{answer.log_class}\t{answer.severity}\t{' '.join(notes)}"


def as_json(line: int, answer: Answer) -> str:
    """
    One JSON object.

    Args:
        line: Its number, from one, over all inputs.
        answer: What it means.
    """
    return json.dumps({
        "line": line,
        "class": answer.log_class,
        "severity": answer.severity,
        "guess": answer.guess,
        "probability": answer.probability,
        "values": dict(answer.values),
    })  # fmt: skip
