"""
The way of a log line: private? class, count, mask, template. Then the line itself is gone.

Most lines were there before with other digits. What was found out about such a form is remembered by its hash in a
cache of bounded size: how it is masked, and whether a signature might know it (`digits`). What depends on digits,
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
from aiops.logs.digits import form_of, has_digits
from aiops.logs.forms import Form, Recent, Root, Text
from aiops.logs.headline import headline
from aiops.logs.ledger import LOUD, MAX_ASKED, Ledger
from aiops.logs.lexicon import Hit, Lexicon
from aiops.logs.mask import Masker
from aiops.logs.notes import Notebook
from aiops.logs.privacy import Privacy
from aiops.logs.rates import Rates, TemplateRates
from aiops.logs.snapshot import Saved, SavedTrace, Snapshot
from aiops.logs.traces import Source, wording_of
from aiops.logs.values import Extractor
from aiops.model import LogRecord, LogSeverity, LogTemplate, Sample, TemplateNote
from aiops.rulebook.signatures import LogClass, LogSignature
from aiops.selfstat import SelfStat

log = structlog.get_logger(__name__)

_MAX_LINE_BYTES = 65_536
_CHUNK = 256
"""Records looked at together; what can be asked about many lines at once costs a tenth of asking for each."""
_MAX_ASSIGNED = 300
"""Lines a feed given to drain3; it takes 50 to 100 microseconds each when all differ."""
_MAX_FORMS = 8_192
_MAX_TEXTS = 4_096
_MAX_CLUSTERS = 2_500
"""For each of four severities."""
_END_OF_TIME_S = 4e10
"""A time stamp beyond this, or none at all, would make windows lie."""
_SAVE_ANYWAY_S = 3_600.0
"""When nothing but counts changed."""


class LogPath:
    """
    Log records in, counters and templates out; implements `ports.LogSink`, `ports.TemplateReader` and `ports.TemplateNotes`.

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
        self._masker = Masker()
        self._privacy = Privacy()
        self._extractor = Extractor()
        self._clusters = Clusters(_MAX_CLUSTERS)
        self._rates = Rates(host)
        self._template_rates = TemplateRates(host)
        self._forms: Recent[int, Form] = Recent(_MAX_FORMS)
        self._texts: Recent[tuple[LogSeverity, str], Text] = Recent(_MAX_TEXTS)
        self._ledger = Ledger(signatures)
        self._snapshot = Snapshot(snapshot) if snapshot else None
        self._alone: set[str] = set()
        """Ids of clusters of an earlier run whose words were not saved."""
        self._asked = self._asked_saved = 0
        """Times drain3 was asked: in all, and until the last snapshot."""
        self._saved_at_s: float | None = None
        self._complaint = ""
        self._may_assign = 0
        self._notebook: Notebook | None = None
        """While a recording is made."""
        self._lock = threading.Lock()
        self._saving = threading.Lock()

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
        private = self._privacy.follow(
            lines, [record.labels for record in records], [record.passed_by for record in records]
        )
        skipped = late = 0
        labels, source = None, None
        for i, record in enumerate(records):
            if i in private:
                continue
            if record.labels is not labels or source is None:
                labels = record.labels
                source = self._ledger.source(labels, record.at_s)
            late += record.late
            if not self._count(lines[i].lstrip(), record, source):
                skipped += 1
        for fate, count in (("dropped", len(private)), ("skipped", skipped), ("late", late)):
            if count:
                self._stat.log_lines.labels(fate).inc(count)

    def _line(self, text: str) -> bytes:
        line = text.encode("utf-8", "replace").rstrip()
        if len(line) > _MAX_LINE_BYTES:
            self._stat.log_lines.labels("truncated").inc()
            line = line[:_MAX_LINE_BYTES].decode(errors="ignore").encode().rstrip()
        return line

    def _count(self, line: bytes, record: LogRecord, source: Source) -> bool:
        """Count a line that is not private; False if it was not counted, or got no template."""
        form_bytes = form_of(line)
        key = hash(form_bytes)
        form = self._forms.get(key)
        may_hit = self._lexicon.may_know(form_bytes) if form is None else form.may_hit
        hit = self._hit(line) if may_hit else None
        log_class = hit.signature.log_class if hit else LogClass.BENIGN
        # totals are what happens now; what was missed during a stop shows in its template, under its own time
        counted = record.late or self._rates.count(
            record.labels, log_class.value, hit.values.get("gpu", "") if hit else ""
        )
        if not line:
            return True
        if not (counted and 0.0 <= record.at_s < _END_OF_TIME_S):
            return False
        if form is None:
            form = self._meet(line, key, may_hit=may_hit)
        if isinstance(form, Root):
            form = self._choose(form, key, line)
        if form is None:
            return False
        if form.text.stamp != form.text.cluster.leaf.stamp:
            self._place(form.text)
        self._book(form, line, hit, record, source)
        return True

    def _hit(self, line: bytes) -> Hit | None:
        """What *line* is known as: a record that begins with the engine's end is of what its exception says ended it."""
        hit = self._lexicon.classify(line)
        if hit is None or hit.signature.log_class is not LogClass.ENGINE_DEAD or b"\n" not in line:
            return hit
        why = self._lexicon.classify(headline(line))
        return hit if why is None or why.signature.log_class is LogClass.BENIGN else why

    # --- templates --------------------------------------------------------------------------------------------------

    def _meet(self, line: bytes, key: int, *, may_hit: bool) -> Form | None:
        """The form of *line*, remembered; None when this feed has asked drain3 often enough."""
        said = headline(line)
        text = self._text(self._masker.mask(said).decode(errors="replace"), self._lexicon.severity(line))
        if text is None:
            return None
        # digits left out: one text logged under twenty time stamps is still one text, and may be somebody's prompt
        form_bytes = form_of(said)
        may_hold = self._extractor.may_hold(form_bytes)
        form = Form(text, wording_of(form_bytes), may_hit=may_hit, may_hold=may_hold)
        if has_digits(text.masked):
            form = Root(form, self._masker.left(said))
        self._forms.put(key, form)
        return form

    def _choose(self, root: Root, key: int, line: bytes) -> Form | None:
        """The form of *line* among those of *root*, by the digits that masks leave; None as in `_meet`."""
        digits = root.digits(line)
        own_key = hash((key, digits))
        form = self._forms.get(own_key)
        if form is None:
            text = self._text(root.masked(digits), root.text.severity)
            if text is None:
                return None
            form = Form(text, root.wording, may_hit=root.may_hit, may_hold=root.may_hold)
            self._forms.put(own_key, form)
        return form

    def _text(self, masked: str, severity: LogSeverity) -> Text | None:
        """What is known of lines that are masked so; None when this feed has asked drain3 often enough."""
        key = (severity, masked)
        text = self._texts.get(key)
        if text is None:
            if self._may_assign == 0:
                return None
            if self._alone:
                self._revive(masked, severity)
            text = Text(masked, severity, self._assign(masked, severity))
            self._texts.put(key, text)
        return text

    def _place(self, text: Text) -> None:
        """Look again where *text* belongs. In a flood it stays where it was, which was not wrong."""
        if self._may_assign > 0:
            text.cluster = self._assign(text.masked, text.severity)
            text.stamp = text.cluster.leaf.stamp

    def _assign(self, masked: str, severity: LogSeverity) -> Cluster:
        self._may_assign -= 1
        self._asked += 1
        return self._clusters.assign(masked, severity)

    def _revive(self, masked: str, severity: LogSeverity) -> None:
        """Give a line that was alone in its template before a restart that template again."""
        words = masked.split()
        birth_id = template_id(" ".join(words), severity, "")
        if birth_id in self._alone:
            self._alone.discard(birth_id)
            self._clusters.restore([(severity, birth_id, "\n".join(words))])

    def _book(self, form: Form, line: bytes, hit: Hit | None, record: LogRecord, source: Source) -> None:
        trace, first = self._ledger.book(form.text.cluster, hit, record, source)
        if first:
            self._clusters.use(form.text.cluster)
        if self._notebook is not None:
            self._notebook.touch(trace)
        trace.add_wording(form.wording)
        if form.may_hold and trace.severity in LOUD and trace.lately() <= MAX_ASKED:
            trace.add_values(self._extractor.extract(headline(line)))
        if hit is not None:
            trace.add_values(hit.values)
        if trace.shown and not record.late:
            name = record.labels.get("source")
            self._template_rates.count(trace.id, name, trace.log_class.value, trace.severity.value)

    # --- TemplateReader ---------------------------------------------------------------------------------------------

    def templates(self, start_s: float, end_s: float) -> Sequence[LogTemplate]:
        with self._lock:
            return self._ledger.templates(start_s, end_s)

    # --- TemplateNotes ----------------------------------------------------------------------------------------------

    def begin_notes(self) -> None:
        with self._lock:
            self._notebook = Notebook(self._ledger.traces())

    def notes(self) -> Sequence[TemplateNote]:
        with self._lock:
            return self._notebook.changes() if self._notebook is not None else ()

    def end_notes(self) -> None:
        with self._lock:
            self._notebook = None

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
        if self._snapshot is None or not self._saving.acquire(blocking=False):
            return  # the disk still has the last one
        try:
            self._save(self._snapshot, now_s, now_s - retention_s)
        finally:
            self._saving.release()

    def _save(self, snapshot: Snapshot, now_s: float, before_s: float) -> None:
        with self._lock:
            asked = self._asked
            too_soon = self._saved_at_s is None or 0 <= now_s - self._saved_at_s < _SAVE_ANYWAY_S
            if asked == self._asked_saved and too_soon:
                return
            saved = self._snapped(before_s)
        try:
            snapshot.write(saved)
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
