"""
Gateways by their own pages: Envoy's admin port, nginx-prometheus-exporter, nginx's stub_status.

What users felt is in the access log. These pages add what the gateway knows of its upstreams and does not log: who it
holds healthy, how many requests wait for a connection, which circuit breaker is open, what it could not connect to. The
spellings stand in engines.yaml beside those of the servers, and the pages are read by the same code.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import httpx

from aiops.collect.addresses import read_addresses
from aiops.collect.engines import gateways
from aiops.collect.fetch import fetch_page, instance_of, one_page
from aiops.collect.server_page import ServerPage, gateway
from aiops.document import Duration, doc
from aiops.errors import SourceError, SourceMalformed
from aiops.model import Labels, Observation, Sample, Sight
from aiops.ports import World

_NAME = "gateway"
_MAX_PAGES = 16
_LOOK_S = 60.0
_FORGET_S = 900.0
"""How long a page that was found, and is gone, is still asked and reported as down."""
# Envoy lists hundreds of families a cluster; it leaves out what does not match, and ignores the words where it is too old
_ENVOY: Final = (
    "/stats/prometheus?filter=upstream_rq|upstream_cx_(none_healthy|connect_fail|destroy_remote_with_active_rq)"
    "|membership_(total|healthy)|circuit_breakers.default"
)
_USUAL: Final = tuple(
    str(httpx.URL(f"http://127.0.0.1:{port}{path}"))
    for port, path in ((9901, _ENVOY), (19_000, _ENVOY), (15_000, _ENVOY), (9113, "/metrics"))
)
"""Envoy's admin port as documented, of Envoy Gateway and of Istio; nginx-prometheus-exporter."""
_STUB_STATUS = re.compile(
    rb"Active connections: +(\d{1,18})\s+server accepts handled requests(?: request_time)?\s+(\d{1,18}) (\d{1,18}) (\d{1,18})"
    rb"(?: \d{1,18})?\s+Reading: (\d{1,18}) Writing: (\d{1,18}) Waiting: (\d{1,18})"
)
_STUB_NAMES: Final = (
    "connections_active", "connections_accepted", "connections_handled", "http_requests_total", "connections_reading",
    "connections_writing", "connections_waiting",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of the gateway collector."""

    enabled: bool = field(default=True, metadata=doc("read the gateway's own metrics page"))
    interval: Duration = field(default=5.0, metadata=doc("time between readings; 1s while an incident is open"))
    deadline: Duration = field(default=2.0, metadata=doc("a page that takes longer counts as down"))
    discover: bool = field(
        default=True, metadata=doc("look once a minute for Envoy's admin port (9901, 19000, 15000) and nginx's exporter (9113)")
    )  # fmt: skip
    urls: tuple[str, ...] = field(
        default=(), metadata=doc("pages that are always read: /stats/prometheus of Envoy, stub_status of nginx, an exporter's")
    )  # fmt: skip

    def __post_init__(self) -> None:
        for url in self.urls:
            instance_of(url)


class Page:
    """One gateway's page."""

    def __init__(self, url: str, instance: str, *, fixed: bool) -> None:
        self.url = url
        self.instance = instance
        self.fixed = fixed
        self.reader: ServerPage | None = None
        self.said = ""
        self.seen_s = float("-inf")


class Gateway:
    """The collector."""

    def __init__(self, config: Config, world: World) -> None:
        self.interval_s = config.interval
        self.deadline_s = config.deadline + 1.0
        self._page_deadline_s = config.deadline
        self._http = world.http
        self._host = world.host
        self._addresses = read_addresses(world.root, world.host)
        self._pages = {url: self._page(url, fixed=True) for url in config.urls[:_MAX_PAGES]}
        self._usual = _USUAL if config.discover else ()
        self._looked_s = float("-inf")

    async def gather(self, now_s: float) -> Sequence[Observation]:
        looks = not 0.0 <= now_s - self._looked_s < _LOOK_S
        if looks:
            self._looked_s = now_s
        known = {page.instance for page in self._pages.values()}
        candidates = [self._page(url, fixed=False) for url in self._usual if looks and url not in self._pages]
        asked = [*self._pages.values(), *(page for page in candidates if page.instance not in known)]
        answers = await asyncio.gather(*(self._read(page, now_s) for page in asked))
        observations: list[Observation] = []
        for page, answer in zip(asked, answers, strict=True):
            if isinstance(answer, SourceError):
                observations += self._down(page, answer, now_s)
            else:
                observations += answer
                observations += self._up(page, now_s)
        return observations

    def _page(self, url: str, *, fixed: bool) -> Page:
        return Page(url, self._addresses.instance(instance_of(url)), fixed=fixed)

    async def _read(self, page: Page, now_s: float) -> list[Sample] | SourceError:
        try:
            known = page.reader is not None
            text = await fetch_page(self._http, page.url, deadline_s=self._page_deadline_s, again=known)
            with one_page():
                text = stub_status(text) or text
                if page.reader is None:
                    dialect = gateways().recognise(text)
                    if dialect is None:
                        raise SourceMalformed("not a page of Envoy or nginx")
                    page.reader = gateway(dialect, self._host, page.instance)
                return page.reader.read(text, now_s)
        except SourceError as error:
            return error

    def _up(self, page: Page, now_s: float) -> Iterator[Observation]:
        self._pages[page.url] = page
        page.seen_s = now_s
        yield Sample("http_gateway_up", self._labels(page), now_s, 1.0)
        yield from self._say(page, page.reader.dialect.title if page.reader is not None else "", seen=True)

    def _down(self, page: Page, error: SourceError, now_s: float) -> Iterator[Observation]:
        if page.url not in self._pages:  # nobody expects one there
            return
        yield Sample("http_gateway_up", self._labels(page), now_s, 0.0)
        yield from self._say(page, str(error), seen=False)
        if not page.fixed and not 0.0 <= now_s - page.seen_s < _FORGET_S:
            del self._pages[page.url]

    def _labels(self, page: Page) -> Labels:
        if page.reader is not None:
            return page.reader.labels
        return Labels.of(host_name=self._host, instance=page.instance, gateway="")

    def _say(self, page: Page, detail: str, *, seen: bool) -> Iterator[Sight]:
        if detail != page.said:
            page.said = detail
            yield Sight(_NAME, f"gateway at {page.instance}", seen=seen, detail=detail)


def stub_status(page: bytes) -> bytes | None:
    """The stub_status of nginx in the words of its exporter; None if *page* is something else."""
    found = _STUB_STATUS.match(page)
    if found is None:
        return None
    lines = (f"nginx_{name} {int(value)}\n" for name, value in zip(_STUB_NAMES, found.groups(), strict=True))
    return "".join(lines).encode()


def build(config: Config, world: World) -> Gateway:
    """The collector over *world*'s HTTP client."""
    return Gateway(config, world)
