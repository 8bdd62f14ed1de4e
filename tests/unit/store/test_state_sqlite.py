from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiops.errors import StateError
from aiops.model import AlertState, ChangeSet, Event, EventKind, IncidentState, Judgement, Labels, Sample, Word
from aiops.store.state_sqlite import StateSqlite
from tests.unit.store.builders import alert, deploy, incident, notification

DAY_S = 86_400.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "state.db"


@pytest.fixture
def state(path: Path) -> Iterator[StateSqlite]:
    opened = StateSqlite(path, now_s=100.0)
    yield opened
    opened.close()


def reopened(state: StateSqlite, path: Path, now_s: float = 200.0) -> StateSqlite:
    state.close()
    return StateSqlite(path, now_s=now_s)


# --- alerts and incidents -------------------------------------------------------------------------------------------


def test_what_was_committed_is_there_after_a_restart(state: StateSqlite, path: Path):
    """The alert's `for` clock, the open incident and the unsent page all survive."""
    state.commit(ChangeSet((alert(),), (incident(),), (notification(),), (deploy(),)))

    again = reopened(state, path)

    assert again.alerts() == [alert()]
    assert again.open_incidents() == [incident()]
    assert again.incident("i1") == incident()
    assert again.events(0.0, 100.0) == [deploy()]
    assert again.claim(200.0, 60.0, 10) == [notification()]
    again.close()


def test_an_alert_is_one_row_and_a_resolved_one_is_none(state: StateSqlite):
    """Identity is rule and labels; a resolved alert must not fire again after a restart."""
    state.commit(ChangeSet(alerts=(alert(value=0.1), alert("Other"))))
    state.commit(ChangeSet(alerts=(alert(value=0.9), alert("Other", AlertState.RESOLVED))))

    assert state.alerts() == [alert(value=0.9)]


def test_the_list_of_incidents_is_newest_first_and_without_charts(state: StateSqlite):
    """A list of a hundred incidents must not load a hundred sets of charts."""
    state.commit(ChangeSet(incidents=(incident("old", opened_at_s=1.0), incident("new", opened_at_s=2.0))))

    listed = state.incidents()

    assert [i.id for i in listed] == ["new", "old"]
    assert [(i.diagnosis.charts, i.diagnosis.templates) for i in listed] == [((), ()), ((), ())]
    assert [i.id for i in state.incidents(limit=1)] == ["new"]
    whole = state.incident("new")
    assert whole is not None
    assert whole.diagnosis.charts
    assert whole.diagnosis.templates


def test_a_resolved_incident_is_kept_but_not_open(state: StateSqlite):
    """People read it tomorrow; the correlator must not take it up again."""
    state.commit(ChangeSet(incidents=(incident(),)))
    state.commit(ChangeSet(incidents=(incident(state=IncidentState.RESOLVED),)))

    assert state.open_incidents() == []
    assert len(state.incidents()) == 1
    assert state.incident("nobody") is None


def test_a_failing_part_undoes_the_whole_commit(state: StateSqlite):
    """An incident without its message, or the reverse, is what one transaction exists to prevent."""
    unsavable = replace(notification(), created_at_s=None)  # type: ignore[arg-type]

    with pytest.raises(StateError):
        state.commit(ChangeSet((alert(),), (incident(),), (notification(), unsavable)))

    assert state.alerts() == []
    assert state.incidents() == []
    assert state.waiting_count() == 0
    state.commit(ChangeSet(incidents=(incident(),)))
    assert len(state.incidents()) == 1


def test_text_that_is_no_unicode_is_saved_all_the_same(state: StateSqlite):
    """Labels may come from file names; one odd byte must not cost the page."""
    odd = incident(service="chat\udc80")
    state.commit(ChangeSet((replace(alert(), summary="a\udcff"),), (odd,)))

    assert [i.service for i in state.open_incidents()] == ["chat?"]
    assert [a.summary for a in state.alerts()] == ["a?"]


