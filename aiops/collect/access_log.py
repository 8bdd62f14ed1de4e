"""
What users feel: the gateway's access log, as requests, arrivals and latencies.

Each log is followed by name; each line becomes an `Entry` and is forgotten after it was counted: no address, query or
request body is kept. Health checks and scrapers are left out. How nginx writes a log is looked up in its configuration;
any other format is known by its lines. What a log does not say (a combined format has neither durations nor upstreams)
is named as a blind spot with the format that would say it.

An answer is `truncated` when its status is good but nginx says the request did not complete, here or in its error log
(`access_broken`), and `stalled` when it is good but took longer than `stall`.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from aiops.collect.access_broken import BrokenAnswers, broken_of
from aiops.collect.access_entry import Entry
from aiops.collect.access_format import SUGGESTED_FORMAT, Format, Parser, check_form, is_probe
from aiops.collect.access_layout import DefinitionError
from aiops.collect.access_service import Service, outcome_of
from aiops.collect.addresses import read_addresses
from aiops.collect.container_format import Unwrapper, Wrapping
from aiops.collect.error_log import ErrorLogs
from aiops.collect.file_names import expand, reading_hint
from aiops.collect.known_servers import note_upstreams
from aiops.collect.losses import Losses
from aiops.collect.nginx_conf import NginxConf, changed_s
from aiops.collect.requests_window import HORIZON_S
from aiops.collect.rotated import is_rotation
from aiops.collect.tail import Follower
from aiops.document import Duration, FieldError, doc
from aiops.model import Observation, Sight
from aiops.ports import World

_PLACES = (
    "var/log/nginx/*access*.log",
    "var/log/openresty/*access*.log",
    "usr/local/nginx/logs/*access*.log",
    "usr/local/openresty/nginx/logs/*access*.log",
    "var/log/envoy/*access*.log",
    "var/log/caddy/*access*.log",
    "var/log/traefik/*access*.log",
    "var/log/haproxy*.log",
)
_PROBES = (
    "/health", "/healthz", "/health_generate", "/livez", "/live", "/ready", "/readyz", "/ping", "/metrics",
    "/v2/health/live", "/v2/health/ready", "/nginx_status", "/stub_status", "/basic_status",
)  # fmt: skip
_CONFS = (
    "/etc/nginx/nginx.conf",
    "/usr/local/nginx/conf/nginx.conf",
    "/usr/local/openresty/nginx/conf/nginx.conf",
)
_MAX_LOGS = 16
_MAX_FOUND = 1_024
"""Files of one pattern; those written last are taken."""
_QUIET_S = 86_400.0
"""A log without a line for so long gives its place to a new one: some gateways begin another file every day."""
_DISCOVER_S = 30.0
_AHEAD_S = 5.0
"""Lines further in the future were stamped by a clock that cannot be right."""
_STRANGE_LINES = 20
"""So many lines without one that can be read mean that the format is not known."""


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of the access-log collector."""

    enabled: bool = field(default=True, metadata=doc("follow the gateway's access logs"))
    interval: Duration = field(default=1.0, metadata=doc("time between readings"))
    deadline: Duration = field(default=2.0, metadata=doc("a reading that takes longer is given up"))
    paths: tuple[str, ...] = field(
        default=(), metadata=doc("access logs, those in logs of containers too; * and ? are allowed")
    )
    service: str = field(default="", metadata=doc("name of the service behind them; empty: the file's name"))
    format: str = field(
        default=Format.AUTO.value,
        metadata=doc(
            "auto (known by its lines, and by nginx's configuration), json, combined, nginx, envoy, uvicorn, gunicorn, "
            "caddy, haproxy, or the definition of a format: nginx's log_format, or a format string of Envoy or gunicorn"
        ),
    )
    discover: bool = field(
        default=True,
        metadata=doc(
            "find gateways' logs in nginx's configuration and in their usual places too, and nginx's error logs, which "
            "alone tell of answers that broke off"
        ),
    )
    nginx_conf: tuple[str, ...] = field(
        default=_CONFS, metadata=doc("nginx's configuration; the first that can be read tells logs and their formats")
    )
    stall: Duration = field(default=120.0, metadata=doc("a good answer that took longer counts as stalled"))
    probes: tuple[str, ...] = field(default=_PROBES, metadata=doc("paths of health checks, left out of every count"))

    def __post_init__(self) -> None:
        try:
            check_form(self.format)
        except DefinitionError as error:
            names = ", ".join(Format)
            raise FieldError("format", f"expected one of {names}, or the definition of a format: {error}") from error


