"""
What is remembered of lines seen before, so that the like of them need neither masks nor drain3.

Three steps lead from a line to its template: lines that differ in digits only are of one form; forms that are masked
alike are one text; a text is placed in a cluster, and stays there while the cluster's leaf is as it was.
"""

from __future__ import annotations

from itertools import chain
from typing import Generic, TypeVar

from aiops.logs.cluster import Cluster
from aiops.logs.digits import digits_of, split_at_digits
from aiops.logs.headline import headline
from aiops.model import LogSeverity

K = TypeVar("K")
V = TypeVar("V")


class Text:
    """Lines that are masked alike, and where that led when the leaf had this stamp."""

    __slots__ = ("cluster", "masked", "severity", "stamp")

    def __init__(self, masked: str, severity: LogSeverity, cluster: Cluster) -> None:
        self.masked = masked
        self.severity = severity
        self.cluster = cluster
        self.stamp = cluster.leaf.stamp


class Form:
    """What is known of lines that differ in digits only."""

    __slots__ = ("may_hit", "may_hold", "text", "wording")

    def __init__(self, text: Text, wording: int, *, may_hit: bool, may_hold: bool) -> None:
        self.text = text
        self.wording = wording
        self.may_hit = may_hit
        """Whether a signature may know such a line."""
        self.may_hold = may_hold
        """Whether such a line may hold a value worth keeping."""


class Root(Form):
    """The same where masks leave some digits ("ssh2"): lines that differ in these are forms of their own."""

    __slots__ = ("left", "pieces")

    def __init__(self, form: Form, left: tuple[int, ...]) -> None:
        super().__init__(form.text, form.wording, may_hit=form.may_hit, may_hold=form.may_hold)
        self.left = left
        self.pieces = split_at_digits(form.text.masked)

    def digits(self, line: bytes) -> bytes:
        """Those of *line* that masks leave."""
        return digits_of(headline(line), self.left)

    def masked(self, digits: bytes) -> str:
        """How lines with these *digits* are masked."""
        return "".join(chain.from_iterable(zip(self.pieces, (*digits.decode(), ""), strict=True)))


class Recent(Generic[K, V]):
    """Values met lately, and those met before them; what is in neither is forgotten."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        value = self._young.get(key)
        if value is None:
            value = self._old.get(key)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        if len(self._young) >= self._limit:
            self._young, self._old = {}, self._young
        self._young[key] = value

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