def test_a_row_this_version_cannot_read_does_not_stop_the_rest(state: StateSqlite, path: Path):
    """One odd document must not cost the other incidents."""
    state.commit(ChangeSet(incidents=(incident("good"), incident("bad"))))
    with sqlite3.connect(path) as connection:
        connection.execute("""UPDATE incidents SET document = '{"id": 7}' WHERE id = 'bad'""")

    assert [i.id for i in state.open_incidents()] == ["good"]
    assert state.incident("bad") is None


# --- outbox ---------------------------------------------------------------------------------------------------------


def test_a_claimed_notification_is_not_claimed_again_within_its_lease(state: StateSqlite):
    """Two dispatch rounds at once must not send the page twice."""
    state.commit(ChangeSet(notifications=(notification(),)))

    assert len(state.claim(100.0, 60.0, 10)) == 1
    assert state.claim(159.9, 60.0, 10) == []
    assert len(state.claim(160.0, 60.0, 10)) == 1


def test_the_same_key_is_taken_once(state: StateSqlite):
    """The correlator may compose the same change again after a restart."""
    state.commit(ChangeSet(notifications=(notification(),)))
    state.commit(ChangeSet(notifications=(notification(),)))
    assert state.waiting_count() == 1

    state.ack("i1:opened:1:oncall", 101.0)
    state.commit(ChangeSet(notifications=(notification(),)))
    assert state.waiting_count() == 0


def test_of_one_subject_and_receiver_only_the_oldest_can_be_claimed(state: StateSqlite):
    """ "Resolved" must not overtake "opened"; other receivers need not wait for it."""
    opened, resolved = notification("i1:opened:1:oncall"), notification("i1:resolved:2:oncall")
    elsewhere = notification("i1:opened:1:boss", receiver="boss")
    state.commit(ChangeSet(notifications=(opened, resolved, elsewhere)))

    assert state.claim(100.0, 60.0, 10) == [opened, elsewhere]
    assert state.claim(120.0, 60.0, 10) == []
    state.ack(opened.key, 121.0)
    assert state.claim(121.0, 60.0, 10) == [resolved]


def test_a_claim_takes_no_more_than_asked_for(state: StateSqlite):
    """The dispatcher leases what it can send before the lease ends."""
    state.commit(ChangeSet(notifications=tuple(notification(f"i{i}:opened:1:oncall", f"i{i}") for i in range(5))))

    assert [n.subject for n in state.claim(100.0, 60.0, 2)] == ["i0", "i1"]
    assert [n.subject for n in state.claim(100.0, 60.0, 9)] == ["i2", "i3", "i4"]


def test_a_retry_comes_back_when_due_with_its_attempts_counted(state: StateSqlite, path: Path):
    """Back-off survives a restart, and so does what went wrong."""
    state.commit(ChangeSet(notifications=(notification(),)))
    state.claim(100.0, 60.0, 1)
    state.retry("i1:opened:1:oncall", 130.0, "503 from the chat " + "x" * 2_000)

    again = reopened(state, path, now_s=110.0)

    assert again.claim(129.0, 60.0, 1) == []
    (back,) = again.claim(130.0, 60.0, 1)
    assert back.attempts == 1
    assert back.last_error.startswith("503 from the chat")
    assert len(back.last_error) <= 500
    again.close()


def test_a_dead_letter_is_visible_and_blocks_nothing(state: StateSqlite):
    """A revoked token must not hold back what comes after, nor vanish."""
    first, second = notification("k1"), notification("k2")
    state.commit(ChangeSet(notifications=(first, second)))
    state.claim(100.0, 60.0, 1)
    state.bury("k1", 101.0, "401: token revoked")

    assert [(n.key, n.last_error) for n in state.dead_letters()] == [("k1", "401: token revoked")]
    assert [n.key for n in state.claim(101.0, 60.0, 9)] == ["k2"]
    assert state.waiting_count() == 1


def test_a_message_that_cannot_be_read_back_becomes_a_dead_letter(state: StateSqlite, path: Path):
    """It would otherwise block its subject for ever."""
    state.commit(ChangeSet(notifications=(notification("k1"), notification("k2"))))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE outbox SET message = 'scribble' WHERE key = 'k1'")

    assert state.claim(100.0, 60.0, 9) == []
    assert [n.key for n in state.claim(100.0, 60.0, 9)] == ["k2"]


