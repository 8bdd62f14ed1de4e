"""Incidents: opened at once, answered once, resolved once, and continued after a restart."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from aiops.correlate.beliefs import Beliefs
from aiops.correlate.incidents import IncidentDesk, incident_id
from aiops.correlate.tempo import Tempo
from aiops.model import (
    Alert,
    AlertState,
    CauseLevel,
    ChangeKind,
    ChangeSet,
    Diagnosis,
    DiagnosisStatus,
    Event,
    EventKind,
    Hypothesis,
    Incident,
    IncidentState,
    Labels,
    Message,
    Severity,
    Spoken,
    Tally,
    Verdict,
    from_json,
    to_json,
)
from aiops.model.judging import Said, judge
from aiops.selfstat import SelfStat
from tests.fakes import FakeEvents, FakeSeries

T0 = 1_795_467_901.0  # 2026-11-23T21:05:01Z


def symptom(
    service: str = "chat", *, since_s: float = T0 - 4, severity: Severity = Severity.PAGE, outcome="503"
) -> Alert:
    return Alert(
        rule=f"Symptom{outcome}", labels=Labels.of(service=service, outcome=outcome), severity=severity, symptom=True,
        state=AlertState.FIRING, since_s=since_s, last_breach_s=T0, value=0.2, limit=0.01, summary="503 on 20 %",
        fired_at_s=T0,
    )  # fmt: skip


def row(rule: str = "GpuMemoryHigh", *, fired_at_s: float = T0, severity: Severity = Severity.TICKET) -> Alert:
    return replace(
        symptom(), rule=rule, symptom=False, severity=severity, labels=Labels.of(gpu="1"), fired_at_s=fired_at_s
    )


def hypothesis(cause: str, place: str = "GPU 1") -> Hypothesis:
    return Hypothesis(
        cause, cause.title(), CauseLevel.FAULT, Labels.of(place=place), place, 0.9, Verdict.ROOT, "because", ()
    )


class Oracle:
    """A diagnosis as told."""

    def __init__(self) -> None:
        self.cause = ""
        self.asked: list[tuple[float, bool]] = []
        self.anchors: list[float] = []
        self.broken = False

    def __call__(self, context, now_s, thorough, movers) -> Diagnosis:
        self.asked.append((now_s, thorough))
        self.anchors.append(context.first_bad_s)
        if self.broken:
            raise ZeroDivisionError
        status = DiagnosisStatus.NAMED if self.cause else DiagnosisStatus.PENDING
        return Diagnosis(status, now_s, (hypothesis(self.cause),) if self.cause else ())


class Stage:
    """A desk, its oracle, and the clock."""

    def __init__(self, *, restored=(), receivers=(("chat", frozenset(Severity)),), events=(), oracle=None) -> None:
        self.oracle = oracle or Oracle()
        self.now_s = T0
        self.series, self.stat = FakeSeries(), SelfStat(CollectorRegistry())
        self.desk = IncidentDesk(
            ask=self.oracle, beliefs=Beliefs((), Tally()), series=self.series, events=FakeEvents(events), compose=self._compose,
            compose_tickets=lambda rows: Message(ChangeKind.TICKET, Severity.TICKET, " ".join(r.rule for r in rows), ()),
            receivers=receivers, restored=restored, stat=self.stat, tempo=Tempo(),
        )  # fmt: skip

    @staticmethod
    def _compose(incident: Incident, change: ChangeKind) -> Message:
        named = ",".join(h.cause for h in incident.diagnosis.roots) or incident.diagnosis.status.value
        severity = Severity.PAGE if any(a.severity is Severity.PAGE for a in incident.symptoms) else Severity.TICKET
        return Message(change, severity, f"{change.value} {named}", ())

    def run(self, seconds: int, *firing: Alert) -> list[ChangeSet]:
        changes = []
        for _ in range(seconds):
            changes.append(self.desk.step(firing, self.now_s))
            self.now_s += 1.0
        return changes

    def titles(self, changes: list[ChangeSet]) -> list[str]:
        return [n.message.title for change in changes for n in change.notifications]


def test_the_first_message_does_not_wait_for_the_cause():
    """Seconds count: a page that says "not yet known" beats one that comes a minute later."""
    stage = Stage()

    change, *later = stage.run(3, symptom())

    assert stage.titles([change]) == [], "held for a moment: a message that names the cause beats two a second apart"
    assert stage.titles(later) == ["opened pending"]
    (incident,) = change.incidents
    assert incident.first_bad_s == T0 - 4
    assert incident.state is IncidentState.OPEN


def test_a_cause_is_told_once_when_it_led_twice():
    """One look can err; after that, silence until the answer changes."""
    stage = Stage()
    stage.oracle.cause = "vram_exhaustion"

    assert stage.titles(stage.run(60, symptom())) == ["opened vram_exhaustion"]


def test_a_cause_found_after_the_first_message_is_told_as_an_update():
    """The first message said "not yet known"; the same incident now says more."""
    stage = Stage()
    opened = stage.run(5, symptom())
    stage.oracle.cause = "vram_exhaustion"

    assert stage.titles(opened) == ["opened pending"]
    assert stage.titles(stage.run(60, symptom())) == ["updated vram_exhaustion"]


def test_a_flicker_is_not_told():
    """Evidence ages while an incident goes on; a named cause stays until another one leads."""
    stage = Stage()
    stage.oracle.cause = "vram_exhaustion"
    stage.run(10, symptom())
    stage.oracle.cause = ""
    quiet = stage.run(20, symptom())
    stage.oracle.cause = "slow_node"
    brief = stage.run(9, symptom())  # two looks, as a named incident is looked at every 5 s

    assert stage.titles(quiet + brief) == []


def test_another_answer_is_told_when_it_lasts():
    """The first answer was wrong; people must hear it."""
    stage = Stage()
    stage.oracle.cause = "vram_exhaustion"
    stage.run(10, symptom())
    stage.oracle.cause = "slow_node"

    assert stage.titles(stage.run(30, symptom())) == ["updated slow_node"]


def test_without_a_clear_lead_it_ends_undetermined_and_may_be_named_later():
    """Saying "nothing leads" is an answer too."""
    stage = Stage()
    before = stage.run(22, symptom())
    given_up = stage.run(3, symptom())
    stage.oracle.cause = "slow_node"
    later = stage.run(11, symptom())

    assert stage.titles(before) == ["opened pending"]
    assert stage.titles(given_up) == ["updated undetermined"]
    assert stage.titles(later) == ["updated slow_node"]


def test_a_spike_that_was_noticed_late_is_answered_in_time_all_the_same():
    """Few bad answers take long to be noticed, and whoever is paged counts from when users were hurt."""
    late, soon = Stage(), Stage()
    before = late.run(14, symptom(since_s=T0 - 14))
    given_up = late.run(1, symptom(since_s=T0 - 14))

    assert late.titles(before) == ["opened pending"]
    assert late.titles(given_up) == ["updated undetermined"]
    assert late.now_s - 1 - (T0 - 14) == 28
    assert soon.titles(soon.run(13, symptom(since_s=T0 - 60))) == ["opened pending"], "causes are sought for a while"


def test_it_is_resolved_once_after_the_symptoms_stayed_away():
    """Green too early and red again is worse than green a little later."""
    stage = Stage()
    stage.run(5, symptom())
    pause = stage.run(10)
    again = stage.run(5, symptom())
    gone = stage.run(21)
    after = stage.run(30)

    assert stage.titles(pause + again) == []
    assert stage.titles(gone) == ["resolved undetermined"]
    assert gone[-1].incidents[0].state is IncidentState.RESOLVED
    assert gone[-1].incidents[0].resolved_at_s == stage.now_s - 31
    assert after == [ChangeSet()] * 30


def test_a_spike_after_the_resolve_is_a_new_incident():
    """Its cause may be another."""
    stage = Stage()
    (first,) = stage.run(1, symptom())
    stage.run(25)
    (second,) = stage.run(1, symptom(since_s=stage.now_s - 3))

    assert first.incidents[0].id != second.incidents[0].id


def test_services_have_incidents_of_their_own():
    """Symptoms of one service belong together, others do not."""
    stage = Stage()

    (change,) = stage.run(1, symptom("chat"), symptom("chat", outcome="5xx"), symptom("search"))

    assert sorted(i.service for i in change.incidents) == ["chat", "search"]
    assert len(change.incidents[0].symptoms) == 2


def test_keys_tell_incident_change_revision_and_receiver():
    """A receiver that gets a copy after a crash can drop it."""
    stage = Stage(receivers=(("a", frozenset({Severity.PAGE})), ("b", frozenset(Severity))))
    stage.oracle.cause = "x"
    changes = stage.run(3, symptom())
    stage.oracle.cause = "y"
    changes += stage.run(20, symptom()) + stage.run(25)

    name = changes[0].incidents[0].id
    assert [n.key for c in changes for n in c.notifications] == [
        f"{name}:opened:1:a", f"{name}:opened:1:b", f"{name}:updated:2:a", f"{name}:updated:2:b",
        f"{name}:resolved:3:a", f"{name}:resolved:3:b",
    ]  # fmt: skip


def test_receivers_get_only_the_severities_they_want():
    """A page wakes the pager, not the quiet channel."""
    stage = Stage(receivers=(("quiet", frozenset({Severity.TICKET})),))

    assert stage.titles(stage.run(3, symptom())) == []


def test_the_same_time_and_service_give_the_same_id():
    """An evaluation repeated after a crash must not make a second incident."""
    assert incident_id("chat", T0 - 4, T0) == incident_id("chat", T0 - 4, T0)
    assert incident_id("chat", T0 - 4, T0).startswith("inc-20261123T210501Z-")
    assert incident_id("chat", T0 - 4, T0) != incident_id("search", T0 - 4, T0)


@pytest.mark.parametrize("died_after", [1, 2, 30, 50])
def test_a_restart_announces_nothing_twice_and_still_resolves(died_after):
    """kill -9 at any moment: the committed incident goes on where it stood."""
    first = Stage()
    first.oracle.cause = "vram_exhaustion" if died_after != 50 else ""
    committed = [incident for c in first.run(died_after, symptom()) for incident in c.incidents][-1]
    reread = from_json(to_json(committed), Incident)

    second = Stage(restored=[reread], oracle=first.oracle)
    second.now_s = first.now_s + 3
    goes_on = second.run(10, symptom())
    ends = second.run(25)

    told = second.titles(goes_on)
    owed = ["opened pending", "updated vram_exhaustion"]  # nobody was told before, and the hold is long over
    assert told == (owed if died_after == 1 else [])
    assert [t.split()[0] for t in second.titles(ends)] == ["resolved"]
    assert ends[20].incidents[0].id == committed.id
    revisions = [n.key.split(":")[2] for c in goes_on + ends for n in c.notifications]
    assert all(int(revision) > committed.revision for revision in revisions)


def test_an_open_incident_is_saved_only_when_a_person_could_see_a_difference():
    """A commit costs a sync of the disk; seconds in which nothing happened are not worth one."""
    stage = Stage()
    stage.run(1, symptom())
    quiet = stage.run(40, symptom())

    assert sum(bool(change.incidents) for change in quiet) <= 4, (
        "it opened, was given up, and every quarter of a minute"
    )


def test_collectors_hurry_longer_while_no_cause_is_named():
    """What is given up may still be found; once it is named, the next readings show what else there is to see."""
    unknown, known = Stage(), Stage()
    known.oracle.cause = "slow_node"

    def doubts(stage: Stage) -> list[bool]:
        return [stage.desk.in_doubt(stage.now_s) for _ in range(60) if stage.run(1, symptom())]

    assert sum(doubts(unknown)) == 44
    assert sum(doubts(known)) == 9


def test_a_diagnosis_that_fails_does_not_keep_the_page_from_going_out():
    """Odd data in one clause is our problem, not a reason for silence."""
    stage = Stage()
    stage.oracle.broken = True

    assert stage.titles(stage.run(5, symptom())) == ["opened pending"]
    errors = stage.stat.registry.get_sample_value("aiops_internal_errors_total", {"where": "diagnose"})
    assert errors == len(stage.oracle.asked) > 1, "said once, counted every time"


def test_looks_are_frequent_until_named_and_end_when_the_rings_forget():
    """A diagnosis costs milliseconds, which a long incident must not spend for ever."""
    stage = Stage()
    stage.oracle.cause = "x"
    stage.run(700, symptom())

    asked = [at for at, _ in stage.oracle.asked]
    assert asked[:3] == [T0, T0 + 1, T0 + 6]
    assert max(asked) <= T0 - 4 + 601
    assert sum(thorough for _, thorough in stage.oracle.asked) < 50


def test_the_timeline_tells_symptom_change_alert_answer_and_messages():
    """What the morning after asks for."""
    deploy = Event(EventKind.CHANGE, "deploy", T0 - 60, Labels.of(service="chat", version="2\x1b[31m"), "by somebody")
    stage = Stage(events=[deploy])
    stage.oracle.cause = "slow_node"
    last = [i for c in stage.run(5, symptom(), row()) for i in c.incidents][-1]

    lines = [(entry.kind, entry.text) for entry in last.timeline]
    assert lines[0] == ("event", "change: deploy (service chat, version 2·[31m)")
    assert ("symptom", "503 on 20 %") in lines
    assert ("alert", "GpuMemoryHigh: 503 on 20 %") in lines
    assert ("diagnosis", "Cause named: Slow_Node (GPU 1).") in lines
    assert [text for kind, text in lines if kind == "notification"] == ["Message sent: incident opened."]
    assert list(last.timeline) == sorted(last.timeline, key=lambda entry: entry.at_s)


def test_impact_is_counted_since_the_first_bad_second_and_survives_a_restart():
    """Blast radius is what management asks for; a restart must not make it smaller."""
    stage = Stage()
    ok, bad = (
        Labels.of(service="chat", outcome=outcome, answered_by="upstream", upstream="a:1") for outcome in ("ok", "503")
    )
    for at in range(-30, 60):
        stage.series.put("http_server_requests_total", ok, {T0 + at: 1000.0 + 10 * at})
        stage.series.put("http_server_requests_total", bad, {T0 + at: 2.0 * max(at + 4, 0)})
    last = [i for c in stage.run(20, symptom()) for i in c.incidents][-1]
    seconds = last.updated_at_s - (T0 - 4)

    assert (last.diagnosis.impact.requests, last.diagnosis.impact.failed) == (12 * seconds, 2 * seconds)
    assert last.diagnosis.impact.outcomes == (("503", 2 * seconds),)

    again = Stage(restored=[last], oracle=stage.oracle)
    again.series.held = stage.series.held
    again.now_s = last.updated_at_s + 10
    resumed = [i for c in again.run(25, symptom()) for i in c.incidents][-1]
    assert resumed.diagnosis.impact.failed == 2 * (resumed.updated_at_s - (T0 - 4))


def test_a_quiet_incident_that_becomes_a_page_is_told_to_the_pager():
    """Clients hanging up woke nobody; 503s half an hour later must, and have an onset of their own."""
    stage = Stage(receivers=(("pager", frozenset({Severity.PAGE})),))
    quiet = symptom(outcome="499", severity=Severity.TICKET)
    stage.run(700, quiet)
    looked = len(stage.oracle.asked)
    loud = stage.run(3, quiet, symptom(since_s=stage.now_s - 3))

    assert stage.titles(loud)[0].startswith("updated")
    assert len(stage.oracle.asked) > looked, "the new spike is diagnosed, though the old onset is long forgotten"


def test_a_page_that_joins_an_old_incident_is_diagnosed_and_the_answer_told():
    """Eleven minutes into one fault another kind of failure begins: the first answer does not explain it."""
    stage = Stage()
    stage.oracle.cause = "slow_node"
    stage.run(660, symptom())
    looked = len(stage.oracle.asked)
    stage.oracle.cause = "vram_exhaustion"
    since_s = stage.now_s - 3
    joined = stage.run(30, symptom(), symptom(outcome="5xx", since_s=since_s))

    assert len(stage.oracle.asked) > looked
    assert stage.oracle.anchors[-1] == since_s, "asked about the new onset, which the rings still hold"
    assert stage.titles(joined) == ["updated vram_exhaustion"]


def test_a_page_that_joins_within_minutes_belongs_to_the_same_question():
    """Clients that time out a while after the first 503 are the same spike; its onset must not be lost."""
    stage = Stage()
    stage.run(120, symptom())
    stage.run(30, symptom(), symptom(outcome="5xx", since_s=stage.now_s - 3))

    assert set(stage.oracle.anchors) == {T0 - 4}


def test_a_symptom_that_goes_on_is_not_asked_about_for_ever():
    """Only a new symptom opens the question again, not one that keeps firing."""
    stage = Stage()
    stage.run(1300, symptom(), symptom(outcome="5xx"))

    assert max(at for at, _ in stage.oracle.asked) <= T0 - 4 + 601


# --- quiet messages -------------------------------------------------------------------------------------------------


def test_rows_are_gathered_into_one_quiet_message():
    """A card that is hot, busy and full is one look, not three messages."""
    stage = Stage()

    changes = stage.run(40, row("A"), row("B"))

    assert stage.titles(changes) == ["A B"]
    assert [n.subject for c in changes for n in c.notifications] == ["tickets"]


def test_at_most_one_quiet_message_in_five_minutes():
    """Quiet means quiet."""
    stage = Stage()
    stage.run(40, row("A"))

    assert stage.titles(stage.run(200, row("A"), row("B", fired_at_s=T0 + 40))) == []
    assert stage.titles(stage.run(200, row("A"), row("B", fired_at_s=T0 + 40))) == ["B"]


def test_rows_of_an_open_incident_are_evidence_and_not_messages():
    """During an incident people have one thread to read."""
    stage = Stage()
    during = stage.run(60, symptom(), row("A"))
    after = stage.run(400, row("A"))

    assert not any("A" in title for title in stage.titles(during + after))


def test_rows_told_before_a_restart_are_not_told_again():
    """A restart is no news."""
    stage = Stage()

    assert stage.titles(stage.run(100, row("A", fired_at_s=T0 - 3600))) == []


def test_a_page_that_is_no_symptom_is_told_at_once():
    """A lost driver does not wait for company."""
    stage = Stage()

    assert stage.titles(stage.run(2, row("GpuDriverHung", severity=Severity.PAGE))) == ["GpuDriverHung"]


# --- what people say ------------------------------------------------------------------------------------------------


def word(incident: Incident, said: Said, cause: str = "") -> Spoken:
    return Spoken(incident, judge(incident, said, cause, T0 + 30, {"vram_exhaustion", "slow_node", "vram_leak"}))


def judged_while_open(said: Said, cause: str = "") -> tuple[Stage, Incident]:
    """An open incident of which somebody says something."""
    stage = Stage()
    stage.oracle.cause = "vram_exhaustion"
    opened = [incident for change in stage.run(10, symptom()) for incident in change.incidents][-1]
    change = stage.desk.step([symptom()], stage.now_s, [word(opened, said, cause)])
    (saved,) = change.incidents
    return stage, saved


def test_a_word_on_an_open_incident_is_saved_with_it_and_stays():
    """What the desk saves next must not overwrite it."""
    stage, saved = judged_while_open(Said.REJECT, "vram_leak")

    assert saved.judgement is not None
    assert [entry.kind for entry in saved.timeline].count("person") == 1
    later = [incident for change in stage.run(30, symptom()) for incident in change.incidents]
    assert later
    assert all(incident.judgement == saved.judgement for incident in later)
    assert from_json(to_json(later[-1]), Incident) == later[-1]
    assert stage.desk.tally.counted("vram_leak") == (1, 1)


def test_a_confirmed_answer_stands():
    """A person knows; the traces of a fault fade, and another answer would only be noise."""
    stage, _ = judged_while_open(Said.CONFIRM)
    stage.oracle.cause = "slow_node"

    assert stage.titles(stage.run(60, symptom())) == []


def test_a_rejected_answer_may_still_give_way_to_another():
    """It was wrong, so the search goes on."""
    stage, _ = judged_while_open(Said.REJECT)
    stage.oracle.cause = "slow_node"

    assert stage.titles(stage.run(60, symptom())) == ["updated slow_node"]


def test_a_word_on_a_resolved_incident_is_saved_and_the_last_one_counts():
    """Most words come after the night, from who wrote the report."""
    stage, saved = judged_while_open(Said.CONFIRM)
    over = replace(saved, state=IncidentState.RESOLVED, id="inc-old", judgement=None)
    spoken = [word(over, Said.CONFIRM), word(over, Said.REJECT, "vram_leak")]
    held = [i for i in stage.desk.step([symptom()], stage.now_s, spoken).incidents if i.id == "inc-old"]

    assert [incident.judgement.causes for incident in held] == [("vram_leak",)]
    assert [entry.kind for entry in held[0].timeline].count("person") == 3
    assert (stage.desk.tally.confirmed, stage.desk.tally.rejected) == (1, 1)


def test_a_word_on_an_incident_that_was_just_resolved_is_not_heard():
    """What was read of it says that it is open; saved, that would open it again."""
    stage, saved = judged_while_open(Said.CONFIRM)
    gone = replace(saved, id="inc-gone")

    change = stage.desk.step([symptom()], stage.now_s, [word(gone, Said.REJECT)])

    assert [incident.id for incident in change.incidents if incident.id == "inc-gone"] == []
    assert stage.desk.tally.rejected == 0
