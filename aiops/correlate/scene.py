"""What one diagnosis looks at, put together once: the incident's question, the series in sight, events, edges, load."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from aiops.correlate.load import LoadAccount, account
from aiops.correlate.pace import Pace, read_paces
from aiops.correlate.topology import Place, Topology, read_topology
from aiops.correlate.view import View, cut
from aiops.model import NO_LABELS, Alert, Event, EventKind, Labels, LogTemplate, Onset
from aiops.ports import EventReader, SeriesReader, TemplateReader, Window
from aiops.rulebook.causes import Scope
from aiops.rulebook.clauses import TEMPLATES_S
from aiops.units import format_duration

T = TypeVar("T")

SIGHT_S = 900.0
"""How far back before the first bad second series are read: the longest lead and its baseline."""
_DAY_S = 86_400.0
_TOGETHER_S = 1.5
"""Closer than this to the first bad second is "as": buckets are a second long."""

_FEED_STEP_S = 90.0
"""A feed says at least once a minute that it is there."""
_ROLLOUT_S = 600.0
SEEN_BY_REPLICAS = "replicas"
"""Value of the label ``seen_by`` of a change that nobody reported: a replica's page began to tell another version."""


def spelled(version: str) -> str:
    """A version as people and programs alike spell it: "v2.0" is "2.0"."""
    return version.strip().lower().removeprefix("v")


def is_of(seen: Event, reported: Event) -> bool:
    """Whether what a replica's page showed is part of a change that was reported."""
    versions = {spelled(event.labels.get("version")) for event in (seen, reported)} - {""}
    return len(versions) < 2 and abs(seen.at_s - reported.at_s) <= SIGHT_S


