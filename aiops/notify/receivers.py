"""
From the `notify.receivers` section of the settings to senders.

Two steps, because `aiops check` wants the first without the second: `decode_receivers` imports the senders' modules
and reads their settings, complaining with file:line, and starts nothing; `build_receivers` makes the senders.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from aiops import narrative
from aiops.clock import Clock, SystemClock
from aiops.document import Node, decode
from aiops.errors import ConfigError, Problem
from aiops.model import Notification, Severity
from aiops.notify import NOTIFIERS
from aiops.ports import Notifier


@dataclass(frozen=True, slots=True)
class ReceiverConfig:
    """One receiver's settings, read and checked, and the module that builds it."""

    name: str
    kind: str
    severities: tuple[Severity, ...]
    module: Any
    config: Any


def decode_receivers(nodes: Iterable[Node], table: Mapping[str, str] = NOTIFIERS) -> tuple[ReceiverConfig, ...]:
    """
    The receivers of the settings, in file order.

    Args:
        nodes: Elements of ``notify.receivers``.
        table: Kind to module.

    Raises:
        ConfigError: an unknown kind, a name given twice, or anything wrong in a receiver's settings; all at once.
    """
    receivers: list[ReceiverConfig] = []
    problems: list[Problem] = []
    for index, node in enumerate(nodes):
        try:
            receiver = _decode(node, f"notify.receivers[{index}]", table)
        except ConfigError as error:
            problems.extend(error.problems)
            continue
        if any(receiver.name == other.name for other in receivers):
            problems.append(node.problem(f"notify.receivers[{index}].name: {receiver.name} is given twice"))
        receivers.append(receiver)
    if problems:
        raise ConfigError(*problems)
    return tuple(receivers)


def _decode(node: Node, where: str, table: Mapping[str, str]) -> ReceiverConfig:
    kind_node, rest = node.split("kind")
    known = ", ".join(sorted(table))
    if kind_node is None:
        raise ConfigError(node.problem(f"{where}.kind: missing; expected one of {known}"))
    kind = decode(kind_node, str, f"{where}.kind")
    if kind not in table:
        raise ConfigError(kind_node.problem(f"{where}.kind: expected one of {known}, found {kind[:60]!r}"))
    module = importlib.import_module(table[kind])
    config = decode(rest, module.Config, where)
    return ReceiverConfig(config.name, kind, tuple(config.severities), module, config)


def build_receivers(
    receivers: Sequence[ReceiverConfig], client: httpx.AsyncClient, clock: Clock | None = None
) -> dict[str, Notifier]:
    """The senders by name. They touch the world at their first send, not here."""
    known = clock or SystemClock()
    return {receiver.name: receiver.module.build(receiver.config, client, known) for receiver in receivers}


def test_message(receiver: str, now_s: float, *, language: str = "en") -> Notification:  # noqa: PT028 (no test)
    """A message that says it is only a test, for *receiver*."""
    message = narrative.compose_test(receiver, language=language)
    return Notification(f"test:test:{int(now_s)}:{receiver}", "test", receiver, now_s, message)
