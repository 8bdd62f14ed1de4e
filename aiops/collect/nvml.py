"""
What NVML says about the cards: a program of its own, because an NVML call may never return.

``python -m aiops.collect.nvml`` answers every line of flags, ``{"processes": true}``, on its standard input with one
JSON line, a `Reading`. What a card does not support is absent from its mapping. A card that fell off the bus is marked
lost and the others are read on; "again" looks all cards up anew, in case it was reset. Without driver or library the
answer names the reason and the library is tried again at the next question.

Xids arrive in an event set, where they wait until the next question: it is emptied without waiting. This program
imports as little as it can: the child should be small.
"""

from __future__ import annotations

import ctypes
import json
import signal
import sys
from typing import Any, TypedDict

import pynvml

from aiops.collect import nvml_health as health
from aiops.collect.nvml_calls import Device, Lost, optional, text

_MAX_XIDS = 64
"""Events taken at once; the rest waits for the next question."""
_PR_SET_PDEATHSIG = 1
_IDENTITY = ("index", "uuid", "name", "address")
_FLAGS = ("processes", "errors", "links", "again")


class Card(TypedDict, total=False):
    """One card; a key is absent when the card has no such reading."""

    index: int
    uuid: str
    name: str
    address: str
    """On the PCI bus."""
    lost: bool
    utilization_percent: float
    memory_controller_percent: float
    memory_used_bytes: float
    memory_limit_bytes: float
    temperature_celsius: float
    temperature_limit_celsius: float
    shutdown_limit_celsius: float
    memory_temperature_celsius: float
    memory_temperature_limit_celsius: float
    power_watts: float
    power_limit_watts: float
    clock_hertz: float
    clock_limit_hertz: float
    memory_clock_hertz: float
    clock_reasons: int
    """Why clocks are what they are, in NVML's bits."""
    errors: dict[str, float]
    lifetime_errors: dict[str, float]
    remapped_rows: dict[str, float]
    remap_pending: float
    remap_failed: float
    retired_pages: dict[str, float]
    retirement_pending: float
    recovery_needed: float
    pcie_replays: float
    pcie_width: float
    pcie_width_limit: float
    pcie_generation: float
    pcie_generation_limit: float
    nvlinks_active: float
    nvlink_errors: dict[str, float]
    mig: bool
    instances: list[tuple[int, float, float]]
    """MIG instances: number, bytes used and usable."""
    processes: list[tuple[int, float | None]]
    """Process ids with the bytes they hold, where that is known; largest first."""


class Reading(TypedDict, total=False):
    """One answer: the cards, or why there are none."""

    driver: str
    cards: list[Card]
    watching: bool
    """Whether the driver tells of Xids."""
    xids: list[tuple[int, int]]
    """Card and code of each Xid since the last answer."""
    missing: str
    """Why NVML cannot be used; empty or absent when it can."""


class Gpu:
    """
    One card and what is remembered of it between questions.

    Args:
        device: The card; None for one that was lost before it gave a handle.
        fixed: What never changes about it.
    """

    def __init__(self, device: Device | None, fixed: Card) -> None:
        self.device = device
        self.fixed = fixed
        self._identity = {name: fixed[name] for name in _IDENTITY if name in fixed}  # type: ignore[literal-required]
        self._links: health.Links | None = None
        self._instances: dict[int, Device] = {}

    def read(self, *, processes: bool, errors: bool, links: bool) -> Card:
        """Its state."""
        if self.device is None:
            return {**self.fixed}
        card: Card = {**self._identity}  # type: ignore[typeddict-item]
        try:
            _read_load(self.device, card)
            _read_state(self.device, card)
            if errors:
                card.update(self.fixed)
                self._read_health(self.device, card)
            self._read_instances(card)
            if links:
                self._links = self._links or health.Links(self.device)
                card.update({**self._links.read(), **health.pcie(self.device)})  # type: ignore[typeddict-item]
            if processes:
                found = health.processes([self.device, *self._instances.values()])
                if found is not None:
                    card["processes"] = found
            self.device.check()
        except Lost:
            return {**self.fixed, "lost": True}
        return card

    def _read_health(self, device: Device, card: Card) -> None:
        card.update({**health.slow_state(device), **health.worn_memory(device)})  # type: ignore[typeddict-item]
        if counts := health.ecc(device, pynvml.NVML_VOLATILE_ECC):
            card["errors"] = counts
        if counts := health.ecc(device, pynvml.NVML_AGGREGATE_ECC):
            card["lifetime_errors"] = counts
        if (mig := health.mig_enabled(device)) is not None:
            card["mig"] = mig
        self._instances = health.instances(device) if mig else {}

    def _read_instances(self, card: Card) -> None:
        used = {number: health.memory(part) for number, part in self._instances.items()}
        if found := [(number, *each) for number, each in used.items() if each is not None]:
            card["instances"] = found


