"""Symptoms of long windows: they open an incident alone, and neither keep one open nor make a second one."""

from __future__ import annotations

from dataclasses import replace

from aiops.model import Alert, ChangeKind, IncidentState, Labels, Severity
from tests.unit.correlate.test_incidents import T0, Stage, row, symptom


def burns(since_s: float = T0, *, fired_at_s: float | None = None) -> Alert:
    held = symptom(since_s=since_s, severity=Severity.PAGE)
    fired_s = since_s if fired_at_s is None else fired_at_s
    return replace(
        held, rule="ErrorBudgetBurnsHour", labels=Labels.of(service="chat"), lingers=True, fired_at_s=fired_s
    )


def down(since_s: float = T0) -> Alert:
    held = burns(since_s)
    return replace(held, rule="InferenceServerDown", severity=Severity.TICKET)


def slow(since_s: float = T0 - 300) -> Alert:
    return replace(
        symptom(since_s=since_s, severity=Severity.TICKET), rule="UpstreamHeaderTimeHigh",
        labels=Labels.of(service="chat", upstream="a:1"),
    )  # fmt: skip


def test_it_opens_an_incident_that_is_diagnosed_and_resolved():
    """A replica that is down while the others serve: one quiet message with its cause, and a green one."""
    stage = Stage()
    stage.oracle.cause = "engine_crash"

    told = stage.run(60, down())
    assert stage.titles(told) == ["opened engine_crash"]
    assert {n.message.severity for change in told for n in change.notifications} == {Severity.TICKET}
    assert stage.titles(stage.run(30)) == ["resolved engine_crash"]


def test_an_incident_ends_with_what_users_feel_and_none_follows():
    """An hour's window burns for five more minutes; the replica stays down for good."""
    stage = Stage()
    stage.run(20, symptom(), burns(), down())

    assert stage.titles(stage.run(30, burns(), down())) == ["resolved undetermined"]
    assert stage.titles(stage.run(600, burns(), down())) == []


def test_what_comes_to_light_after_the_end_is_of_the_same_fault():
    """The business counts once a minute and fires after five."""
    stage = Stage()
    stage.run(20, symptom())
    stage.run(30)

    assert stage.titles(stage.run(100, burns(since_s=stage.now_s - 5))) == []


def test_long_after_the_end_it_is_a_fault_of_its_own():
    """Another one, and told."""
    stage = Stage()
    stage.run(20, symptom())
    stage.run(600)

    assert stage.titles(stage.run(5, burns(since_s=stage.now_s))) == ["opened pending"]


def test_a_restart_opens_nothing_for_what_was_told_before():
    """Its incident was resolved before the daemon stopped."""
    stage = Stage()

    assert stage.titles(stage.run(100, burns(since_s=T0 - 900))) == []
    assert stage.titles(stage.run(5, symptom(), burns(since_s=T0 - 900))) == ["opened pending"]


def test_a_restart_goes_on_with_an_incident_it_opened():
    """Still down, still one incident."""
    first = Stage()
    opened = first.run(60, down(T0 - 2))
    held = [incident for change in opened for incident in change.incidents][-1]
    second = Stage(restored=[held])
    second.now_s = first.now_s + 120

    assert second.titles(second.run(60, down(T0 - 2))) == []
    assert [n.message.change for change in second.run(30) for n in change.notifications] == [ChangeKind.RESOLVED]


def test_a_quiet_incident_becomes_a_page_at_the_onset_of_what_hurts():
    """The hour's window began to burn at some time; the question stays."""
    stage = Stage()
    stage.run(60, slow())
    anchor_s = stage.oracle.anchors[-1]

    told = stage.run(10, slow(), burns(since_s=stage.now_s))
    assert [n.message.severity for change in told for n in change.notifications] == [Severity.PAGE]
    assert stage.oracle.anchors[-1] == anchor_s


def test_a_latency_of_all_day_hides_no_other_row():
    """While its cause is sought rows are its evidence; after that they are messages again."""
    stage = Stage()
    stage.run(30, slow())
    assert "row" not in stage.titles(stage.run(60, slow(), row("row")))
    stage.run(700, slow(), row("row"))

    assert "later" in stage.titles(stage.run(60, slow(), row("row"), row("later", fired_at_s=stage.now_s)))


def test_a_latency_ends_when_answers_were_last_slow():
    """Not when it was sure that they are fast again."""
    stage = Stage()
    stage.run(60, slow())
    last = replace(slow(), last_breach_s=stage.now_s - 50)
    stage.run(1, last)
    ends = [incident for change in stage.run(40) for incident in change.incidents]

    (end,) = [incident for incident in ends if incident.state is IncidentState.RESOLVED]
    assert end.resolved_at_s == last.last_breach_s
