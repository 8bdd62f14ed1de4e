"""
What a dcgm-exporter page says of each card.

The page gives percent, MiB and MHz; fields a card does not support surface as huge numbers and are absent here. The last
Xid stays on the page for ever, so only a change of it is an event; where the exporter counts Xids, in a window or in
all, a rise is one. What stood there at first may be weeks old and is none. A card that was on the page and is not any
more has been lost, unless NVML shows it.

Which fields there are is up to the exporter's own settings. NVLink's traffic is left out: its unit differs from version
to version.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final

from aiops.cards import CardBook, Spot
from aiops.collect.exposition import Follower, Page, Parser, Reading
from aiops.collect.gpu_card import REASONS, instance_memory
from aiops.errors import SourceMalformed
from aiops.model import Labels, Observation, Sample

_MAX_GPUS = 256
_MAX_INSTANCES = 16
_MAX_CODES = 64
_MAX_CODE = 10_000
_MAX_LABEL = 200
_FORGET_S = 3_600.0
"""How long a lost card is reported as lost."""
_MIB = 2.0**20
_FIELD = "DCGM_FI_DEV_"
_XIDS_IN_ALL, _XIDS_IN_WINDOW = "DCGM_EXP_XID_ERRORS_TOTAL", "DCGM_EXP_XID_ERRORS_COUNT"

# our metric, DCGM's field, factor from its unit to the base unit
_READINGS: Final = (
    ("hw_gpu_utilization_ratio", "GPU_UTIL", 1e-2),
    ("hw_gpu_memory_controller_utilization_ratio", "MEM_COPY_UTIL", 1e-2),
    ("hw_gpu_memory_usage_bytes", "FB_USED", _MIB),
    ("hw_temperature_celsius", "GPU_TEMP", 1.0),
    ("hw_temperature_limit_celsius", "SLOWDOWN_TEMP", 1.0),
    ("hw_temperature_shutdown_limit_celsius", "SHUTDOWN_TEMP", 1.0),
    ("hw_gpu_memory_temperature_celsius", "MEMORY_TEMP", 1.0),
    ("hw_gpu_memory_temperature_limit_celsius", "MEM_MAX_OP_TEMP", 1.0),
    ("hw_power_watts", "POWER_USAGE", 1.0),
    ("hw_power_limit_watts", "ENFORCED_POWER_LIMIT", 1.0),
    ("hw_power_limit_watts", "POWER_MGMT_LIMIT", 1.0),
    ("hw_gpu_clock_hertz", "SM_CLOCK", 1e6),
    ("hw_gpu_clock_limit_hertz", "MAX_SM_CLOCK", 1e6),
    ("hw_gpu_memory_clock_hertz", "MEM_CLOCK", 1e6),
    ("hw_gpu_pcie_replays_total", "PCIE_REPLAY_COUNTER", 1.0),
    ("hw_gpu_pcie_link_lanes", "PCIE_LINK_WIDTH", 1.0),
    ("hw_gpu_pcie_link_lanes_limit", "PCIE_MAX_LINK_WIDTH", 1.0),
    ("hw_gpu_pcie_link_generation", "PCIE_LINK_GEN", 1.0),
    ("hw_gpu_pcie_link_generation_limit", "PCIE_MAX_LINK_GEN", 1.0),
)
_ABOVE_ZERO: Final = frozenset({"MEMORY_TEMP", "MEM_MAX_OP_TEMP", "SLOWDOWN_TEMP", "SHUTDOWN_TEMP", "MAX_SM_CLOCK"})
"""0 where there is no such sensor or limit."""
_FLAGS: Final = (
    ("hw_gpu_row_remap_failed", "ROW_REMAP_FAILURE"),
    ("hw_gpu_row_remap_pending", "ROW_REMAP_PENDING"),
    ("hw_gpu_page_retirement_pending", "RETIRED_PENDING"),
)
# our metric, error type, fields that are summed
_COUNTS: Final = (
    ("hw_errors_total", "corrected", ("ECC_SBE_VOL_TOTAL",)),
    ("hw_errors_total", "uncorrected", ("ECC_DBE_VOL_TOTAL",)),
    ("hw_errors_lifetime_total", "corrected", ("ECC_SBE_AGG_TOTAL",)),
    ("hw_errors_lifetime_total", "uncorrected", ("ECC_DBE_AGG_TOTAL",)),
    ("hw_gpu_remapped_rows_total", "corrected", ("CORRECTABLE_REMAPPED_ROWS",)),
    ("hw_gpu_remapped_rows_total", "uncorrected", ("UNCORRECTABLE_REMAPPED_ROWS",)),
    ("hw_gpu_retired_pages_total", "corrected", ("RETIRED_SBE",)),
    ("hw_gpu_retired_pages_total", "uncorrected", ("RETIRED_DBE",)),
    ("hw_gpu_nvlink_errors_total", "crc", ("NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", "NVLINK_CRC_DATA_ERROR_COUNT_TOTAL")),
    ("hw_gpu_nvlink_errors_total", "replay", ("NVLINK_REPLAY_ERROR_COUNT_TOTAL",)),
    ("hw_gpu_nvlink_errors_total", "recovery", ("NVLINK_RECOVERY_ERROR_COUNT_TOTAL",)),
)
_REASON_FIELDS: Final = ("CLOCKS_EVENT_REASONS", "CLOCK_THROTTLE_REASONS")
# time spent throttled; its unit differs between versions, so only its growth is used
_VIOLATIONS: Final = (("thermal", "THERMAL_VIOLATION"), ("power", "POWER_VIOLATION"))
_MEMORY: Final = ("FB_USED", "FB_FREE")
WANTED: Final = frozenset(
    _FIELD + name
    for name in (
        *(name for _, name, _ in _READINGS),
        *(name for _, name in (*_FLAGS, *_VIOLATIONS)),
        *(name for _, _, names in _COUNTS for name in names),
        *_REASON_FIELDS,
        *_MEMORY,
        "XID_ERRORS",
    )
) | {_XIDS_IN_ALL, _XIDS_IN_WINDOW}

_Key = tuple[str, str]
_Parts = dict[str, float]
"""A field's value by MIG instance; of the card as a whole under the empty text."""


