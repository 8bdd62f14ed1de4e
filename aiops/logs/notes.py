"""
Templates as they are told to a recording, and answers from what was told.

A recording holds no line, masked or not: what a diagnosis asks of the logs is how many lines of which template came
when, so that is what is noted, for every template that had a line since the last note. Of its text a note holds what
may leave the host, the constant part that at least twenty different lines share; and of an answer made from notes
nothing else is ever shown either.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from aiops.logs.ledger import answer
from aiops.logs.traces import MAX_DISTINCT, Counted, Trace
from aiops.model import LogTemplate, TemplateNote
from aiops.rulebook.signatures import LogClass


class Notebook:
    """What of the traces was told, to tell what has changed since."""

    def __init__(self, traces: Iterable[Trace]) -> None:
        self._touched = {trace.id: trace for trace in traces}
        self._told: dict[str, tuple[Trace, str]] = {}
        """Texts told; they become more general when other lines of their cluster come."""
        self._counts: dict[str, dict[int, int]] = {}

    def touch(self, trace: Trace) -> None:
        """*trace* had a line."""
        self._touched[trace.id] = trace

    def changes(self) -> list[TemplateNote]:
        """Notes on what changed since the last call, the least recently touched first."""
        for trace, told in self._told.values():
            if trace.text != told:
                self._touched.setdefault(trace.id, trace)
        notes = [self._note(trace) for trace in self._touched.values()]
        self._touched = {}
        return notes

    def _note(self, trace: Trace) -> TemplateNote:
        text = trace.text if trace.distinct >= MAX_DISTINCT else ""
        if text:
            self._told[trace.id] = (trace, text)
        held = dict(zip(trace.buckets, trace.counts, strict=True))
        before, self._counts[trace.id] = self._counts.get(trace.id, {}), held
        return TemplateNote(
            id=trace.id,
            template=text,
            log_class=trace.log_class.value,
            severity=trace.severity,
            title=trace.title,
            labels=trace.labels,
            watched_since_s=trace.watched_since_s,
            born_at_s=trace.born_at_s,
            last_at_s=trace.last_at_s,
            distinct=trace.distinct,
            surprise=trace.surprise,
            forgotten=trace.forgotten,
            values=trace.kept_values,
            buckets=tuple((bucket, count) for bucket, count in held.items() if before.get(bucket) != count),
        )


class _Told(Counted):
    """A template as noted."""

    __slots__ = ("note",)

    def __init__(self, note: TemplateNote) -> None:
        super().__init__(note.id, note.severity, note.labels, note.born_at_s)
        self.note = note

    def take(self, note: TemplateNote) -> bool:
        """Take in what is newer; whether ten seconds began in which it had no line before."""
        self.note = note
        self.labels, self.surprise, self.severity = note.labels, note.surprise, note.severity
        self.born_at_s, self.last_at_s, self.forgotten = note.born_at_s, note.last_at_s, note.forgotten
        began = False
        for bucket, count in note.buckets:
            place = bisect_left(self.buckets, bucket)
            if place < len(self.buckets) and self.buckets[place] == bucket:
                self.counts[place] = count
            else:
                self.buckets.insert(place, bucket)
                self.counts.insert(place, count)
                began = True
        kept = bisect_left(self.buckets, note.forgotten + 1)
        self.buckets, self.counts = array("I", self.buckets[kept:]), array("I", self.counts[kept:])
        return began

    @property
    def log_class(self) -> LogClass:
        return LogClass(self.note.log_class)

    @property
    def text(self) -> str:
        return self.note.template

    @property
    def title(self) -> str:
        return self.note.title

    @property
    def watched_since_s(self) -> float | None:
        return self.note.watched_since_s

    @property
    def distinct(self) -> int:
        return self.note.distinct

    @property
    def kept_values(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return self.note.values


class NotedTemplates:
    """Templates by the notes on them; implements `ports.TemplateReader`."""

    def __init__(self) -> None:
        self._held: dict[str, _Told] = {}

    def take(self, notes: Iterable[TemplateNote]) -> None:
        """
        Take in what is newer.

        Raises:
            ValueError: a note is of a class that is none.
        """
        for note in notes:
            told = self._held.get(note.id)
            if told is None:
                LogClass(note.log_class)
                told = self._held[note.id] = _Told(note)
            if told.take(note):
                self._held[note.id] = self._held.pop(note.id)

    def templates(self, start_s: float, end_s: float) -> Sequence[LogTemplate]:
        return answer(self, start_s, end_s)

    def __iter__(self) -> Iterator[Counted]:
        """All of them, the least recently met first."""
        return iter(self._held.values())
