from __future__ import annotations

import string
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops import narrative
from aiops.model import (
    AlertState,
    ChangeKind,
    Diagnosis,
    DiagnosisStatus,
    EvidenceState,
    Impact,
    Incident,
    Labels,
    LogSeverity,
    LogTemplate,
    Message,
    Onset,
    Severity,
    Verdict,
    from_json,
    to_json,
)
from aiops.narrative import sentences
from aiops.narrative.message import MAX_PARAGRAPH, MAX_PARAGRAPHS, MAX_TITLE
from aiops.narrative.phrases import _TITLES_ZH, PHRASES, say, span
from tests.sample_incident import FIRST_BAD_S, sample_incident, sample_undetermined

BASE = "http://127.0.0.1:9477/"
LANGUAGES = sorted(PHRASES)


def compose(incident: Incident, change: ChangeKind = ChangeKind.UPDATED, language: str = "en") -> Message:
    return narrative.compose(incident, change, base_url=BASE, language=language)


def text(message: Message) -> str:
    return "\n".join((message.title, *message.paragraphs))


def answered(incident: Incident, **diagnosis: object) -> Incident:
    return replace(incident, diagnosis=replace(incident.diagnosis, **diagnosis))


def on_gpu() -> Incident:
    """GPU memory gone on GPU 1, as the correlator would tell it."""
    incident = sample_incident()
    root = incident.diagnosis.hypotheses[0]
    loud = replace(
        root.evidence[0], text="CUDA out of memory, 312 times.", onset=Onset(FIRST_BAD_S - 75, FIRST_BAD_S - 74)
    )
    vram = replace(
        root, cause="vram_exhaustion", title="GPU memory exhausted", where=Labels.of(gpu="1"), place="GPU 1",
        evidence=(loud, *root.evidence[1:]),
    )  # fmt: skip
    return answered(incident, hypotheses=(vram, *incident.diagnosis.hypotheses[1:]))


# --- both languages -------------------------------------------------------------------------------------------------


def test_every_phrase_is_in_both_languages():
    """A missing phrase is a crash at three in the morning."""
    assert set(PHRASES["en"]) == set(PHRASES["zh"])


@pytest.mark.parametrize("key", sorted(PHRASES["en"]))
def test_both_languages_say_the_same_things(key: str):
    """A placeholder lost in translation is a number nobody gets to see."""

    def names(phrase: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(phrase) if name}

    assert names(PHRASES["en"][key]) == names(PHRASES["zh"][key])


def test_every_phrase_is_used():
    """Words nobody says are words nobody checks."""
    from pathlib import Path

    code = "".join(path.read_text() for path in Path(narrative.__file__).parent.glob("*.py") if path.stem != "phrases")
    built = {f"{stem}.": f'f"{stem}.{{' for stem in ("symptom", "field", "term")} | {
        "impact.by": 'f"impact.{', "impact.felt.": 'f"impact.felt.{',
    }  # fmt: skip
    for key in PHRASES["en"]:
        stem = next((how for prefix, how in built.items() if key.startswith(prefix)), f'"{key}"')
        assert stem in code, key


def test_an_unknown_language_is_english():
    """A message in the wrong language beats none."""
    assert compose(sample_incident(), language="tlh").title == compose(sample_incident()).title


def test_every_shipped_cause_has_a_chinese_title():
    """Half a translated headline is none."""
    from pathlib import Path

    shipped = {path.stem for path in (Path(__file__).parents[2] / "rules" / "causes").glob("*.yaml")}
    assert shipped
    assert shipped <= set(_TITLES_ZH)


def test_durations_are_told_in_the_reader_s_words():
    """Minutes and months must not be mixed up."""
    assert [span(s, "zh") for s in (0.25, 74.0, 300.0, 4_800.0)] == ["250 毫秒", "74 秒", "5 分钟", "1 小时 20 分钟"]
    assert span(4_800.0, "en") == "1 h 20 min"


