"""One diagnosis: what is known at a moment, weighed. Pure: the same series, events and time give the same answer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from aiops.correlate.charts import draw
from aiops.correlate.impact import count_impact
from aiops.correlate.load import LoadAccount
from aiops.correlate.movers import find_movers
from aiops.correlate.narrowing import narrowed
from aiops.correlate.news import with_news
from aiops.correlate.rank import Weighed, weigh, weigh_all, weigh_possible
from aiops.correlate.scene import IncidentContext, Scene
from aiops.correlate.second import Only, Rest, second_look, stood
from aiops.correlate.tempo import states_may_lead
from aiops.correlate.verdicts import Bench, stood_for
from aiops.model import Diagnosis, DiagnosisStatus, LogTemplate, Mover, Verdict
from aiops.ports import EventReader, SeriesReader, TemplateReader
from aiops.rulebook.causes import CauseRule, reachable
from aiops.rulebook.clauses import ROOT_SHARE, LoadTest
from aiops.rulebook.priors import MAX_SHOWN

_MAX_TEMPLATES = 20


def diagnose(  # noqa: PLR0913, PLR0917 - the question, five sources, and how thorough to be
    context: IncidentContext,
    causes: Sequence[CauseRule],
    series: SeriesReader,
    events: EventReader,
    templates: TemplateReader,
    now_s: float,
    *,
    thorough: bool = True,
    movers: tuple[Mover, ...] = (),
    most_shown: float = MAX_SHOWN,
) -> Diagnosis:
    """
    The answer as it stands: NAMED when a root leads clearly at this moment, else PENDING.

    Args:
        context: What is asked.
        causes: All cause files.
        series: Recent samples.
        events: Recent events.
        templates: Log templates.
        now_s: The time of the question.
        thorough: Also score every series, draw charts and name templates: ten times the work of the rest.
        movers: If not thorough, those found last.
        most_shown: The highest probability that may be shown.
    """
    scene = Scene(context, series, events, templates, now_s)
    bench = _bench(scene, causes, most_shown)
    hypotheses = narrowed(bench.verdicts(scene.topology), causes, scene)
    named = any(h.verdict is Verdict.ROOT for h in hypotheses)
    found: tuple[LogTemplate, ...] = ()
    if thorough:
        lines, first_s = scene.templates, context.first_bad_s
        found = tuple(lines)[:_MAX_TEMPLATES]
        movers = with_news(find_movers(scene.view, first_s, now_s), lines, series, first_s, now_s)
    return Diagnosis(
        status=DiagnosisStatus.NAMED if named else DiagnosisStatus.PENDING,
        at_s=now_s,
        hypotheses=hypotheses,
        movers=movers,
        templates=found,
        charts=draw(hypotheses, movers, scene) if thorough else (),
        impact=count_impact(series, context.service, context.first_bad_s, now_s),
        notes=(() if named else _unaccounted(scene.load)) + _notes(scene),
    )


def _bench(scene: Scene, causes: Sequence[CauseRule], most_shown: float) -> Bench:
    """All causes weighed, with what is beside the first of them."""
    sought_s, hurt_s = scene.now_s - scene.context.opened_at_s, scene.now_s - scene.context.first_bad_s
    weighed = weigh_all(causes, scene, most_shown)
    bench = Bench(
        weighed=weighed,
        leads=reachable(causes),
        states_may_lead=states_may_lead(sought_s, hurt_s, waits=scene.load.waits),
        sharers=_sharers(causes, weighed, scene.load),
        risen=scene.load.risen(ROOT_SHARE),
        risen_at={term: found.onset for term, found in scene.load.terms.items() if found.onset is not None},
    )

    def weigh_rest(found: Rest, asked: Callable[[CauseRule], bool]) -> list[Weighed]:
        outcomes = frozenset(outcome for _, outcome in found.kinds)
        opened_at_s = max(scene.context.opened_at_s, found.began_s)  # what must be read again, since then
        alone = replace(scene.context, first_bad_s=found.began_s, opened_at_s=opened_at_s, outcomes=outcomes)
        part = scene.asked(alone, Only(scene.view, found.kinds, found.taken))
        return weigh_possible(filter(asked, causes), part, most_shown)

    def weigh_without(found: Rest, w: Weighed, until_s: float | None) -> Weighed:
        part = scene.asked(scene.context, Only(scene.view, found.explained), until_s)
        return weigh(w.rule, part, w.place, most_shown)

    firsts = bench.roots()
    if scene.context.named not in {"", *(w.cause for w in firsts)}:
        firsts = stood(scene, weighed, firsts, weigh_without) or firsts
    return bench.beside(firsts, second_look(scene, firsts, weighed, weigh_rest)) if firsts else bench


def _sharers(
    causes: Sequence[CauseRule], weighed: Sequence[Weighed], load: LoadAccount
) -> Mapping[str, frozenset[str]]:
    """
    Terms that hold only a part of the rise, when two do; a term may have no cause.

    With each the causes that need it, and the states that stand for it.
    """
    sharers = functools.cache(load.sharers)  # causes ask for a few shares in all
    found: dict[str, set[str]] = {term.value: set() for term in sharers(ROOT_SHARE)}
    for rule in causes:
        for clause in rule.evidence:
            test = clause.test
            if isinstance(test, LoadTest) and clause.necessary and test.term in sharers(test.share):
                found.setdefault(test.term.value, set()).add(rule.cause)
    for w in weighed:
        for term in stood_for(w) if w.may_be_root else ():
            if term in found:
                found[term].add(w.cause)
    return {term: frozenset(names) for term, names in found.items()}


def _unaccounted(load: LoadAccount) -> tuple[str, ...]:
    """What made load outgrow capacity, where nothing is named: whoever looks further begins there."""
    if not (risen := load.risen(ROOT_SHARE)):
        return ()
    told = " and ".join(risen.values())
    return (f"{told[:1].upper()}{told[1:]}, and no cause is named for it.",)


def _notes(scene: Scene) -> tuple[str, ...]:
    """What limits the answer."""
    notes: list[str] = []
    if not scene.view.windows("http_server_requests_total", {"service": scene.context.service}):
        notes.append("No gateway log: 503 and 500 cannot be told apart, and demand is what the engines saw.")
    if not scene.sees_changes():
        notes.append("No deploy feed: a change cannot be seen. POST /api/v1/events takes them.")
    if not scene.view.windows("gen_ai_server_up"):
        notes.append("No page of an inference server is read.")
    if not scene.view.windows("log_source_up"):
        notes.append("No application log is followed.")
    return tuple(notes)
