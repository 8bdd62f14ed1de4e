from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.detect.alerts import AlertBook
from aiops.model import Alert, AlertState, Breach, Labels, Severity
from aiops.rulebook.alerts import AlertRule, Layer

GPU_0, GPU_1 = Labels.of(gpu="0"), Labels.of(gpu="1")
NOW_S = 1_700_000_000.0


def rule(for_s: float = 0.0, keep_s: float = 0.0, alert: str = "GpuMemoryHigh") -> AlertRule:
    return AlertRule(
        alert=alert, layer=Layer.HARDWARE, severity=Severity.TICKET, detector="threshold", summary="", source="",
        for_s=for_s, keep_firing_for_s=keep_s, method=None, place=None,  # type: ignore[arg-type]
    )  # fmt: skip


def breach(labels: Labels = GPU_0, **fields: object) -> Breach:
    return replace(Breach("GpuMemoryHigh", labels, 0.0, 0.95, 0.9, text="GPU 0 is full"), **fields)  # type: ignore[arg-type]


def states(changed: list[Alert] | tuple[Alert, ...]) -> list[AlertState]:
    return [alert.state for alert in changed]


def test_a_rule_without_for_fires_at_once():
    """A symptom must not wait."""
    book = AlertBook([rule()])

    (alert,) = book.step([breach(since_s=NOW_S - 3)], NOW_S)

    assert alert == Alert(
        rule="GpuMemoryHigh", labels=GPU_0, severity=Severity.TICKET, symptom=False, state=AlertState.FIRING,
        since_s=NOW_S - 3, last_breach_s=NOW_S, value=0.95, limit=0.9, summary="GPU 0 is full", fired_at_s=NOW_S,
    )  # fmt: skip
    assert book.firing() == [alert]


def test_an_alert_is_pending_until_for_has_passed():
    """Five busy minutes are a finding, one busy second is none."""
    book = AlertBook([rule(for_s=300)])

    assert states(book.step([breach()], NOW_S)) == [AlertState.PENDING]
    assert book.firing() == []
    for second in range(1, 300):
        assert AlertState.FIRING not in states(book.step([breach()], NOW_S + second))
    (alert,) = book.step([breach()], NOW_S + 300)

    assert (alert.state, alert.since_s, alert.fired_at_s) == (AlertState.FIRING, NOW_S, NOW_S + 300)


def test_a_gap_starts_the_wait_again():
    """`for` means without interruption."""
    book = AlertBook([rule(for_s=10)])
    book.step([breach()], NOW_S)

    (ended,) = book.step([], NOW_S + 9)
    assert (ended.state, ended.fired_at_s) == (AlertState.RESOLVED, None)

    book.step([breach()], NOW_S + 10)
    assert book.step([breach()], NOW_S + 15) == []
    assert states(book.step([breach()], NOW_S + 20)) == [AlertState.FIRING]


def test_a_firing_alert_is_resolved_once_it_was_quiet_for_long_enough():
    """One message when it is over, none for each flicker."""
    book = AlertBook([rule(keep_s=60)])
    book.step([breach()], NOW_S)

    assert book.step([], NOW_S + 1) == []
    assert book.step([], NOW_S + 60) == []
    assert book.step([breach()], NOW_S + 61) == []
    assert book.step([], NOW_S + 62) == []
    assert book.step([], NOW_S + 121) == []
    (ended,) = book.step([], NOW_S + 122)

    assert (ended.state, ended.resolved_at_s) == (AlertState.RESOLVED, NOW_S + 122)
    assert book.firing() == []
    assert book.step([], NOW_S + 123) == []


def test_a_firing_alert_follows_its_value():
    """What people read is what is, not what was when it fired."""
    book = AlertBook([rule()])
    book.step([breach()], NOW_S)

    assert book.step([breach(value=0.99, text="GPU 0 is fuller")], NOW_S + 5) == []

    (alert,) = book.firing()
    assert (alert.value, alert.summary, alert.last_breach_s, alert.fired_at_s) == (
        0.99,
        "GPU 0 is fuller",
        NOW_S + 5,
        NOW_S,
    )


