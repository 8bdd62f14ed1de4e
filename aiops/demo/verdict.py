"""
Was the daemon right? Judged from the messages as they arrived in the chat, and from when users met their first 503.

Pure: lists of messages in, a judgement out, so that it can be tested without a demo.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Expected(Enum):
    """How the play must end."""

    NAMED = "named"
    """An incident whose cause is named, and its end."""
    SILENT = "silent"
    """No message at all."""
    UNDETERMINED = "undetermined"
    """An incident, no cause, and its end."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message in the chat."""

    at_s: float
    message: dict[str, Any]

    @property
    def change(self) -> str:
        """Why it was sent: opened, updated, resolved, ticket, test."""
        return str(self.message.get("change", ""))

    def fact(self, name: str) -> str:
        """A fact for machines; empty when it is not there."""
        facts = self.message.get("incident")
        return str(facts.get(name) or "") if isinstance(facts, dict) else ""

    @property
    def names_cause(self) -> bool:
        """Whether it says what the cause of an open incident is."""
        return self.change in {"opened", "updated"} and bool(self.fact("cause"))


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is reported, and everything that was wrong."""

    first_503: float | None
    message_at: float | None
    seconds: float | None
    cause: str | None
    probability: float | None
    incident: str | None
    faults: tuple[str, ...]
    """In words; empty when the daemon was right."""

    def as_json(self, fault: str) -> dict[str, Any]:
        """The line that ends ``aiops demo --json``."""
        return {
            "fault": fault,
            "first_503": _rounded(self.first_503),
            "message_at": _rounded(self.message_at),
            "seconds": _rounded(self.seconds),
            "cause": self.cause,
            "probability": self.probability,
            "incident": self.incident,
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def naming(messages: Sequence[Received]) -> Received | None:
    """The first message that names a cause."""
    return next((m for m in messages if m.names_cause), None)


def resolved(messages: Sequence[Received]) -> bool:
    """Whether the end of an incident was told."""
    return any(m.change == "resolved" for m in messages)


def judge(
    expected: Expected,
    cause: str | None,
    messages: Sequence[Received],
    *,
    fault_began_s: float,
    first_503_s: float | None,
) -> Judgement:
    """
    Compare what was told with what happened.

    Args:
        expected: How the play must end.
        cause: What must be named, if something must.
        messages: In order of arrival.
        fault_began_s: Epoch.
        first_503_s: When users met the first; None when they met none.
    """
    first = naming(messages)
    said = first or next((m for m in messages if m.change in {"opened", "updated"}), None)
    probability = first.fact("probability") if first else ""
    return Judgement(
        first_503=first_503_s,
        message_at=said.at_s if said else None,
        seconds=first.at_s - first_503_s if first and first_503_s is not None else None,
        cause=first.fact("cause") if first else None,
        probability=float(probability) if probability else None,
        incident=(said.fact("incident") or None) if said else None,
        faults=tuple(_wrong(expected, cause, messages, fault_began_s, first_503_s)),
    )


def _wrong(
    expected: Expected, cause: str | None, messages: Sequence[Received], began_s: float, first_503_s: float | None
) -> list[str]:
    wrong: list[str] = []
    early = [m for m in messages if m.at_s < began_s]
    if early:
        wrong.append(f"{len(early)} message(s) before anything happened: {early[0].message.get('title', '')}")
    if first_503_s is not None and first_503_s < began_s:
        wrong.append("users met a 503 before anything happened: the demo itself is at fault")
    if expected is Expected.SILENT:
        if first_503_s is not None:
            wrong.append("users met a 503 although nothing was broken: the demo itself is at fault")
        late = [m for m in messages if m.at_s >= began_s]
        return wrong + ([f"it was not silent: {late[0].message.get('title', '')}"] if late else [])
    if first_503_s is None:
        wrong.append("users met no 503: the demo itself is at fault")
    causes = [m.fact("cause") for m in messages if m.names_cause]
    wrong += _wrong_causes(expected, cause, causes)
    if not any(m.change == "opened" for m in messages):
        wrong.append("no incident was opened")
    ends = sum(m.change == "resolved" for m in messages)
    if ends != 1:
        wrong.append(f"the end was told {ends} times instead of once")
    return wrong


def _wrong_causes(expected: Expected, cause: str | None, causes: list[str]) -> list[str]:
    if expected is Expected.UNDETERMINED:
        return [f"it named {causes[0]} although no cause file describes this"] if causes else []
    if not causes:
        return ["no message named a cause"]
    if causes[0] != cause:
        return [f"it named {causes[0]} first"]
    if causes[-1] != cause:
        return [f"it changed its mind to {causes[-1]}"]
    return []
