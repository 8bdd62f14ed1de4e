"""
An incident as the page shows it: every sentence, number and place decided here, so that templates only lay out.

Pure: an incident in, plain values out. Times are told relative to the first failure, because that is what the reader
asks ("what happened before it?"); the clock stands beside it for looking things up elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from aiops.export.charts import Plot, common_span, offset, plot, span_text
from aiops.model import (
    Diagnosis,
    Evidence,
    EvidenceState,
    Hypothesis,
    Impact,
    Incident,
    IncidentState,
    LogTemplate,
    Mover,
    NewsKind,
    TimelineEntry,
    Verdict,
)
from aiops.narrative.sentences import finding, first_failure, headline, strongest, symptom, unnamed_sentence
from aiops.narrative.withheld import WITHHELD, may_leave
from aiops.units import format_duration

_SYMBOLS = {EvidenceState.PRESENT: "✓", EvidenceState.ABSENT: "✕", EvidenceState.UNKNOWN: "?"}
_VERDICTS = {
    Verdict.ROOT: "root cause",
    Verdict.CONSEQUENCE: "consequence",
    Verdict.CANDIDATE: "possible",
    Verdict.RULED_OUT: "ruled out",
    Verdict.NOT_TESTABLE: "not testable here",
}
_OUTCOMES = {
    "503": "503 service unavailable",
    "5xx": "other 5xx",
    "429": "429 too many requests",
    "499": "499 client gave up",
    "truncated": "cut off",
    "stalled": "stalled",
}
_MAX_TIMELINE = 200


@dataclass(frozen=True, slots=True)
class When:
    """A moment: signed distance from the first failure, clock time, and the same for machines."""

    offset: str
    clock: str
    iso: str


@dataclass(frozen=True, slots=True)
class Clause:
    """A piece of evidence."""

    state: str
    symbol: str
    text: str
    when: str
    specific: bool


@dataclass(frozen=True, slots=True)
class Cause:
    """A hypothesis."""

    title: str
    place: str
    percent: int
    verdict: str
    css: str
    reason: str
    clauses: tuple[Clause, ...]
    advice: str
    runbook_url: str


@dataclass(frozen=True, slots=True)
class Link:
    """A step of the chain from root to failure."""

    title: str
    place: str
    when: str
    css: str


@dataclass(frozen=True, slots=True)
class Tile:
    """A number that matters, with what it counts."""

    value: str
    name: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Moved:
    """A series that left its normal."""

    metric: str
    labels: str
    text: str
    when: str
    score: str


@dataclass(frozen=True, slots=True)
class Lines:
    """A log template, or what may be said of it."""

    count: str
    text: str
    css: str
    log_class: str
    class_css: str
    severity: str
    when: str
    news: str
    values: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the timeline."""

    when: When
    kind: str
    text: str
    after: bool


@dataclass(frozen=True, slots=True)
class IncidentView:
    """One incident, ready for the template."""

    id: str
    service: str
    css: str
    state: str
    headline: str
    lead: str
    confidence: str
    started: When
    noticed: str
    lasted: str
    zero_name: str
    chain: tuple[Link, ...]
    tiles: tuple[Tile, ...]
    outcomes: tuple[Tile, ...]
    roots: tuple[Cause, ...]
    others: tuple[Cause, ...]
    ruled_out: tuple[Cause, ...]
    not_testable: tuple[Cause, ...]
    plots: tuple[Plot, ...]
    movers: tuple[Moved, ...]
    templates: tuple[Lines, ...]
    timeline: tuple[Entry, ...]
    notes: tuple[str, ...]

    @property
    def is_open(self) -> bool:
        """Whether users still feel it."""
        return self.css == "open"


def view(incident: Incident, now_s: float) -> IncidentView:
    """*incident* as it is shown at *now_s*."""
    diagnosis, zero_s = incident.diagnosis, incident.first_bad_s
    zero_name = first_failure(incident).removeprefix("the ")
    span = common_span(diagnosis.charts, zero_s)
    causes = {h: _cause(h, zero_s) for h in sorted(diagnosis.hypotheses, key=lambda h: -h.probability)}
    roots = diagnosis.roots
    apart = {Verdict.RULED_OUT, Verdict.NOT_TESTABLE}
    return IncidentView(
        id=incident.id,
        service=incident.service,
        css="open" if incident.state is IncidentState.OPEN else "resolved",
        state="Open" if incident.state is IncidentState.OPEN else "Resolved",
        headline=headline(incident),
        lead=_lead(incident),
        confidence=_confidence(diagnosis),
        started=when(zero_s, zero_s),
        noticed=_noticed(incident, zero_name),
        lasted=format_duration(max(0.0, (incident.resolved_at_s or now_s) - zero_s)),
        zero_name=zero_name,
        chain=_chain(incident),
        tiles=_tiles(diagnosis.impact),
        outcomes=tuple(Tile(f"{n:,}", _OUTCOMES.get(name, name)) for name, n in diagnosis.impact.outcomes),
        roots=tuple(causes[h] for h in roots),
        others=tuple(c for h, c in causes.items() if h not in roots and h.verdict not in apart),
        ruled_out=tuple(c for h, c in causes.items() if h.verdict is Verdict.RULED_OUT),
        not_testable=tuple(c for h, c in causes.items() if h.verdict is Verdict.NOT_TESTABLE),
        plots=tuple(plot(chart, span, zero_name) for chart in diagnosis.charts),
        movers=tuple(_moved(m, zero_s) for m in diagnosis.movers),
        templates=tuple(_lines(t, zero_s) for t in diagnosis.templates),
        timeline=tuple(_entries(incident.timeline, zero_s)),
        notes=diagnosis.notes,
    )


