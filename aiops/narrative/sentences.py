"""
An incident in sentences, shared by messages and the incident page.

Each function says one thing. Texts come from evidence, cause files and the phrase tables; whatever came from outside
(labels, summaries) is made printable and short first. Times are told against the first failure, because that is what
the reader asks: what happened before it?
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from aiops.model import (
    CauseLevel,
    Diagnosis,
    DiagnosisStatus,
    Evidence,
    EvidenceState,
    Hypothesis,
    Incident,
    Labels,
    Mover,
    Onset,
    Verdict,
)
from aiops.narrative.phrases import PHRASES, say, span, title_of

_MAX_LISTED = 8
_MAX_CHAIN = 6
_MAX_MOVERS = 3
_MAX_NAME = 80
_MAX_PLACE = 120
_MAX_MOVER = 140
_MAX_SENTENCE = 300
_TOGETHER_S = 0.5
"""Onsets this near to the first failure are told as simultaneous: sensors are no finer."""
_FAILURE_S = 1.0
"""The first failure is known to the second."""
_HIDDEN_LABELS = {"host_name", "hw_id"}
_LOG_LINES = "log_template_records_total"
_WORTH_TELLING = 0.2
"""A candidate less probable than this is not told as the closest one."""


def clean(text: str, limit: int = _MAX_SENTENCE) -> str:
    """*text* in one printable line of at most *limit* characters."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 4 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def clock(at_s: float, language: str = "en") -> str:
    """A moment as HH:MM:SS UTC."""
    try:
        moment = datetime.fromtimestamp(at_s, UTC)
    except (ValueError, OverflowError, OSError):  # a time no calendar has, from somebody's broken clock
        return say(language, "clock.unknown")
    return say(language, "clock", clock=f"{moment:%H:%M:%S}")


_KINDS = {
    "TimeToFirstTokenHigh": "slow",
    "UpstreamHeaderTimeHigh": "slow",
    "EmbeddingsSlow": "slow",
    "RerankSlow": "slow",
    "ScoringSlow": "slow",
    "ClassifySlow": "slow",
    "EngineStandsStill": "still",
    "EngineStalled": "still",
    "InferenceServerDown": "down",
}
"""What users feel where no outcome is counted, by the rule that saw it."""


def symptom_kind(incident: Incident) -> str:
    """What users feel most: an outcome such as "503", or "slow", "still", "down"; "other" when nobody counted."""
    counted = [name for name, count in incident.diagnosis.impact.outcomes if count > 0]
    outcomes = (alert.labels.get("outcome") for alert in incident.symptoms)
    by_rule = (_KINDS.get(alert.rule, "") for alert in incident.symptoms)
    kinds = [*counted, *outcomes, *by_rule]
    return next((kind for kind in kinds if f"symptom.{kind}" in PHRASES["en"]), "other")


def symptom(incident: Incident, language: str = "en") -> str:
    """What users feel most, in words."""
    return say(language, f"symptom.{symptom_kind(incident)}")


def service(incident: Incident, language: str = "en") -> str:
    """The service in words."""
    return clean(incident.service, _MAX_NAME) or say(language, "service.unknown")


def first_failure(incident: Incident, language: str = "en") -> str:
    """What this incident's moment zero is called: "the first 503"."""
    kind = symptom_kind(incident)
    felt = kind in _KINDS.values()
    return say(language, "first.503" if kind == "503" else "first.felt" if felt else "first.other")


def relative(incident: Incident, at_s: float, language: str = "en") -> str:
    """A moment against the first failure: "74 s before the first 503"."""
    first, ahead_s = first_failure(incident, language), incident.first_bad_s - at_s
    if abs(ahead_s) <= _TOGETHER_S:
        return say(language, "when.with", first=first)
    key = "when.before" if ahead_s > 0 else "when.after"
    return say(language, key, span=span(abs(ahead_s), language), first=first)


def cause_name(hypothesis: Hypothesis, language: str = "en", *, known_service: str = "") -> str:
    """
    A cause with its place: "GPU memory exhausted on GPU 1".

    Args:
        hypothesis: What to name.
        language: "en" or "zh".
        known_service: A service the reader was just told; a cause of that whole service then names no place.
    """
    title = clean(title_of(hypothesis.cause, hypothesis.title, language), _MAX_NAME)
    place = clean(hypothesis.place, _MAX_PLACE)
    if not place or (known_service and hypothesis.where == Labels.of(service=known_service)):
        return title
    # "on" a card; a replica's name beside a title such as "One replica is slower" reads better in brackets
    return say(language, "cause.on" if hypothesis.where.get("gpu") else "cause.at", title=title, place=place)