class Card:
    """
    What is remembered of one GPU.

    Args:
        spot: Where it is.
    """

    def __init__(self, spot: Spot) -> None:
        self.spot = spot
        self.labels = spot.labels
        self.reasons = {reason: self.labels.merge(reason=reason) for reason, _ in REASONS}
        self.errors = {kind: self.labels.merge(error_type=kind) for _, kind, _ in _COUNTS}
        self.seen_s = -math.inf
        self.up = True
        self.xids: dict[tuple[str, int], float] | None = None
        """How often each Xid was seen, by source and code; None before the first page."""
        self.violations: dict[str, float] = {}


class DcgmPage:
    """
    One exporter's page, read again and again.

    Args:
        host: This node's name.
        local: The exporter runs on this node; otherwise its own word for its host is taken.
        book: Knows which cards NVML shows, and what was told of them.
    """

    def __init__(self, host: str, *, local: bool, book: CardBook) -> None:
        self._host = host
        self._local = local
        self._book = book
        self._follower = Follower(Parser(WANTED))
        self._cards: dict[_Key, Card] = {}
        self.left_to_nvml = False
        """Whether NVML showed all cards of the last page."""

    def read(self, text: bytes, now_s: float) -> Iterator[Observation]:
        """
        What the page *text* says.

        Raises:
            SourceMalformed: it shows no GPU.
        """
        yield from self.take(self._follower.parse(text), now_s)

    def take(self, page: Page, now_s: float) -> Iterator[Observation]:
        """
        As `read`, of a page that is parsed already.

        Raises:
            SourceMalformed: it shows no GPU.
        """
        found = self._by_card(page)
        theirs = {key for key in (*found, *self._cards) if self._book.shows(key[1], now_s)}
        ours = {key: fields for key, fields in found.items() if key not in theirs}
        self.left_to_nvml = bool(theirs) and not ours
        for key in theirs:
            self._cards.pop(key, None)
        if self.left_to_nvml:
            return
        if not ours and not self._cards:
            raise SourceMalformed("no GPU on the page")
        xids = self._xids(page)
        for key, fields in ours.items():
            yield from self._read_card(self._cards[key], fields, xids.get(key, {}), now_s)
        yield from self._missing(ours, now_s)
        if not theirs:
            host = next(iter(self._cards.values())).labels.only(("host_name",))
            yield Sample("hw_gpu_count", host, now_s, float(len(ours)))
            yield Sample("hw_gpus_expected", host, now_s, float(len(self._cards)))

    def _read_card(
        self, card: Card, fields: Mapping[str, _Parts], xids: Mapping[tuple[str, int], float], now_s: float
    ) -> Iterator[Observation]:
        card.seen_s, card.up = now_s, True
        values = {name: _whole(name, parts) for name, parts in fields.items()}
        yield Sample("hw_gpu_up", card.labels, now_s, 1.0)
        yield from _samples(card, values, now_s)
        yield from _instances(card, fields, now_s)
        if xids or "XID_ERRORS" in values:
            self._book.watch(card.labels)
        last = int(values.get("XID_ERRORS", 0.0))
        for code in _new_xids(card, {**xids, ("last", last): 1.0} if 0 < last < _MAX_CODE else dict(xids)):
            yield from self._book.xid("dcgm", card.spot, now_s, code)

    def _missing(self, found: Mapping[_Key, object], now_s: float) -> Iterator[Observation]:
        for key, card in list(self._cards.items()):
            if key in found:
                continue
            yield Sample("hw_gpu_up", card.labels, now_s, 0.0)
            if card.up:
                card.up = False
                message = f"{card.spot.name} is missing on the exporter's page"
                yield from self._book.lost("dcgm", card.spot, now_s, message)
            if not 0.0 <= now_s - card.seen_s < _FORGET_S:
                del self._cards[key]

    # --- the page by card -------------------------------------------------------------------------------------------

    def _by_card(self, page: Page) -> dict[_Key, dict[str, _Parts]]:
        """Field values by card and MIG instance. A card shared by pods stands there once for each."""
        found: dict[_Key, dict[str, _Parts]] = {}
        for name, readings in page.readings.items():
            if not name.startswith(_FIELD):
                continue
            for reading in readings:
                key = _key(reading)
                if _is_blank(reading.value) or not (key in self._cards or self._add(key, reading)):
                    continue
                parts = found.setdefault(key, {}).setdefault(name.removeprefix(_FIELD), {})
                part = reading.labels.get("GPU_I_ID", "")[:_MAX_LABEL]
                if part in parts or len(parts) <= _MAX_INSTANCES:
                    parts[part] = max(reading.value, parts.get(part, reading.value))
        return found

    def _xids(self, page: Page) -> dict[_Key, dict[tuple[str, int], float]]:
        """How often each card had each Xid, as far as the exporter counts them."""
        found: dict[_Key, dict[tuple[str, int], float]] = {}
        for name in (_XIDS_IN_ALL, _XIDS_IN_WINDOW):
            for reading in page.readings.get(name, ()):
                code, key = reading.labels.get("xid", ""), _key(reading)
                if key not in self._cards or not (code.isdecimal() and len(code) <= 6 and 0 < int(code) < _MAX_CODE):
                    continue
                counts = found.setdefault(key, {})
                if len(counts) < _MAX_CODES:
                    counts[name, int(code)] = reading.value
        return found

    def _add(self, key: _Key, reading: Reading) -> bool:
        gpu, uuid = key
        if not (gpu or uuid) or len(self._cards) >= _MAX_GPUS:
            return False
        host = self._host if self._local else reading.labels.get("Hostname", self._host)[:_MAX_LABEL]
        labels = Labels.of(host_name=host, hw_id=uuid, gpu=gpu)
        self._cards[key] = Card(Spot(labels, reading.labels.get("pci_bus_id", "")[:_MAX_LABEL]))
        return True