def test_a_clock_set_back_a_day_does_not_hold_pages(state: StateSqlite):
    """Leases and retries of the old time lie far ahead; waiting for them would silence the node."""
    state.commit(ChangeSet(notifications=(notification("k1", "a"), notification("k2", "b"))))
    state.claim(2 * DAY_S, 60.0, 1)
    state.retry("k2", 2 * DAY_S + 30.0, "503")

    assert [n.key for n in state.claim(DAY_S, 60.0, 9)] == ["k1", "k2"]


@pytest.mark.parametrize("lease_s", [0.0, -1.0, 601.0])
def test_a_lease_of_no_length_or_without_end_is_refused(state: StateSqlite, lease_s: float):
    """No length would send twice, without end would send never."""
    with pytest.raises(ValueError, match="lease"):
        state.claim(0.0, lease_s, 1)


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("ab"), st.sampled_from("xy")),
        st.tuples(st.just("claim"), st.integers(0, 40), st.integers(1, 4)),
        st.tuples(st.sampled_from(["ack", "retry", "bury"]), st.integers(0, 9), st.integers(0, 50)),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_STEPS)
def test_no_key_is_claimed_twice_within_a_lease_and_order_holds(steps: list[tuple]):
    """Whatever order sends, failures and time take."""
    with TemporaryDirectory() as directory:
        state = StateSqlite(Path(directory) / "state.db", now_s=0.0)
        now_s, made, leased_until, done = 0.0, [], {}, set()
        try:
            for step in steps:
                match step:
                    case ("put", subject, receiver):
                        key = f"{subject}:{len(made)}:{receiver}"
                        made.append((key, subject, receiver))
                        state.commit(ChangeSet(notifications=(notification(key, subject, receiver),)))
                    case ("claim", wait_s, limit):
                        now_s += wait_s
                        for claimed in state.claim(now_s, 30.0, limit):
                            mine = (claimed.key, claimed.subject, claimed.receiver)
                            older = made[: made.index(mine)]
                            assert leased_until.get(claimed.key, 0.0) <= now_s
                            assert claimed.key not in done
                            assert all(key in done for key, *rest in older if rest == list(mine[1:]))
                            leased_until[claimed.key] = now_s + 30.0
                    case (outcome, pick, wait_s) if leased_until:
                        key = sorted(leased_until)[pick % len(leased_until)]
                        if key in done:
                            continue
                        if outcome == "retry":
                            state.retry(key, now_s + wait_s, "503")
                            leased_until[key] = now_s + wait_s
                        else:
                            (state.ack if outcome == "ack" else lambda k, t: state.bury(k, t, "no"))(key, now_s)
                            done.add(key)
            assert state.waiting_count() == len(made) - len(done)
        finally:
            state.close()


# --- checkpoints ----------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_read_back_at_once_and_saved_when_flushed(state: StateSqlite, path: Path):
    """A tailer asks for its position before it was written to the disk, and after a restart."""
    assert state.get("tail:a") is None
    state.put("tail:a", b"1")
    state.put("tail:a", b"2")
    assert state.get("tail:a") == b"2"
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM checkpoints").fetchone() == (0,)

    state.write_checkpoints(state.changed_checkpoints())
    state.write_checkpoints(state.changed_checkpoints())
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name, value FROM checkpoints").fetchall() == [("tail:a", b"2")]


def test_a_checkpoint_asked_for_again_costs_no_disk_and_is_still_the_last_one_put(state: StateSqlite, path: Path):
    """Collectors ask for some every few seconds, on the event loop."""
    state.put("known", b"1")
    state.write_checkpoints(state.changed_checkpoints())
    assert (state.get("known"), state.get("other")) == (b"1", None)
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM checkpoints")

    assert (state.get("known"), state.get("other")) == (b"1", None)

    for name in ("known", "other"):
        state.put(name, b"2")
    state.write_checkpoints(state.changed_checkpoints())
    assert (state.get("known"), state.get("other")) == (b"2", b"2")