def causes_named(incident: Incident, language: str = "en") -> str:
    """The named cause or causes; empty when none is."""
    return _both([cause_name(h, language, known_service=incident.service) for h in incident.diagnosis.roots], language)


def _both(names: Sequence[str], language: str) -> str:
    if len(names) < 2:
        return names[0] if names else ""
    return say(language, "cause.and", one=names[0], other=names[1])


def headline(incident: Incident, language: str = "en") -> str:
    """What users feel, where, and why, in a line: "503 on chat: GPU memory exhausted on GPU 1"."""
    felt, where = symptom(incident, language), service(incident, language)
    if named := causes_named(incident, language):
        return say(language, "title.named", symptom=felt, service=where, cause=named)
    pending = incident.diagnosis.status is DiagnosisStatus.PENDING
    return say(language, "title.pending" if pending else "title.undetermined", symptom=felt, service=where)


def impact_sentence(incident: Incident, language: str = "en") -> str:
    """How many requests fail, since when, and who answered them."""
    impact, since = incident.diagnosis.impact, clock(incident.first_bad_s, language)
    if impact.requests <= 0 or impact.failed <= 0:
        kind = symptom_kind(incident)
        return say(language, f"impact.felt.{kind}" if kind in _KINDS.values() else "impact.unknown", clock=since)
    told = say(
        language, "impact.share",
        share=percent(impact.failed / impact.requests), failed=f"{impact.failed:,}", requests=f"{impact.requests:,}",
        clock=since,
    )  # fmt: skip
    if not impact.by_gateway and not impact.by_upstream:
        return told
    key = "by_upstream" if not impact.by_gateway else "by_gateway" if not impact.by_upstream else "by_both"
    answered = say(
        language, f"impact.{key}", by_gateway=f"{impact.by_gateway:,}", by_upstream=f"{impact.by_upstream:,}"
    )
    return say(language, "sentences", one=told, other=answered)


def over_sentence(incident: Incident, language: str = "en") -> str:
    """How long it lasted and how many requests it cost."""
    impact, end_s = incident.diagnosis.impact, incident.resolved_at_s or incident.updated_at_s
    counted = impact.requests > 0 and impact.failed > 0
    return say(
        language, "impact.over" if counted else "impact.over.unknown",
        lasted=span(max(0.0, end_s - incident.first_bad_s), language),
        clock=clock(incident.first_bad_s, language), end=clock(end_s, language),
        failed=f"{impact.failed:,}", requests=f"{impact.requests:,}",
    )  # fmt: skip


def percent(share: float) -> str:
    """A share for people: 12 %, 0.4 %."""
    value = 100.0 * min(max(share, 0.0), 1.0)
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.1f} %"


def probability(hypothesis: Hypothesis) -> str:
    """A hypothesis's probability for people."""
    return f"{hypothesis.probability * 100:.0f} %"


def strongest(hypothesis: Hypothesis) -> list[Evidence]:
    """The two present clauses that say most, of different families: specific ones first, then by what they added."""
    present = [
        e
        for e in hypothesis.evidence
        if e.state is EvidenceState.PRESENT and (e.log_odds > 0 or (e.specific and e.log_odds == 0))
    ]
    ranked = sorted(present, key=lambda e: (e.specific, e.log_odds), reverse=True)
    other = next((e for e in ranked if e.family != ranked[0].family), None)
    return [*ranked[:1], *([other] if other else [])]


def cause_sentence(incident: Incident, hypothesis: Hypothesis, language: str = "en") -> str:
    """A named cause with its probability and the strongest findings for it."""
    told = say(
        language, "cause.named",
        cause=cause_name(hypothesis, language, known_service=incident.service), probability=probability(hypothesis),
    )  # fmt: skip
    findings = [finding(incident, evidence, language) for evidence in strongest(hypothesis)]
    for found in findings or [clean(hypothesis.reason)]:
        told = say(language, "sentences", one=told, other=found) if found else told
    if hypothesis.beside:
        terms = say(language, "list.comma").join(say(language, f"term.{term}") for term in hypothesis.beside)
        told = say(language, "sentences", one=told, other=say(language, "cause.beside", terms=terms))
    return told


def finding(incident: Incident, evidence: Evidence, language: str = "en") -> str:
    """What a clause found, with its time against the first failure unless the text gives one already."""
    text = clean(evidence.text)
    if evidence.onset is None or _dated(text, incident, evidence.onset):
        return text
    return say(language, "text.when", text=text.rstrip("."), when=began(incident, evidence.onset, language))