def _key(reading: Reading) -> _Key:
    return reading.labels.get("gpu", "")[:_MAX_LABEL], reading.labels.get("UUID", "")[:_MAX_LABEL]


def _whole(name: str, parts: _Parts) -> float:
    """A field's value for the whole card: slices add up their memory, and repeat all else."""
    if "" in parts:
        return parts[""]
    return sum(parts.values()) if name in _MEMORY else max(parts.values())


def _is_blank(value: float) -> bool:
    """
    Whether *value* is no reading: below zero, or one of DCGM's words for "not supported".

    Those are the last sixteen of its integers, or 2**47.
    """
    return value < 0.0 or value >= 2.0**63 - 2048 or 2**31 - 16 <= value <= 2**31 - 1 or 2**47 <= value <= 2**47 + 15


def _new_xids(card: Card, seen: dict[tuple[str, int], float]) -> list[int]:
    """Codes seen again since the page before. The window's count falls as it moves on; a total falls at a restart."""
    before, card.xids = card.xids, seen
    if before is None:
        return []
    news = {
        code
        for (source, code), count in seen.items()
        if count > before.get((source, code), 0.0)
        or (source == _XIDS_IN_ALL and 0.0 < count < before.get((source, code), 0.0))
    }
    return sorted(news)


# --- samples --------------------------------------------------------------------------------------------------------


def _samples(card: Card, values: Mapping[str, float], now_s: float) -> Iterator[Sample]:
    given: set[str] = set()
    for metric, name, factor in _READINGS:
        if name in values and metric not in given and (values[name] > 0 or name not in _ABOVE_ZERO):
            given.add(metric)
            yield Sample(metric, card.labels, now_s, values[name] * factor)
    for metric, name in _FLAGS:
        if name in values:
            yield Sample(metric, card.labels, now_s, 1.0 if values[name] > 0 else 0.0)
    if "FB_USED" in values and "FB_FREE" in values:
        limit = values["FB_USED"] + values["FB_FREE"]
        yield Sample("hw_gpu_memory_limit_bytes", card.labels, now_s, limit * _MIB)
        if limit > 0:
            yield Sample("hw_gpu_memory_utilization_ratio", card.labels, now_s, values["FB_USED"] / limit)
    for metric, kind, names in _COUNTS:
        if names[0] in values:
            yield Sample(metric, card.errors[kind], now_s, sum(values.get(name, 0.0) for name in names))
    yield from _throttling(card, values, now_s)


def _instances(card: Card, fields: Mapping[str, _Parts], now_s: float) -> Iterator[Sample]:
    """The memory of each MIG instance."""
    used, free = (fields.get(name, {}) for name in _MEMORY)
    parts = sorted(part for part in used if part)
    if used:
        yield Sample("hw_gpu_mig_enabled", card.labels, now_s, 1.0 if parts else 0.0)
    for part in parts:
        if part in free:
            labels = card.labels.merge(gpu_instance=part)
            yield from instance_memory(labels, used[part] * _MIB, (used[part] + free[part]) * _MIB, now_s)


def _throttling(card: Card, values: Mapping[str, float], now_s: float) -> Iterator[Sample]:
    mask = next((int(values[name]) for name in _REASON_FIELDS if name in values), None)
    for reason, bits in REASONS:
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
