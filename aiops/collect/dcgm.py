"""
GPUs as dcgm-exporter shows them: for nodes where NVML is out of reach, and for simulated cards.

The page gives percent, MiB and MHz; fields a card does not support surface as huge numbers and are absent here. The
last Xid stays on the page for ever, so only a change of it is an event. A card that was on the page and is not any
more has been lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiops.collect.exposition import Page, Parser, Reading
from aiops.collect.fetch import fetch_page, instance_of
from aiops.document import Duration, doc
from aiops.errors import SourceError, SourceMalformed
from aiops.model import Event, EventKind, Labels, Observation, Sample, Sight
from aiops.ports import World

_DEFAULT_URL = "http://127.0.0.1:9400/metrics"
_LOOK_AGAIN_S = 60.0
_MAX_GPUS = 256
_FORGET_S = 3_600.0
"""How long a lost card is reported as lost."""
_MIB = 2.0**20
_FIELD = "DCGM_FI_DEV_"

# our metric, DCGM's field, factor from its unit to the base unit
_READINGS: Final = (
    ("hw_gpu_utilization_ratio", "GPU_UTIL", 1e-2),
    ("hw_gpu_memory_controller_utilization_ratio", "MEM_COPY_UTIL", 1e-2),
    ("hw_gpu_memory_usage_bytes", "FB_USED", _MIB),
    ("hw_temperature_celsius", "GPU_TEMP", 1.0),
    ("hw_temperature_limit_celsius", "SLOWDOWN_TEMP", 1.0),
    ("hw_power_watts", "POWER_USAGE", 1.0),
    ("hw_power_limit_watts", "ENFORCED_POWER_LIMIT", 1.0),
    ("hw_power_limit_watts", "POWER_MGMT_LIMIT", 1.0),
    ("hw_gpu_clock_hertz", "SM_CLOCK", 1e6),
)
_ERRORS: Final = (("corrected", "ECC_SBE_VOL_TOTAL"), ("uncorrected", "ECC_DBE_VOL_TOTAL"))
# NVML's clocks event reasons: software thermal 0x20, hardware thermal 0x40; power cap 0x4, power brake 0x80
_REASONS: Final = (("thermal", 0x60), ("power", 0x84), ("hardware", 0x08))
_REASON_FIELDS: Final = ("CLOCKS_EVENT_REASONS", "CLOCK_THROTTLE_REASONS")
# time spent throttled; its unit differs between versions, so only its growth is used
_VIOLATIONS: Final = (("thermal", "THERMAL_VIOLATION"), ("power", "POWER_VIOLATION"))
_WANTED: Final = frozenset(
    _FIELD + name
    for name in (
        *(name for _, name, _ in _READINGS),
        *(name for _, name in (*_ERRORS, *_VIOLATIONS)),
        *_REASON_FIELDS,
        "FB_FREE",
        "XID_ERRORS",
    )
)


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of the dcgm-exporter collector."""

    enabled: bool = field(default=True, metadata=doc("read GPUs from dcgm-exporter pages"))
    interval: Duration = field(default=2.0, metadata=doc("time between readings"))
    deadline: Duration = field(default=2.0, metadata=doc("a page that takes longer is given up"))
    urls: tuple[str, ...] = field(default=(), metadata=doc(f"pages to read; none means {_DEFAULT_URL}, if it is there"))

    def __post_init__(self) -> None:
        for url in self.urls:
            instance_of(url)


class Card:
    """What is remembered of one GPU."""

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.reasons = {reason: labels.merge(reason=reason) for reason, _ in _REASONS}
        self.errors = {kind: labels.merge(error_type=kind) for kind, _ in _ERRORS}
        self.seen_s = 0.0
        self.xid: int | None = None
        self.violations: dict[str, float] = {}


class DcgmPage:
    """
    One exporter's page, read again and again.

    Args:
        host: This node's name.
        local: The exporter runs on this node; otherwise its own word for its host is taken.
    """

    def __init__(self, host: str, *, local: bool) -> None:
        self._host = host
        self._local = local
        self._parser = Parser(_WANTED)
        self._cards: dict[tuple[str, str], Card] = {}

    def read(self, text: bytes, now_s: float) -> Iterator[Sample | Event]:
        """
        What the page *text* says.

        Raises:
            SourceMalformed: it shows no GPU.
        """
        page = self._parser.parse(text)
        by_card = self._by_card(page)
        if not self._cards:
            raise SourceMalformed("no GPU on the page")
        host = next(iter(self._cards.values())).labels.only(("host_name",))
        for key, values in by_card.items():
            card = self._cards[key]
            card.seen_s = now_s
            yield Sample("hw_gpu_up", card.labels, now_s, 1.0)
            yield from _samples(card, values, now_s)
            yield from _xid(card, values, now_s)
        for key, card in list(self._cards.items()):
            if key in by_card:
                continue
            yield Sample("hw_gpu_up", card.labels, now_s, 0.0)
            if not 0.0 <= now_s - card.seen_s < _FORGET_S:
                del self._cards[key]
        yield Sample("hw_gpu_count", host, now_s, float(len(by_card)))

    def _by_card(self, page: Page) -> dict[tuple[str, str], dict[str, float]]:
        """Field values per card. A card shared by pods stands there once for each; its MIG slices add up their memory."""
        slices: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
        for name, readings in page.readings.items():
            for reading in readings:
                key = (reading.labels.get("gpu", ""), reading.labels.get("UUID", ""))
                if _is_blank(reading.value) or not (key in self._cards or self._add(key, reading)):
                    continue
                parts = slices.setdefault(key, {}).setdefault(name.removeprefix(_FIELD), {})
                part = reading.labels.get("GPU_I_ID", "")
                parts[part] = max(reading.value, parts.get(part, reading.value))
        return {
            key: {
                name: sum(parts.values()) if name in {"FB_USED", "FB_FREE"} else max(parts.values())
                for name, parts in fields.items()
            }
            for key, fields in slices.items()
        }

    def _add(self, key: tuple[str, str], reading: Reading) -> bool:
        gpu, uuid = key
        if not (gpu or uuid) or len(self._cards) >= _MAX_GPUS:
            return False
        host = self._host if self._local else reading.labels.get("Hostname", self._host)
        self._cards[key] = Card(Labels.of(host_name=host, hw_id=uuid, gpu=gpu))
        return True


