"""
What NVML says about the cards: a program of its own, because an NVML call may never return.

``python -m aiops.collect.nvml`` answers every line ``{"processes": bool, "errors": bool, "again": bool}`` on its standard
input with one JSON line, a `Reading`. What a card does not support is absent from its mapping. A card that fell off the
bus is marked lost and the others are read on; "again" looks all cards up anew, in case it was reset. Without driver or library the answer names the reason and the
library is tried again at the next question. This module imports as little as it can: the child should be small.
"""

from __future__ import annotations

import ctypes
import json
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypedDict

import pynvml

_THERMAL, _POWER, _HARDWARE = 0x20 | 0x40, 0x04 | 0x80, 0x08
_REASONS = (("thermal", _THERMAL), ("power", _POWER), ("hardware", _HARDWARE))
_MAX_PROCESSES = 32
_PR_SET_PDEATHSIG = 1


class Card(TypedDict, total=False):
    """One card; a key is absent when the card has no such reading."""

    index: int
    uuid: str
    name: str
    lost: bool
    utilization_percent: float
    memory_controller_percent: float
    memory_used_bytes: float
    memory_limit_bytes: float
    temperature_celsius: float
    temperature_limit_celsius: float
    power_watts: float
    power_limit_watts: float
    clock_hertz: float
    throttled: dict[str, bool]
    errors: dict[str, float]
    processes: list[tuple[int, float]]
    """Process ids with the bytes they hold; largest first."""


class Reading(TypedDict, total=False):
    """One answer: the cards, or why there are none."""

    driver: str
    cards: list[Card]
    missing: str
    """Why NVML cannot be used; empty or absent when it can."""


class _Lost(Exception):
    """The card does not answer any more."""


class Nvml:
    """The library, its cards, and what is fixed about them."""

    def __init__(self) -> None:
        self._driver = ""
        self._cards: list[tuple[Any, Card]] = []
        """Handle, None for a card lost before it gave one; and what never changes."""
        self._ready = False

    def read(self, *, processes: bool = False, errors: bool = False, again: bool = False) -> Reading:
        """
        Every card's state.

        Args:
            processes: Also who holds memory; this call is slow and holds the driver's lock.
            errors: Also ECC counters.
            again: Look the cards up anew.
        """
        if again:
            self._end()
        try:
            if not self._ready:
                self._begin()
            cards = [self._card(handle, fixed, processes, errors) for handle, fixed in self._cards]
        except pynvml.NVMLError as error:
            self._end()
            return {"missing": str(error)}
        return {"driver": self._driver, "cards": cards}

    def _begin(self) -> None:
        pynvml.nvmlInit()
        self._driver = _text(_optional(pynvml.nvmlSystemGetDriverVersion))
        self._cards = [_identify(index) for index in range(pynvml.nvmlDeviceGetCount())]
        self._ready = True

    def _end(self) -> None:
        if self._ready:
            _optional(pynvml.nvmlShutdown)
        self._ready = False

    def _card(self, handle: Any, fixed: Card, processes: bool, errors: bool) -> Card:  # noqa: FBT001
        card: Card = {**fixed}
        if handle is None:
            return card
        try:
            _read_load(handle, card)
            _read_state(handle, card)
            if errors:
                card["errors"] = dict(_ecc(handle))
            if processes:
                card["processes"] = _processes(handle)
        except _Lost:
            return {**fixed, "lost": True}
        return card


def _identify(index: int) -> tuple[Any, Card]:
    """A card's handle and what never changes about it."""
    fixed: Card = {"index": index}
    try:
        handle = _reading(pynvml.nvmlDeviceGetHandleByIndex, index)
        if handle is None:
            return None, {**fixed, "lost": True}
        fixed["uuid"] = _text(_reading(pynvml.nvmlDeviceGetUUID, handle))
        fixed["name"] = _text(_reading(pynvml.nvmlDeviceGetName, handle))
        limit = _reading(pynvml.nvmlDeviceGetTemperatureThreshold, handle, pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN)
        if limit:
            fixed["temperature_limit_celsius"] = float(limit)
    except _Lost:
        return None, {**fixed, "lost": True}
    return handle, fixed


def _read_load(handle: Any, card: Card) -> None:
    memory = _reading(pynvml.nvmlDeviceGetMemoryInfo, handle, pynvml.nvmlMemory_v2)
    if memory is None:  # an older driver; its "used" includes what is reserved
        memory = _reading(pynvml.nvmlDeviceGetMemoryInfo, handle)
    if memory is not None and memory.total > 0:  # unified memory: 0, or not supported
        card["memory_used_bytes"] = float(memory.used)
        card["memory_limit_bytes"] = float(memory.total - getattr(memory, "reserved", 0))
    utilization = _reading(pynvml.nvmlDeviceGetUtilizationRates, handle)  # not supported with MIG
    if utilization is not None:
        card["utilization_percent"] = float(utilization.gpu)
        card["memory_controller_percent"] = float(utilization.memory)


def _read_state(handle: Any, card: Card) -> None:
    if (celsius := _reading(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU)) is not None:
        card["temperature_celsius"] = float(celsius)
    if (milliwatts := _reading(pynvml.nvmlDeviceGetPowerUsage, handle)) is not None:
        card["power_watts"] = milliwatts / 1e3
    if (milliwatts := _reading(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)) is not None:
        card["power_limit_watts"] = milliwatts / 1e3
    if (megahertz := _reading(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM)) is not None:
        card["clock_hertz"] = megahertz * 1e6
    reasons = _reading(pynvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
    if reasons is None:  # its name on older drivers
        reasons = _reading(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle)
    if reasons is not None:
        card["throttled"] = {name: bool(reasons & bits) for name, bits in _REASONS}


def _ecc(handle: Any) -> Iterator[tuple[str, float]]:
    """Memory errors since the driver was loaded."""
    for name, kind in (
        ("uncorrected", pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED),
        ("corrected", pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED),
    ):
        count = _reading(pynvml.nvmlDeviceGetTotalEccErrors, handle, kind, pynvml.NVML_VOLATILE_ECC)
        if count is not None:
            yield name, float(count)


def _processes(handle: Any) -> list[tuple[int, float]]:
    found = _reading(pynvml.nvmlDeviceGetComputeRunningProcesses, handle) or []
    held = [(int(p.pid), float(p.usedGpuMemory)) for p in found if p.usedGpuMemory is not None]
    return sorted(held, key=lambda pair: -pair[1])[:_MAX_PROCESSES]


def _reading(call: Callable[..., Any], *args: Any) -> Any:
    """
    What *call* gives, or None if this card has no such reading.

    Raises:
        _Lost: the card does not answer any more.
        pynvml.NVMLError: the driver has gone.
    """
    try:
        return call(*args)
    except pynvml.NVMLError as error:
        if error.value in {pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED}:
            raise _Lost from error
        if error.value in {pynvml.NVML_ERROR_UNINITIALIZED, pynvml.NVML_ERROR_DRIVER_NOT_LOADED}:
            raise
        return None


def _optional(call: Callable[..., Any], *args: Any) -> Any:
    """What *call* gives, or None if it fails."""
    try:
        return call(*args)
    except pynvml.NVMLError:
        return None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def main() -> None:
    """Answer until standard input ends."""
    # a call that hangs cannot see that input ended: go when the daemon goes
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    nvml = Nvml()
    for line in sys.stdin:
        question = json.loads(line)
        answer = nvml.read(**{name: bool(question.get(name)) for name in ("processes", "errors", "again")})
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