class Nvml:
    """The library, its cards, and what is fixed about them."""

    def __init__(self) -> None:
        self._driver = ""
        self._gpus: list[Gpu] = []
        self._events: Any = None
        self._watching = False
        self._ready = False

    def read(
        self, *, processes: bool = False, errors: bool = False, links: bool = False, again: bool = False
    ) -> Reading:
        """
        Every card's state.

        Args:
            processes: Also who holds memory; this call is slow and holds the driver's lock.
            errors: Also what changes seldom, and what never changes.
            links: Also the slot and NVLink.
            again: Look the cards up anew.
        """
        if again:
            self._end()
        try:
            if not self._ready:
                self._begin()
            cards = [gpu.read(processes=processes, errors=errors, links=links) for gpu in self._gpus]
            return {"driver": self._driver, "cards": cards, "watching": self._watching, "xids": self._xids()}
        except pynvml.NVMLError as error:
            self._end()
            return {"missing": str(error)}

    def _begin(self) -> None:
        pynvml.nvmlInit()
        self._driver = text(optional(pynvml.nvmlSystemGetDriverVersion))
        self._gpus = [_identify(index) for index in range(pynvml.nvmlDeviceGetCount())]
        self._events = optional(pynvml.nvmlEventSetCreate)
        watched = [self._watch(gpu) for gpu in self._gpus]
        self._watching = any(watched)
        self._ready = True

    def _watch(self, gpu: Gpu) -> bool:
        """Whether Xids of *gpu* will come to the event set."""
        if gpu.device is None or self._events is None:
            return False
        try:
            kind = pynvml.nvmlEventTypeXidCriticalError
            pynvml.nvmlDeviceRegisterEvents(gpu.device.handle, kind, self._events)
        except pynvml.NVMLError:
            return False
        return True

    def _end(self) -> None:
        if self._ready:
            if self._events is not None:
                optional(pynvml.nvmlEventSetFree, self._events)
            optional(pynvml.nvmlShutdown)
        self._ready = False

    def _xids(self) -> list[tuple[int, int]]:
        """Xids that wait in the event set."""
        found: list[tuple[int, int]] = []
        while self._events is not None and len(found) < _MAX_XIDS:
            event = optional(pynvml.nvmlEventSetWait_v2, self._events, 0)
            if event is None:  # none waits; or one card is lost, which the readings say
                break
            index = self._index_of(event.device)
            if index is not None and event.eventType == pynvml.nvmlEventTypeXidCriticalError:
                found.append((index, int(event.eventData)))
        return found

    def _index_of(self, handle: Any) -> int | None:
        wanted = _pointer(handle)
        for gpu in self._gpus:
            if gpu.device is not None and _pointer(gpu.device.handle) == wanted:
                return gpu.fixed["index"]
        return None


def _pointer(handle: Any) -> int | None:
    return ctypes.cast(handle, ctypes.c_void_p).value


