"""
Minute roll-ups of samples in the state file: what the rings forget after an hour.

`add` is fed the newest sample of every series every few seconds and folds it into the running minute in memory. When a
new minute begins, the finished one is written in one transaction. History is the least of what the file holds, so when
the file outgrows its cap, the oldest minutes go first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from aiops.model import Labels, Sample
from aiops.store.database import Database
from aiops.store.documents import document

_SWEEP_MINUTES = 60
"""History is given up by the hour: few transactions, little lost."""


@dataclass(slots=True)
class _Running:
    """A series in the minute that is not over."""

    least: float
    most: float
    total: float
    last: float
    count: int = 1

    def fold(self, value: float) -> None:
        self.least = min(self.least, value)
        self.most = max(self.most, value)
        self.total += value
        self.last = value
        self.count += 1


class HistorySqlite:
    """
    Roll-ups in an open state file. Used from one thread.

    Args:
        database: The state file.
        max_bytes: The file's cap; the oldest history is given up to stay below.
    """

    def __init__(self, database: Database, max_bytes: int) -> None:
        self._database = database
        self._max_bytes = max_bytes
        self._minute: int | None = None
        self._running: dict[tuple[str, Labels], _Running] = {}
        self._seen_at_s: dict[tuple[str, Labels], float] = {}
        self._ids: dict[tuple[str, Labels], int] = {}

    def add(self, samples: Iterable[Sample], now_s: float) -> None:
        """
        Fold *samples* into the minute of *now_s*; write the minute before when it is over.

        Raises:
            StateError: the finished minute could not be saved; it is given up, the new one goes on.
        """
        minute = math.floor(now_s / 60)
        finished = self._minute is not None and minute != self._minute
        try:
            if finished:
                self.flush()
        finally:
            self._minute = minute
            self._fold(samples)

    def _fold(self, samples: Iterable[Sample]) -> None:
        seen_at_s: dict[tuple[str, Labels], float] = {}
        for sample in samples:
            key = (sample.metric, sample.labels)
            seen_at_s[key] = sample.at_s
            if self._seen_at_s.get(key) == sample.at_s:
                continue  # nothing new since the last call; a series that ended is shown for a while
            running = self._running.get(key)
            if running is None:
                self._running[key] = _Running(sample.value, sample.value, sample.value, sample.value)
            else:
                running.fold(sample.value)
        self._seen_at_s = seen_at_s

    def flush(self) -> None:
        """
        Write the running minute, whether it is over or not.

        Raises:
            StateError: it could not be saved and is given up.
        """
        running, self._running = self._running, {}
        if not running or self._minute is None:
            return
        try:
            with self._database.transaction("history of a minute") as connection:
                for key in running.keys() - self._ids.keys():
                    metric, labels = key[0], document(key[1])
                    connection.execute(
                        "INSERT INTO series (metric, labels) VALUES (?, ?) ON CONFLICT (metric, labels) DO NOTHING",
                        (metric, labels),
                    )
                    (self._ids[key],) = connection.execute(
                        "SELECT id FROM series WHERE metric = ? AND labels = ?", (metric, labels)
                    ).fetchone()
                connection.executemany(
                    """INSERT INTO rollups (minute, series_id, min, max, mean, last, count) VALUES (?, ?, ?, ?, ?, ?, ?)
                    ON CONFLICT (minute, series_id) DO UPDATE SET
                        min = min(min, excluded.min), max = max(max, excluded.max), last = excluded.last,
                        mean = (mean * count + excluded.mean * excluded.count) / (count + excluded.count),
                        count = count + excluded.count""",
                    [
                        (self._minute, self._ids[key], s.least, s.most, s.total / s.count, s.last, s.count)
                        for key, s in running.items()
                    ],
                )
        except BaseException:
            self._ids.clear()  # some of them were undone with the transaction
            raise
        self._ids = {key: self._ids[key] for key in running}  # ended series are forgotten
        self.stay_below(self._max_bytes)

    def purge(self, before_s: float) -> None:
        """
        Forget minutes before *before_s* and series without any. Reads all of history: for once a day.

        Raises:
            StateError: the file cannot be written.
        """
        self._forget(math.floor(before_s / 60))
        with self._database.transaction("purge of series") as connection:
            connection.execute("DELETE FROM series WHERE id NOT IN (SELECT series_id FROM rollups)")
            self._ids.clear()

    def _forget(self, before_minute: int) -> None:
        with self._database.transaction("purge of history") as connection:
            connection.execute("DELETE FROM rollups WHERE minute < ?", (before_minute,))

    def stay_below(self, max_bytes: int) -> bool:
        """
        Give up the oldest history until the file holds at most *max_bytes*.

        Returns:
            Whether it now does; False when there is no history left to give up.

        Raises:
            StateError: the file cannot be written.
        """
        shrunk = False
        while self._database.used_bytes() > max_bytes:
            ((oldest, newest),) = self._database.read("SELECT min(minute), max(minute) FROM rollups")
            if oldest is None:
                return False
            self._forget(min(oldest + _SWEEP_MINUTES, newest + 1))
            shrunk = True
        if shrunk:
            self._database.shrink()
        return True
