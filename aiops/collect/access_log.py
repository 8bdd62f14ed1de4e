"""
What users feel: the gateway's access log, as requests, arrivals and latencies.

Each log is followed by name; each line becomes an `Entry` and is forgotten after it was counted: no address, query or
request body is kept. Health checks and scrapers are left out. What a log does not say (a combined format has neither
durations nor upstreams) is named as a blind spot with the format that would say it.

An answer is `truncated` when its status is good but nginx says the request did not complete, and `stalled` when it is
good but took longer than `stall`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from aiops.collect.access_format import SUGGESTED_FORMAT, Entry, Format, Parser, is_probe
from aiops.collect.addresses import Addresses, read_addresses
from aiops.collect.file_names import expand, reading_hint
from aiops.collect.losses import Losses
from aiops.collect.requests_window import HORIZON_S, Arrivals, Latencies, Totals
from aiops.collect.tail import Follower
from aiops.document import Duration, doc
from aiops.model import NOBODY, Labels, Observation, Outcome, Sample, Sight
from aiops.ports import World

_PLACES = (
    "var/log/nginx/*access*.log",
    "var/log/openresty/*access*.log",
    "usr/local/nginx/logs/*access*.log",
    "usr/local/openresty/nginx/logs/*access*.log",
)
_PROBES = (
    "/health", "/healthz", "/health_generate", "/livez", "/live", "/ready", "/readyz", "/ping", "/metrics",
    "/v2/health/live", "/v2/health/ready", "/nginx_status", "/stub_status", "/basic_status",
)  # fmt: skip
_MAX_LOGS = 16
_MAX_UPSTREAMS = 64
"""Upstreams told apart per service; the rest is called "other"."""
_DISCOVER_S = 30.0
_UP_S = 5.0
_AHEAD_S = 5.0
"""Lines further in the future were stamped by a clock that cannot be right."""
_STRANGE_LINES = 20
"""So many lines without one that can be read mean that the format is not known."""
_GOOD_BELOW = 400


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of the access-log collector."""

    enabled: bool = field(default=True, metadata=doc("follow the gateway's access logs"))
    interval: Duration = field(default=1.0, metadata=doc("time between readings"))
    deadline: Duration = field(default=2.0, metadata=doc("a reading that takes longer is given up"))
    paths: tuple[str, ...] = field(default=(), metadata=doc("access logs; * and ? are allowed"))
    service: str = field(default="", metadata=doc("name of the service behind them; empty: the file's name"))
    format: Format = field(default=Format.AUTO, metadata=doc("auto, json or combined"))
    discover: bool = field(default=True, metadata=doc("find nginx's and openresty's logs in their usual places too"))
    stall: Duration = field(default=120.0, metadata=doc("a good answer that took longer counts as stalled"))
    probes: tuple[str, ...] = field(default=_PROBES, metadata=doc("paths of health checks, left out of every count"))


class _Service:
    """Everything counted for one service."""

    def __init__(self, host: str, name: str, addresses: Addresses) -> None:
        self.name = name
        self._addresses = addresses
        self.labels = Labels.of(host_name=host, service=name)
        self.requests = Totals("http_server_requests_total")
        self.arrivals = Arrivals("http_server_arrival_rate", self.labels)
        self.retries = Arrivals("http_server_retry_rate", self.labels)
        self.first_byte = Latencies("http_server_time_to_first_byte_seconds")
        self.duration = Latencies("http_server_request_duration_seconds")
        self.up: bool | None = None
        self.up_said_s = float("-inf")
        self._knows_retries = False
        self._outcomes: dict[tuple[str, bool | None, str], Labels] = {}
        self._upstreams: dict[str, Labels] = {}

    def take(self, entry: Entry, outcome: str) -> None:
        """Count *entry*."""
        self.watch(entry.at_s)
        upstream = self._upstream(entry.upstream)
        key = (outcome, entry.by_upstream, upstream.get("upstream"))
        labels = self._outcomes.get(key)
        if labels is None:
            answered_by = {True: "upstream", False: "gateway", None: "unknown"}[entry.by_upstream]
            labels = self._outcomes[key] = upstream.merge(outcome=outcome, answered_by=answered_by)
        self.requests.add(labels, entry.at_s)
        arrived_s = entry.at_s - (entry.duration_s or 0.0)
        if entry.retry is not None:
            self._knows_retries = True
        (self.retries if entry.retry else self.arrivals).add(arrived_s)
        if outcome != Outcome.OK:
            return
        if entry.first_byte_s is not None:
            self.first_byte.add(upstream, entry.first_byte_s)
        if entry.duration_s is not None:
            self.duration.add(upstream, entry.duration_s)

    def watch(self, start_s: float) -> None:
        """Arrivals from *start_s* on are all seen."""
        self.arrivals.watch(start_s)
        self.retries.watch(start_s)

    def lose(self) -> None:
        """Arrivals are not all seen."""
        self.arrivals.lose()
        self.retries.lose()

    def samples(self, now_s: float, *, whole: bool, up: bool | None) -> Iterator[Sample]:
        """
        Everything new.

        Args:
            now_s: Wall time.
            whole: All logs of this service can be read.
            up: What its users feel is seen; None while that is not known.
        """
        if whole:
            self.watch(now_s)
        else:
            self.lose()
        yield from self.requests.samples(now_s)
        yield from self.arrivals.samples(now_s)
        if self._knows_retries:
            yield from self.retries.samples(now_s)
        yield from self.first_byte.samples(now_s)
        yield from self.duration.samples(now_s)
        if up is not None and (up != self.up or not 0.0 <= now_s - self.up_said_s < _UP_S):
            self.up, self.up_said_s = up, now_s
            yield Sample("http_server_log_up", self.labels, now_s, float(up))

    def _upstream(self, name: str) -> Labels:
        labels = self._upstreams.get(name)
        if labels is None:
            # "none" always has its place
            known = len(self._upstreams) < _MAX_UPSTREAMS or name == NOBODY
            if not known:
                return self._upstreams.setdefault("other", self.labels.merge(upstream="other"))
            labels = self._upstreams[name] = self.labels.merge(upstream=self._addresses.instance(name))
        return labels