# --- the message ----------------------------------------------------------------------------------------------------


def test_the_first_line_names_what_users_feel_and_why():
    """On a locked phone only the title shows."""
    assert compose(on_gpu()).title == "503 on chat: GPU memory exhausted on GPU 1"
    assert compose(on_gpu(), language="zh").title == "chat 出现 503：GPU 1 显存耗尽"


def test_the_message_holds_impact_cause_chain_exclusions_and_advice():
    """The five questions of whoever was woken, in the order they are asked."""
    first, cause, chain, apart, advice = compose(on_gpu()).paragraphs[:5]
    assert first == (
        "14 % of requests fail (1,204 of 8,412) since 08:53:20 UTC. "
        "1,180 were answered by the gateway itself, 24 by a replica."
    )
    assert cause == (
        "Cause (87 %): GPU memory exhausted on GPU 1. CUDA out of memory, 312 times (74 s before the first 503). "
        "Arrivals account for 91 % of the rise of load over capacity; work a request for 6 %."
    )
    assert chain == "Chain: GPU memory exhausted → Queue grows → KV cache full → 503."
    assert apart == ("Ruled out: Slower new version, One slow replica. Not testable here: Connection pool exhausted.")
    assert advice.startswith("What to do: Shed load")


def test_a_time_that_the_evidence_tells_itself_is_not_told_twice():
    """The message must fit a phone."""
    cause = compose(sample_incident()).paragraphs[1]
    assert cause.count("42 s before the first 503") == 1


def test_the_strongest_specific_finding_speaks():
    """Of six findings one is shown: the one that would convince."""
    incident = sample_incident()
    root = incident.diagnosis.hypotheses[0]
    weak = replace(root.evidence[0], text="WEAK", log_odds=9.0, specific=False)
    absent = replace(root.evidence[0], text="ABSENT", log_odds=9.0, state=EvidenceState.ABSENT)
    incident = answered(incident, hypotheses=(replace(root, evidence=(absent, weak, *root.evidence)),))
    assert "First attempts rose" in compose(incident).paragraphs[1]


@pytest.mark.parametrize(
    ("onset_s", "told"),
    [
        (-74.0, "74 s before the first 503"),
        (3.0, "3.0 s after the first 503"),
        (0.2, "as the first 503 came"),
        (1.5, "as the first 503 came"),
    ],
)
def test_times_are_told_against_the_first_503(onset_s: float, told: str):
    """What came before it may be the cause; what came after it cannot."""
    incident = sample_incident()
    evidence = replace(
        incident.diagnosis.hypotheses[0].evidence[0],
        text="It moved.",
        onset=Onset(FIRST_BAD_S + onset_s - 1.0, FIRST_BAD_S + onset_s),
    )
    assert sentences.finding(incident, evidence) == f"It moved ({told})."


def test_two_roots_are_both_named():
    """When load rose for two reasons, fixing one will not do."""
    incident = sample_incident()
    one = incident.diagnosis.hypotheses[0]
    other = replace(one, cause="long_prompt_shift", title="Longer prompts", advice="Cap the context.")
    message = compose(answered(incident, hypotheses=(one, other)))
    assert message.title == "503 on chat: Traffic burst and Longer prompts"
    assert [p for p in message.paragraphs if p.startswith("Cause (")][1].startswith("Cause (87 %): Longer prompts.")
    assert any("Cap the context." in p for p in message.paragraphs)


@pytest.mark.parametrize(("language", "told"), [("en", "more work a request"), ("zh", "单个请求的工作量增加")])
def test_a_root_that_holds_only_a_part_says_what_holds_the_rest(language: str, told: str):
    """A burst of longer requests is two things; naming one of them alone hides the other."""
    named = on_gpu()
    root = replace(named.diagnosis.hypotheses[0], beside=("work",))
    shared = answered(named, hypotheses=(root, *named.diagnosis.hypotheses[1:]))

    assert told in text(compose(shared, language=language))
    assert told not in text(compose(named, language=language))


