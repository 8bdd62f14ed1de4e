"""
What was told to this daemon: change events and business samples from the inbox, and events from files.

The intake has checked and bounded everything; this collector only carries it, so that pushed things go the same way as
things read; only the replica that an event names is called as our own series call it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from aiops.collect.addresses import read_addresses
from aiops.collect.business_rows import lag
from aiops.collect.event_files import EventFiles
from aiops.document import Duration, doc
from aiops.model import Event, EventKind, Observation, Sample, Sight
from aiops.ports import World


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of the collector of pushed events and samples."""

    enabled: bool = field(default=True, metadata=doc("take pushed change events and business metrics in"))
    interval: Duration = field(default=1.0, metadata=doc("time between looks into the inbox"))
    deadline: Duration = field(default=1.0, metadata=doc("a look that takes longer is given up"))
    files: tuple[Path, ...] = field(
        default=(),
        metadata=doc("files of events, one JSON object a line as POST /api/v1/events takes it, or folders of such"),
    )


class Changes:
    """The collector: empties the inbox, and says once that something arrives there."""

    def __init__(self, config: Config, world: World) -> None:
        self.interval_s = config.interval
        self.deadline_s = config.deadline
        self._inbox = world.inbox
        self._files = EventFiles(config.files, world.root, world.host) if config.files else None
        self._addresses = read_addresses(world.root, world.host)
        self._seen: dict[str, bool | None] = {"change events": None, "business metrics": None}

    def collect(self, now_s: float) -> Iterator[Observation]:
        drained = self._inbox.drain()
        yield from self._news("change events", _HOW_CHANGES, any(map(_is_change, drained)))
        yield from self._news("business metrics", _HOW_BUSINESS, any(isinstance(each, Sample) for each in drained))
        if self._files is not None:
            yield from map(self._named, self._files.read(now_s))
        for observation in drained:
            yield self._named(observation)
            if isinstance(observation, Sample):
                yield lag(observation.metric, observation.labels, observation.at_s, now_s)

    def _named(self, observation: Observation) -> Observation:
        """An event names its replica as our series do, however a deployment spells it."""
        if not isinstance(observation, Event) or not (spelled := observation.labels.get("instance")):
            return observation
        return replace(observation, labels=observation.labels.merge(instance=self._addresses.instance(spelled)))

    def _news(self, subject: str, how: str, arrived: bool) -> Iterator[Sight]:  # noqa: FBT001
        if arrived and not self._seen[subject]:
            self._seen[subject] = True
            yield Sight("changes", subject, seen=True, detail="pushed to this daemon")
        elif self._seen[subject] is None:
            self._seen[subject] = False
            yield Sight("changes", subject, seen=False, detail="none pushed yet", hint=how)


_HOW_CHANGES = (
    "let deployments POST /api/v1/events with the token; without them a deploy is known only if replicas show it"
)
_HOW_BUSINESS = "POST success and complaint ratios to /api/v1/business with the token"


def _is_change(observation: Observation) -> bool:
    return isinstance(observation, Event) and observation.kind is EventKind.CHANGE


def build(config: Config, world: World) -> Changes:
    """The collector of *world*'s inbox."""
    return Changes(config, world)
