"""
The way of a log line: private? class, count, mask, template. Then the line itself is gone.

Most lines were there before with other digits. What was found out about such a form is remembered in a cache of bounded
size, by hash and never as text: its cluster, and whether a signature might know it (`digits`). What depends on digits,
classes and values, is asked for each line anew; whether a line is private is asked for each line, always. drain3 is
asked about so many lines a feed at most: in a flood of lines that are all different, every one is still classified and
counted, only not all are clustered.

What stays of a line is its template, with what `ledger` keeps of it; a snapshot carries that over a restart.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import structlog

from aiops.logs.cluster import Cluster, Clusters, Row, template_id
from aiops.logs.digits import Blind, digits_of, form_of, has_digits
from aiops.logs.headline import headline
from aiops.logs.ledger import LOUD, MAX_ASKED, Ledger
from aiops.logs.lexicon import Hit, Lexicon
from aiops.logs.mask import Masker
from aiops.logs.privacy import Privacy
from aiops.logs.rates import Rates, TemplateRates
from aiops.logs.snapshot import Saved, SavedTrace, Snapshot
from aiops.logs.traces import Source, wording_of
from aiops.logs.values import Extractor
from aiops.model import LogRecord, LogSeverity, LogTemplate, Sample
from aiops.rulebook.signatures import LogClass, LogSignature
from aiops.selfstat import SelfStat

log = structlog.get_logger(__name__)

_MAX_LINE_BYTES = 65_536
_CHUNK = 256
"""Records looked at together; what can be asked about many lines at once costs a tenth of asking for each."""
_MAX_ASSIGNED = 300
"""Lines a feed given to drain3; it takes 50 to 100 microseconds each when all differ."""
_MAX_FORMS = 8_192
_MAX_CLUSTERS = 2_500
"""For each of four severities."""
_END_OF_TIME_S = 4e10
"""A time stamp beyond this, or none at all, would make windows lie."""
_SAVE_ANYWAY_S = 3_600.0
"""When nothing but counts changed."""


class _Form:
    """What is known of lines that differ in digits only; where masks leave some digits, in other digits only."""

    __slots__ = ("cluster", "left", "may_hit", "may_hold", "stamp", "wording")

    def __init__(self, cluster: Cluster, wording: int, *, may_hit: bool, may_hold: bool) -> None:
        self.left: tuple[int, ...] = ()
        """Digits that masks leave ("ssh2"): lines that differ in them are forms of their own."""
        self.cluster = cluster
        self.stamp = cluster.leaf.stamp
        self.wording = wording
        self.may_hit = may_hit
        """Whether a signature may know such a line."""
        self.may_hold = may_hold
        """Whether such a line may hold a value worth keeping."""


class _Forms:
    """Forms by hash: those met lately, and those met before them; what was met in neither is forgotten."""

    def __init__(self) -> None:
        self._young: dict[int, _Form] = {}
        self._old: dict[int, _Form] = {}

    def get(self, key: int) -> _Form | None:
        form = self._young.get(key)
        if form is None:
            form = self._old.get(key)
            if form is not None:
                self.put(key, form)
        return form

    def put(self, key: int, form: _Form) -> None:
        if len(self._young) >= _MAX_FORMS:
            self._young, self._old = {}, self._young
        self._young[key] = form

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


def _key_of_digits(key: int, line: bytes, root: _Form) -> int:
    """The key of *line*'s own form, where lines of the form under *key* differ in digits that masks leave."""
    return hash((key, digits_of(headline(line), root.left)))