def _identify(index: int) -> Gpu:
    """A card and what never changes about it."""
    fixed: Card = {"index": index}
    try:
        device = Device(pynvml.nvmlDeviceGetHandleByIndex(index))
        fixed["uuid"] = text(device.ask(pynvml.nvmlDeviceGetUUID))
        fixed["name"] = text(device.ask(pynvml.nvmlDeviceGetName))
        if (pci := device.ask(pynvml.nvmlDeviceGetPciInfo_v3)) is not None:
            fixed["address"] = text(pci.busId)
        if megahertz := device.ask(pynvml.nvmlDeviceGetMaxClockInfo, pynvml.NVML_CLOCK_SM):
            fixed["clock_limit_hertz"] = megahertz * 1e6
        if width := device.ask(pynvml.nvmlDeviceGetMaxPcieLinkWidth):
            fixed["pcie_width_limit"] = float(width)
        if generation := device.ask(pynvml.nvmlDeviceGetMaxPcieLinkGeneration):
            fixed["pcie_generation_limit"] = float(generation)
        _find_limits(device, fixed)
    except (Lost, pynvml.NVMLError):
        return Gpu(None, {**fixed, "lost": True})
    return Gpu(device, fixed)


def _find_limits(device: Device, fixed: Card) -> None:
    """The card's own limits of temperature; a threshold of 0 is none."""
    ask, threshold = device.ask, pynvml.nvmlDeviceGetTemperatureThreshold
    if celsius := ask(threshold, pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN):
        fixed["temperature_limit_celsius"] = float(celsius)
    if celsius := ask(threshold, pynvml.NVML_TEMPERATURE_THRESHOLD_SHUTDOWN):
        fixed["shutdown_limit_celsius"] = float(celsius)
    if celsius := ask(threshold, pynvml.NVML_TEMPERATURE_THRESHOLD_MEM_MAX):
        fixed["memory_temperature_limit_celsius"] = float(celsius)
    if "temperature_limit_celsius" in fixed:
        return
    # since Ada a limit may be told as a distance only: how far away it is now, and at which distance clocks are cut
    now, margin = (
        ask(pynvml.nvmlDeviceGetTemperature, pynvml.NVML_TEMPERATURE_GPU),
        ask(pynvml.nvmlDeviceGetMarginTemperature),
    )
    limits = device.fields(
        (pynvml.NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT, pynvml.NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT)
    )
    if now is None or margin is None:
        return
    if (distance := limits.get(pynvml.NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT)) is not None:
        fixed["temperature_limit_celsius"] = now + margin - distance
    if (distance := limits.get(pynvml.NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT)) is not None:
        fixed["shutdown_limit_celsius"] = now + margin - distance


def _read_load(device: Device, card: Card) -> None:
    if (memory := health.memory(device)) is not None:
        card["memory_used_bytes"], card["memory_limit_bytes"] = memory
    utilization = device.ask(pynvml.nvmlDeviceGetUtilizationRates)  # not supported with MIG
    if utilization is not None:
        card["utilization_percent"] = float(utilization.gpu)
        card["memory_controller_percent"] = float(utilization.memory)


def _read_state(device: Device, card: Card) -> None:
    if (celsius := device.ask(pynvml.nvmlDeviceGetTemperature, pynvml.NVML_TEMPERATURE_GPU)) is not None:
        card["temperature_celsius"] = float(celsius)
    if (milliwatts := device.ask(pynvml.nvmlDeviceGetPowerUsage)) is not None:
        card["power_watts"] = milliwatts / 1e3
    if (megahertz := device.ask(pynvml.nvmlDeviceGetClockInfo, pynvml.NVML_CLOCK_SM)) is not None:
        card["clock_hertz"] = megahertz * 1e6
    reasons = device.ask(pynvml.nvmlDeviceGetCurrentClocksEventReasons)
    if reasons is None:  # its name on older drivers
        reasons = device.ask(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons)
    if reasons is not None:
        card["clock_reasons"] = int(reasons)


def main() -> None:
    """Answer until standard input ends."""
    # a call that hangs cannot see that input ended: go when the daemon goes
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    nvml = Nvml()
    for line in sys.stdin:
        question = json.loads(line)
        answer = nvml.read(**{name: bool(question.get(name)) for name in _FLAGS})
        sys.stdout.write(json.dumps(answer, separators=(",", ":")) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