def test_a_value_between_the_limits_keeps_an_alert_but_starts_none():
    """Hysteresis without memory in the detector."""
    book = AlertBook([rule(for_s=10)])

    assert book.step([breach(starts=False)], NOW_S) == []
    book.step([breach()], NOW_S + 1)
    assert states(book.step([breach(starts=False)], NOW_S + 5)) == [AlertState.RESOLVED]
    book.step([breach()], NOW_S + 6)
    book.step([breach()], NOW_S + 16)
    assert book.step([breach(starts=False)], NOW_S + 500) == []

    assert len(book.firing()) == 1


def test_alerts_of_different_labels_live_apart():
    """GPU 0 cooling down does not resolve GPU 1."""
    book = AlertBook([rule()])
    book.step([breach(GPU_0), breach(GPU_1)], NOW_S)

    (ended,) = book.step([breach(GPU_1)], NOW_S + 1)

    assert ended.labels == GPU_0
    assert [alert.labels for alert in book.firing()] == [GPU_1]


def test_a_breach_of_no_known_rule_is_ignored():
    """After a reload a late breach of a removed rule may still arrive."""
    assert AlertBook([rule()]).step([breach(rule="Gone")], NOW_S) == []


# --- restarts ---


def reborn(book: AlertBook, saved: dict[str, Alert], rules: list[AlertRule]) -> AlertBook:
    return AlertBook(rules, [a for a in saved.values() if a.state is not AlertState.RESOLVED])


def save(saved: dict[str, Alert], changed: list[Alert] | tuple[Alert, ...]) -> None:
    saved.update({alert.fingerprint: alert for alert in changed})


def test_waiting_survives_a_restart():
    """A daemon that is restarted every four minutes must still find what lasts five."""
    rules, saved = [rule(for_s=300)], {}
    book = AlertBook(rules)
    for second in range(240):
        save(saved, book.step([breach()], NOW_S + second))
    book = reborn(book, saved, rules)
    for second in range(245, 300):
        assert AlertState.FIRING not in states(book.step([breach()], NOW_S + second))

    (alert,) = book.step([breach()], NOW_S + 300)

    assert (alert.state, alert.since_s) == (AlertState.FIRING, NOW_S)


def test_time_nobody_watched_does_not_count():
    """The daemon was down for an hour; nobody knows whether the GPU was busy meanwhile."""
    rules, saved = [rule(for_s=300)], {}
    book = AlertBook(rules)
    for second in range(60):
        save(saved, book.step([breach()], NOW_S + second))
    book = reborn(book, saved, rules)

    assert AlertState.FIRING not in states(book.step([breach()], NOW_S + 3600))
    fired = [
        second for second in range(3600, 4000) if AlertState.FIRING in states(book.step([breach()], NOW_S + second))
    ]

    assert 3600 + 240 <= fired[0] <= 3600 + 260


def test_a_firing_alert_is_not_resolved_by_the_silence_after_a_restart():
    """The rings are empty: silence says nothing yet."""
    rules, saved = [rule()], {}
    save(saved, AlertBook(rules).step([breach()], NOW_S))
    book = reborn(AlertBook(rules), saved, rules)

    for second in range(5, 30):
        assert book.step([], NOW_S + second) == []
    assert book.step([breach()], NOW_S + 30) == []

    assert [alert.fired_at_s for alert in book.firing()] == [NOW_S]


def test_a_restored_alert_that_stays_silent_is_resolved_after_its_grace():
    """An incident must not hang open for ever because its end was missed."""
    rules, saved = [rule()], {}
    save(saved, AlertBook(rules).step([breach()], NOW_S))
    book = reborn(AlertBook(rules), saved, rules)
    book.step([], NOW_S + 1000)

    assert states(book.step([], NOW_S + 1031)) == [AlertState.RESOLVED]