def test_a_first_message_may_say_that_the_cause_is_not_known_yet():
    """Ten seconds earlier is worth more than complete."""
    pending = answered(sample_incident(), status=DiagnosisStatus.PENDING, hypotheses=(), movers=(), notes=())
    message = compose(pending, ChangeKind.OPENED)
    assert message.title == "503 on chat: cause not yet known"
    assert message.paragraphs[1] == "The cause is not known yet; evidence is being collected every second."
    assert len(message.paragraphs) == 2


def test_an_undetermined_incident_says_what_moved_first_and_what_is_closest():
    """No answer is an answer only with something to go on."""
    message = compose(sample_undetermined())
    assert message.title == "503 on embed: cause undetermined"
    assert "Closest: Traffic burst (service chat), 31 %: not enough to name it." in message.paragraphs[1]
    assert message.paragraphs[2].startswith(
        "Moved first: http_server_arrival_rate (chat): 31 → 93 requests a second, 42 s before the first 503; "
    )
    assert "Chain" not in text(message)
    assert "What to do" not in text(message)


def test_what_moved_after_the_first_failure_did_not_move_first():
    """Consequences move too, and more than causes; and three replicas that moved alike are one line."""
    incident = sample_undetermined()
    first, *others = incident.diagnosis.movers
    late = replace(first, series=replace(first.series, metric="hw_power_watts"), onset=Onset(0.0, FIRST_BAD_S + 9))
    told = sentences.movers_sentence(answered(incident, movers=(late, first, first, *others)))
    assert told.startswith("Moved first: http_server_arrival_rate (chat): 31 → 93 requests a second, 42 s before the")
    assert "(and 1 more like it);" in told
    assert "after" not in told
    assert "9.0 s after the first 503" in sentences.movers_sentence(answered(incident, movers=(late,)))
    named = replace(first, text="http_server_arrival_rate (chat): 93, normally 31")
    told = sentences.movers_sentence(answered(incident, movers=(named,)))
    assert told == "Moved first: http_server_arrival_rate (chat): 93, normally 31, 42 s before the first 503."


@pytest.mark.parametrize(
    ("gateway", "upstream", "told"),
    [(9, 0, "All were answered by the gateway itself."), (0, 9, "All were answered by a replica.")],
)
def test_who_answered_is_told_without_zeros(gateway: int, upstream: int, told: str):
    """Who answered decides where to look: at the gateway's limits, or behind it."""
    incident = answered(sample_incident(), impact=Impact(100, 9, gateway, upstream, (("503", 9),)))
    assert sentences.impact_sentence(incident) == f"9.0 % of requests fail (9 of 100) since 08:53:20 UTC. {told}"


def test_a_place_is_told_where_it_helps():
    """The title of a whole service's cause would only repeat the service."""
    root = sample_incident().diagnosis.hypotheses[0]
    replica = replace(root, where=Labels.of(instance="10.0.0.1:80"), place="replica 10.0.0.1:80")
    assert sentences.cause_name(root, known_service="chat") == "Traffic burst"
    assert sentences.cause_name(root, known_service="embed") == "Traffic burst (service chat)"
    assert sentences.cause_name(replica, known_service="chat") == "Traffic burst (replica 10.0.0.1:80)"


def test_a_hypothesis_with_hardly_any_support_is_not_told_as_closest():
    """Three per cent is a wrong lead."""
    incident = sample_undetermined()
    low = tuple(replace(h, probability=0.03) for h in incident.diagnosis.hypotheses)
    assert "Closest" not in text(compose(answered(incident, hypotheses=low)))


def test_without_counts_the_message_invents_none():
    """Zero of zero requests is not a share."""
    message = compose(answered(sample_incident(), impact=Impact(0, 0, 0, 0)))
    assert message.paragraphs[0] == "Requests fail since 08:53:20 UTC."
    assert "Failing" not in dict(message.fields)