def test_what_is_put_while_another_thread_reads_neither_waits_nor_is_hidden_by_what_was_read(
    state: StateSqlite, monkeypatch: pytest.MonkeyPatch
):
    """The event loop puts; a collector's thread may wait for a slow disk."""
    read = state._database.read

    def slow(query: str, parameters: tuple[str, ...]) -> list[tuple[object, ...]]:
        rows = read(query, parameters)
        state.put("known", b"2")
        state.write_checkpoints(state.changed_checkpoints())
        return rows

    monkeypatch.setattr(state._database, "read", slow)
    assert state.get("known") is None
    monkeypatch.undo()

    assert state.get("known") == b"2"


def test_a_clean_stop_saves_checkpoints(state: StateSqlite, path: Path):
    """Otherwise every restart would read the last seconds of every log twice."""
    state.put("tail:a", b"\x00\xff")

    again = reopened(state, path)

    assert again.get("tail:a") == b"\x00\xff"
    again.close()


def test_a_huge_checkpoint_is_refused(state: StateSqlite):
    """Checkpoints are positions, not storage."""
    with pytest.raises(ValueError, match="at most 65536"):
        state.put("x", b"." * 65_537)


# --- events ---------------------------------------------------------------------------------------------------------


def test_an_event_is_visible_before_it_is_committed_and_once(state: StateSqlite):
    """A deploy pushed a moment ago belongs into this second's diagnosis."""
    state.remember(deploy())
    state.commit(ChangeSet(events=(deploy(),)))
    state.commit(ChangeSet(events=(deploy(),)))

    assert state.events(0.0, 100.0) == [deploy()]


def test_events_come_in_order_of_their_time_and_within_the_window(state: StateSqlite):
    """Change feeds deliver late and out of order."""
    for at_s in (30.0, 10.0, 20.0, 40.0):
        state.remember(deploy(at_s))

    assert [e.at_s for e in state.events(10.0, 30.0)] == [10.0, 20.0, 30.0]


def test_events_without_a_time_are_left_out(state: StateSqlite):
    """One of them must not make every commit fail."""
    odd = deploy(float("nan"))
    state.remember(odd)
    state.commit(ChangeSet(events=(odd,), incidents=(incident(),)))

    assert state.events(float("-inf"), float("inf")) == []
    assert len(state.incidents()) == 1


def test_events_in_memory_are_bounded(state: StateSqlite):
    """A deploy tool that loops must not take the memory."""
    for i in range(5_010):
        state.remember(deploy(float(i)))

    kept = state.events(0.0, 1e9)
    assert (len(kept), kept[0].at_s) == (5_000, 10.0)


def test_a_change_feed_once_seen_is_remembered(state: StateSqlite, path: Path):
    """ "No deploy" is evidence only where deploys are reported; a quiet month must not undo that."""
    state.commit(ChangeSet(events=(Event(EventKind.HARDWARE, "xid", 50.0, Labels.of(gpu="3")),)))
    assert not state.has_change_feed()
    state.commit(ChangeSet(events=(deploy(50.0),)))
    assert state.has_change_feed()
    state.purge(100 * DAY_S, 7 * DAY_S)

    again = reopened(state, path, now_s=100 * DAY_S)

    assert again.has_change_feed()
    assert again.events(0.0, 1e9) == []
    again.close()


# --- purge ----------------------------------------------------------------------------------------------------------


def test_the_purge_forgets_what_ended_and_keeps_what_is_open(state: StateSqlite):
    """Retention is about history, never about an incident that is still going on."""
    state.commit(
        ChangeSet(
            (alert(),),
            (incident("open"), incident("done", IncidentState.RESOLVED)),
            (notification("sent", "s"), notification("dead", "d"), notification("late", "l")),
        )
    )
    state.ack("sent", 200.0)
    state.bury("dead", 200.0, "no")
    state.purge(10 * DAY_S, 7 * DAY_S)

    assert [i.id for i in state.incidents()] == ["open"]
    assert state.alerts() == [alert()]
    assert state.waiting_count() == 0
    assert [(n.key, n.last_error) for n in state.dead_letters()] == [("late", "waited longer than state.retention")]


def test_the_purge_keeps_what_is_recent(state: StateSqlite):
    """A sent key must stay known, or its copy would be sent again."""
    state.commit(ChangeSet(incidents=(incident("done", IncidentState.RESOLVED),), notifications=(notification(),)))
    state.ack("i1:opened:1:oncall", 101.0)
    state.purge(DAY_S, 7 * DAY_S)
    state.commit(ChangeSet(notifications=(notification(),)))

    assert len(state.incidents()) == 1
    assert state.waiting_count() == 0


