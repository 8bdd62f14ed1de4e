"""
GPUs as dcgm-exporter shows them: for nodes where NVML is out of reach, and for simulated cards.

A card that NVML shows is never taken from a page: while NVML shows all cards of one, it is looked at once a minute only.
What a page says is in `aiops.collect.dcgm_page`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from aiops.collect.dcgm_page import DcgmPage
from aiops.collect.fetch import fetch_page, instance_of, one_page
from aiops.document import Duration, doc
from aiops.errors import SourceError
from aiops.model import Observation, Sample, Sight
from aiops.ports import World

_DEFAULT_URL = "http://127.0.0.1:9400/metrics"
_LOOK_AGAIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of the dcgm-exporter collector."""

    enabled: bool = field(
        default=True, metadata=doc("read GPUs from dcgm-exporter pages, except cards that NVML shows")
    )
    interval: Duration = field(default=2.0, metadata=doc("time between readings"))
    deadline: Duration = field(default=2.0, metadata=doc("a page that takes longer is given up"))
    urls: tuple[str, ...] = field(default=(), metadata=doc(f"pages to read; none means {_DEFAULT_URL}, if it is there"))

    def __post_init__(self) -> None:
        for url in self.urls:
            instance_of(url)


class Dcgm:
    """The collector."""

    def __init__(self, config: Config, world: World) -> None:
        self.interval_s = config.interval
        self.deadline_s = config.deadline + 1.0
        self._page_deadline_s = config.deadline
        self._http = world.http
        self._configured = bool(config.urls)
        self._book = world.cards
        self._pages = {
            url: DcgmPage(world.host, local=_is_local(url), book=world.cards) for url in config.urls or (_DEFAULT_URL,)
        }
        self._read_s: dict[str, float] = {}
        self._said: dict[str, str] = {}
        self._look_again_s = -math.inf

    async def gather(self, now_s: float) -> Sequence[Observation]:
        if self._is_quiet() and 0.0 <= now_s - self._look_again_s < _LOOK_AGAIN_S:
            return ()
        self._look_again_s = now_s
        due = [url for url, page in self._pages.items() if not self._is_left(url, page, now_s)]
        answers = await asyncio.gather(*(self._read(url, now_s) for url in due))
        observations: list[Observation] = [*self._book.totals(now_s)]
        failures: list[SourceError] = []
        for url, answer in zip(due, answers, strict=True):
            if isinstance(answer, SourceError):
                if not self._pages[url].left_to_nvml:  # nobody needs that page
                    failures.append(answer)
                    observations += self._say(url, str(answer), seen=False)
            else:
                observations += answer
                observations += self._say(url, self._content(url, answer), seen=True)
        if failures and len(failures) == len(self._pages):
            if self._is_quiet():
                return observations
            raise failures[0]
        return observations

    def _is_left(self, url: str, page: DcgmPage, now_s: float) -> bool:
        """Whether a page shows nothing that NVML does not, as it was found a moment ago."""
        return page.left_to_nvml and 0.0 <= now_s - self._read_s.get(url, -math.inf) < _LOOK_AGAIN_S

    def _content(self, url: str, answer: Sequence[Observation]) -> str:
        if self._pages[url].left_to_nvml:
            return "its cards are read through NVML"
        cards = sum(o.value for o in answer if isinstance(o, Sample) and o.metric == "hw_gpu_up")
        return f"{cards:.0f} GPUs"

    def _is_quiet(self) -> bool:
        """Whether nobody expects a page: none is configured, and none was found so far."""
        return not self._configured and not self._said

    async def _read(self, url: str, now_s: float) -> list[Observation] | SourceError:
        self._read_s[url] = now_s
        try:
            text = await fetch_page(self._http, url, deadline_s=self._page_deadline_s)
            with one_page():
                return list(self._pages[url].read(text, now_s))
        except SourceError as error:
            return error

    def _say(self, url: str, detail: str, *, seen: bool) -> Iterator[Sight]:
        if self._said.get(url) != detail and (seen or not self._is_quiet()):
            self._said[url] = detail
            yield Sight("dcgm", f"dcgm-exporter at {instance_of(url)}", seen=seen, detail=detail)


def _is_local(url: str) -> bool:
    return instance_of(url).startswith(("127.", "localhost:", "[::1]:"))


def build(config: Config, world: World) -> Dcgm:
    """The collector over *world*'s HTTP client."""
    return Dcgm(config, world)