def test_other_symptoms_are_called_by_their_name():
    """Calling a 429 a 503 sends people to the wrong page."""
    incident = answered(sample_incident(), impact=Impact(100, 50, 50, 0, (("429", 50),)))
    assert compose(incident).title.startswith("429 on chat:")
    assert sentences.chain_sentence(incident).endswith("→ 429.")
    evidence = replace(incident.diagnosis.hypotheses[0].evidence[0], text="It moved.")
    assert sentences.finding(incident, evidence) == "It moved (42 s before the first failure)."
    odd = replace(answered(sample_incident(), impact=Impact(100, 50, 50, 0, (("418", 50),))), symptoms=())
    assert compose(odd).title.startswith("Failing requests on chat:")


def test_the_resolve_tells_how_long_how_many_and_why():
    """It is read next morning by somebody who was asleep."""
    message = compose(sample_incident(resolved=True), ChangeKind.RESOLVED)
    assert message.title == "Resolved: 503 on chat (Traffic burst)"
    assert message.paragraphs[0] == (
        "It lasted 4 min, from 08:53:20 UTC to 08:57:36 UTC: 1,204 of 8,412 requests failed."
    )
    assert message.paragraphs[1].startswith("Cause (87 %): Traffic burst.")
    assert "What to do" not in text(message)
    unknown = compose(sample_undetermined(), ChangeKind.RESOLVED)
    assert unknown.title == "Resolved: 503 on embed"
    assert "The cause stayed undetermined." in unknown.paragraphs


def test_facts_for_machines_are_numbers_and_never_translated():
    """A script must not parse prose."""
    english, chinese = compose(on_gpu()), compose(on_gpu(), language="zh")
    assert dict(english.facts) == {
        "incident": "20251009-085320-chat", "state": "open", "diagnosis": "named", "service": "chat", "symptom": "503",
        "cause": "vram_exhaustion", "place": "GPU 1", "probability": "0.8700", "opened_at": "1760000002.000",
        "first_bad_at": "1760000000.000",
    }  # fmt: skip
    assert english.facts == chinese.facts
    resolved = dict(compose(sample_incident(resolved=True), ChangeKind.RESOLVED).facts)
    assert (resolved["state"], resolved["resolved_at"]) == ("resolved", "1760000256.000")


def test_the_message_links_to_the_page_and_the_runbook():
    """The charts are one tap away."""
    message = compose(sample_incident())
    assert message.url == "http://127.0.0.1:9477/incidents/20251009-085320-chat"
    assert message.runbook_url == "https://runbooks.example.org/traffic-burst"
    assert narrative.compose(sample_incident(), ChangeKind.OPENED, base_url="").url == ""


def test_severity_is_that_of_the_worst_symptom():
    """A page stays a page when a lesser symptom joins."""
    incident = sample_incident()
    quiet = replace(incident.symptoms[0], severity=Severity.TICKET)
    assert compose(replace(incident, symptoms=(quiet, *incident.symptoms))).severity is Severity.PAGE
    assert compose(replace(incident, symptoms=(quiet,))).severity is Severity.TICKET


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_message_survives_the_outbox(language: str):
    """It is stored as JSON before it is sent."""
    message = compose(sample_incident(), language=language)
    assert from_json(to_json(message), Message) == message


# --- quiet rows -----------------------------------------------------------------------------------------------------


def test_quiet_alerts_share_one_message():
    """Ten rows are one message, or nobody reads them."""
    alert = replace(sample_incident().symptoms[0], severity=Severity.TICKET, summary="GPU 1 is at 91 °C.")
    other = replace(alert, rule="P99High", summary="P99 is 0.8 s")
    message = narrative.compose_tickets([alert, other], base_url=BASE)
    assert message.title == "2 quiet alerts: GPU 1 is at 91 °C."
    assert message.paragraphs == ("GPU 1 is at 91 °C (since 08:53:20 UTC)", "P99 is 0.8 s (since 08:53:20 UTC)")
    assert (message.severity, message.change, message.url) == (Severity.TICKET, ChangeKind.TICKET, BASE)
    over = narrative.compose_tickets([replace(alert, state=AlertState.RESOLVED)], base_url="", language="zh")
    assert over.title == "低优先级告警已恢复：GPU 1 is at 91 °C."
    many = narrative.compose_tickets([replace(alert, rule=f"Rule{n}") for n in range(30)], base_url="")
    assert many.paragraphs[-1] == "And 22 more on the page."


