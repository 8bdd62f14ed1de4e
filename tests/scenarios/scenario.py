"""
Scenarios as data: a timeline of series, events and a symptom in; the incident's end out.

Noise comes from a generator seeded by the file's name, so a scenario is the same in every run.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from prometheus_client import CollectorRegistry

from aiops import correlate
from aiops.document import decode, load
from aiops.model import (
    Alert,
    AlertState,
    ChangeKind,
    Event,
    EventKind,
    Incident,
    Labels,
    LogSeverity,
    LogTemplate,
    Message,
    NewsKind,
    Notification,
    Onset,
    Severity,
    TemplateNews,
)
from aiops.rulebook.causes import CauseRule
from aiops.selfstat import SelfStat
from tests.fakes import FakeEvents, FakeSeries, FakeTemplates

HERE = Path(__file__).parent
REPLICAS = "127.0.0.1:8001|127.0.0.1:8002|127.0.0.1:8003"
START_S = 1_800_000_000.0
"""Second 0 of every scenario."""


@dataclass(frozen=True)
class Track:
    metric: str
    every: int
    labels: dict[str, str] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    noise: float = 0.0
    since: int = 0
    until: int | None = None


@dataclass(frozen=True)
class Happening:
    at: int
    kind: EventKind
    action: str
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Felt:
    """A symptom other than an outcome of the gateway log, of the rule that sees it."""

    rule: str
    labels: dict[str, str]
    lingers: bool = False


@dataclass(frozen=True)
class Said:
    """A kind of line, an error unless it is less, that a replica's log had never shown."""

    at: int
    instance: str
    count: int = 1
    title: str = ""
    severity: LogSeverity = LogSeverity.ERROR


@dataclass(frozen=True)
class Expected:
    status: str
    service: str = ""
    note: str = ""
    cause: str = ""
    place: str = ""
    also: tuple[str, ...] = ()
    chain: tuple[str, ...] = ()
    verdicts: dict[str, str] = field(default_factory=dict)
    movers: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scenario:
    title: str
    first_bad: int
    expect: Expected
    end: int = 130
    history: int = 70
    service: str = "chat"
    series: tuple[Track, ...] = ()
    events: tuple[Happening, ...] = ()
    without: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    feed: bool = True
    outcome: str = "503"
    felt: tuple[Felt, ...] = ()
    said: tuple[Said, ...] = ()


@dataclass(frozen=True)
class Healthy:
    service: str
    series: tuple[Track, ...]


@dataclass(frozen=True)
class World:
    series: FakeSeries
    events: FakeEvents
    templates: FakeTemplates


def read(path: Path) -> Scenario:
    root = load(path)
    assert root is not None
    return decode(root, Scenario)


def paths() -> Sequence[Path]:
    return sorted(path for path in HERE.glob("*/*.yaml"))


def build_world(scenario: Scenario, seed: str) -> World:
    root = load(HERE / "healthy.yaml")
    assert root is not None
    tracks: dict[tuple[str, Labels], Track] = {}
    for track in (*decode(root, Healthy).series, *scenario.series):
        for labels in expand(track.labels):
            tracks[track.metric, labels] = track
    series = FakeSeries()
    for (metric, labels), track in tracks.items():
        if metric not in scenario.without and (not scenario.only or metric in scenario.only):
            series.put(metric, labels, _points(track, scenario, random.Random(f"{seed} {metric} {labels}")))
    events = [Event(h.kind, h.action, START_S + h.at, Labels.from_mapping(h.labels)) for h in scenario.events]
    return World(series, FakeEvents(events, feed=scenario.feed), FakeTemplates(map(_template, scenario.said)))


def _template(said: Said) -> LogTemplate:
    born_s = START_S + said.at
    news = TemplateNews(NewsKind.NEW, Onset(born_s - 1.0, born_s), 0.0)
    return LogTemplate(
        id=f"t{said.at}", template="", count=said.count, log_class="benign", severity=said.severity, title=said.title,
        first_at_s=born_s, last_at_s=born_s, labels=Labels.of(source="server.log", instance=said.instance), news=news,
    )  # fmt: skip


def expand(labels: Mapping[str, str]) -> list[Labels]:
    choices = [
        [(name, value) for value in text.replace("replicas", REPLICAS).split("|")] for name, text in labels.items()
    ]
    return [Labels.from_mapping(dict(pairs)) for pairs in itertools.product(*choices)]


def _points(track: Track, scenario: Scenario, rng: random.Random) -> dict[float, float]:
    """Slow readings become one a second from the symptom on, as the pipeline hastens its collectors."""
    levels = sorted((int(at), value) for at, value in (track.values or track.rates).items())
    begin = 70 - scenario.history
    points: dict[float, float] = {}
    total = 0.0
    for at in range(scenario.end + 1):
        level = next(value for start, value in reversed(levels) if start <= at)
        noisy = max(level * (1 + rng.gauss(0, track.noise)), 0.0) if track.noise else level
        total += noisy
        due = at % track.every == 0 or at >= scenario.first_bad + 2
        if due and at >= max(begin, track.since or begin) and (track.until is None or at <= track.until):
            points[START_S + at] = total if track.rates else noisy
    return points


def symptoms(scenario: Scenario, now_s: float) -> list[Alert]:
    """The outcome at the gateway, or what is felt instead."""
    outcome = Alert(
        rule="Upstream503", labels=Labels.of(service=scenario.service, outcome=scenario.outcome),
        severity=Severity.PAGE, symptom=True, state=AlertState.FIRING, since_s=START_S + scenario.first_bad,
        last_breach_s=now_s, value=0.3, limit=0.01, summary="503 answers", fired_at_s=START_S + scenario.first_bad + 3,
    )  # fmt: skip
    return [
        replace(
            outcome, rule=felt.rule, labels=Labels.from_mapping(felt.labels), severity=Severity.TICKET,
            lingers=felt.lingers,
        )
        for felt in scenario.felt
    ] or [outcome]  # fmt: skip


def compose(incident: Incident, change: ChangeKind) -> Message:
    roots = ", ".join(h.cause for h in incident.diagnosis.roots)
    return Message(change, Severity.PAGE, f"{change.value}: {roots}", ())


def compose_tickets(alerts: Sequence[Alert]) -> Message:
    return Message(ChangeKind.TICKET, Severity.TICKET, ", ".join(alert.rule for alert in alerts), ())


def play(scenario: Scenario, world: World, causes: Sequence[CauseRule]) -> tuple[Incident, list[Notification]]:
    """Step a correlator once a second from detection to the scenario's end; the symptom fires throughout."""
    desk = correlate.build(
        causes=causes, series=world.series, events=world.events, templates=world.templates,
        compose=compose, compose_tickets=compose_tickets, receivers=[("chat", frozenset(Severity))],
        stat=SelfStat(CollectorRegistry()),
    )  # fmt: skip
    told: list[Notification] = []
    for at in range(scenario.first_bad + 3, scenario.end):
        now_s = START_S + at + 0.5
        changes = desk.step(symptoms(scenario, now_s), now_s)
        told.extend(changes.notifications)
    (case,) = desk._cases.values()
    return case.incident, told
