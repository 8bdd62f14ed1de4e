"""
The books on templates: what was counted under which id, what of that is news, and what of it outlives this process.

A template's id is its cluster's; where a signature knows some of its lines, they are booked apart under that id with an
ending, since drain merges what looks alike and a 503 is not a 200. Books of an earlier run are opened again when their
first line comes, so nothing is new for having been restarted.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence

from aiops.logs.cluster import Cluster
from aiops.logs.lexicon import Hit
from aiops.logs.news import MAX_SURPRISE, is_unsure, new_of, news_of
from aiops.logs.snapshot import SavedTrace
from aiops.logs.traces import Counted, Source, Trace, Traces
from aiops.model import Labels, LogRecord, LogSeverity, LogTemplate, TemplateNews
from aiops.ports import MAX_TEMPLATES
from aiops.rulebook.signatures import LogClass, LogSignature

_MAX_TRACES = 10_000
_MAX_SOURCES = 1_000
_MAX_JUDGED = 200
"""Templates whose counts are looked at for a jump; a tenth of a millisecond each."""
MAX_ASKED = 50
"""Lines of a template within ten seconds whose values are looked for."""
LOUD = frozenset({LogSeverity.WARNING, LogSeverity.ERROR, LogSeverity.CRITICAL})


class Ledger:
    """
    Counts lines by template.

    Args:
        signatures: The lexicon, in order of precedence.
    """

    def __init__(self, signatures: Sequence[LogSignature]) -> None:
        self._endings = [_ending(signature) for signature in signatures]
        self._traces = Traces(_MAX_TRACES)
        self._sources: dict[str, Source] = {}
        self._remembered: dict[str, SavedTrace] = {}
        """Of an earlier run, not met in this one yet."""

    def source(self, labels: Labels, at_s: float) -> Source:
        """What is known of the log that wrote a record."""
        name = labels.get("source").encode("utf-8", "replace").decode()
        source = self._sources.get(name)
        if source is None:
            source = Source()
            if len(self._sources) < _MAX_SOURCES:
                self._sources[name] = source
        if source.since_s is None:
            source.since_s = at_s
        return source

    def book(self, cluster: Cluster, hit: Hit | None, record: LogRecord, source: Source) -> tuple[Trace, bool]:
        """
        Count a line.

        Returns:
            Its template's trace, and whether it is the first line of that within ten seconds.
        """
        trace_id = f"{cluster.id}-{self._endings[hit.number]}" if hit else cluster.id
        trace = self._traces.get(trace_id)
        if trace is None:
            trace = self._open(trace_id, cluster, hit, record, source)
        source.lines += 1
        if trace.total == 1:
            source.once -= source.once > 0
        return trace, self._traces.count(trace, record.at_s, record.labels)

    def _open(self, trace_id: str, cluster: Cluster, hit: Hit | None, record: LogRecord, source: Source) -> Trace:
        trace = Trace(trace_id, cluster, hit.signature if hit else None, record.labels, record.at_s, source)
        saved = self._remembered.pop(trace_id, None)
        if saved is None:
            trace.surprise = source.surprise()
            source.once += 1
        else:
            trace.born_at_s, trace.total = min(saved.born_at_s, record.at_s), saved.total
            trace.lines = None if saved.wordings is None else array("Q", saved.wordings)
        trace.shown = (
            trace.log_class is not LogClass.BENIGN
            or trace.severity in LOUD
            or (trace.surprise is not None and trace.surprise <= MAX_SURPRISE)
        )
        self._traces.put(trace)
        return trace

    # --- answers ----------------------------------------------------------------------------------------------------

    def templates(self, start_s: float, end_s: float) -> list[LogTemplate]:
        """As `ports.TemplateReader.templates`; what is news comes before what is only frequent."""
        return answer(self._traces, start_s, end_s)

    def traces(self) -> Iterator[Trace]:
        """Every template met in this run, the least recently met first."""
        return iter(self._traces)

    # --- over restarts ----------------------------------------------------------------------------------------------

    def saved(self) -> Iterator[SavedTrace]:
        """Every template that is known, those not met in this run first."""
        yield from self._remembered.values()
        for trace in self._traces:
            wordings = None if trace.lines is None else tuple(trace.lines)
            yield SavedTrace(trace.id, trace.cluster.id, trace.born_at_s, trace.last_at_s, trace.total, wordings)

    def saved_sources(self) -> dict[str, tuple[int, int]]:
        """Of each log how many lines were seen, and how many kinds once only."""
        return {name: (source.lines, source.once) for name, source in self._sources.items()}

    def restore(self, traces: Iterable[SavedTrace], sources: dict[str, tuple[int, int]]) -> None:
        """Take in the books of an earlier run."""
        for saved in traces:
            self._remembered[saved.id] = saved
        while len(self._remembered) > _MAX_TRACES:
            del self._remembered[next(iter(self._remembered))]
        for name, (lines, once) in list(sources.items())[:_MAX_SOURCES]:
            self._sources[name] = Source(None, lines, once)

    def purge(self, before_s: float) -> None:
        """Forget templates not met since *before_s*."""
        for saved in [saved for saved in self._remembered.values() if saved.last_at_s < before_s]:
            del self._remembered[saved.id]
        for trace in [trace for trace in self._traces if trace.last_at_s < before_s]:
            self._traces.drop(trace.id)

    def __len__(self) -> int:
        return len(self._traces)


def answer(traces: Iterable[Counted], start_s: float, end_s: float) -> list[LogTemplate]:
    """Of *traces*, the least recently met first, those with lines in [start_s, end_s] as templates; 50 at most."""
    counted = [
        (trace, count)
        for trace in traces
        if trace.last_at_s >= start_s and (count := trace.count_within(start_s, end_s))
    ]
    counted.sort(key=lambda pair: (pair[0].log_class is LogClass.BENIGN, pair[0].severity not in LOUD, -pair[1]))
    found = [(trace, count, news_of(trace, start_s, end_s)) for trace, count in counted[:_MAX_JUDGED]]
    found += [(trace, count, new_of(trace, start_s)) for trace, count in counted[_MAX_JUDGED:]]
    found.sort(
        key=lambda one: (one[0].log_class is LogClass.BENIGN, one[2] is None, not one[0].title, -one[1], one[0].id)
    )
    return [_template(trace, count, news, start_s, end_s) for trace, count, news in found[:MAX_TEMPLATES]]


def _ending(signature: LogSignature) -> str:
    content = f"{signature.log_class.value}\n{signature.title}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=2).hexdigest()


def _template(trace: Counted, count: int, news: TemplateNews | None, start_s: float, end_s: float) -> LogTemplate:
    return LogTemplate(
        id=trace.id,
        template=trace.text,
        count=count,
        log_class=trace.log_class.value,
        severity=trace.severity,
        first_at_s=trace.born_at_s if trace.born_at_s >= start_s else trace.first_within(start_s),
        last_at_s=min(trace.last_at_s, end_s),
        distinct=trace.distinct,
        title=trace.title,
        labels=trace.labels,
        values=trace.kept_values,
        news=news,
        unsure=is_unsure(trace, start_s),
    )