def began(incident: Incident, onset: Onset, language: str = "en") -> str:
    """An onset against the first failure; "with" it where the intervals touch, since neither was certainly first."""
    if onset.by_s > incident.first_bad_s and onset.after_s < incident.first_bad_s + _FAILURE_S:
        return say(language, "when.with", first=first_failure(incident, language))
    return relative(incident, onset.by_s, language)


def _dated(text: str, incident: Incident, onset: Onset) -> bool:
    """Whether *text* says when: cause files may ask for it with {when}."""
    return span(abs(incident.first_bad_s - onset.by_s), "en") in text or " the first " in text


def chain_sentence(incident: Incident, language: str = "en") -> str:
    """The way from the root to what users feel; empty while no root is named or nothing lies between."""
    roots = incident.diagnosis.roots
    if not roots or not any(root.leads_to for root in roots):
        return ""
    ids = {h.title: h.cause for h in incident.diagnosis.hypotheses}
    steps = dict.fromkeys(title for root in roots for title in root.leads_to)
    names = [title_of(h.cause, h.title, language) for h in roots[:1]]
    names += [title_of(ids.get(title, ""), title, language) for title in steps]
    chain = " → ".join([*(clean(name, _MAX_NAME) for name in names[:_MAX_CHAIN]), symptom(incident, language)])
    return say(language, "chain", chain=chain)


def ruled_out_sentence(diagnosis: Diagnosis, language: str = "en") -> str:
    """What it was not, and what nobody could test here."""
    told = []
    for key, verdict in (("ruled_out", Verdict.RULED_OUT), ("not_testable", Verdict.NOT_TESTABLE)):
        names = [
            title_of(h.cause, h.title, language)
            for h in diagnosis.hypotheses
            # states are how it hurts: nobody asks whether they were ruled out as the root
            if h.verdict is verdict and h.level is not CauseLevel.STATE
        ]
        if names:
            told.append(say(language, key, causes=_listed(names, language)))
    return say(language, "sentences", one=told[0], other=told[1]) if len(told) == 2 else "".join(told)


def _listed(names: Iterable[str], language: str) -> str:
    unique = list(dict.fromkeys(clean(name, _MAX_NAME) for name in names))
    some = say(language, "list.comma").join(unique[:_MAX_LISTED])
    more = len(unique) - _MAX_LISTED
    return say(language, "list.more", some=some, count=more) if more > 0 else some


def unnamed_sentence(incident: Incident, language: str = "en") -> str:
    """Why no cause is named, and the nearest one."""
    diagnosis = incident.diagnosis
    if diagnosis.status is DiagnosisStatus.PENDING:
        return say(language, "cause.pending")
    told = say(language, "cause.undetermined")
    candidates = [h for h in diagnosis.hypotheses if h.verdict is Verdict.CANDIDATE]
    best = max(candidates, key=lambda h: h.probability, default=None)
    if best is None or best.probability < _WORTH_TELLING:
        return told
    closest = say(
        language, "cause.closest",
        cause=cause_name(best, language, known_service=incident.service), probability=probability(best),
    )  # fmt: skip
    return say(language, "sentences", one=told, other=closest)


def movers_sentence(incident: Incident, language: str = "en") -> str:
    """What left its normal first, without a cause file, a metric at a time; empty when nothing did."""
    movers = incident.diagnosis.movers
    latest_s = incident.first_bad_s + _TOGETHER_S
    # what moved after the failures began did not move first; if nothing else moved, it is still all there is
    early = [mover for mover in movers if mover.onset is not None and mover.onset.by_s <= latest_s]
    metrics: dict[str, list[Mover]] = {}
    for mover in early or movers:
        metrics.setdefault(mover.series.metric, []).append(mover)
    told = [_movers(incident, alike, language) for alike in list(metrics.values())[:_MAX_MOVERS]]
    return say(language, "movers", movers=say(language, "list.semicolon").join(told)) if told else ""


def _movers(incident: Incident, alike: Sequence[Mover], language: str) -> str:
    """The first of some movers of one metric; the others counted."""
    first = alike[0]
    metric, labels = first.series.metric, first.series.labels
    text = clean(first.text, _MAX_MOVER).rstrip(".")
    if metric not in text and metric != _LOG_LINES:  # lines are told by what they say
        about = ", ".join(value for name, value in labels.pairs if name not in _HIDDEN_LABELS)
        text = clean(f"{metric} ({about}): {text}" if about else f"{metric}: {text}", _MAX_MOVER)
    if first.onset is not None:
        text = say(language, "mover.when", text=text, when=relative(incident, first.onset.by_s, language))
    return say(language, "mover.alike", text=text, count=len(alike) - 1) if len(alike) > 1 else text
