from __future__ import annotations

import sqlite3
import stat
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from aiops.errors import StateError
from aiops.model import ChangeSet
from aiops.store.database import Database
from aiops.store.state_sqlite import StateSqlite
from tests.unit.store.builders import incident, notification


def test_the_file_and_its_directory_are_private(tmp_path: Path):
    """Templates and labels are nobody else's business on a shared node."""
    path = tmp_path / "a" / "state.db"
    state = StateSqlite(path, 0.0)
    state.commit(ChangeSet(incidents=(incident(),)))

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    state.close()


def test_commits_are_durable_by_setting(tmp_path: Path):
    """WAL with FULL sync is what "committed" means in this program."""
    database = Database(tmp_path / "state.db", 0.0)

    assert database.read("PRAGMA journal_mode") == [("wal",)]
    assert database._writer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert database._writer.execute("PRAGMA foreign_keys").fetchone() == (1,)
    database.close()


def test_a_damaged_file_is_set_aside_loudly_and_a_fresh_one_begun(tmp_path: Path):
    """Refusing to start over last month's incidents would miss today's."""
    path = tmp_path / "state.db"
    path.write_bytes(b"this is no database, and long enough to be looked at" * 100)

    with capture_logs() as logs:
        state = StateSqlite(path, 1_700_000_000.4)

    state.commit(ChangeSet(incidents=(incident(),)))
    assert len(state.incidents()) == 1
    assert (tmp_path / "state.db.damaged-1700000000").read_bytes().startswith(b"this is no")
    assert [entry["log_level"] for entry in logs] == ["critical"]
    state.close()


def test_damage_inside_the_tables_is_found_at_the_start(tmp_path: Path):
    """A header that looks well says nothing about the pages behind it."""
    path = tmp_path / "state.db"
    state = StateSqlite(path, 0.0)
    state.commit(ChangeSet(incidents=tuple(incident(f"i{i}") for i in range(200))))
    state.close()
    content = bytearray(path.read_bytes())
    for page in range(12, len(content) // 4096):
        content[page * 4096 : page * 4096 + 512] = b"\xff" * 512
    path.write_bytes(content)

    with capture_logs() as logs:
        state = StateSqlite(path, 5.0)

    assert state.incidents() == []
    assert len(logs) == 1
    assert len(list(tmp_path.glob("state.db.damaged-5"))) == 1
    state.close()


def test_a_file_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path):
    """After a roll back, the old version must not guess at tables it does not know."""
    path = tmp_path / "state.db"
    StateSqlite(path, 0.0).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(StateError, match="schema 99"):
        StateSqlite(path, 0.0)

    assert [file.name for file in tmp_path.iterdir()] == ["state.db"]


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.parent.joinpath("absent").symlink_to("/proc/nowhere")])
def test_a_place_that_cannot_be_opened_is_said_in_words(tmp_path: Path, make):
    """The message names the file, not a traceback."""
    path = tmp_path / "state.db"
    make(path)
    if not path.exists():
        path = tmp_path / "absent" / "state.db"

    with pytest.raises(StateError, match=r"state\.db cannot be opened"):
        StateSqlite(path, 0.0)


def test_a_full_disk_refuses_the_commit_whole_and_recovers(tmp_path: Path):
    """The pipeline sends from memory meanwhile and offers the change set again."""
    state = StateSqlite(tmp_path / "state.db", 0.0)
    state.commit(ChangeSet(incidents=(incident("before"),)))
    writer = state._database._writer
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages}")
    many = ChangeSet(incidents=tuple(incident(f"i{i}") for i in range(100)), notifications=(notification("k", "i1"),))

    with pytest.raises(StateError, match="full"):
        state.commit(many)
    assert [i.id for i in state.incidents()] == ["before"]
    assert state.waiting_count() == 0

    writer.execute("PRAGMA max_page_count = 1000000")
    state.commit(many)
    assert len(state.incidents(limit=1_000)) == 101
    state.close()


def test_a_lock_held_by_somebody_else_is_an_error_not_damage(tmp_path: Path):
    """A backup tool that holds the file must not cost the node its state."""
    path = tmp_path / "state.db"
    state = StateSqlite(path, 0.0)
    state._database._writer.execute("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StateError, match="locked"):
        state.commit(ChangeSet(incidents=(incident(),)))
    other.execute("ROLLBACK")
    other.close()
    state.commit(ChangeSet(incidents=(incident(),)))
    state.close()


def test_after_closing_every_use_is_a_state_error(tmp_path: Path):
    """A late thread gets the error it knows how to handle."""
    state = StateSqlite(tmp_path / "state.db", 0.0)
    state.close()

    with pytest.raises(StateError):
        state.commit(ChangeSet(incidents=(incident(),)))
    with pytest.raises(StateError):
        state.incidents()


def test_many_threads_may_write_and_read(tmp_path: Path):
    """The web thread acknowledges while the writer thread commits."""
    state = StateSqlite(tmp_path / "state.db", 0.0)
    errors: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            for i in range(10):
                state.commit(ChangeSet(notifications=(notification(f"{worker}:{i}", f"{worker}"),)))
                state.incidents()
                state.put(f"{worker}", b"x")
                state.write_checkpoints(state.changed_checkpoints())
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert errors == []
    assert state.waiting_count() == 40
    state.close()
