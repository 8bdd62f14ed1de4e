"""What every store behind the ports of `aiops.ports` promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest
from prometheus_client import CollectorRegistry

from aiops.model import Alert, AlertState, ChangeSet, Event, EventKind, IncidentState, Labels, Sample
from aiops.ports import (
    Checkpoints,
    EventReader,
    IncidentLog,
    Outbox,
    SeriesReader,
    SeriesWriter,
    StateWriter,
)
from aiops.selfstat import SelfStat
from aiops.store.rings import Rings
from aiops.store.state_sqlite import StateSqlite
from tests.fakes import FakeCheckpoints, FakeEvents, FakeSeries
from tests.unit.store.builders import alert, deploy, incident, notification

A = Labels.of(host_name="n1", gpu="0")
B = Labels.of(host_name="n1", gpu="1")


class Series(SeriesReader, SeriesWriter, Protocol):
    """Both sides of a series store."""


class State(StateWriter, IncidentLog, Outbox, Protocol):
    """The transactional ports, and the alerts a new session begins from."""

    def alerts(self) -> Sequence[Alert]: ...


def rings() -> Series:
    return Rings(SelfStat(CollectorRegistry()))


def fake_series() -> Series:
    return FakeSeries()


@pytest.fixture(params=[rings, fake_series])
def series(request: pytest.FixtureRequest) -> Series:
    make: Callable[[], Series] = request.param
    return make()


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateSqlite]:
    opened = StateSqlite(tmp_path / "state.db", 0.0)
    yield opened
    opened.close()


# --- series ---------------------------------------------------------------------------------------------------------


def test_windows_are_ordered_cut_and_filtered(series: Series):
    """Oldest first, both ends included, only matching label sets, none of them empty."""
    series.extend([Sample("m", A, t, t) for t in (1.0, 2.0, 3.0)])
    series.extend([Sample("m", B, 9.0, 1.0), Sample("other", A, 2.0, 0.0)])

    found = [(w.labels, w.at_s.tolist(), w.values.tolist()) for w in series.window("m", 2.0, 3.0)]

    assert found == [(A, [2.0, 3.0], [2.0, 3.0])]
    assert [w.labels for w in series.window("m", 0.0, 9.0, {"gpu": "1"})] == [B]
    assert sorted(series.metrics()) == ["m", "other"]


def test_a_time_written_again_is_replaced(series: Series):
    """Recent arrival buckets are revised every second."""
    series.extend([Sample("m", A, 1.0, 1.0), Sample("m", A, 2.0, 1.0), Sample("m", A, 1.0, 5.0)])

    (window,) = series.window("m", 0.0, 9.0)

    assert window.values.tolist() == [5.0, 1.0]


def test_latest_looks_back_from_now_and_not_too_far(series: Series):
    """A reading too old is no reading."""
    series.extend([Sample("m", A, t, t) for t in (10.0, 20.0)])

    assert [s.value for s in series.latest("m", 15.0)] == [10.0]
    assert [s.value for s in series.latest("m", 50.0)] == [20.0]
    assert list(series.latest("m", 50.1)) == []
    assert list(series.latest("m", 50.0, {"gpu": "1"})) == []


# --- checkpoints, events --------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "fake"])
def checkpoints(request: pytest.FixtureRequest, state: StateSqlite) -> Checkpoints:
    return state if request.param == "sqlite" else FakeCheckpoints()


def test_a_checkpoint_is_what_was_put_last(checkpoints: Checkpoints):
    """A collector reads its own writes."""
    checkpoints.put("a", b"1")
    checkpoints.put("a", b"")

    assert checkpoints.get("a") == b""
    assert checkpoints.get("b") is None


@pytest.fixture(params=["sqlite", "fake"])
def events_of(request: pytest.FixtureRequest, state: StateSqlite) -> Callable[..., EventReader]:
    def sqlite(*events: Event) -> EventReader:
        state.commit(ChangeSet(events=events))
        return state

    return sqlite if request.param == "sqlite" else lambda *events: FakeEvents(events)


def test_events_of_a_window_and_the_change_feed(events_of: Callable[..., EventReader]):
    """No deploy in the window means something only if deploys are reported."""
    restart = Event(EventKind.PROCESS, "start", 10.0, A)

    reader = events_of(restart)
    assert not reader.has_change_feed()

    reader = events_of(restart, deploy(20.0), deploy(30.0))
    assert list(reader.events(10.0, 20.0)) == [restart, deploy(20.0)]
    assert reader.has_change_feed()


# --- transactional state --------------------------------------------------------------------------------------------


def test_committed_state_is_read_back(state: State):
    """Everything a change set carries is visible when commit returns."""
    state.commit(ChangeSet((alert(),), (incident(),), (notification(),)))

    assert list(state.alerts()) == [alert()]
    assert list(state.open_incidents()) == [incident()]
    assert [n.key for n in state.claim(100.0, 60.0, 9)] == [notification().key]

    state.commit(ChangeSet((alert(state=AlertState.RESOLVED),), (incident(state=IncidentState.RESOLVED),)))
    assert list(state.alerts()) == []
    assert list(state.open_incidents()) == []
    assert [i.state for i in state.incidents()] == [IncidentState.RESOLVED]


def test_an_acknowledged_notification_never_comes_back(state: State):
    """At least once must not become again and again."""
    state.commit(ChangeSet(notifications=(notification(),)))
    (claimed,) = state.claim(100.0, 60.0, 9)
    state.ack(claimed.key, 101.0)

    assert list(state.claim(1e6, 60.0, 9)) == []


def test_a_claim_that_is_never_acknowledged_comes_back(state: State):
    """The process may die with the message in its hands."""
    state.commit(ChangeSet(notifications=(notification(),)))
    state.claim(100.0, 60.0, 9)

    assert [n.key for n in state.claim(160.0, 60.0, 9)] == [notification().key]
