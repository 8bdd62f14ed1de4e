"""
The transactional state: alerts, incidents, outbox, events, checkpoints, history, in one SQLite file.

What one evaluation changed is one transaction (`commit`), so an incident and the messages about it are saved together
or not at all; after a crash the dispatcher finds exactly what was promised. Checkpoints and roll-ups may lag by seconds
and are written in their own transactions.

Writes may stall as long as the disk does: call them on the one thread that owns the state. Reads use another
connection and see the last commit. Events are also held in memory, since correlation asks for them every second.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from sqlite3 import Connection

import structlog

from aiops.errors import StateError
from aiops.model import (
    Alert,
    AlertState,
    ChangeSet,
    Event,
    Incident,
    IncidentState,
    Judgement,
    Message,
    Notification,
    Sample,
)
from aiops.store.database import Database, Row
from aiops.store.documents import document, documents, read_document, storable
from aiops.store.event_memory import KEPT, EventMemory
from aiops.store.history_sqlite import HistorySqlite

log = structlog.get_logger(__name__)

_PUSHED = "kind = 'change' AND document NOT LIKE '%\"seen_by\"%'"
"""Changes that somebody reports here; what this daemon saw by itself says nothing about whether anybody does."""
_EVENTS_KEPT_S = 86_400.0
_CHECKPOINT_MAX_BYTES = 65_536
_ERROR_MAX_CHARS = 500
_MAX_LEASE_S = 600.0
_MAX_WAIT_S = 7_200.0
"""A retry due, or a lease ending, further ahead than these was written by a clock that has since been set back."""

_SMALL_BYTES = 4096
_MAX_ASKED = 64
"""Checkpoints up to that size, and so many of them, are kept in memory once they were read."""

_NOTIFICATION_COLUMNS = "key, subject, receiver, created_at_s, message, attempts, last_error"


class StateSqlite:
    """
    The state file; implements `ports.StateWriter`, `IncidentLog`, `Outbox`, `Checkpoints`, `EventReader`.

    Every method raises `StateError` when the disk refuses.

    Args:
        path: The file, usually ``state.dir/state.db``; created if absent.
        now_s: Wall time.
        max_bytes: Cap of the file; old history is given up first.
    """

    def __init__(self, path: Path, now_s: float, max_bytes: int = 512 * 2**20) -> None:
        self._max_bytes = max_bytes
        self._database = Database(path, now_s)
        self._history = HistorySqlite(self._database, max_bytes)
        self._dirty: dict[str, bytes] = {}
        self._asked: dict[str, bytes | None] = {}
        """Small checkpoints that were read, so that asking again every few seconds costs the event loop no disk."""
        self._puts = 0
        self._dirty_lock = threading.Lock()
        feed = bool(self._database.read(f"SELECT 1 FROM events WHERE {_PUSHED} LIMIT 1"))  # noqa: S608 (a constant)
        self._memory = EventMemory(has_change_feed=feed)
        recent = self._database.read(
            "SELECT document FROM events WHERE at_s >= ? ORDER BY at_s DESC LIMIT ?",
            (now_s - _EVENTS_KEPT_S, KEPT),
        )
        for event in documents(recent, Event):
            self.remember(event)

    # --- StateWriter ------------------------------------------------------------------------------------------------

    def commit(self, changes: ChangeSet) -> None:
        with self._database.transaction("commit") as connection:
            for alert in changes.alerts:
                _save_alert(connection, alert)
            for incident in changes.incidents:
                _save_incident(connection, incident)
            for notification in changes.notifications:
                _save_notification(connection, notification)
            for event in changes.events:
                _save_event(connection, event)
        for event in changes.events:
            self.remember(event)

    # --- alerts, IncidentLog ----------------------------------------------------------------------------------------

    def alerts(self) -> Sequence[Alert]:
        return documents(self._database.read("SELECT document FROM alerts ORDER BY fingerprint"), Alert)

    def incident(self, incident_id: str) -> Incident | None:
        rows = self._database.read("SELECT document FROM incidents WHERE id = ?", (incident_id,))
        return next(iter(documents(rows, Incident)), None)

    def incidents(self, limit: int = 100, state: IncidentState | None = None) -> Sequence[Incident]:
        wanted = tuple(each.value for each in IncidentState if state in {None, each})
        marks = ", ".join("?" * len(wanted))
        query = f"SELECT summary FROM incidents WHERE state IN ({marks}) ORDER BY opened_at_s DESC, id LIMIT ?"  # noqa: S608
        rows = self._database.read(query, (*wanted, limit))
        return documents(rows, Incident)

    def open_incidents(self) -> Sequence[Incident]:
        rows = self._database.read("SELECT document FROM incidents WHERE state = 'open' ORDER BY opened_at_s, id")
        return documents(rows, Incident)

    def judgements(self) -> Mapping[str, Judgement]:
        rows = self._database.read("SELECT document, incident_id FROM judgements ORDER BY incident_id")
        read = ((row[1], read_document(row[0], Judgement)) for row in rows)
        return {incident_id: judgement for incident_id, judgement in read if judgement is not None}

    # --- Outbox -----------------------------------------------------------------------------------------------------

    def claim(self, now_s: float, lease_s: float, limit: int) -> Sequence[Notification]:
        if not 0 < lease_s <= _MAX_LEASE_S:
            raise ValueError(f"a lease lasts more than 0 and at most {_MAX_LEASE_S:g} s, not {lease_s:g}")
        if not self.waiting_count():
            return []  # the usual case must not cost a write lock every second
        with self._database.transaction("claim") as connection:
            rows = connection.execute(
                f"""SELECT {_NOTIFICATION_COLUMNS} FROM outbox AS mine
                WHERE state = 'waiting'
                    AND (due_at_s <= :now OR due_at_s > :now + {_MAX_WAIT_S})
                    AND (lease_until_s <= :now OR lease_until_s > :now + {_MAX_LEASE_S})
                    AND NOT EXISTS (
                        SELECT 1 FROM outbox AS older
                        WHERE older.state = 'waiting' AND older.subject = mine.subject
                            AND older.receiver = mine.receiver AND older.id < mine.id)
                ORDER BY id LIMIT :limit""",  # noqa: S608 (only constants of this module)
                {"now": now_s, "limit": limit},
            ).fetchall()
            connection.executemany(
                "UPDATE outbox SET lease_until_s = ? WHERE key = ?", [(now_s + lease_s, row[0]) for row in rows]
            )
            claimed = []
            for row in rows:
                notification = _notification(row)
                if notification is None:
                    _bury(connection, row[0], now_s, "the message cannot be read back from the state file")
                else:
                    claimed.append(notification)
        return claimed

    def ack(self, key: str, now_s: float) -> None:
        with self._database.transaction("ack") as connection:
            connection.execute("UPDATE outbox SET state = 'sent', done_at_s = ? WHERE key = ?", (now_s, key))

    def retry(self, key: str, at_s: float, error: str) -> None:
        with self._database.transaction("retry") as connection:
            connection.execute(
                """UPDATE outbox SET due_at_s = ?, lease_until_s = 0, attempts = attempts + 1, last_error = ?
                WHERE key = ? AND state = 'waiting'""",
                (at_s, storable(error)[:_ERROR_MAX_CHARS], key),
            )

    def bury(self, key: str, now_s: float, error: str) -> None:
        with self._database.transaction("bury") as connection:
            _bury(connection, key, now_s, error)

    def dead_letters(self, limit: int = 100) -> Sequence[Notification]:
        """Notifications given up, newest first."""
        rows = self._database.read(
            f"SELECT {_NOTIFICATION_COLUMNS} FROM outbox WHERE state = 'dead' ORDER BY done_at_s DESC LIMIT ?",  # noqa: S608
            (limit,),
        )
        return [notification for row in rows if (notification := _notification(row)) is not None]

    def waiting_count(self) -> int:
        """Notifications not acknowledged yet."""
        ((count,),) = self._database.read("SELECT count(*) FROM outbox WHERE state = 'waiting'")
        return int(count)

    # --- Checkpoints ------------------------------------------------------------------------------------------------

    def get(self, name: str) -> bytes | None:
        with self._dirty_lock:
            if name in self._dirty:
                return self._dirty[name]
            if name in self._asked:
                return self._asked[name]
            puts = self._puts
        # without the lock: the disk may be slow, and whoever puts something is the event loop
        rows = self._database.read("SELECT value FROM checkpoints WHERE name = ?", (name,))
        value = bytes(rows[0][0]) if rows else None
        if value is None or len(value) <= _SMALL_BYTES:
            with self._dirty_lock:
                if self._puts == puts:  # or it may be old
                    if len(self._asked) >= _MAX_ASKED:
                        self._asked.clear()
                    self._asked[name] = value
        return value

    def put(self, name: str, value: bytes) -> None:
        if len(value) > _CHECKPOINT_MAX_BYTES:
            raise ValueError(f"checkpoint {name}: {len(value)} bytes, at most {_CHECKPOINT_MAX_BYTES} are kept")
        with self._dirty_lock:
            self._dirty[name] = value
            self._asked.pop(name, None)
            self._puts += 1

    def changed_checkpoints(self) -> Mapping[str, bytes]:
        """Those that were put and are not on the disk."""
        with self._dirty_lock:
            return dict(self._dirty)

    def write_checkpoints(self, values: Mapping[str, bytes]) -> None:
        """Write *values*, as `changed_checkpoints` gave them, in one transaction; on StateError they stay changed."""
        with self._dirty_lock:
            writing = {name: value for name, value in values.items() if name in self._dirty}
        if not writing:
            return
        with self._database.transaction("checkpoints") as connection:
            connection.executemany(
                "INSERT INTO checkpoints (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                list(writing.items()),
            )
        with self._dirty_lock:
            for name, value in writing.items():
                if self._dirty.get(name) is value:  # not put again meanwhile
                    del self._dirty[name]

    # --- EventReader ------------------------------------------------------------------------------------------------

    def remember(self, event: Event) -> None:
        """Make *event* visible to readers at once; it is saved with the next commit that carries it."""
        self._memory.remember(event)

    def events(self, start_s: float, end_s: float) -> Sequence[Event]:
        return self._memory.events(start_s, end_s)

    def has_change_feed(self) -> bool:
        return self._memory.has_change_feed()

    # --- housekeeping -----------------------------------------------------------------------------------------------

    def roll_up(self, samples: Iterable[Sample], now_s: float) -> None:
        """Fold the newest sample of every series into the running minute; write the minute before when it is over."""
        self._history.add(samples, now_s)

    def purge(self, now_s: float, retention_s: float) -> None:
        """
        Forget what ended longer ago than *retention_s*, then give up old history until the file is below its cap.

        Open incidents, pending and firing alerts and the newest change event stay. Messages that waited all that time
        become dead letters, and those are forgotten after as long again.
        """
        before_s = now_s - retention_s
        with self._database.transaction("purge") as connection:
            connection.execute("DELETE FROM incidents WHERE state <> 'open' AND updated_at_s < ?", (before_s,))
            connection.execute("DELETE FROM outbox WHERE state <> 'waiting' AND done_at_s < ?", (before_s,))
            connection.execute(
                """UPDATE outbox SET state = 'dead', done_at_s = ?, last_error = 'waited longer than state.retention'
                WHERE state = 'waiting' AND created_at_s < ?""",
                (now_s, before_s),
            )
            # without the newest change, a quiet month would look like a node without a deploy feed
            connection.execute(
                f"""DELETE FROM events WHERE at_s < ? AND id NOT IN (
                    SELECT id FROM events WHERE {_PUSHED} ORDER BY at_s DESC LIMIT 1)""",  # noqa: S608 (a constant)
                (before_s,),
            )
        self._history.purge(before_s)
        if not self._history.stay_below(self._max_bytes):
            log.warning("state file is over its cap, and all history is given up", max_bytes=self._max_bytes)
        self._memory.forget(now_s - _EVENTS_KEPT_S)

    def close(self) -> None:
        """Write what is pending and close the file."""
        try:
            self.write_checkpoints(self.changed_checkpoints())
            self._history.flush()
        except StateError as error:
            log.error("last checkpoints or history minute lost", error=str(error))
        finally:
            self._database.close()


def _save_alert(connection: Connection, alert: Alert) -> None:
    if alert.state is AlertState.RESOLVED:
        connection.execute("DELETE FROM alerts WHERE fingerprint = ?", (alert.fingerprint,))
        return
    connection.execute(
        """INSERT INTO alerts (fingerprint, document) VALUES (?, ?)
        ON CONFLICT (fingerprint) DO UPDATE SET document = excluded.document""",
        (alert.fingerprint, document(alert)),
    )


def _save_incident(connection: Connection, incident: Incident) -> None:
    summary = replace(incident, diagnosis=replace(incident.diagnosis, charts=(), templates=()))
    connection.execute(
        """INSERT INTO incidents (id, state, service, opened_at_s, first_bad_s, updated_at_s, summary, document)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (id) DO UPDATE SET state = excluded.state, service = excluded.service,
            opened_at_s = excluded.opened_at_s, first_bad_s = excluded.first_bad_s,
            updated_at_s = excluded.updated_at_s, summary = excluded.summary, document = excluded.document""",
        (
            incident.id,
            incident.state.value,
            storable(incident.service),
            incident.opened_at_s,
            incident.first_bad_s,
            incident.updated_at_s,
            document(summary),
            document(incident),
        ),
    )
    if incident.judgement is not None:
        connection.execute(
            """INSERT INTO judgements (incident_id, document) VALUES (?, ?)
            ON CONFLICT (incident_id) DO UPDATE SET document = excluded.document""",
            (incident.id, document(incident.judgement)),
        )


def _save_notification(connection: Connection, notification: Notification) -> None:
    connection.execute(
        # not OR IGNORE, which would also drop a row that breaks any other constraint, and drop it silently
        """INSERT INTO outbox (key, subject, receiver, created_at_s, message) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (key) DO NOTHING""",
        (
            notification.key,
            notification.subject,
            notification.receiver,
            notification.created_at_s,
            document(notification.message),
        ),
    )


def _save_event(connection: Connection, event: Event) -> None:
    if not isfinite(event.at_s):
        return  # pushed from outside, and not worth a commit that fails for ever
    text = document(event)
    event_id = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    connection.execute(
        "INSERT INTO events (id, kind, at_s, document) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        (event_id, event.kind.value, event.at_s, text),
    )


def _bury(connection: Connection, key: str, now_s: float, error: str) -> None:
    connection.execute(
        "UPDATE outbox SET state = 'dead', done_at_s = ?, last_error = ? WHERE key = ? AND state = 'waiting'",
        (now_s, storable(error)[:_ERROR_MAX_CHARS], key),
    )


def _notification(row: Row) -> Notification | None:
    """The notification in *row* (`_NOTIFICATION_COLUMNS`); None if its message cannot be read."""
    key, subject, receiver, created_at_s, text, attempts, last_error = row
    message = read_document(text, Message)
    if message is None:
        return None
    return Notification(key, subject, receiver, created_at_s, message, attempts, last_error)
