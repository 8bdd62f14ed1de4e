"""
Inference servers: reads the metrics page of each, and finds those that run on this machine.

Every target has its own request in flight, so that one that hangs neither delays nor fails the others: a round waits
a moment for those that answered last time, takes what is there, and leaves the rest to the next round. What a page
means is told by engines.py; who listens here by discovery.py.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx

from aiops.collect.addresses import read_addresses
from aiops.collect.discovery import ROUND_S, Discovery, Found, Round
from aiops.collect.engines import Dialect, Dialects, Health, dialects
from aiops.collect.fetch import TooSlow, Unready, fetch_page, instance_of, one_page
from aiops.collect.health import HealthWatch, health_url
from aiops.collect.known_servers import coming_servers, named_upstreams, note_servers
from aiops.collect.replica_changes import ReplicaChanges
from aiops.collect.server_page import ServerPage, server
from aiops.collect.version import VersionWatch
from aiops.document import Duration, doc
from aiops.errors import SourceError
from aiops.model import Labels, Observation, Sample, Sight
from aiops.ports import World

_MAX_TARGETS = 64
_FORGET_S = 900.0
"""How long a server that was found, and is gone, is still asked and reported as down."""
_FORGET_UNREAD_S = 60.0
"""… and one that was ended before its page could ever be read."""
_PATIENCE_S = 1.0
_SHORT_PATIENCE_S = 0.1
_FIRST_LOOK_S = 2.0
_HINT_S = 120.0
"""How long an upstream that a gateway has begun to name is looked for more often: it may not listen yet."""
_HINTED_ROUND_S = 9.5
_NAME = "inference"
_USUAL_HEALTH = Health("/health")
_NOTHING_HINT = "try `aiops demo`, or add collect.inference.targets"


@dataclass(frozen=True, slots=True)
class TargetConfig:
    """One server's page."""

    url: str = field(metadata=doc("address of the metrics page, as the gateway spells its upstream unless it is local"))
    gpu: str = field(default="", metadata=doc("index of the card the server runs on"))

    def __post_init__(self) -> None:
        instance_of(self.url)


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of the inference collector."""

    enabled: bool = field(default=True, metadata=doc("read the metrics pages of inference servers"))
    interval: Duration = field(default=5.0, metadata=doc("time between readings; 1s while an incident is open"))
    deadline: Duration = field(default=3.0, metadata=doc("a page that takes longer counts as down"))
    health: bool = field(default=True, metadata=doc("ask each server's own health path every 10s"))
    discover: bool = field(default=True, metadata=doc("look for servers on local ports, once a minute"))
    targets: tuple[TargetConfig, ...] = field(default=(), metadata=doc("servers that are always read"))


class Target:
    """A page that is read again and again."""

    def __init__(self, url: str, instance: str, host: str, *, gpu: str = "", fixed: bool = True) -> None:
        self.url = url
        self.instance = instance
        self.fixed = fixed
        self.gpu = Labels.of(host_name=host, instance=self.instance, gpu=gpu) if gpu else None
        self.server: ServerPage | None = None
        self.version: VersionWatch | None = None
        self.health: HealthWatch | None = None
        self.request: asyncio.Task[bytes] | None = None
        self.asked_s = 0.0
        self.healthy = True
        self.down_since_s: float | None = None
        self.said = ""

    def close(self) -> None:
        """End the questions beside the page."""
        for watch in (self.version, self.health):
            if watch is not None:
                watch.close()


class Inference:
    """The collector; *reader* is discovery's thread, ended with it."""

    def __init__(
        self,
        config: Config,
        world: World,
        table: Dialects,
        discovery: Discovery | None,
        reader: ThreadPoolExecutor | None = None,
    ) -> None:
        self._reader = reader
        self.interval_s = config.interval
        # a round ends by itself before this: it waits for no page to be given up
        self.deadline_s = _PATIENCE_S + _SHORT_PATIENCE_S + _FIRST_LOOK_S + 2.0
        self._page_deadline_s = config.deadline
        self._http = world.http
        self._clock = world.clock
        self._asks_health = config.health
        self._host = world.host
        self._dialects = table
        self._discovery = discovery
        self._look: asyncio.Task[Round] | None = None
        self._looked_s = float("-inf")
        self._said = ""
        self._named: dict[str, float] = {}
        """Upstreams that a gateway names, and since when."""
        self._checkpoints = world.checkpoints
        self._noted: frozenset[str] | None = None
        self._coming: frozenset[str] = frozenset()
        self._changes = ReplicaChanges(world.host)
        addresses = read_addresses(world.root, world.host)
        targets = [
            Target(target.url, addresses.instance(instance_of(target.url)), world.host, gpu=target.gpu)
            for target in config.targets[:_MAX_TARGETS]
        ]
        self._targets = {target.instance: target for target in targets}

    async def gather(self, now_s: float) -> Sequence[Observation]:
        observations: list[Observation] = []
        first = self._looked_s == float("-inf")
        self._start_look(now_s)
        self._expect()
        self._ask(now_s)
        await self._wait()
        for target in list(self._targets.values()):
            observations += self._take(target, now_s)
            observations += self._ask_health(target, now_s)
        if self._look is not None and first:  # so that a single round shows what there is
            await asyncio.wait({self._look}, timeout=_FIRST_LOOK_S)
        if self._look is not None and self._look.done():
            observations += self._take_look(self._look, now_s)
            self._look = None
        self._note_known()
        return [*observations, *self._changes.look(observations), *self._changes.coverage(now_s)]

    def _expect(self) -> None:
        """A server that is being started beside others is down until it listens, and not unknown."""
        if self._discovery is None:
            return
        self._coming = coming_servers(self._checkpoints)
        for instance in sorted(self._coming - self._targets.keys()):
            if len(self._targets) < _MAX_TARGETS:
                self._targets[instance] = Target(f"http://{instance}/metrics", instance, self._host, fixed=False)

    def _note_known(self) -> None:
        """Let the collector of processes know whose processes to follow."""
        if self._targets.keys() != self._noted:
            self._noted = frozenset(self._targets)
            note_servers(self._checkpoints, self._noted)

    def close(self) -> None:
        """End what is under way."""
        under_way = [self._look, *(target.request for target in self._targets.values())]
        for task in under_way:
            if task is not None:
                task.cancel()
        for target in self._targets.values():
            target.close()
        if self._reader is not None:
            self._reader.shutdown(wait=False, cancel_futures=True)

    def _ask(self, now_s: float) -> None:
        """Send a request to every target that has none in flight."""
        for target in self._targets.values():
            if target.request is None:
                target.asked_s = now_s
                page = fetch_page(self._http, target.url, deadline_s=self._page_deadline_s, again=target.healthy)
                target.request = asyncio.create_task(page, name=f"page of {target.instance}")

    async def _wait(self) -> None:
        """Wait for those that answered last time, and hardly for the others."""
        requests = {target.healthy: set[asyncio.Task[bytes]]() for target in self._targets.values()}
        for target in self._targets.values():
            if target.request is not None:
                requests[target.healthy].add(target.request)
        if healthy := requests.get(True):
            await asyncio.wait(healthy, timeout=_PATIENCE_S)
        if sick := requests.get(False):
            await asyncio.wait(sick, timeout=_SHORT_PATIENCE_S)

    def _take(self, target: Target, now_s: float) -> Iterator[Observation]:
        """What *target* answered, if it has."""
        if target.gpu is not None:
            yield Sample("gen_ai_server_gpu", target.gpu, now_s, 1.0)
        if target.request is None or not target.request.done():
            return
        request, target.request = target.request, None
        try:
            with one_page():
                samples = self._read(target, request.result())
        except SourceError as error:
            yield from self._down(target, str(error), silent=isinstance(error, TooSlow))
        else:
            yield from samples
            yield from self._up(target)

    def _read(self, target: Target, page: bytes) -> list[Sample]:
        known = target.server
        if known is None or not known.dialect.name or not target.healthy:
            # a page that is nobody's leaves a server what it was: its series must show that it is down, not end
            dialect = self._dialects.recognise(page) or (known.dialect if known else self._dialects.unknown)
            if known is None or known.dialect is not dialect:
                known = self._meet(target, dialect)
        samples = known.read(page, target.asked_s)
        labels, found = known.labels, {sample.metric: sample.value for sample in samples}
        refuses = target.health is not None and target.health.refuses
        ready = not refuses and found.get("gen_ai_server_asleep", 0.0) == 0.0
        samples.append(Sample("gen_ai_server_up", labels, target.asked_s, 1.0))
        samples.append(Sample("gen_ai_server_ready", labels, target.asked_s, 1.0 if ready else 0.0))
        samples.append(Sample("gen_ai_server_page_timed_out", labels, target.asked_s, 0.0))
        if target.version is not None and "gen_ai_server_info" not in found:
            started_s = found.get("gen_ai_server_start_time_seconds")
            if version := target.version.version(started_s, target.asked_s):
                samples.append(Sample("gen_ai_server_info", labels.merge(version=version), target.asked_s, 1.0))
        return samples

    def _meet(self, target: Target, dialect: Dialect) -> ServerPage:
        """*target* turns out to be a server of *dialect*."""
        target.close()
        target.server = server(dialect, self._host, target.instance)
        target.version = None
        if dialect.version_path:
            path = str(httpx.URL(target.url).copy_with(path=dialect.version_path, query=None))
            target.version = VersionWatch(self._http, path, self._page_deadline_s)
        target.health = self._watch_health(target, dialect.health)
        return target.server

    def _watch_health(self, target: Target, health: Health | None) -> HealthWatch | None:
        url = health_url(target.url, health) if health is not None and self._asks_health else ""
        return HealthWatch(self._http, url, self._clock) if url else None

    def _ask_health(self, target: Target, now_s: float) -> Iterator[Observation]:
        """The health path, whatever the page does; of a server that was never read, what most engines call theirs."""
        if target.instance not in self._targets:
            return
        if target.server is None and target.health is None:
            target.health = self._watch_health(target, _USUAL_HEALTH)
        if target.health is not None:
            yield from target.health.samples(self._labels(target), now_s)

    def _labels(self, target: Target) -> Labels:
        if target.server is not None:
            return target.server.labels
        return Labels.of(host_name=self._host, instance=target.instance, model="", server="")

    def _up(self, target: Target) -> Iterator[Observation]:
        target.healthy, target.down_since_s = True, None
        if target.server is None:
            return
        page = target.server
        detail = f"{page.dialect.title}, model {page.model}" if page.model else page.dialect.title
        if page.guessed is not None:
            below_s, above_s = page.guessed
            detail += f"; a P99 time to first token near 0.5 s is interpolated between {below_s:g} and {above_s:g} s"
        yield from self._say(target, detail, seen=True, hint=page.dialect.blind)

    def _down(self, target: Target, reason: str, *, silent: bool = False) -> Iterator[Observation]:
        target.healthy = False
        if target.down_since_s is None:
            target.down_since_s = target.asked_s
        labels = self._labels(target)
        yield Sample("gen_ai_server_up", labels, target.asked_s, 0.0)
        yield Sample("gen_ai_server_ready", labels, target.asked_s, 0.0)
        yield Sample("gen_ai_server_page_timed_out", labels, target.asked_s, 1.0 if silent else 0.0)
        yield from self._say(target, reason, seen=False)
        if not target.fixed and not 0.0 <= target.asked_s - target.down_since_s < self._keep_s(target):
            del self._targets[target.instance]
            target.close()

    def _keep_s(self, target: Target) -> float:
        """How long *target* is asked while it is down."""
        if target.instance in self._coming:
            return math.inf
        return _FORGET_S if target.server is not None else _FORGET_UNREAD_S

    def _say(self, target: Target, detail: str, *, seen: bool, hint: str = "") -> Iterator[Sight]:
        if detail != target.said:
            target.said = detail
            yield Sight(_NAME, f"server at {target.instance}", seen=seen, detail=detail, hint=hint)

    def _start_look(self, now_s: float) -> None:
        if self._discovery is None or self._look is not None:
            return
        named = named_upstreams(self._checkpoints)
        self._named = {each: self._named.get(each, now_s) for each in named}
        hinted = any(now_s - since_s < _HINT_S for each, since_s in self._named.items() if each not in self._targets)
        fresh = any(since_s == now_s for each, since_s in self._named.items() if each not in self._targets)
        round_s = 0.0 if fresh else _HINTED_ROUND_S if hinted else ROUND_S
        if 0.0 <= now_s - self._looked_s < round_s:
            return
        self._looked_s = now_s
        look = self._discovery.look(now_s, frozenset(self._targets), named)
        self._look = asyncio.create_task(look, name="look for inference servers")

    def _take_look(self, look: asyncio.Task[Round], now_s: float) -> Iterator[Observation]:
        """Take in what a look at the local ports found."""
        try:
            ended = look.result()
        except OSError as error:
            yield Sight(_NAME, "local ports", seen=False, detail=f"{error.filename}: {error.strerror}")
            return
        for found in ended.found:
            yield from self._adopt(found, now_s)
        if self._targets:
            summary, seen = f"{len(self._targets)} known", True
        else:
            summary, seen = f"no inference server found on {ended.ports} local ports", False
        if summary != self._said:
            self._said = summary
            yield Sight(_NAME, "inference servers", seen=seen, detail=summary, hint="" if seen else _NOTHING_HINT)

    def _adopt(self, found: Found, now_s: float) -> Iterator[Observation]:
        """Make what was found a target, and read the page that showed it."""
        if found.instance in self._targets or len(self._targets) >= _MAX_TARGETS:
            return
        target = self._targets[found.instance] = Target(found.url, found.instance, self._host, fixed=False)
        target.asked_s = now_s
        try:
            with one_page():
                if not found.page:
                    raise Unready("answers 503 as yet")
                samples = self._read(target, found.page)
        except SourceError as error:
            yield from self._down(target, str(error))
        else:
            yield from samples
            yield from self._up(target)


def build(config: Config, world: World) -> Inference:
    """The collector over *world*'s HTTP client and root."""
    table = dialects()
    reader = ThreadPoolExecutor(1, thread_name_prefix="listeners")
    discovery = Discovery(world.http, world.root, table, reader) if config.discover else None
    return Inference(config, world, table, discovery, reader)