class LogPath:
    """
    Log records in, counters and templates out; implements `ports.LogSink` and `ports.TemplateReader`.

    Safe to use from several threads.

    Args:
        host: Value of ``host_name``.
        signatures: The lexicon, in order of precedence.
        stat: Counts lines dropped, cut and not clustered, and snapshots.
        snapshot: Where templates are kept over restarts; nowhere if None.
    """

    def __init__(
        self, host: str, signatures: Sequence[LogSignature], stat: SelfStat, snapshot: Path | None = None
    ) -> None:
        self._stat = stat
        self._lexicon = Lexicon(signatures)
        self._known = Blind(expression for signature in signatures for expression in signature.expressions)
        self._masker = Masker()
        self._privacy = Privacy()
        self._extractor = Extractor()
        self._clusters = Clusters(_MAX_CLUSTERS)
        self._rates = Rates(host)
        self._template_rates = TemplateRates(host)
        self._forms = _Forms()
        self._ledger = Ledger(signatures)
        self._snapshot = Snapshot(snapshot) if snapshot else None
        self._alone: set[str] = set()
        """Ids of clusters of an earlier run whose words were not saved."""
        self._asked = self._asked_saved = 0
        """Times drain3 was asked: in all, and until the last snapshot."""
        self._saved_at_s: float | None = None
        self._complaint = ""
        self._may_assign = 0
        self._lock = threading.Lock()

    # --- LogSink ----------------------------------------------------------------------------------------------------

    def feed(self, records: Iterable[LogRecord]) -> None:
        rest = iter(records)
        may_assign = _MAX_ASSIGNED
        while chunk := list(islice(rest, _CHUNK)):
            with self._lock:
                self._may_assign = may_assign
                self._take(chunk)
                may_assign = self._may_assign

    def samples(self, now_s: float) -> Iterable[Sample]:
        with self._lock:
            return [*self._rates.samples(now_s), *self._template_rates.samples(now_s)]

    def _take(self, records: list[LogRecord]) -> None:
        lines = [self._line(record.text) for record in records]
        # a record of several lines would be taken for several records
        private = set(self._privacy.among([b"" if b"\n" in line else line for line in lines]))
        private.update(i for i, line in enumerate(lines) if b"\n" in line and self._privacy.is_private(line))
        skipped = 0
        labels, source = None, None
        for i, record in enumerate(records):
            if i in private:
                continue
            if record.labels is not labels or source is None:
                labels = record.labels
                source = self._ledger.source(labels, record.at_s)
            if not self._count(lines[i], record, source):
                skipped += 1
        for fate, count in (("dropped", len(private)), ("skipped", skipped)):
            if count:
                self._stat.log_lines.labels(fate).inc(count)

    def _line(self, text: str) -> bytes:
        line = text.encode("utf-8", "replace").strip()
        if len(line) > _MAX_LINE_BYTES:
            self._stat.log_lines.labels("truncated").inc()
            line = line[:_MAX_LINE_BYTES].decode(errors="ignore").encode().strip()
        return line

    def _count(self, line: bytes, record: LogRecord, source: Source) -> bool:
        """Count a line that is not private; False if it was not counted, or got no template."""
        form_bytes = form_of(line)
        key = hash(form_bytes)
        root = form = self._forms.get(key)
        if root is not None and root.left:
            form = self._forms.get(_key_of_digits(key, line, root))
        may_hit = self._known.may_match(form_bytes) if root is None else root.may_hit
        hit = self._lexicon.classify(line) if may_hit else None
        log_class = hit.signature.log_class if hit else LogClass.BENIGN
        counted = self._rates.count(record.labels, log_class.value, hit.values.get("gpu", "") if hit else "")
        if not line:
            return True
        if not (counted and 0.0 <= record.at_s < _END_OF_TIME_S):
            return False
        if form is None:
            form = self._meet(line, key, root, may_hit=may_hit)
        elif form.stamp != form.cluster.leaf.stamp and (placed := self._place(line, headline(line))) is not None:
            form.cluster, form.stamp = placed[0], placed[0].leaf.stamp
        if form is None:
            return False
        self._book(form, line, hit, record, source)
        return True

    # --- templates --------------------------------------------------------------------------------------------------

    def _meet(self, line: bytes, key: int, root: _Form | None, *, may_hit: bool) -> _Form | None:
        """The form of *line*, remembered; None when this feed has asked drain3 often enough."""
        said = headline(line)
        placed = self._place(line, said)
        if placed is None:
            return None
        cluster, masked = placed
        # digits left out: one text logged under twenty time stamps is still one text, and may be somebody's prompt
        form_bytes = form_of(said)
        wording, may_hold = wording_of(form_bytes), self._extractor.may_hold(form_bytes)
        form = _Form(cluster, wording, may_hit=may_hit, may_hold=may_hold)
        if root is None and has_digits(masked):
            root = _Form(cluster, wording, may_hit=may_hit, may_hold=may_hold)
            root.left = self._masker.left(said)
            self._forms.put(key, root)
        self._forms.put(_key_of_digits(key, line, root) if root is not None else key, form)
        return form

    def _place(self, line: bytes, said: bytes) -> tuple[Cluster, bytes] | None:
        """The cluster of *line*, and its headline masked."""
        if self._may_assign == 0:
            return None
        self._may_assign -= 1
        self._asked += 1
        severity = self._lexicon.severity(line)
        masked = self._masker.mask(said)
        words = masked.decode(errors="replace")
        if self._alone:
            self._revive(words, severity)
        return self._clusters.assign(words, severity), masked

    def _revive(self, masked: str, severity: LogSeverity) -> None:
        """Give a line that was alone in its template before a restart that template again."""
        words = masked.split()
        birth_id = template_id(" ".join(words), severity, "")
        if birth_id in self._alone:
            self._alone.discard(birth_id)
            self._clusters.restore([(severity, birth_id, "\n".join(words))])

    def _book(self, form: _Form, line: bytes, hit: Hit | None, record: LogRecord, source: Source) -> None:
        trace, first = self._ledger.book(form.cluster, hit, record, source)
        if first:
            self._clusters.use(form.cluster)
        trace.add_wording(form.wording)
        if form.may_hold and trace.severity in LOUD and trace.lately() <= MAX_ASKED:
            trace.add_values(self._extractor.extract(headline(line)))
        if hit is not None:
            trace.add_values(hit.values)
        if trace.shown:
            name = record.labels.get("source")
            self._template_rates.count(trace.id, name, trace.log_class.value, trace.severity.value)

    # --- TemplateReader ---------------------------------------------------------------------------------------------

    def templates(self, start_s: float, end_s: float) -> Sequence[LogTemplate]:
        with self._lock:
            return self._ledger.templates(start_s, end_s)

    # --- over restarts ----------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Take in the last snapshot. What cannot be read is said, and learned anew."""
        if self._snapshot is None:
            return
        try:
            saved = self._snapshot.read()
        except (OSError, ValueError) as error:
            self._stat.log_snapshots.labels("damaged").inc()
            log.error("snapshot of log templates cannot be read; they are learned anew", error=str(error))
            return
        if saved is None:
            return
        with self._lock:
            self._clusters.restore(saved.clusters)
            self._ledger.restore(saved.traces, saved.sources)
            by_id = {cluster.id: cluster for cluster in self._clusters}
            for trace in saved.traces:  # the order in which they will have to give way
                if trace.cluster in by_id:
                    self._clusters.use(by_id[trace.cluster])
            self._alone = {trace.cluster for trace in saved.traces} - by_id.keys()

    def save(self, now_s: float, retention_s: float) -> None:
        """
        Forget templates not met within *retention_s*, and write a snapshot if anything changed.

        A disk that refuses is counted every time and complained of once.
        """
        if self._snapshot is None:
            return
        with self._lock:
            asked = self._asked
            recent = self._saved_at_s is None or 0 <= now_s - self._saved_at_s < _SAVE_ANYWAY_S
            if asked == self._asked_saved and recent:
                return
            saved = self._snapped(now_s - retention_s)
        try:
            self._snapshot.write(saved)
        except OSError as error:
            self._stat.log_snapshots.labels("failed").inc()
            if str(error) != self._complaint:
                log.error("log templates cannot be saved", error=str(error))
            self._complaint = str(error)
            return
        self._stat.log_snapshots.labels("ok").inc()
        self._complaint, self._saved_at_s, self._asked_saved = "", now_s, asked

    def _snapped(self, before_s: float) -> Saved:
        self._ledger.purge(before_s)
        traces = tuple(self._ledger.saved())
        booked = {trace.cluster for trace in traces}
        for cluster in [cluster for cluster in self._clusters if cluster.id not in booked]:
            self._clusters.remove(cluster)
        shared = _said_by_several(traces)
        return Saved(
            clusters=tuple(row for row in self._clusters.rows() if row[1] in shared or _is_general(row)),
            traces=traces,
            sources=self._ledger.saved_sources(),
        )


def _said_by_several(traces: Iterable[SavedTrace]) -> set[str]:
    """Ids of clusters behind which more than one wording stands: what one line alone said is not written to disk."""
    first: dict[str, int] = {}
    found: set[str] = set()
    for trace in traces:
        if trace.wordings is None or any(first.setdefault(trace.cluster, one) != one for one in trace.wordings):
            found.add(trace.cluster)
    return found


def _is_general(row: Row) -> bool:
    """Whether a cluster's words are not those it was born with."""
    severity, birth_id, words = row
    return template_id(words.replace("\n", " "), severity, "") != birth_id
