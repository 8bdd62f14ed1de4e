"""
How often each template was met, where, and what the worst of its lines means.

An id is written beside a line long before the last line is read, so it is the template's id for good; the template
itself grows more general until the end. Counting is done for a batch at once: a loop over lines would cost as much as
finding their templates does.

Everything is bounded: past `MAX_TEMPLATES` what is new is counted together, under an id of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from aiops.model import LogSeverity
from aiops.rulebook.signatures import LogClass

MAX_TEMPLATES = 50_000
_SLOTS = 64
"""Places along the input that are told apart while it is read; half of them or more are in use at the end."""
SHOWN_SLOTS = 12
"""Of `Row.spread`; fewer where the input has fewer lines."""

Ints = npt.NDArray[np.int64]
Meaning = tuple[LogClass, LogSeverity]

_CLASSES = tuple(LogClass)
_SEVERITIES = tuple(LogSeverity)
"""From harmless to bad."""


def _code(log_class: LogClass, severity: LogSeverity) -> int:
    """A number that is larger for what is worse: trouble before none, then by severity."""
    trouble = log_class is not LogClass.BENIGN
    return (trouble * len(_SEVERITIES) + _SEVERITIES.index(severity)) * len(_CLASSES) + _CLASSES.index(log_class)


_TROUBLE = len(_SEVERITIES) * len(_CLASSES)
"""From this code on."""
_CODES: Mapping[Meaning, int] = {(one, severity): _code(one, severity) for one in _CLASSES for severity in _SEVERITIES}
_MEANINGS: Mapping[int, Meaning] = {code: meaning for meaning, code in _CODES.items()}


class Cluster(Protocol):
    """Lines that belong together; the same object for all of them."""

    @property
    def id(self) -> str:
        """Given at its birth."""
        ...

    @property
    def severity(self) -> LogSeverity:
        """How bad its lines are by their own words."""
        ...

    @property
    def template(self) -> str:
        """The constant part as it stands now."""
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """A template that is known before the first line."""

    id: str
    template: str
    severity: LogSeverity = LogSeverity.INFO


PRIVATE = Fixed("private", "<request body>")
"""Lines that carry what somebody asked or was answered. Nobody looks at them further."""
OTHERS = Fixed("others", "<*>")
"""Templates beyond the first `MAX_TEMPLATES`, together."""


@dataclass(frozen=True, slots=True)
class Row:
    """A template and its lines."""

    id: str
    template: str
    count: int
    log_class: LogClass
    severity: LogSeverity
    """Of the worst of its lines."""
    first_line: int
    last_line: int
    """Line numbers from one, over all inputs."""
    trouble: int = 0
    """How many of its lines a signature calls trouble."""
    guess: LogClass = LogClass.BENIGN
    """What a template that no signature knows may mean."""
    spread: tuple[float, ...] = ()
    """Its share of the lines in each stretch of the input, from beginning to end."""


class Tally:
    """
    Counts lines by template.

    Args:
        max_templates: So many are told apart.
    """

    def __init__(self, max_templates: int = MAX_TEMPLATES) -> None:
        self._max_templates = max_templates
        self._clusters: list[Cluster] = []
        self._numbers: dict[str, int] = {}
        self._kind = np.zeros(0, np.int64)
        self._count = np.zeros(0, np.int64)
        self._first = np.zeros(0, np.int64)
        self._last = np.zeros(0, np.int64)
        self._trouble = np.zeros(0, np.int64)
        self._worst = np.zeros(0, np.int64)
        self._spread = np.zeros((0, _SLOTS), np.int64)
        self._lines_per_slot = 1
        self._classes = np.zeros(len(_CLASSES), np.int64)

    @property
    def lines(self) -> int:
        """Lines counted."""
        return int(self._classes.sum())

    def add(self, clusters: Sequence[Cluster], hits: Mapping[int, Meaning], at: Ints) -> list[str]:
        """
        Count lines.

        Args:
            clusters: Of each line.
            hits: What a signature says, by place in *clusters*; a line without one is benign.
            at: Number of each line, rising, from one.

        Returns:
            The id of each line's template.
        """
        if not clusters:
            return []
        numbers = np.fromiter(self._numbers_of(clusters), np.int64, len(clusters))
        self._make_room(int(at[-1]))
        codes = self._kind[numbers]
        if hits:
            codes[list(hits)] = [_CODES[meaning] for meaning in hits.values()]
        np.maximum.at(self._worst, numbers, codes)
        np.add.at(self._count, numbers, 1)
        np.add.at(self._trouble, numbers, codes >= _TROUBLE)
        np.add.at(self._spread, (numbers, (at - 1) // self._lines_per_slot), 1)
        self._last[numbers] = at  # the last one assigned to a place stays
        first = self._first.copy()
        first[numbers[::-1]] = at[::-1]
        self._first = np.where(self._first == 0, first, self._first)
        self._classes += np.bincount(codes % len(_CLASSES), minlength=len(_CLASSES))
        return [self._clusters[number].id for number in numbers.tolist()]

    def classes(self) -> dict[LogClass, int]:
        """Lines of each class, the most frequent first; classes without lines are left out."""
        counts = zip(_CLASSES, self._classes.tolist(), strict=True)
        return dict(sorted(((each, count) for each, count in counts if count), key=lambda pair: -pair[1]))

    def rows(self) -> list[Row]:
        """All templates, the most frequent first."""
        spread = self._shares()
        order = sorted(range(len(self._clusters)), key=lambda n: (-int(self._count[n]), int(self._first[n])))
        return [self._row(number, tuple(spread[number].tolist())) for number in order]

    def _shares(self) -> npt.NDArray[np.float64]:
        """Of each template, for at most `SHOWN_SLOTS` stretches of the input."""
        last = int(self._last.max(initial=0))
        used = -(-last // self._lines_per_slot)
        stretches = min(used, SHOWN_SLOTS)
        edges = np.arange(stretches) * used // max(stretches, 1)
        # stretches differ by a slot, and the last slot is not full
        lines = np.diff(np.append(edges * self._lines_per_slot, last))
        return np.asarray(np.add.reduceat(self._spread, edges, axis=1) / lines if used else self._spread, np.float64)

    def _row(self, number: int, spread: tuple[float, ...]) -> Row:
        cluster = self._clusters[number]
        log_class, severity = _MEANINGS[int(self._worst[number])]
        return Row(
            id=cluster.id,
            template=cluster.template,
            count=int(self._count[number]),
            log_class=log_class,
            severity=severity,
            first_line=int(self._first[number]),
            last_line=int(self._last[number]),
            trouble=int(self._trouble[number]),
            spread=spread,
        )

    def _numbers_of(self, clusters: Sequence[Cluster]) -> list[int]:
        try:
            return [self._numbers[cluster.id] for cluster in clusters]
        except KeyError:
            return [self._meet(cluster) for cluster in clusters]

    def _meet(self, cluster: Cluster) -> int:
        number = self._numbers.get(cluster.id)
        if number is not None:
            return number
        if len(self._numbers) >= self._max_templates:
            # not by its own id: it would be remembered, and there may be millions
            cluster = OTHERS
            number = self._numbers.get(cluster.id)
        if number is None:
            number = self._numbers[cluster.id] = len(self._clusters)
            self._clusters.append(cluster)
            if number == len(self._count):
                self._grow()
            self._kind[number] = _CODES[LogClass.BENIGN, cluster.severity]
        return number

    def _grow(self) -> None:
        """Room for twice as many templates."""
        more = max(len(self._count), 64)
        self._kind, self._count, self._first, self._last, self._trouble, self._worst = (
            np.pad(each, (0, more))
            for each in (self._kind, self._count, self._first, self._last, self._trouble, self._worst)
        )
        self._spread = np.pad(self._spread, ((0, more), (0, 0)))

    def _make_room(self, last: int) -> None:
        """Slots wide enough that line *last* falls into one."""
        while last > self._lines_per_slot * _SLOTS:
            self._spread = np.pad(self._spread[:, ::2] + self._spread[:, 1::2], ((0, 0), (0, _SLOTS // 2)))
            self._lines_per_slot *= 2