class _Log:
    """One file, its parser, and what could not be used of it."""

    def __init__(self, follower: Follower, parser: Parser, service: _Service, *, is_configured: bool) -> None:
        self.follower = follower
        self.parser = parser
        self.service = service
        self.subject = f"access log {follower.path}"
        self.losses = Losses(service.labels.get("host_name"), follower.path)
        self.is_configured = is_configured
        self.understood = False
        self.said: str | None = None
        self.limits_said = False
        self.backlog_bytes = 0

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
        self._probes = frozenset(config.probes)
        self._logs: dict[str, _Log] = {}
        self._services: dict[str, _Service] = {}
        self._looked_s: float | None = None
        self._blind: frozenset[str] | None = None

    def collect(self, now_s: float) -> Iterator[Observation]:
        if self._looked_s is None or not 0.0 <= now_s - self._looked_s < _DISCOVER_S:
            yield from self._look(now_s)
        for log in self._logs.values():
            yield from self._read(log, now_s)
        for service in self._services.values():
            logs = [log for log in self._logs.values() if log.service is service]
            whole = not any(log.follower.problem for log in logs)
            proven = [not log.follower.problem and not log.is_strange for log in logs if log.is_proven]
            yield from service.samples(now_s, whole=whole, up=all(proven) if proven else None)

    def acknowledge(self, now_s: float) -> None:
        for log in self._logs.values():
            log.follower.save()

    # --- finding logs -----------------------------------------------------------------------------------------------

    def _look(self, now_s: float) -> Iterator[Sight]:
        first, self._looked_s = self._looked_s is None, now_s
        paths = [path for pattern in self._config.paths for path in expand(pattern, _MAX_LOGS)]
        configured = set(paths)
        closed: list[str] = []
        if self._config.discover:
            for place in _PLACES:
                paths += expand(str(self._world.root / place), _MAX_LOGS)
                folder = (self._world.root / place).parent
                if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
                    closed.append(str(folder))
        known = {os.path.realpath(path) for path in self._logs}
        for path in paths:
            if os.path.realpath(path) not in known and len(self._logs) < _MAX_LOGS:
                known.add(os.path.realpath(path))
                self._follow(path, is_new=not first, is_configured=path in configured)
        yield from self._blind_spots(frozenset(closed))

    def _follow(self, path: str, *, is_new: bool, is_configured: bool) -> None:
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
            service = self._services[name] = _Service(self._world.host, name, self._addresses)
        self._logs[path] = _Log(follower, Parser(self._config.format), service, is_configured=is_configured)

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
        for line in log.follower.lines(now_s):
            entry = log.parser.parse(line)
            if entry is None:
                log.losses.counts["malformed"] += 1
                continue
            age_s = now_s - entry.at_s
            if age_s > HORIZON_S or age_s < -_AHEAD_S:
                log.losses.counts["too_old" if age_s > 0 else "future"] += 1
                continue
            if not log.limits_said:
                yield from self._limits(log, entry)
            log.understood = True
            if not is_probe(entry, self._probes):
                outcome = outcome_of(entry, self._config.stall)
                log.service.take(entry if age_s >= 0 else _stamped(entry, now_s), outcome.value)
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
            yield Sight("access_log", f"{log.subject}: format", seen=False, detail=detail, hint=hint)


def outcome_of(entry: Entry, stall_s: float) -> Outcome:
    """What sort of end *entry*'s request came to."""
    status = entry.status
    if status in {429, 499, 503}:
        return Outcome(str(status))
    if status >= 500:
        return Outcome.SERVER_ERROR
    if status >= _GOOD_BELOW:
        return Outcome.CLIENT_ERROR
    if entry.completed is False:
        return Outcome.TRUNCATED
    return Outcome.STALLED if (entry.duration_s or 0.0) > stall_s else Outcome.OK


def _stamped(entry: Entry, at_s: float) -> Entry:
    """*entry* as if it had ended at *at_s*: its clock is a little ahead."""
    return Entry(**{name: getattr(entry, name) for name in entry.__struct_fields__} | {"at_s": at_s})


def _subject(folder: str) -> str:
    return f"access logs in {folder}" if folder else "gateway access log"


def _how_to_add() -> str:
    return f"name it under collect.access_log.paths; in nginx: {SUGGESTED_FORMAT} access_log /var/log/nginx/access.log aiops;"


def build(config: Config, world: World) -> AccessLog:
    """The collector of *config*."""
    return AccessLog(config, world)