def when(at_s: float, zero_s: float) -> When:
    """A moment in all its spellings; UTC, since the page cannot know the reader's zone."""
    try:
        moment = datetime.fromtimestamp(at_s, UTC)
    except (ValueError, OverflowError, OSError):  # a time no calendar has, from somebody's broken clock
        return When(offset(at_s, zero_s), "?", "")
    return When(offset(at_s, zero_s), f"{moment:%H:%M:%S}", f"{moment:%Y-%m-%dT%H:%M:%SZ}")


def _cause(hypothesis: Hypothesis, zero_s: float) -> Cause:
    url = hypothesis.runbook_url
    return Cause(
        title=hypothesis.title,
        place=hypothesis.place,
        percent=round(hypothesis.probability * 100),
        verdict=_VERDICTS[hypothesis.verdict],
        css=hypothesis.verdict.value.replace("_", "-"),
        reason=hypothesis.reason,
        clauses=tuple(_clause(e, zero_s) for e in hypothesis.evidence),
        advice=hypothesis.advice,
        runbook_url=url if urlsplit(url).scheme in {"http", "https"} else "",
    )


def _clause(evidence: Evidence, zero_s: float) -> Clause:
    return Clause(
        state=evidence.state.value,
        symbol=_SYMBOLS[evidence.state],
        text=evidence.text,
        when=offset(evidence.onset.by_s, zero_s) if evidence.onset else "",
        specific=evidence.specific,
    )


def _lead(incident: Incident) -> str:
    """The sentence under the headline: the strongest finding, or how little is known."""
    for root in incident.diagnosis.roots:
        loudest = strongest(root)
        return finding(incident, loudest[0]) if loudest else root.reason
    return unnamed_sentence(incident)


def _confidence(diagnosis: Diagnosis) -> str:
    if diagnosis.roots:
        return " and ".join(f"{h.probability * 100:.0f} %" for h in diagnosis.roots)
    return ""


def _noticed(incident: Incident, zero_name: str) -> str:
    after_s = max(0.0, incident.opened_at_s - incident.first_bad_s)
    text = f"Noticed {span_text(after_s)} after the {zero_name}"
    answer = next((e for e in incident.timeline if e.kind == "diagnosis"), None)
    if incident.diagnosis.roots and answer is not None:
        text += f", explained after {span_text(max(0.0, answer.at_s - incident.first_bad_s))}"
    return text


def _chain(incident: Incident) -> tuple[Link, ...]:
    """From the root over the states it led to, down to what users felt; empty while no root is named."""
    diagnosis, zero_s = incident.diagnosis, incident.first_bad_s
    if not diagnosis.roots:
        return ()
    by_title = {h.title.casefold(): h for h in reversed(diagnosis.hypotheses)}
    links = [Link(h.title, h.place, _began(h, zero_s), "root") for h in diagnosis.roots]
    for title in dict.fromkeys(title for h in diagnosis.roots for title in h.leads_to):
        state = by_title.get(title.casefold())
        links.append(Link(title, state.place if state else "", _began(state, zero_s) if state else "", "step"))
    felt = symptom(incident)
    return (*links, Link(felt[:1].upper() + felt[1:], "", "0 s", "felt"))


def _began(hypothesis: Hypothesis, zero_s: float) -> str:
    onsets = [e.onset.by_s for e in hypothesis.evidence if e.onset and e.state is EvidenceState.PRESENT]
    return offset(min(onsets), zero_s) if onsets else ""


def _tiles(impact: Impact) -> tuple[Tile, ...]:
    if impact.requests <= 0 and impact.failed <= 0:
        return ()
    share = impact.failed / impact.requests if impact.requests else 1.0
    tiles = [Tile(f"{impact.failed:,}", "requests failed", f"of {impact.requests:,}")]
    tiles.append(Tile(f"{share * 100:.{0 if share >= 0.1 else 1}f} %", "of all requests"))
    if impact.by_gateway or impact.by_upstream:
        tiles.append(Tile(f"{impact.by_gateway:,}", "refused by the gateway itself"))
        tiles.append(Tile(f"{impact.by_upstream:,}", "failed by a replica"))
    return tuple(tiles)


def _moved(mover: Mover, zero_s: float) -> Moved:
    return Moved(
        metric=mover.series.metric,
        labels=str(mover.series.labels),
        text=mover.text,
        when=offset(mover.onset.by_s, zero_s) if mover.onset else "",
        score=f"{mover.score:.0f}×" if mover.score >= 10 else f"{mover.score:.1f}×",
    )


def _lines(template: LogTemplate, zero_s: float) -> Lines:
    text = template.title or (template.template if may_leave(template) else WITHHELD)
    css = "title" if template.title else "template" if may_leave(template) else "withheld"
    return Lines(
        count=f"{template.count:,}",
        text=text,
        css=css,
        log_class=template.log_class.replace("_", " "),
        class_css="benign" if template.log_class == "benign" else "trouble",
        severity=template.severity.value,
        when=offset(template.first_at_s, zero_s),
        news=_news(template),
        values=" · ".join(f"{name.replace('_', ' ')} {', '.join(held)}" for name, held in template.values),
    )


def _news(template: LogTemplate) -> str:
    if template.news is None:
        return ""
    return "never seen before" if template.news.kind is NewsKind.NEW else f"{template.news.ratio:,.0f}× as often"


def _entries(timeline: Iterable[TimelineEntry], zero_s: float) -> Iterable[Entry]:
    ordered = sorted(timeline, key=lambda e: e.at_s)
    for entry in ordered[-_MAX_TIMELINE:]:
        yield Entry(when(entry.at_s, zero_s), entry.kind, entry.text, entry.at_s >= zero_s)
