"""
What is remembered of the lines of one template: when, how many, in how many wordings; never a line.

Counts are kept per ten seconds for an hour, as long as all templates together keep to a budget: thousands of templates
that all speak all the time have shorter memories. How many different lines stand behind a template is counted by hash
up to the twenty that make it fit to leave this host; the hashes are the same in every process, so that one line which
is repeated after each restart stays one.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from aiops.logs.cluster import Cluster
from aiops.logs.values import Kept
from aiops.model import Labels, LogSeverity
from aiops.rulebook.signatures import LogClass, LogSignature

BUCKET_S = 10
MAX_DISTINCT = 20
_MAX_BUCKETS = 360
_MAX_BUCKETS_IN_ALL = 200_000
"""Eight bytes each."""
_MIN_LINES = 50
"""Of a source, before anything in it can be new."""
_SHORT = 30
"""Past the budget a template remembers this many; five minutes are what a jump is judged by."""


@dataclass(slots=True)
class Source:
    """What is known of one log."""

    since_s: float | None = None
    """Since when this process reads it."""
    lines: int = 0
    once: int = 0
    """Kinds of lines that were seen once only."""

    def surprise(self) -> float | None:
        """How likely its next line is to be of a kind never seen, 0 to 1; None after too few lines."""
        return (self.once + 1) / (self.lines + 1) if self.lines >= _MIN_LINES else None


class Counted(ABC):
    """Lines of one template counted by ten seconds: by whoever reads them, or as another process noted it."""

    __slots__ = ("born_at_s", "buckets", "counts", "forgotten", "id", "labels", "last_at_s", "severity", "surprise")

    def __init__(self, trace_id: str, severity: LogSeverity, labels: Labels, at_s: float) -> None:
        self.id = trace_id
        self.severity = severity
        self.labels = labels
        self.born_at_s = at_s
        self.last_at_s = at_s
        self.surprise: float | None = None
        """How likely its source was to say something new when this was; None where that could not be told."""
        self.buckets = array("I")
        self.counts = array("I")
        self.forgotten = -1
        """The newest bucket that was given up."""

    @property
    @abstractmethod
    def log_class(self) -> LogClass:
        """Its class; benign if no signature knows it."""

    @property
    @abstractmethod
    def text(self) -> str:
        """The constant part of its lines."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What a signature calls it; empty if none knows it."""

    @property
    @abstractmethod
    def watched_since_s(self) -> float | None:
        """Since when its log is read."""

    @property
    @abstractmethod
    def distinct(self) -> int:
        """Different lines behind it, at most twenty."""

    @property
    @abstractmethod
    def kept_values(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Names and what masks hid under them, the last seen first."""

    def first_within(self, start_s: float) -> float:
        """When its first line since *start_s* came, to the ten seconds."""
        place = bisect_left(self.buckets, start_s // BUCKET_S)
        return max(self.buckets[place] * float(BUCKET_S), start_s) if place < len(self.buckets) else self.last_at_s

    def count_within(self, start_s: float, end_s: float) -> int:
        """Lines in [start_s, end_s], to the ten seconds."""
        first = bisect_left(self.buckets, start_s // BUCKET_S)
        end = bisect_left(self.buckets, end_s // BUCKET_S + 1, first)
        return sum(self.counts[first:end])


class Trace(Counted):
    """The lines of one template and signature, as they are read."""

    __slots__ = ("cluster", "lines", "shown", "signature", "source", "total", "values")

    def __init__(  # noqa: PLR0913, PLR0917 - what it is about; made in one place
        self,
        trace_id: str,
        cluster: Cluster,
        signature: LogSignature | None,
        labels: Labels,
        at_s: float,
        source: Source,
    ) -> None:
        super().__init__(trace_id, signature.severity if signature else cluster.severity, labels, at_s)
        self.cluster = cluster
        self.signature = signature
        self.source = source
        """The log its first line came from."""
        self.total = 0
        """Lines, those of earlier runs included."""
        self.shown = False
        """Whether it is worth a series: trouble by a signature or its own words, or new when it came."""
        self.lines: array[int] | None = array("Q")
        """Hashes of wordings; None once there are twenty."""
        self.values: Kept | None = None
        """Only where there are any: most templates have none."""

    @property
    def log_class(self) -> LogClass:
        return self.signature.log_class if self.signature else LogClass.BENIGN

    @property
    def distinct(self) -> int:
        return MAX_DISTINCT if self.lines is None else len(self.lines)

    @property
    def text(self) -> str:
        return self.cluster.template

    @property
    def title(self) -> str:
        return self.signature.title if self.signature else ""

    @property
    def watched_since_s(self) -> float | None:
        return self.source.since_s

    @property
    def kept_values(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return self.values.pairs() if self.values else ()

    def add_wording(self, wording: int) -> None:
        """Remember that a line with this `wording_of` stands behind it."""
        lines = self.lines
        if lines is not None and wording not in lines:
            lines.append(wording)
            if len(lines) >= MAX_DISTINCT:
                self.lines = None

    def add_values(self, values: Mapping[str, str]) -> None:
        """Keep what masks hide."""
        if values:
            if self.values is None:
                self.values = Kept()
            self.values.add(values)

    def lately(self) -> int:
        """Lines within the newest ten seconds that had any."""
        return self.counts[-1] if self.counts else 0


class Traces:
    """
    Traces by id; the least recently met give way.

    Args:
        limit: Traces kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: OrderedDict[str, Trace] = OrderedDict()
        self._buckets = 0

    def get(self, trace_id: str) -> Trace | None:
        """The trace with this id."""
        return self._held.get(trace_id)

    def put(self, trace: Trace) -> None:
        """Take in a new trace."""
        self._held[trace.id] = trace
        if len(self._held) > self._limit:
            self._forget(next(iter(self._held)))

    def drop(self, trace_id: str) -> None:
        """Forget one trace, if it is there."""
        if trace_id in self._held:
            self._forget(trace_id)

    def _forget(self, trace_id: str) -> None:
        self._buckets -= len(self._held.pop(trace_id).buckets)

    def __iter__(self) -> Iterator[Trace]:
        """All of them, the least recently met first."""
        return iter(self._held.values())

    def __len__(self) -> int:
        return len(self._held)

    def count(self, trace: Trace, at_s: float, labels: Labels) -> bool:
        """
        Count a line of *trace*.

        Returns:
            Whether it is the first one within ten seconds.
        """
        trace.total += 1
        if at_s > trace.last_at_s:
            trace.last_at_s = at_s
        elif at_s < trace.born_at_s:
            trace.born_at_s = at_s
        if labels is not trace.labels and labels != trace.labels:
            trace.labels = Labels(tuple(pair for pair in trace.labels.pairs if pair in labels.pairs))
        bucket = int(at_s // BUCKET_S)
        buckets = trace.buckets
        if buckets and buckets[-1] == bucket:
            trace.counts[-1] += 1
            return False
        place = bisect_left(buckets, bucket)  # sources lag behind one another by a little
        if place < len(buckets) and buckets[place] == bucket:
            trace.counts[place] += 1
            return False
        buckets.insert(place, bucket)
        trace.counts.insert(place, 1)
        self._buckets += 1
        kept = _MAX_BUCKETS if self._buckets <= _MAX_BUCKETS_IN_ALL else _SHORT
        excess = len(buckets) - kept
        if excess > 0:
            trace.forgotten = buckets[excess - 1]
            del buckets[:excess], trace.counts[:excess]
            self._buckets -= excess
        self._held.move_to_end(trace.id)
        return True


def wording_of(form: bytes) -> int:
    """A number for a line whose digits are zeros, the same in every process."""
    return int.from_bytes(hashlib.blake2b(form, digest_size=8).digest())