def test_the_purge_gives_up_history_to_stay_below_the_cap(path: Path):
    """The disk belongs to the models; yesterday's minutes are worth less than an incident."""
    state = StateSqlite(path, now_s=0.0, max_bytes=400_000)
    state.commit(ChangeSet(incidents=(incident(),)))
    for minute in range(300):
        now_s = minute * 60.0
        state.roll_up([Sample("m", Labels.of(i=str(i)), now_s, now_s + i) for i in range(60)], now_s)
    state.purge(300 * 60.0, 7 * DAY_S)

    with sqlite3.connect(path) as connection:
        oldest, newest = connection.execute("SELECT min(minute), max(minute) FROM history").fetchone()
    assert oldest > 0
    assert newest == 298
    assert len(state.open_incidents()) == 1
    state.close()
    assert path.stat().st_size <= 420_000  # the minute at hand is written on top


def test_a_limit_counts_only_incidents_of_the_state_asked_for(state: StateSqlite):
    """The one open incident must not hide behind a hundred newer ones that are over."""
    over = [incident(f"over{n}", IncidentState.RESOLVED, opened_at_s=100.0 + n) for n in range(3)]
    state.commit(ChangeSet(incidents=(incident("open", opened_at_s=1.0), *over)))

    assert [i.id for i in state.incidents(limit=1, state=IncidentState.OPEN)] == ["open"]
    assert [i.id for i in state.incidents(limit=2, state=IncidentState.RESOLVED)] == ["over2", "over1"]
    assert len(state.incidents()) == 4


def test_what_the_daemon_saw_by_itself_is_no_feed(state: StateSqlite, path: Path):
    """A version that changed on a page proves that deploys happen, not that anybody reports them."""
    event = deploy(50.0)
    seen = Event(event.kind, event.action, event.at_s, event.labels.merge(seen_by="replicas"))
    state.commit(ChangeSet(events=(seen,)))
    assert not state.has_change_feed()

    again = reopened(state, path, now_s=60.0)

    assert not again.has_change_feed()
    assert again.events(0.0, 100.0) == [seen]
    again.close()


# --- judgements -----------------------------------------------------------------------------------------------------


def test_what_people_said_outlives_the_incident(state: StateSqlite, path: Path):
    """Incidents are purged after days; a prior is counted from years."""
    said = Judgement(Word.CONFIRMED, 150.0, ("vram_leak",), ("vram_leak",))
    state.commit(ChangeSet(incidents=(replace(incident("inc-1"), state=IncidentState.RESOLVED, judgement=said),)))
    state.commit(ChangeSet(incidents=(incident("inc-2"),)))
    again = reopened(state, path)

    again.purge(now_s=400 * DAY_S, retention_s=DAY_S)
    assert again.incident("inc-1") is None
    assert again.judgements() == {"inc-1": said}
    again.close()


def test_an_incident_and_what_was_said_of_it_are_saved_together_or_not_at_all(state: StateSqlite):
    """A count without its incident could not be explained to anybody."""
    said = Judgement(Word.REJECTED, 150.0, ("vram_leak",))
    judged = replace(incident("inc-1"), judgement=said)
    with pytest.raises(StateError):
        state.commit(ChangeSet(incidents=(judged, replace(incident("inc-2"), opened_at_s=2**70))))

    assert state.judgements() == {}
    assert state.incident("inc-1") is None


def test_a_state_file_of_before_is_brought_up_to_date(path: Path):
    """An upgrade must find the open incident it was stopped in."""
    old = StateSqlite(path, now_s=100.0)
    old.commit(ChangeSet(incidents=(incident("inc-1"),)))
    old.close()
    connection = sqlite3.connect(path)
    connection.executescript("DROP TABLE judgements; PRAGMA user_version = 1;")
    connection.close()

    new = StateSqlite(path, now_s=200.0)
    assert new.judgements() == {}
    assert [each.id for each in new.open_incidents()] == ["inc-1"]
    new.close()
