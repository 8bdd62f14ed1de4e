"""
What a Prometheus has scraped already, instead of reading it ourselves.

One range query a round asks for all names that any of our translators knows. Samples come with the times at which they
were scraped, so that a page arrives as it was, a few seconds later, and onsets stay where they were. Queries of the
user's own give single metrics of the catalogue. Each server is asked by a task of its own: one that hangs delays no
other. Without servers in the settings this collector does not run at all.
"""

from __future__ import annotations

import asyncio
import functools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from aiops.catalog import CATALOG
from aiops.collect.addresses import read_addresses
from aiops.collect.fetch import instance_of
from aiops.collect.known_servers import known_servers
from aiops.collect.prometheus_api import Answer, Api, Found, TooMany
from aiops.collect.replica_changes import ReplicaChanges
from aiops.collect.scraped import Place, Scraped, vocabulary
from aiops.document import Duration, FieldError, Secret, doc
from aiops.errors import SourceError, SourceUnavailable
from aiops.model import Labels, Observation, Sample, Sight
from aiops.ports import World

_NAME = "prometheus"
_MAX_SERVERS = 8
_MAX_QUERIES = 32
_MAX_ROWS = 200
"""Series of one of the user's own queries."""
_MAX_LABEL = 200
_PATIENCE_S = 2.0
_LEAST_S = 5.0
"""Between two questions, in haste too: it scrapes no faster, and every node of a fleet may be in haste at once."""
_FIRST_S = 60.0
_LONGEST_S = 300.0
"""What is asked for after a pause: Prometheus itself takes older series for stale."""
_MARGIN_S = 15.0
"""Scrapes are asked for again this long: a server may show one late. What was taken is not taken twice."""
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class QueryConfig:
    """One metric by a query of one's own."""

    metric: str = field(metadata=doc("name of the catalogue that the result is a value of"))
    query: str = field(metadata=doc("PromQL; labels of the result that the metric has are kept"))
    labels: dict[str, str] = field(default_factory=dict, metadata=doc("labels the result does not have"))

    def __post_init__(self) -> None:
        if self.metric not in CATALOG:
            raise FieldError("metric", f"no such metric: {self.metric}; docs/metrics.md lists them")
        if unknown := sorted(self.labels.keys() - set(CATALOG[self.metric].labels)):
            raise FieldError("labels", f"{self.metric} has no label {', '.join(unknown)}")


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """One server."""

    url: str = field(metadata=doc("of a Prometheus-compatible server, up to where /api/v1 begins"))
    token: Secret = field(default=Secret(""), metadata=doc("sent as bearer token, if there is one; use https with it"))
    match: str = field(
        default="", metadata=doc('what series must also match, as in a selector: node="n1", job=~"vllm.*"')
    )
    pages: bool = field(
        default=True, metadata=doc("take the pages of inference servers, gateways, GPUs, hosts, other aiops")
    )
    this_host: bool = field(
        default=False, metadata=doc("take what collectors of this host read, too; for when those are switched off")
    )
    queries: tuple[QueryConfig, ...] = field(default=(), metadata=doc("metrics by queries of your own"))

    def __post_init__(self) -> None:
        try:
            instance_of(self.url)
        except ValueError as error:
            raise FieldError("url", str(error).removeprefix("url: ")) from error
        if len(self.queries) > _MAX_QUERIES:
            raise FieldError("queries", f"expected at most {_MAX_QUERIES}")


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of the collector of what Prometheus scraped."""

    enabled: bool = field(default=True, metadata=doc("ask the servers that are named"))
    interval: Duration = field(default=15.0, metadata=doc("time between questions; 5s while an incident is open"))
    deadline: Duration = field(default=10.0, metadata=doc("an answer that takes longer is given up"))
    servers: tuple[ServerConfig, ...] = field(default=(), metadata=doc("whom to ask; none means that nothing is run"))

    def __post_init__(self) -> None:
        if len(self.servers) > _MAX_SERVERS:
            raise FieldError("servers", f"expected at most {_MAX_SERVERS}")

    @property
    def configured(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.servers)


class Server:
    """One server, and what is remembered of it."""

    def __init__(self, config: ServerConfig, world: World) -> None:
        self.config = config
        self.name = instance_of(config.url)
        self.labels = Labels.of(host_name=world.host, server=self.name)
        self.scraped = Scraped()
        self.shift_s = 0.0
        self.asking: asyncio.Task[list[Observation]] | None = None
        self.asked_s = self.answered_s = -math.inf
        self.said = ""
        self._api = Api(world.http, config.url, config.token, world.clock)

    async def round(self, now_s: float, deadline_s: float, place: Place) -> list[Observation]:
        """
        All that is new.

        Raises:
            SourceError: it did not answer the first question; of later ones, the failure is told in words.
        """
        observations: list[Observation] = []
        complaints: list[str] = []
        if self.config.pages:
            answer = await self._api.ask(self._pages(now_s), deadline_s)
            self._hold_clock(answer)
            complaints.append(answer.warning)
            place = place._replace(this_host=self.config.this_host)
            observations += self.scraped.read(answer.series, -self.shift_s, place)
            if self.scraped.refused:
                complaints.append(f"{self.scraped.refused} targets too many; narrow it with match")
        for number, query in enumerate(self.config.queries):
            try:
                answer = await self._api.ask(query.query, deadline_s)
            except SourceError as error:
                if not number and not self.config.pages:
                    raise
                complaints.append(f"{query.metric}: {error}")
            else:
                self._hold_clock(answer)
                complaints.append(answer.warning)
                observations += own_samples(query, answer.series, -self.shift_s, place)
        self.answered_s = now_s
        observations.append(Sample("aiops_feed_refused_series", self.labels, now_s, 0.0))
        return [*observations, *self.say("; ".join(filter(None, [self._content(), *complaints])), seen=True)]

    def say(self, detail: str, *, seen: bool) -> Iterator[Sight]:
        """What is to be known about it, when it is new."""
        if detail != self.said:
            self.said = detail
            yield Sight(_NAME, f"Prometheus at {self.name}", seen=seen, detail=detail)

    def _pages(self, now_s: float) -> str:
        missed_s = now_s - self.answered_s
        back_s = min(missed_s + _MARGIN_S, _LONGEST_S) if math.isfinite(missed_s) and missed_s >= 0.0 else _FIRST_S
        match = f",{self.config.match.strip().strip(',')}" if self.config.match.strip() else ""
        return f"{{{_names()}{match}}}[{math.ceil(back_s)}s]"

    def _hold_clock(self, answer: Answer) -> None:
        """Their times stay as they are unless their clock is surely off; then it is shifted by the least that agrees."""
        if answer.clock is None:
            return
        low, high = answer.clock
        self.shift_s = min(max(self.shift_s, low), high)

    def _content(self) -> str:
        found = ", ".join(f"{title}: {count}" for title, count in sorted(self.scraped.titles().items()))
        clock = f"; its clock is {abs(self.shift_s):.0f} s {'ahead' if self.shift_s > 0 else 'behind'}"
        nothing = "nothing that is not read here already" if self.config.pages else "answers"
        return (found or nothing) + (clock if abs(self.shift_s) >= 1.0 else "")


class Prometheus:
    """The collector."""

    def __init__(self, config: Config, world: World) -> None:
        self.interval_s = config.interval
        self.deadline_s = _PATIENCE_S + 2.0  # a round ends by itself before this
        self._answer_deadline_s = config.deadline
        self._servers = [Server(each, world) for each in config.servers]
        self._host = world.host
        self._checkpoints = world.checkpoints
        self._addresses = read_addresses(world.root, world.host)
        self._book = world.cards
        self._failed: dict[Server, SourceError] = {}
        """Servers whose last answer was none."""
        self._changes = ReplicaChanges(world.host, "replicas_elsewhere")

    async def gather(self, now_s: float) -> Sequence[Observation]:
        known = known_servers(self._checkpoints)
        place = Place(self._host, self._addresses, self._book, known, this_host=False)
        for server in self._servers:
            if server.asking is None and not 0.0 <= now_s - server.asked_s < min(self.interval_s, _LEAST_S) - 0.5:
                server.asked_s = now_s
                server.asking = asyncio.create_task(server.round(now_s, self._answer_deadline_s, place))
        if asking := [server.asking for server in self._servers if server.asking is not None]:
            await asyncio.wait(asking, timeout=_PATIENCE_S)
        observations: list[Observation] = []
        failures: dict[Server, SourceError] = {}
        answered: set[Server] = set()
        for server in self._servers:
            if server.asking is None or not server.asking.done():
                continue
            ended, server.asking = server.asking, None
            answered.add(server)
            try:
                observations += ended.result()
            except SourceError as error:
                failures[server] = error
        self._failed = {server: failures[server] for server in self._servers if server in failures} | {
            server: error for server, error in self._failed.items() if server not in answered
        }
        if len(self._failed) == len(self._servers) and not any(isinstance(e, TooMany) for e in self._failed.values()):
            # also in a round in which none was asked or has answered: that is no sign of recovery
            raise SourceUnavailable(str(next(iter(self._failed.values()))))
        for server, failure in failures.items():
            observations += _refusal(server, failure, now_s)
        return [*observations, *self._changes.look(observations), *self._changes.coverage(now_s)]

    def close(self) -> None:
        """End what is under way."""
        for server in self._servers:
            if server.asking is not None:
                server.asking.cancel()


def own_samples(query: QueryConfig, found: Iterable[Found], shift_s: float, place: Place) -> Iterator[Sample]:
    """The result of one of the user's own queries as samples of its metric."""
    names = CATALOG[query.metric].labels
    for each in list(found)[:_MAX_ROWS]:
        theirs = {"host_name": place.host, **each.metric, **query.labels}
        ours = {name: theirs.get(name, "")[:_MAX_LABEL] for name in names}
        if "instance" in ours:
            ours["instance"] = place.addresses.instance(ours["instance"])
        labels = Labels.from_mapping(ours)
        for at_s, text in each.points:
            try:
                value = float(text)
            except ValueError:
                continue
            if math.isfinite(value):
                yield Sample(query.metric, labels, at_s + shift_s, value)


def _refusal(server: Server, error: SourceError, now_s: float) -> Iterator[Observation]:
    if isinstance(error, TooMany):
        yield Sample("aiops_feed_refused_series", server.labels, now_s, float(error.count))
    yield from server.say(str(error), seen=False)


@functools.cache
def _names() -> str:
    return f'__name__=~"{"|".join(vocabulary().wanted)}"'


def build(config: Config, world: World) -> Prometheus:
    """The collector over *world*'s HTTP client."""
    return Prometheus(config, world)