class _Log:
    """One file, its parser, and what could not be used of it."""

    def __init__(self, follower: Follower, parser: Parser, service: Service, *, is_configured: bool) -> None:
        self.follower = follower
        self.parser = parser
        self.service = service
        self.subject = f"access log {follower.path}"
        self.losses = Losses(service.labels.get("host_name"), follower.path)
        self.is_configured = is_configured
        self.understood = False
        self.said: str | None = None
        self.limits_said = False
        self.heard_s = float("-inf")
        """When a line came, or it was found."""
        self.backlog_bytes = 0
        self._unwrapper = Unwrapper()
        self._changes = 0

    def lines(self, now_s: float) -> Iterator[tuple[bytes, float | None]]:
        """New lines as the program wrote them, and when, where a container's runtime says so."""
        unwrapper = self._unwrapper
        for line in self.follower.lines(now_s):
            if unwrapper.is_plain:
                yield line, None
                continue
            for each in unwrapper.add(line, now_s):
                yield each.text.encode("utf-8", "replace"), each.at_s
        if not unwrapper.is_idle:
            for each in unwrapper.flush(now_s):
                yield each.text.encode("utf-8", "replace"), each.at_s
        changes, _ = self.follower.place
        if changes != self._changes:
            self._changes = changes
            unwrapper.begin()

    @property
    def is_mixed(self) -> bool:
        """Whether lines that are no requests belong here: a program's own, or its errors in a container's log."""
        return self.parser.is_mixed or self._unwrapper.wrapping in {Wrapping.DOCKER, Wrapping.CRI}

    @property
    def is_strange(self) -> bool:
        """Whether lines came, and none could be read."""
        return not self.understood and sum(self.losses.counts.values()) >= _STRANGE_LINES

    @property
    def is_proven(self) -> bool:
        """
        Whether this log is known to tell what users feel.

        A log that was found and not named must show it: an idle web server's log says nothing about a service, and its
        loss is no loss.
        """
        return self.is_configured or self.understood