# --- what must not leave --------------------------------------------------------------------------------------------

CANARY = "my-diagnosis-is-canary-7f3a"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("change", list(ChangeKind))
@pytest.mark.parametrize("make", [sample_incident, sample_undetermined, on_gpu])
def test_no_log_text_reaches_a_message(make, change: ChangeKind, language: str):
    """A template seen in fewer than 20 distinct lines is somebody's prompt."""
    templates = tuple(
        LogTemplate(f"t{n}", f"user said {CANARY}", n, "benign", LogSeverity.INFO, 0.0, 1.0, n, title)
        for n, title in ((1, ""), (19, "A title"), (20, ""))
    )
    message = compose(answered(make(), templates=templates), change, language)
    assert CANARY not in to_json(message).decode()


label = st.text(max_size=300)


@settings(max_examples=25, deadline=None)
@given(
    service=label,
    title=label,
    place=label,
    found=label,
    advice=label,
    note=label,
    cause=label,
    at_s=st.floats(allow_nan=False, allow_infinity=False),
)
def test_hostile_text_stays_one_bounded_printable_line(
    service: str, title: str, place: str, found: str, advice: str, note: str, cause: str, at_s: float
):
    """Labels come from other people's pages: they must not forge a second line or break a vendor's limit."""
    incident = replace(sample_incident(), service=service, first_bad_s=at_s)
    root = incident.diagnosis.hypotheses[0]
    evidence = replace(root.evidence[0], text=found * 20)
    root = replace(
        root, cause=cause, title=title, place=place, advice=advice * 20, evidence=(evidence,), leads_to=(title,) * 9
    )
    others = [replace(root, title=f"{title}{n}", verdict=Verdict.RULED_OUT) for n in range(40)]
    incident = answered(incident, hypotheses=(root, *others), notes=(note,) * 3)
    for change in (ChangeKind.OPENED, ChangeKind.RESOLVED):
        for language in LANGUAGES:
            message = compose(incident, change, language)
            assert len(message.title) <= MAX_TITLE
            assert len(message.paragraphs) <= MAX_PARAGRAPHS
            assert all(p.isprintable() and len(p) <= MAX_PARAGRAPH for p in message.paragraphs)
            assert all(value.isprintable() and len(value) <= 120 for _, value in (*message.fields, *message.facts))
            assert from_json(to_json(message), Message) == message


def test_a_long_message_still_fits_a_phone():
    """Everything at its worst is still a few screens, not a book."""
    message = compose(on_gpu())
    assert len(text(message)) < 1_200


def test_from_memory_adds_its_warning_in_the_language_of_the_message():
    """The last sentence says why the next message may be missing."""
    for language, words in (("en", "could not save"), ("zh", "无法保存状态")):
        message = narrative.from_memory(compose(sample_incident(), language=language))
        assert words in message.paragraphs[-1]


def test_an_empty_diagnosis_has_words_for_everything():
    """The first second of an incident knows nothing."""
    empty = replace(
        sample_incident(), diagnosis=Diagnosis(DiagnosisStatus.PENDING, FIRST_BAD_S), symptoms=(), service=""
    )
    assert compose(empty).title == "Failing requests on this node: cause not yet known"
    assert sentences.ruled_out_sentence(empty.diagnosis) == ""
    assert sentences.movers_sentence(empty) == ""
    assert say("en", "service.unknown") == "this node"
