"""
Other hosts by their node_exporter pages.

This host is read from /proc by the host collector, which costs less than asking an exporter and tells more, even where
an exporter runs: nothing is read twice. A page is read where /proc is not ours: for a host without a daemon of its own,
and, if the settings say so, for this one when the daemon sits in a container that does not see the host's /proc.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from aiops.collect.fetch import fetch_page, instance_of, one_page
from aiops.collect.node_page import NodePage
from aiops.document import Duration, doc
from aiops.errors import SourceError
from aiops.model import Observation, Sample, Sight
from aiops.ports import World

_MAX_PAGES = 16
_OWN_AGAIN_S = 600.0
"""How long a page of this host is left alone."""


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of the node_exporter collector."""

    enabled: bool = field(default=True, metadata=doc("read other hosts' node_exporter pages, where urls names any"))
    interval: Duration = field(default=15.0, metadata=doc("time between readings"))
    deadline: Duration = field(default=3.0, metadata=doc("a page that takes longer is given up"))
    urls: tuple[str, ...] = field(default=(), metadata=doc("pages to read, such as http://10.0.0.5:9100/metrics"))
    this_host: bool = field(
        default=False, metadata=doc("read the page of this host too; for containers that see no /proc of it, beside host.enabled: false")
    )  # fmt: skip

    def __post_init__(self) -> None:
        for url in self.urls:
            instance_of(url)


class Host:
    """One page."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.instance = instance_of(url)
        self.page = NodePage(self.instance.rpartition(":")[0])
        self.said = ""
        self.left_alone_s = float("-inf")


class NodeExporter:
    """The collector."""

    def __init__(self, config: Config, world: World) -> None:
        self.interval_s = config.interval
        self.deadline_s = config.deadline + 1.0
        self._page_deadline_s = config.deadline
        self._http = world.http
        self._own = "" if config.this_host else world.host
        self._hosts = [Host(url) for url in config.urls[:_MAX_PAGES]]

    async def gather(self, now_s: float) -> Sequence[Observation]:
        due = [host for host in self._hosts if not 0.0 <= now_s - host.left_alone_s < _OWN_AGAIN_S]
        answers = await asyncio.gather(*(self._read(host, now_s) for host in due))
        observations: list[Observation] = []
        for host, answer in zip(due, answers, strict=True):
            if isinstance(answer, SourceError):
                observations += self._say(host, str(answer), seen=False)
            elif host.page.host == self._own:
                host.left_alone_s = now_s
                observations += self._say(host, "this host, which the host collector reads already", seen=True)
            else:
                observations += answer
                observations += self._say(host, f"host {host.page.host}", seen=True)
        return observations

    async def _read(self, host: Host, now_s: float) -> list[Sample] | SourceError:
        try:
            text = await fetch_page(self._http, host.url, deadline_s=self._page_deadline_s)
            with one_page():
                return list(host.page.read(text, now_s))
        except SourceError as error:
            return error

    def _say(self, host: Host, detail: str, *, seen: bool) -> Iterator[Sight]:
        if detail != host.said:
            host.said = detail
            yield Sight("node_exporter", f"node_exporter at {host.instance}", seen=seen, detail=detail)


def build(config: Config, world: World) -> NodeExporter:
    """The collector over *world*'s HTTP client."""
    return NodeExporter(config, world)
