"""What the incident page says, before any markup."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aiops.export.views import view
from aiops.model import (
    CauseLevel,
    Diagnosis,
    DiagnosisStatus,
    Evidence,
    EvidenceState,
    Hypothesis,
    Impact,
    Incident,
    Labels,
    LogSeverity,
    LogTemplate,
    NewsKind,
    Onset,
    TemplateNews,
    TimelineEntry,
    Verdict,
)
from tests.sample_incident import FIRST_BAD_S, sample_incident, sample_undetermined

NOW_S = FIRST_BAD_S + 120


def shown(incident: Incident):
    return view(incident, NOW_S)


def with_diagnosis(**changes) -> Incident:
    incident = sample_incident()
    return replace(incident, diagnosis=replace(incident.diagnosis, **changes))


def test_a_named_cause_is_the_headline_with_its_place_and_its_strongest_finding():
    """Woken at three, one reads one line."""
    page = shown(sample_incident())

    assert page.headline == "503 on chat: Traffic burst"
    assert page.lead == "First attempts rose from 31 to 93 a second, 42 s before the first 503."
    assert page.confidence == "87 %"
    assert page.noticed == "Noticed 2 s after the first 503, explained after 6 s"


def test_the_chain_runs_from_the_root_to_what_users_felt_with_its_times():
    """Burst, queue, KV full, 503: the state is never mistaken for the root."""
    chain = shown(sample_incident()).chain

    assert [(link.title, link.when, link.css) for link in chain] == [
        ("Traffic burst", "−42 s", "root"),
        ("Queue grows", "", "step"),
        ("KV cache full", "−11 s", "step"),
        ("503", "0 s", "felt"),
    ]


def test_hypotheses_are_sorted_into_what_was_found_ruled_out_and_could_not_be_tested():
    """ "Ruled out" and "not testable" are different answers, and neither is "absent"."""
    page = shown(sample_incident())

    assert [c.title for c in page.roots] == ["Traffic burst"]
    assert [c.title for c in page.others] == ["KV cache full", "VRAM exhausted"]
    assert [c.title for c in page.ruled_out] == ["Slower new version", "One slow replica"]
    assert [c.title for c in page.not_testable] == ["Connection pool exhausted"]


@pytest.mark.parametrize(
    ("state", "symbol"),
    [(EvidenceState.PRESENT, "✓"), (EvidenceState.ABSENT, "✕"), (EvidenceState.UNKNOWN, "?")],
)
def test_evidence_has_a_symbol_and_a_word_for_each_state(state, symbol):
    """Colour alone says nothing to one man in twelve."""
    root = replace(sample_incident().diagnosis.hypotheses[0], evidence=(Evidence("e", state, "text"),))
    page = shown(with_diagnosis(hypotheses=(root,)))

    clause = page.roots[0].clauses[0]
    assert (clause.symbol, clause.state) == (symbol, state.value)


def test_an_undetermined_incident_leads_with_what_moved_first():
    """No cause is named without support; the earliest movers are the next best thing."""
    page = shown(sample_undetermined())

    assert page.headline == "503 on embed: cause undetermined"
    assert page.movers[0].metric == "http_server_arrival_rate"
    assert page.movers[0].when == "−42 s"
    assert page.roots == page.chain == ()
    assert page.confidence == ""


def test_a_fresh_incident_says_that_the_search_is_on():
    """The first page may be opened two seconds after the first 503."""
    incident = replace(sample_incident(), diagnosis=Diagnosis(DiagnosisStatus.PENDING, FIRST_BAD_S), timeline=())
    page = shown(incident)

    assert page.headline == "503 on chat: cause not yet known"
    assert page.tiles == page.plots == page.movers == ()
    assert page.lead


def test_two_roots_are_both_named():
    """When the rise of load is shared, naming one would be wrong."""
    first = sample_incident().diagnosis.hypotheses[0]
    second = Hypothesis(
        "long_prompt_shift", "Longer prompts", CauseLevel.TRIGGER, Labels.of(service="chat"), "service chat", 0.6,
        Verdict.ROOT, "Work a request explains 45 %.", (), ("Queue grows",),
    )  # fmt: skip
    page = shown(with_diagnosis(hypotheses=(first, second)))

    assert page.headline == "503 on chat: Traffic burst and Longer prompts"
    assert page.confidence == "87 % and 60 %"
    assert [link.title for link in page.chain].count("Queue grows") == 1


def template(distinct: int, title: str = "") -> LogTemplate:
    return LogTemplate("t", "my secret prompt", 7, "benign", LogSeverity.INFO, FIRST_BAD_S, NOW_S, distinct, title)


@pytest.mark.parametrize(
    ("distinct", "title", "text"),
    [
        (19, "", "withheld: seen in fewer than 20 distinct lines"),
        (1, "CUDA out of memory", "CUDA out of memory"),
        (20, "", "my secret prompt"),
    ],
)
def test_a_template_of_few_lines_is_withheld_unless_the_lexicon_can_stand_for_it(distinct, title, text):
    """A template seen once is the raw line, and raw lines hold prompts."""
    page = shown(with_diagnosis(templates=(template(distinct, title),)))

    assert [lines.text for lines in page.templates] == [text]


def test_a_template_shows_its_class_its_values_and_what_is_new_about_it():
    """The code and the class are what people search for."""
    lines = replace(
        template(20), log_class="gpu_hw", values=(("xid", ("79", "31")),),
        news=TemplateNews(NewsKind.NEW, Onset(FIRST_BAD_S - 9, FIRST_BAD_S - 8), 0.0),
    )  # fmt: skip
    more = replace(template(20), news=TemplateNews(NewsKind.MORE, Onset(FIRST_BAD_S - 9, FIRST_BAD_S - 8), 12.3))
    first, second = shown(with_diagnosis(templates=(lines, more))).templates

    assert (first.log_class, first.class_css, first.values) == ("gpu hw", "trouble", "xid 79, 31")
    assert (first.news, second.news, second.class_css) == ("never seen before", "12× as often", "benign")


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "//evil.example", "", "file:///etc/passwd"])
def test_a_runbook_address_that_is_no_web_address_is_not_linked(url):
    """Rules come from files that people share."""
    root = replace(sample_incident().diagnosis.hypotheses[0], runbook_url=url)

    assert shown(with_diagnosis(hypotheses=(root,))).roots[0].runbook_url == ""


def test_zero_is_called_a_failure_when_nobody_saw_a_503():
    """An incident of cut-off answers has no first 503."""
    page = shown(with_diagnosis(impact=Impact(100, 9, 0, 9, (("truncated", 9),))))

    assert page.zero_name == "first failure"
    assert page.chain[-1].title == "Truncated answers"
    assert "first failure" in page.noticed


def test_the_timeline_is_in_order_and_bounded():
    """A flapping alert must not make a page of megabytes."""
    entries = tuple(TimelineEntry(FIRST_BAD_S + i, "alert", f"e{i}") for i in reversed(range(1_000)))
    page = shown(replace(sample_incident(), timeline=entries))

    assert [entry.text for entry in page.timeline] == [f"e{i}" for i in range(800, 1_000)]


def test_a_time_no_calendar_has_does_not_break_the_page():
    """A replica's clock may be broken in the very incident."""
    incident = replace(sample_incident(), timeline=(TimelineEntry(1e30, "event", "x"),))

    assert shown(incident).timeline[0].when.clock == "?"


def test_an_end_before_the_beginning_lasts_no_time_rather_than_less():
    """The wall clock may go back during an incident."""
    incident = replace(sample_incident(resolved=True), resolved_at_s=FIRST_BAD_S - 5)

    assert not shown(incident).lasted.startswith("-")