class AccessLog:
    """The collector: follows every log, counts per service."""

    def __init__(self, config: Config, world: World) -> None:
        self.interval_s = config.interval
        self.deadline_s = config.deadline
        self._config = config
        self._world = world
        self._addresses = read_addresses(world.root, world.host)
        self._conf = NginxConf(world.root, config.nginx_conf)
        self._probes = frozenset(config.probes)
        self._logs: dict[str, _Log] = {}
        self._services: dict[str, Service] = {}
        self._broken = BrokenAnswers()
        self._errors = ErrorLogs(world.checkpoints)
        self._named = frozenset(path for path in config.paths if not glob.has_magic(path))
        self._left: dict[str, float] = {}
        """Logs given up, and when they had changed last: they come back when they change."""
        self._looked_s: float | None = None
        self._blind: frozenset[str] | None = None
        self._noted: set[str] = set()
        """Upstreams told to whoever looks for servers."""

    def collect(self, now_s: float) -> Iterator[Observation]:
        if self._looked_s is None or not 0.0 <= now_s - self._looked_s < _DISCOVER_S:
            yield from self._look(now_s)
        yield from self._errors.read(self._broken, now_s)
        for log in self._logs.values():
            yield from self._read(log, now_s)
        for name, broken, at_s in self._broken.overdue(now_s):
            service = self._services.get(name)
            if service is not None and service.asks(broken.upstream) and broken.path not in self._probes:
                service.take_broken(broken, at_s)
        for service in self._services.values():
            logs = [log for log in self._logs.values() if log.service is service]
            whole = not any(log.follower.problem for log in logs)
            proven = [not log.follower.problem and not log.is_strange for log in logs if log.is_proven]
            yield from service.samples(now_s, whole=whole, up=all(proven) if proven else None)
        named = set[str]().union(*(service.named for service in self._services.values()))
        if named != self._noted:
            self._noted = named
            note_upstreams(self._world.checkpoints, named)

    def acknowledge(self, now_s: float) -> None:
        for log in self._logs.values():
            log.follower.save()
        self._errors.save()

    # --- finding logs -----------------------------------------------------------------------------------------------

    def _look(self, now_s: float) -> Iterator[Sight]:
        first, self._looked_s = self._looked_s is None, now_s
        if self._conf.look():
            for path, log in self._logs.items():
                log.parser.learn(self._conf.definitions(path))
        paths = [path for pattern in self._config.paths for path in self._found(pattern)]
        configured = set(paths)
        closed: list[str] = []
        if self._config.discover:
            found = [path for path in self._conf.logs if Path(path).is_file()]
            for place in _PLACES:
                found += self._found(str(self._world.root / place))
                folder = (self._world.root / place).parent
                if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
                    closed.append(str(folder))
            paths += [path for path in found if os.path.realpath(path) not in self._conf.doubles]
        known = {os.path.realpath(path) for path in self._logs}
        for path in paths:
            if os.path.realpath(path) not in known and self._has_room(now_s):
                known.add(os.path.realpath(path))
                self._follow(path, now_s, is_new=not first, is_configured=path in configured)
        if self._config.discover:
            followed = {path: log.service.name for path, log in self._logs.items()}
            self._errors.look(followed, self._conf.error_logs, is_new=not first)
        yield from self._blind_spots(frozenset(closed))

    def _found(self, pattern: str) -> list[str]:
        """Files that *pattern* names, those written last first; a rotation is read as what it was, or not at all."""
        paths = expand(pattern, _MAX_FOUND)
        if not glob.has_magic(pattern):
            return paths
        logs = {path: changed_s(Path(path)) for path in paths if not is_rotation(path, set(self._logs))}
        return sorted((path for path in logs if self._left.get(path) != logs[path]), key=logs.__getitem__, reverse=True)

    def _has_room(self, now_s: float) -> bool:
        """Whether another log can be followed; the one that was quiet longest may have to go for it."""
        if len(self._logs) < _MAX_LOGS:
            return True
        others = (path for path in self._logs if path not in self._named)
        path = min(others, key=lambda path: self._logs[path].heard_s, default=None)
        if path is None or now_s - self._logs[path].heard_s <= _QUIET_S:
            return False
        left = self._logs.pop(path)
        left.follower.close()
        if len(self._left) >= _MAX_FOUND:
            self._left.clear()
        self._left[path] = changed_s(Path(path))
        if not any(log.service is left.service for log in self._logs.values()):
            del self._services[left.service.name]
        return True

    def _follow(self, path: str, now_s: float, *, is_new: bool, is_configured: bool) -> None:
        follower = Follower(
            path,
            self._world.checkpoints,
            name=f"access_log:{path}",
            max_away_s=float(HORIZON_S),
            from_start=is_new,
        )
        name = self._config.service or Path(path).stem
        service = self._services.get(name)
        if service is None:
            service = self._services[name] = Service(self._world.host, name, self._addresses)
        parser = Parser(self._config.format)
        parser.learn(self._conf.definitions(path))
        self._logs[path] = _Log(follower, parser, service, is_configured=is_configured)
        self._logs[path].heard_s = now_s

    def _blind_spots(self, closed: frozenset[str]) -> Iterator[Sight]:
        found = closed if closed or self._logs else frozenset({""})
        if found == self._blind:
            return
        before, self._blind = self._blind or frozenset(), found
        for folder in sorted(before - found):
            yield Sight("access_log", _subject(folder), seen=True, detail="readable now")
        for folder in sorted(found - before):
            if folder:
                yield Sight("access_log", _subject(folder), False, "permission denied", reading_hint(folder))
            else:
                yield Sight("access_log", _subject(folder), False, "none found", _how_to_add())

    # --- reading them -----------------------------------------------------------------------------------------------

    def _read(self, log: _Log, now_s: float) -> Iterator[Observation]:
        for line, written_s in log.lines(now_s):
            log.heard_s = now_s
            entry = log.parser.parse(line)
            if entry is not None:
                yield from self._take(log, entry, entry.at_s or written_s, now_s)
            elif not log.is_mixed:
                log.losses.counts["malformed"] += 1
            elif (broken := broken_of(line)) is not None:  # nginx in a container writes both to one
                self._broken.add(broken, log.service.name, now_s, is_dated=log.follower.behind_since_s is None)
        if log.follower.skipped_bytes != log.backlog_bytes:
            log.backlog_bytes = log.follower.skipped_bytes
            log.losses.counts["backlog"] += 1
            log.service.lose()
        if log.follower.truncated:
            log.losses.counts["oversize"] = log.follower.truncated
        if log.follower.lost_files:
            log.losses.counts["rotated_away"] = log.follower.lost_files
        yield from log.losses.samples(now_s)
        yield from self._state(log)
        log.follower.note(now_s)

    def _take(self, log: _Log, entry: Entry, ended_s: float | None, now_s: float) -> Iterator[Sight]:
        if ended_s is None and log.follower.behind_since_s is not None:
            log.losses.counts["undated"] += 1  # from a time when nobody looked, and it does not say which
            return
        age_s = 0.0 if ended_s is None else now_s - ended_s
        if age_s > HORIZON_S or age_s < -_AHEAD_S:
            log.losses.counts["too_old" if age_s > 0 else "future"] += 1
            return
        if not log.limits_said:
            yield from self._limits(log, entry)
        log.understood = True
        if not is_probe(entry, self._probes):
            if self._broken.was_counted(entry, now_s):
                log.service.arrived(entry, now_s - max(age_s, 0.0))
                return
            entry = self._broken.met(entry)
            log.service.take(entry, now_s - max(age_s, 0.0), outcome_of(entry, self._config.stall).value)

    def _state(self, log: _Log) -> Iterator[Sight]:
        problem, hint = log.follower.problem, ""
        if problem == "permission denied":
            hint = reading_hint(log.follower.path)
        elif problem == "not a regular file":
            hint = "let nginx write the log to a file as well; what goes to a terminal or pipe cannot be followed"
        elif not problem and log.is_strange:
            problem, hint = "none of its lines can be read", _how_to_add()
        if problem != log.said:
            log.said = problem
            detail = problem or f"requests of service {log.service.name}"
            yield Sight("access_log", log.subject, seen=not problem, detail=detail, hint=hint)

    def _limits(self, log: _Log, entry: Entry) -> Iterator[Sight]:
        """What this log will never say."""
        log.limits_said = True
        missing = [
            what
            for what, absent in (
                ("how long requests took", entry.duration_s is None),
                ("whether the gateway or an upstream answered", entry.by_upstream is None),
                ("whether answers were sent whole", entry.completed is None),
            )
            if absent
        ]
        if missing:
            detail = "it does not say " + ", ".join(missing)
            hint = f"add $request_time, $upstream_status and $request_completion to its format: {SUGGESTED_FORMAT}"
            if log.parser.is_own:
                hint = "a server's own access lines never do; name the gateway's log under collect.access_log.paths"
            yield Sight("access_log", f"{log.subject}: format", seen=False, detail=detail, hint=hint)


def _subject(folder: str) -> str:
    return f"access logs in {folder}" if folder else "gateway access log"


def _how_to_add() -> str:
    return f"name it under collect.access_log.paths; in nginx: {SUGGESTED_FORMAT} access_log /var/log/nginx/access.log aiops;"


def build(config: Config, world: World) -> AccessLog:
    """The collector of *config*."""
    return AccessLog(config, world)