def test_an_alert_whose_rule_is_gone_is_resolved():
    """Nothing could ever end it otherwise."""
    saved: dict[str, Alert] = {}
    save(saved, AlertBook([rule()]).step([breach()], NOW_S))
    book = reborn(AlertBook([]), saved, [])

    assert states(book.step([], NOW_S + 1)) == [AlertState.RESOLVED]


def test_a_reload_takes_over_what_is_pending_and_firing():
    """SIGHUP with a changed severity: the alert goes on, under the new rule."""
    saved: dict[str, Alert] = {}
    save(saved, AlertBook([rule()]).step([breach()], NOW_S))
    again = reborn(AlertBook([]), saved, [replace(rule(), severity=Severity.PAGE)])

    assert again.step([breach()], NOW_S + 1) == []
    assert [(alert.severity, alert.fired_at_s) for alert in again.firing()] == [(Severity.PAGE, NOW_S)]


def test_a_clock_set_back_neither_fires_nor_freezes_anything():
    """An hour back: waiting starts from the new time, and what ended still ends."""
    book = AlertBook([rule(for_s=10, keep_s=10), rule(alert="Other")])
    book.step([breach(), breach(rule="Other")], NOW_S)
    back_s = NOW_S - 3600

    assert AlertState.FIRING not in states(book.step([breach()], back_s))
    assert states(book.step([breach()], back_s + 10)) == [AlertState.FIRING]
    assert book.step([], back_s + 15) == []
    assert states(book.step([], back_s + 25)) == [AlertState.RESOLVED]


def test_a_broken_rule_cannot_fill_the_memory():
    """A label with a request id in it would be a new alert a second."""
    book = AlertBook([rule()])
    book.step([breach(Labels.of(gpu=str(i))) for i in range(5_000)], NOW_S)

    assert len(book.firing()) == 1_000


@given(
    st.lists(st.tuples(st.floats(0.1, 20.0), st.sampled_from(["none", "holds", "starts", "restart"])), max_size=60),
    st.floats(0.0, 60.0),
    st.floats(0.0, 60.0),
)
def test_no_alert_fires_before_for_and_none_ends_before_keep(
    steps: list[tuple[float, str]], for_s: float, keep_s: float
):
    """Whatever happens, restarts at any moment included."""
    rules, saved, now_s = [rule(for_s=for_s, keep_s=keep_s)], {}, NOW_S
    book = AlertBook(rules)
    began_s: float | None = None
    last_s = NOW_S
    for wait_s, what in steps:
        now_s += wait_s
        if what == "restart":
            book = reborn(book, saved, rules)
            continue
        found = {"none": [], "holds": [breach(starts=False)], "starts": [breach()]}[what]
        was_firing = bool(book.firing())
        changed = book.step(found, now_s)
        save(saved, changed)
        if what == "starts":
            began_s = now_s if began_s is None else began_s
        for alert in changed:
            if alert.state is AlertState.FIRING:
                assert began_s is not None
                assert now_s - began_s >= for_s - 1e-6
                assert what == "starts"
            if alert.state is AlertState.RESOLVED:
                assert not was_firing or now_s - last_s >= keep_s
        if (was_firing and what != "none") or (book.firing() and what == "starts"):
            last_s = now_s
        if all(alert.state is AlertState.RESOLVED for alert in saved.values()):
            began_s = None


@pytest.fixture
def count_commits() -> Callable[[AlertBook, int], int]:
    return lambda book, seconds: sum(bool(book.step([breach()], NOW_S + second)) for second in range(seconds))


def test_waiting_costs_a_commit_every_fifteen_seconds_and_firing_none(count_commits):
    """Each commit is a synchronous write to the disk of a machine that has other work."""
    assert count_commits(AlertBook([rule(for_s=600)]), 600) == 40
    assert count_commits(AlertBook([rule()]), 600) == 1
