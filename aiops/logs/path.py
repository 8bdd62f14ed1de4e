"""
The way of a log line: private? class, count, mask, template. Then the line itself is gone.

Classes and counts are taken from every line. Templates cost more, and most lines repeat, so two caches of bounded size
stand before drain3: the first knows lines that differ from earlier ones in digits only, the second knows masked lines.
Both hold hashes, never text. drain3 is asked about so many lines a feed at most: in a flood of lines that are all
different, every one is still classified and counted, only not all are clustered.

What stays of a line is its template, with counts per ten seconds; how many different raw lines stand behind it is
counted by hash, up to the twenty that make it fit to leave this host.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import isfinite

from aiops.logs.cluster import Cluster, Clusters, template_id
from aiops.logs.lexicon import Hit, Lexicon
from aiops.logs.mask import Masker
from aiops.logs.privacy import Privacy
from aiops.logs.rates import Rates
from aiops.model import Labels, LogRecord, LogSeverity, LogTemplate, Sample
from aiops.rulebook.signatures import LogClass, LogSignature
from aiops.selfstat import SelfStat

_MAX_LINE_CHARS = 65_536
_MAX_MASKED_BYTES = 2_048
"""A template longer than this tells nobody more; and templates stay in memory."""
_MAX_ASSIGNED = 300
"""Lines a feed given to drain3; it takes 50 to 100 microseconds each when all differ."""
_MAX_CACHED = 4_096
_MAX_TRACES = 1_000
_MAX_DISTINCT = 20
_BUCKET_S = 10
_MAX_BUCKETS = 360
_MAX_ANSWER = 50

_DIGITS = bytes.maketrans(b"0123456789", b"0000000000")

TraceKey = tuple[Cluster, int]


@dataclass(slots=True)
class _Trace:
    """What is remembered of the lines of one template and signature."""

    cluster: Cluster
    severity: LogSeverity
    signature: LogSignature | None
    labels: Labels
    first_at_s: float
    last_at_s: float
    lines: set[int] = field(default_factory=set)
    """Hashes of lines that differ in more than digits, at most twenty."""
    buckets: array[int] = field(default_factory=lambda: array("q"))
    counts: array[int] = field(default_factory=lambda: array("q"))

    def add(self, at_s: float, line_hash: int, labels: Labels) -> None:
        """Count one line."""
        bucket = int(at_s // _BUCKET_S)
        place = len(self.buckets) - 1
        if place < 0 or self.buckets[place] != bucket:
            place = bisect_left(self.buckets, bucket)  # sources lag behind one another by a little
            if place == len(self.buckets) or self.buckets[place] != bucket:
                self.buckets.insert(place, bucket)
                self.counts.insert(place, 0)
        self.counts[place] += 1
        if len(self.buckets) > _MAX_BUCKETS:
            del self.buckets[0], self.counts[0]
        self.first_at_s = min(self.first_at_s, at_s)
        self.last_at_s = max(self.last_at_s, at_s)
        if len(self.lines) < _MAX_DISTINCT:
            self.lines.add(line_hash)
        if labels is not self.labels and labels != self.labels:
            self.labels = Labels(tuple(pair for pair in self.labels.pairs if pair in labels.pairs))

    def count(self, start_s: float, end_s: float) -> int:
        """Lines in [start_s, end_s], to the ten seconds."""
        first = bisect_left(self.buckets, start_s // _BUCKET_S)
        end = bisect_left(self.buckets, end_s // _BUCKET_S + 1, first)
        return sum(self.counts[first:end])


class _Recent(OrderedDict[int, Cluster]):
    """Clusters by hash of a line, the least recently used forgotten."""

    def find(self, key: int) -> Cluster | None:
        found = self.get(key)
        if found is not None:
            self.move_to_end(key)
        return found

    def keep(self, key: int, cluster: Cluster) -> None:
        self[key] = cluster
        if len(self) > _MAX_CACHED:
            self.popitem(last=False)


class LogPath:
    """
    Log records in, counters and templates out; implements `ports.LogSink` and `ports.TemplateReader`.

    Args:
        host: Value of ``host_name``.
        signatures: The lexicon, in order of precedence.
        stat: Counts lines dropped, cut and not clustered.
    """

    def __init__(self, host: str, signatures: Sequence[LogSignature], stat: SelfStat) -> None:
        self._stat = stat
        self._lexicon = Lexicon(signatures)
        self._masker = Masker()
        self._privacy = Privacy()
        self._clusters = Clusters()
        self._rates = Rates(host)
        self._similar = _Recent()
        self._masked = _Recent()
        self._traces: OrderedDict[TraceKey, _Trace] = OrderedDict()
        self._may_assign = 0
        self._lock = threading.Lock()

    # --- LogSink ----------------------------------------------------------------------------------------------------

    def feed(self, records: Iterable[LogRecord]) -> None:
        with self._lock:
            self._may_assign = _MAX_ASSIGNED
            for record in records:
                self._take(record)

    def samples(self, now_s: float) -> Iterable[Sample]:
        with self._lock:
            return list(self._rates.samples(now_s))

    def _take(self, record: LogRecord) -> None:
        text = record.text
        if len(text) > _MAX_LINE_CHARS:
            self._stat.log_lines.labels("truncated").inc()
            text = text[:_MAX_LINE_CHARS]
        line = text.encode("utf-8", "replace").strip()
        if self._privacy.is_private(line):
            self._stat.log_lines.labels("dropped").inc()
            return
        hit = self._lexicon.classify(line)
        counted = self._rates.count(
            record.labels,
            (hit.signature.log_class if hit else LogClass.BENIGN).value,
            hit.values.get("gpu", "") if hit else "",
        )
        if line and not (counted and isfinite(record.at_s) and self._trace(line, hit, record)):
            self._stat.log_lines.labels("skipped").inc()

    # --- templates --------------------------------------------------------------------------------------------------

    def _trace(self, line: bytes, hit: Hit | None, record: LogRecord) -> bool:
        number = hit.number if hit else -1
        similar = hash((number, line.translate(_DIGITS)))
        cluster = self._similar.find(similar)
        if cluster is None:
            cluster = self._cluster_of(line, hit)
            if cluster is None:
                return False
            self._similar.keep(similar, cluster)
        # drain merges what looks alike; lines that mean different things stay apart all the same
        key = (cluster, number)
        trace = self._traces.get(key)
        if trace is None:
            trace = self._traces[key] = _Trace(
                cluster,
                self._severity(line, hit),
                hit.signature if hit else None,
                record.labels,
                record.at_s,
                record.at_s,
            )
            if len(self._traces) > _MAX_TRACES:
                self._traces.popitem(last=False)
        else:
            self._traces.move_to_end(key)
        # digits left out: one text logged under twenty time stamps is still one text, and may be somebody's prompt
        trace.add(record.at_s, similar, record.labels)
        return True

    def _cluster_of(self, line: bytes, hit: Hit | None) -> Cluster | None:
        """The cluster of *line*; None when this feed has asked drain3 often enough."""
        severity = self._severity(line, hit)
        masked = self._masker.mask(line[:_MAX_MASKED_BYTES])
        key = hash((severity, masked))
        cluster = self._masked.find(key)
        if cluster is None:
            if self._may_assign == 0:
                return None
            self._may_assign -= 1
            cluster = self._clusters.assign(masked.decode(errors="replace"), severity)
            self._masked.keep(key, cluster)
        return cluster

    def _severity(self, line: bytes, hit: Hit | None) -> LogSeverity:
        return hit.signature.severity if hit else self._lexicon.severity(line)

    # --- TemplateReader ---------------------------------------------------------------------------------------------

    def templates(self, start_s: float, end_s: float) -> Sequence[LogTemplate]:
        with self._lock:
            found = [
                _as_template(trace, count)
                for trace in self._traces.values()
                if trace.last_at_s >= start_s and (count := trace.count(start_s, end_s))
            ]
        found.sort(key=lambda template: (template.log_class == LogClass.BENIGN, -template.count, template.id))
        return found[:_MAX_ANSWER]


def _as_template(trace: _Trace, count: int) -> LogTemplate:
    signature = trace.signature
    log_class = (signature.log_class if signature else LogClass.BENIGN).value
    template = trace.cluster.get_template()
    return LogTemplate(
        id=template_id(template, trace.severity, log_class),
        template=template,
        count=count,
        log_class=log_class,
        severity=trace.severity,
        first_at_s=trace.first_at_s,
        last_at_s=trace.last_at_s,
        distinct=len(trace.lines),
        title=signature.title if signature else "",
        labels=trace.labels,
    )
