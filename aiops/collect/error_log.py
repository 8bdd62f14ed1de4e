"""
nginx's error logs, followed beside its access logs for the answers that broke off.

They are those that nginx's configuration names, and those that stand beside an access log under the usual name
(site-access.log, site-error.log; error.log). No text of them is kept: the log files' collector does that for those who
name the file there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from aiops.collect.access_broken import BrokenAnswers, broken_of
from aiops.collect.file_names import reading_hint
from aiops.collect.requests_window import HORIZON_S
from aiops.collect.sampling import Ration
from aiops.collect.tail import Follower
from aiops.model import Sight
from aiops.ports import Checkpoints

_MAX_LOGS = 16
_ROUND_BYTES = 4 * 2**20
"""Read of all of them together in one round, or a flood in each would be held at once; what is left comes next time."""


class _ErrorLog:
    """One file, and whose answers its lines tell of where no access log does."""

    def __init__(self, follower: Follower, service: str) -> None:
        self.follower = follower
        self.service = service
        self.said: str | None = None


class ErrorLogs:
    """
    Follows every error log.

    Args:
        checkpoints: Where places are kept over restarts.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        self._logs: dict[str, _ErrorLog] = {}
        """By path."""

    def look(self, access_logs: Mapping[str, str], named: Sequence[str], *, is_new: bool) -> None:
        """
        Find error logs.

        Args:
            access_logs: Path to service.
            named: Error logs that nginx's configuration names.
            is_new: A log that is found now was not there before.
        """
        found = {beside: service for path, service in access_logs.items() for beside in _beside(path)}
        if access_logs:
            first = next(iter(access_logs.values()))
            found |= {path: first for path in named if path not in found}
        for path in self._logs.keys() - found.keys():  # its access log went, as one with a date in its name does
            self._logs.pop(path).follower.close()
        known = {os.path.realpath(path) for path in self._logs}  # of a link that points elsewhere now, the new one
        for path, service in found.items():
            real = os.path.realpath(path)
            if real not in known and len(self._logs) < _MAX_LOGS and Path(path).is_file():
                known.add(real)
                follower = Follower(
                    path,
                    self._checkpoints,
                    name=f"error_log:{path}",
                    max_away_s=float(HORIZON_S),
                    from_start=is_new,
                )
                self._logs[path] = _ErrorLog(follower, service)

    def read(self, broken: BrokenAnswers, now_s: float) -> Iterator[Sight]:
        """What is new in all of them goes to *broken*; whether each can be read is told."""
        for log in self._logs.values():
            for line in log.follower.lines(now_s, Ration(scan_bytes=_ROUND_BYTES // len(self._logs))):
                if (found := broken_of(line)) is not None:
                    is_dated = log.follower.behind_since_s is None
                    broken.add(found, log.service, now_s, is_dated=is_dated)
            log.follower.note(now_s)
            problem = log.follower.problem
            if problem != log.said:
                log.said = problem
                hint = reading_hint(log.follower.path) if problem == "permission denied" else ""
                detail = problem or "answers that broke off"
                yield Sight("access_log", f"error log {log.follower.path}", seen=not problem, detail=detail, hint=hint)

    def save(self) -> None:
        """What was read has arrived."""
        for log in self._logs.values():
            log.follower.save()


def _beside(path: str) -> tuple[str, ...]:
    log = Path(path)
    names = {log.name.replace("access", "error"), "error.log"} - {log.name}
    return tuple(str(log.with_name(name)) for name in sorted(names))