def _is_blank(value: float) -> bool:
    """Whether *value* is one of DCGM's words for "not supported": the last sixteen of its integers, or 2**47."""
    return value >= 2.0**63 - 2048 or 2**31 - 16 <= value <= 2**31 - 1 or 2**47 <= value <= 2**47 + 15


def _samples(card: Card, values: Mapping[str, float], now_s: float) -> Iterator[Sample]:
    given: set[str] = set()
    for metric, name, factor in _READINGS:
        if name in values and metric not in given:
            given.add(metric)
            yield Sample(metric, card.labels, now_s, values[name] * factor)
    if "FB_USED" in values and "FB_FREE" in values:
        limit = values["FB_USED"] + values["FB_FREE"]
        yield Sample("hw_gpu_memory_limit_bytes", card.labels, now_s, limit * _MIB)
        if limit > 0:
            yield Sample("hw_gpu_memory_utilization_ratio", card.labels, now_s, values["FB_USED"] / limit)
    for kind, name in _ERRORS:
        if name in values:
            yield Sample("hw_errors_total", card.errors[kind], now_s, values[name])
    yield from _throttling(card, values, now_s)


def _throttling(card: Card, values: Mapping[str, float], now_s: float) -> Iterator[Sample]:
    mask = next((int(values[name]) for name in _REASON_FIELDS if name in values), None)
    for reason, bits in _REASONS:
        if mask is not None:
            yield Sample("hw_gpu_throttled_ratio", card.reasons[reason], now_s, 1.0 if mask & bits else 0.0)
    for reason, name in _VIOLATIONS:
        if name not in values:
            continue
        before = card.violations.get(name)
        card.violations[name] = values[name]
        if mask is None and before is not None:
            cut = 1.0 if values[name] > before else 0.0
            yield Sample("hw_gpu_throttled_ratio", card.reasons[reason], now_s, cut)


def _xid(card: Card, values: Mapping[str, float], now_s: float) -> Iterator[Event]:
    """An event when the last Xid is another one than before; what stood there at first may be weeks old."""
    before, card.xid = card.xid, int(values.get("XID_ERRORS", 0.0))
    if before is not None and card.xid not in {0, before}:
        yield Event(EventKind.HARDWARE, "xid", now_s, card.labels.merge(xid=str(card.xid)), f"Xid {card.xid}")


class Dcgm:
    """The collector."""

    def __init__(self, config: Config, world: World) -> None:
        self.interval_s = config.interval
        self.deadline_s = config.deadline + 1.0
        self._page_deadline_s = config.deadline
        self._http = world.http
        self._configured = bool(config.urls)
        self._pages = {url: DcgmPage(world.host, local=_is_local(url)) for url in config.urls or (_DEFAULT_URL,)}
        self._said: dict[str, str] = {}
        self._look_again_s = float("-inf")

    async def gather(self, now_s: float) -> Sequence[Observation]:
        if self._is_quiet() and 0.0 <= now_s - self._look_again_s < _LOOK_AGAIN_S:
            return ()
        self._look_again_s = now_s
        answers = await asyncio.gather(*(self._read(url, page, now_s) for url, page in self._pages.items()))
        observations: list[Observation] = []
        failures: list[SourceError] = []
        for url, answer in zip(self._pages, answers, strict=True):
            if isinstance(answer, SourceError):
                failures.append(answer)
                observations += self._say(url, str(answer), seen=False)
            else:
                observations += answer
                cards = sum(o.value for o in answer if isinstance(o, Sample) and o.metric == "hw_gpu_up")
                observations += self._say(url, f"{cards:.0f} GPUs", seen=True)
        if len(failures) == len(self._pages):
            if self._is_quiet():
                return ()
            raise failures[0]
        return observations

    def _is_quiet(self) -> bool:
        """Whether nobody expects a page: none is configured, and none was found so far."""
        return not self._configured and not self._said

    async def _read(self, url: str, page: DcgmPage, now_s: float) -> list[Observation] | SourceError:
        try:
            return list(page.read(await fetch_page(self._http, url, deadline_s=self._page_deadline_s), now_s))
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
