"""
What is on its way to the state file.

A change set is committed in one transaction. If the disk refuses or hangs, its notifications go out from memory and
the rest waits, to be offered again with the next change set. A session may be ended by a reload at any moment, in the
middle of a commit too: the saver outlives it, so that nothing waiting is lost and the next session goes on from what
was known, saved or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace

import structlog

from aiops.errors import StateError
from aiops.futures import look_away
from aiops.model import Alert, AlertState, ChangeSet, Event, Incident, IncidentState, Judgement
from aiops.ports import EmergencyOutbox, RunBlocking, StateWriter
from aiops.selfstat import SelfStat

log = structlog.get_logger(__name__)

MAX_EVENTS_WAITING = 1_000
_NOTHING = ChangeSet()
_SETTLE_S = 1.5
"""A daemon that is told to stop has five seconds for everything."""


class Saver:
    """
    Commits, and holds what could not be committed.

    Args:
        state: Where to.
        emergency: Takes notifications the state would not.
        stat: Counts failed commits.
        run: Runs a commit on the thread that owns the state file.
        deadline_s: A commit that takes longer means a sick disk: the page must not wait for it.
    """

    def __init__(
        self, state: StateWriter, emergency: EmergencyOutbox, stat: SelfStat, run: RunBlocking, deadline_s: float = 5.0
    ) -> None:
        self._state, self._emergency, self._stat, self._run = state, emergency, stat, run
        self.deadline_s = deadline_s
        self._events: list[Event] = []
        self._unsaved = _NOTHING
        self._saving = _NOTHING
        """What the commit under way holds; stays when whoever waited for it was cancelled."""
        self._commit: asyncio.Future[None] | None = None

    @property
    def hangs(self) -> bool:
        """Whether a commit is under way, and nothing may queue behind it."""
        return self._commit is not None and not self._commit.done()

    @property
    def is_clear(self) -> bool:
        """Whether everything that was offered is on the disk."""
        return not self._unsaved and not self._saving

    def add(self, event: Event) -> None:
        """Save *event* with the next change set."""
        if len(self._events) < MAX_EVENTS_WAITING:
            self._events.append(event)

    async def save(self, changes: ChangeSet, now_s: float) -> None:
        """Commit *changes* and whatever could not be committed before; never raises for a sick disk."""
        await self._save(changes, now_s, self.deadline_s)

    async def _save(self, changes: ChangeSet, now_s: float, deadline_s: float) -> None:
        self._look_back(now_s)
        events, self._events = (*self._events, *changes.events), []
        merged = merge(self._unsaved, replace(changes, events=events))
        if not merged:
            return
        if self.hangs:
            self._refused(merged, now_s, "the previous commit still hangs")
            return
        self._saving = merged
        self._commit = commit = asyncio.ensure_future(self._run(lambda: self._state.commit(merged)))
        look_away(commit)
        await asyncio.wait({commit}, timeout=deadline_s)
        self._look_back(now_s)

    async def settle(self, now_s: float) -> None:
        """Before another session takes over: let the commit under way end, and offer what waits once more."""
        if self._commit is not None and self._saving:
            await asyncio.wait({self._commit}, timeout=_SETTLE_S)
        if not self.hangs:
            await self._save(_NOTHING, now_s, _SETTLE_S)
        else:
            self._look_back(now_s)

    def alerts(self, saved: Iterable[Alert]) -> list[Alert]:
        """Pending and firing alerts: the *saved* ones, brought up to date."""
        newest = {alert.fingerprint: alert for alert in (*saved, *self._unsaved.alerts)}
        return [alert for alert in newest.values() if alert.state is not AlertState.RESOLVED]

    def open_incidents(self, saved: Iterable[Incident]) -> list[Incident]:
        """Incidents not resolved: the *saved* ones, brought up to date."""
        newest = {incident.id: incident for incident in (*saved, *self._unsaved.incidents)}
        return [incident for incident in newest.values() if incident.state is IncidentState.OPEN]

    def judgements(self, saved: Mapping[str, Judgement]) -> Mapping[str, Judgement]:
        """What people said: the *saved* ones, brought up to date."""
        waiting = {each.id: each.judgement for each in self._unsaved.incidents if each.judgement is not None}
        return {**saved, **waiting}

    def _look_back(self, now_s: float) -> None:
        """Take in how the last commit ended, also one that nobody waited for."""
        commit, saving = self._commit, self._saving
        if commit is None or not saving:
            return
        self._saving = _NOTHING
        if not commit.done():
            self._refused(saving, now_s, "commit hangs")
        elif commit.cancelled():
            self._refused(saving, now_s, "commit cancelled")
        elif (error := commit.exception()) is None:
            if self._unsaved:
                log.info("state can be saved again")
            self._unsaved = _NOTHING
        elif isinstance(error, Exception):
            self._refused(saving, now_s, str(error) if isinstance(error, StateError) else repr(error))
        else:
            raise error

    def _refused(self, merged: ChangeSet, now_s: float, why: str) -> None:
        if not self._unsaved:
            log.error("state cannot be saved; pages go out from memory", error=why)
        self._stat.state_errors.inc()
        for notification in merged.notifications:
            self._emergency.put(notification, now_s)
        # sent from memory, so not promised a second time by a later commit
        self._unsaved = replace(merged, notifications=())


def merge(older: ChangeSet, newer: ChangeSet) -> ChangeSet:
    """Both change sets as one: of an alert or incident the newer state, of events and notifications all."""
    if not older:
        return newer
    alerts = {alert.fingerprint: alert for alert in (*older.alerts, *newer.alerts)}
    incidents = {incident.id: incident for incident in (*older.incidents, *newer.incidents)}
    return ChangeSet(
        alerts=tuple(alerts.values()),
        incidents=tuple(incidents.values()),
        notifications=(*older.notifications, *newer.notifications),
        events=(*older.events, *newer.events)[-MAX_EVENTS_WAITING:],
    )
