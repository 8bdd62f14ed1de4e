from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aiops.errors import StateError
from aiops.model import Labels, Sample
from aiops.store.database import Database
from aiops.store.history_sqlite import HistorySqlite

GPU_0 = Labels.of(host_name="n1", gpu="0")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "state.db", 0.0)
    yield opened
    opened.close()


@pytest.fixture
def history(database: Database) -> HistorySqlite:
    return HistorySqlite(database, max_bytes=2**30)


def rows(database: Database) -> list[tuple]:
    return database.read("SELECT * FROM history ORDER BY minute, metric, labels")


def test_a_minute_is_written_when_the_next_begins(database: Database, history: HistorySqlite):
    """One transaction a minute: a disk with FULL sync is asked once, not at every tick."""
    for at_s, value in ((0.0, 4.0), (10.0, 1.0), (20.0, 7.0)):
        history.add([Sample("m", GPU_0, at_s, value)], at_s)
    assert rows(database) == []

    history.add([Sample("m", GPU_0, 60.0, 2.0)], 60.0)

    assert rows(database) == [("m", '{"gpu":"0","host_name":"n1"}', 0, 1.0, 7.0, 4.0, 7.0, 3)]


def test_a_sample_seen_again_counts_once(database: Database, history: HistorySqlite):
    """The snapshot shows a series for five minutes after its last sample; that is not five minutes of data."""
    for now_s in range(0, 300, 10):
        history.add([Sample("m", GPU_0, 5.0, 1.0)], float(now_s))
    history.flush()

    assert [(minute, count) for *_, minute, _, _, _, _, count in rows(database)] == [(0, 1)]


def test_a_minute_written_in_two_parts_is_merged(database: Database):
    """A restart in the middle of a minute leaves one row that tells the whole of it."""
    for at_s, value in ((0.0, 2.0), (30.0, 8.0)):
        history = HistorySqlite(database, max_bytes=2**30)
        history.add([Sample("m", GPU_0, at_s, value)], at_s)
        history.flush()

    assert rows(database) == [("m", '{"gpu":"0","host_name":"n1"}', 0, 2.0, 8.0, 5.0, 8.0, 2)]


def test_old_minutes_and_unused_series_are_purged(database: Database, history: HistorySqlite):
    """Series of replicas long gone must not pile up."""
    history.add([Sample("gone", GPU_0, 0.0, 1.0)], 0.0)
    history.add([Sample("m", GPU_0, 600.0, 1.0)], 600.0)
    history.flush()
    history.purge(300.0)

    assert [row[0] for row in rows(database)] == ["m"]
    assert database.read("SELECT metric FROM series") == [("m",)]
    history.add([Sample("gone", GPU_0, 700.0, 1.0), Sample("m", GPU_0, 700.0, 1.0)], 700.0)
    history.flush()
    assert [row[0] for row in rows(database)] == ["m", "gone", "m"]


def test_a_minute_the_disk_refused_is_given_up_and_the_next_is_written(database: Database, history: HistorySqlite):
    """History is the least of it: no queue may grow while the disk is full."""
    history.add([Sample("m", GPU_0, 0.0, 1.0)], 0.0)
    ((pages,),) = database.read("PRAGMA page_count")
    database._writer.execute(f"PRAGMA max_page_count = {pages}")
    many = [Sample("m", Labels.of(i=str(i)), 60.0, 1.0) for i in range(2_000)]
    history.add(many, 60.0)

    with pytest.raises(StateError, match="full"):
        history.add([Sample("m", GPU_0, 120.0, 3.0)], 120.0)
    database._writer.execute("PRAGMA max_page_count = 1000000")
    history.add([Sample("m", GPU_0, 180.0, 4.0)], 180.0)

    assert [row[2] for row in rows(database)] == [0, 2]


def test_a_clock_set_back_starts_another_minute(database: Database, history: HistorySqlite):
    """What was seen before the step is written under the time it had."""
    history.add([Sample("m", GPU_0, 600.0, 1.0)], 600.0)
    history.add([Sample("m", GPU_0, 60.0, 2.0)], 60.0)
    history.flush()

    assert [(row[2], row[6]) for row in rows(database)] == [(1, 2.0), (10, 1.0)]


def test_without_history_left_the_cap_cannot_be_kept(history: HistorySqlite):
    """The caller says so aloud; nothing else is given up silently."""
    assert history.stay_below(1) is False
    assert history.stay_below(2**30) is True