def rollouts(events: Iterable[Event]) -> set[tuple[str, float]]:
    """What *events* are of: a version that reaches eight replicas within minutes is one change."""
    return {
        (version, event.at_s // _ROLLOUT_S) if (version := spelled(event.labels.get("version"))) else ("", event.at_s)
        for event in events
    }


@dataclass(frozen=True, slots=True)
class IncidentContext:
    """What is asked: why did this service hurt from then on?"""

    service: str
    symptoms: tuple[Alert, ...]
    first_bad_s: float
    opened_at_s: float
    named: str = ""
    """The cause that is named already, the first if there are several."""
    named_at: Labels = NO_LABELS
    """Where."""
    named_s: float = 0.0
    """Since when."""
    outcomes: frozenset[str] = frozenset()
    """Bad outcomes that are asked about as well, whether or not they are a symptom yet."""

    @property
    def onset(self) -> Onset:
        """When the symptom began."""
        return Onset(self.first_bad_s - 1.0, self.first_bad_s + 1.0)

    @property
    def explained_by(self) -> frozenset[str]:
        """Names a cause may give under `explains`: symptom rules and their outcomes."""
        felt = {name for alert in self.symptoms for name in (alert.rule, alert.labels.get("outcome")) if name}
        return self.outcomes | felt


class Scene:
    """
    Everything the clauses of one diagnosis are tested on.

    Args:
        context: The question.
        series: Recent samples.
        events: Recent events.
        templates: Kinds of log lines.
        now_s: The time of the diagnosis.
    """

    def __init__(
        self,
        context: IncidentContext,
        series: SeriesReader,
        events: EventReader,
        templates: TemplateReader,
        now_s: float,
    ) -> None:
        self.context = context
        self.now_s = now_s
        self.first_bad_s = context.first_bad_s
        self.view = View(series, context.first_bad_s - SIGHT_S, now_s)
        self.topology: Topology = read_topology(self.view, context.service)
        self._events = events
        self.events: Sequence[Event] = events.events(context.first_bad_s - _DAY_S, now_s)
        self._templates = templates
        self._changes_are_pushed = events.has_change_feed()
        self._known: dict[Hashable, Any] = {}

    def asked(self, context: IncidentContext, series: SeriesReader, now_s: float | None = None) -> Scene:
        """Another question, asked of *series*, of the same moment or of an earlier one."""
        return Scene(context, series, self._events, self._templates, self.now_s if now_s is None else now_s)

    def once(self, key: Hashable, find: Callable[[], T]) -> T:
        """What *find* gives, worked out once a scene: a clause asks the same of the same series at every place."""
        if key in self._known:
            known: T = self._known[key]
            return known
        found = self._known[key] = find()
        return found

    def moves(self, window: Window) -> bool:
        """Whether a series of this scene ever changes: most counters of errors and lines do not."""
        return self.once(("moves", id(window)), lambda: bool((window.values != window.values[0]).any()))

    @cached_property
    def templates(self) -> Sequence[LogTemplate]:
        """Kinds of log lines shortly before the first bad second and since."""
        return self._templates.templates(self.first_bad_s - TEMPLATES_S, self.now_s)

    def places(self, scope: Scope) -> tuple[Place, ...]:
        """Every place of that kind the service could be hurt from."""
        return self.once(("places", scope), lambda: self.topology.places(scope))

    def whole(self, scope: Scope) -> Place:
        """The service, or its host, with all its replicas and their cards."""
        return self.once(("whole", scope), lambda: self.topology.whole(scope))

    @cached_property
    def paces(self) -> dict[str, Pace]:
        """The pace of every replica."""
        return read_paces(self.view, self.topology)

    @cached_property
    def load(self) -> LoadAccount:
        """The load accounting up to the first bad second."""
        return account(self.view, self.topology, self.paces, self.first_bad_s)

    def events_a_second(self, kind: EventKind, actions: Collection[str] = (), *, besides: int) -> float:
        """
        How often this node sees such an event.

        One a day is assumed before any was counted, so that the first deploy ever seen is not taken for a rarity.

        Args:
            kind: Of the events; of changes, a rollout counts once.
            actions: What counts; an autoscaler's scaling says nothing about how rare deploys are. Nothing means all.
            besides: Events, or rollouts, that are being explained and do not count.
        """
        seen = [e for e in self.events if e.kind is kind and (not actions or e.action in actions)]
        counted = len(rollouts(seen)) if kind is EventKind.CHANGE else len(seen)
        return (1.0 + max(counted - besides, 0)) / (2 * _DAY_S)

    def sees(self, kind: EventKind, lead_s: float = SIGHT_S) -> bool:
        """Whether an event of *kind* would be known; without that, none seen means nothing."""
        if kind is EventKind.CHANGE:
            return self.sees_changes(lead_s)
        return bool(self.view.windows("process_uptime_seconds" if kind is EventKind.PROCESS else "hw_gpu_up"))

    def sees_changes(self, lead_s: float = SIGHT_S) -> bool:
        """
        Whether a change would be known: somebody pushes them, or a feed of ours saw everything for *lead_s* before.

        Without that, no deploy seen means nothing.
        """
        start_s = self.first_bad_s - lead_s
        return self._changes_are_pushed or any(
            window.at_s[0] <= start_s + _FEED_STEP_S
            and window.at_s[-1] >= min(self.first_bad_s, self.now_s) - _FEED_STEP_S
            and bool((window.values > 0.0).all())
            for feed in self.view.windows("change_feed_up")
            if (window := cut(feed, start_s, self.first_bad_s + _FEED_STEP_S)).at_s.size
        )

    def when(self, onset: Onset | None) -> str:
        """An onset against the first bad answer, in words."""
        if onset is None:
            return "at an unknown time"
        ahead_s = self.first_bad_s - onset.by_s
        if ahead_s > _TOGETHER_S:
            return f"{format_duration(ahead_s)} before the first bad answer"
        if not self.context.onset.before(onset):  # the intervals touch: neither was certainly first
            return "as the first bad answer came"
        return f"{format_duration(-ahead_s)} after the first bad answer"
