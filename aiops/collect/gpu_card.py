"""
From what NVML says of one card to samples.

Names and factors stand in tables; a reading the answer lacks gives no sample. What is remembered of a card between
rounds is little: its labels, and how many NVLinks it once had.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiops.cards import Spot
from aiops.model import Labels, Sample

# metric, key in the child's answer, factor to the base unit
_READINGS: Final = (
    ("hw_gpu_utilization_ratio", "utilization_percent", 1e-2),
    ("hw_gpu_memory_controller_utilization_ratio", "memory_controller_percent", 1e-2),
    ("hw_gpu_memory_usage_bytes", "memory_used_bytes", 1.0),
    ("hw_gpu_memory_limit_bytes", "memory_limit_bytes", 1.0),
    ("hw_temperature_celsius", "temperature_celsius", 1.0),
    ("hw_power_watts", "power_watts", 1.0),
    ("hw_gpu_clock_hertz", "clock_hertz", 1.0),
    ("hw_temperature_limit_celsius", "temperature_limit_celsius", 1.0),
    ("hw_temperature_shutdown_limit_celsius", "shutdown_limit_celsius", 1.0),
    ("hw_gpu_memory_temperature_celsius", "memory_temperature_celsius", 1.0),
    ("hw_gpu_memory_temperature_limit_celsius", "memory_temperature_limit_celsius", 1.0),
    ("hw_power_limit_watts", "power_limit_watts", 1.0),
    ("hw_gpu_clock_limit_hertz", "clock_limit_hertz", 1.0),
    ("hw_gpu_memory_clock_hertz", "memory_clock_hertz", 1.0),
    ("hw_gpu_row_remap_pending", "remap_pending", 1.0),
    ("hw_gpu_row_remap_failed", "remap_failed", 1.0),
    ("hw_gpu_page_retirement_pending", "retirement_pending", 1.0),
    ("hw_gpu_recovery_needed", "recovery_needed", 1.0),
    ("hw_gpu_mig_enabled", "mig", 1.0),
    ("hw_gpu_pcie_link_lanes_limit", "pcie_width_limit", 1.0),
    ("hw_gpu_pcie_link_generation_limit", "pcie_generation_limit", 1.0),
    ("hw_gpu_pcie_replays_total", "pcie_replays", 1.0),
    ("hw_gpu_pcie_link_lanes", "pcie_width", 1.0),
    ("hw_gpu_pcie_link_generation", "pcie_generation", 1.0),
    ("hw_gpu_nvlinks_active", "nvlinks_active", 1.0),
)
# metric, key; each of the mapping's keys is an error type
_COUNTS: Final = (
    ("hw_errors_total", "errors"),
    ("hw_errors_lifetime_total", "lifetime_errors"),
    ("hw_gpu_remapped_rows_total", "remapped_rows"),
    ("hw_gpu_retired_pages_total", "retired_pages"),
    ("hw_gpu_nvlink_errors_total", "nvlink_errors"),
)
# value of the label "reason", NVML's bits; any heat and any limit of power first, then each by itself
REASONS: Final = (
    ("thermal", 0x20 | 0x40),
    ("power", 0x04 | 0x80),
    ("hardware", 0x08),
    ("thermal_software", 0x20),
    ("thermal_hardware", 0x40),
    ("power_cap", 0x04),
    ("power_brake", 0x80),
)
MAX_PROCESSES: Final = 16
_MAX_PORTS = 16
_MAX_INSTANCES = 16
_MAX_PARTS = 256


@dataclass(frozen=True, slots=True)
class Tenants:
    """Who the processes on the cards are, by process id."""

    names: Mapping[int, str]
    ports: Mapping[int, frozenset[int]]
    """TCP ports they serve; a process that does not show them is absent."""


@dataclass(slots=True)
class KnownCard:
    """A card that was seen."""

    spot: Spot
    name: str
    up: bool = True
    _nvlinks: float = 0.0
    """The most that were ever active."""
    _parts: dict[tuple[str, str], Labels] = field(default_factory=dict)

    @property
    def labels(self) -> Labels:
        """Of everything that is said of it."""
        return self.spot.labels

    def read(self, card: Mapping[str, Any], tenants: Tenants, now_s: float) -> Iterator[Sample]:
        """
        The samples of one answer.

        Args:
            card: The child's word, see `aiops.collect.nvml.Card`.
            tenants: Who holds memory of the cards.
            now_s: Wall time.
        """
        for metric, key, factor in _READINGS:
            if key in card:
                yield Sample(metric, self.labels, now_s, float(card[key]) * factor)
        used, limit = card.get("memory_used_bytes"), card.get("memory_limit_bytes")
        if used is not None and limit:
            yield Sample("hw_gpu_memory_utilization_ratio", self.labels, now_s, float(used) / float(limit))
        if (mask := card.get("clock_reasons")) is not None:
            for reason, bits in REASONS:
                cut = 1.0 if int(mask) & bits else 0.0
                yield Sample("hw_gpu_throttled_ratio", self._part("reason", reason), now_s, cut)
        for metric, key in _COUNTS:
            for kind, count in card.get(key, {}).items():
                yield Sample(metric, self._part("error_type", kind), now_s, float(count))
        for number, held, size in card.get("instances", [])[:_MAX_INSTANCES]:
            yield from instance_memory(self._part("gpu_instance", str(number)), float(held), float(size), now_s)
        if "nvlinks_active" in card:
            self._nvlinks = max(self._nvlinks, float(card["nvlinks_active"]))
            yield Sample("hw_gpu_nvlinks_expected", self.labels, now_s, self._nvlinks)
        yield from self._processes(card, tenants, now_s)

    def _processes(self, card: Mapping[str, Any], tenants: Tenants, now_s: float) -> Iterator[Sample]:
        listed = card.get("processes", ())
        for pid, held in listed[:MAX_PROCESSES]:
            if held is not None:
                process = self.labels.merge(pid=str(pid), process=tenants.names.get(int(pid), ""))
                yield Sample("hw_gpu_process_memory_usage_bytes", process, now_s, float(held))
        ports = {port for pid, _ in listed for port in tenants.ports.get(int(pid), ())}
        for port in sorted(ports)[:_MAX_PORTS]:
            yield Sample("hw_gpu_process_port", self._part("port", str(port)), now_s, 1.0)

    def _part(self, name: str, value: str) -> Labels:
        """The card's labels with one more; making them anew every round would cost more than all else."""
        labels = self._parts.get((name, value))
        if labels is None:
            if len(self._parts) >= _MAX_PARTS:
                self._parts.clear()
            labels = self._parts[name, value] = self.labels.merge(**{name: value})
        return labels


def instance_memory(labels: Labels, used: float, limit: float, now_s: float) -> Iterator[Sample]:
    """The memory of a slice of a card."""
    yield Sample("hw_gpu_instance_memory_usage_bytes", labels, now_s, used)
    yield Sample("hw_gpu_instance_memory_limit_bytes", labels, now_s, limit)
    if limit > 0:
        yield Sample("hw_gpu_instance_memory_utilization_ratio", labels, now_s, used / limit)
