"""
What changes seldom on a card, or costs much to ask: errors, worn memory, links, slices, who holds its memory.

Cards of different age keep the same thing in different places. NVLink errors are totals of the card up to Ampere,
fields of each link on Hopper, and other fields of each link on Blackwell, where the older ones were removed (NVML's own
change log, 525 and 565). Memory that wore out is remapped row by row since Ampere, and page by page before.
"""

from __future__ import annotations

from typing import Final

import pynvml

from aiops.collect.nvml_calls import Device, Field

_MAX_LINKS = 36
_MAX_INSTANCES = 16
MAX_PROCESSES: Final = 32

_PAGES: Final = (pynvml.NVML_FI_DEV_RETIRED_SBE, pynvml.NVML_FI_DEV_RETIRED_DBE, pynvml.NVML_FI_DEV_RETIRED_PENDING)
_STATE: Final = (pynvml.NVML_FI_DEV_MEMORY_TEMP, pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION)
# error type and field; of each link, newest generation first
_LINK_ERRORS: Final = (
    (
        ("receive", pynvml.NVML_FI_DEV_NVLINK_COUNT_RCV_ERRORS),
        ("integrity", pynvml.NVML_FI_DEV_NVLINK_COUNT_LOCAL_LINK_INTEGRITY_ERRORS),
        ("recovery", pynvml.NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_EVENTS),
    ),
    (
        ("crc", pynvml.NVML_FI_DEV_NVLINK_ERROR_DL_CRC),
        ("replay", pynvml.NVML_FI_DEV_NVLINK_ERROR_DL_REPLAY),
        ("recovery", pynvml.NVML_FI_DEV_NVLINK_ERROR_DL_RECOVERY),
    ),
)
_CARD_ERRORS: Final = (
    ("crc", pynvml.NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL),
    ("crc", pynvml.NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL),
    ("replay", pynvml.NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL),
    ("recovery", pynvml.NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL),
)

Numbers = dict[str, float]


def ecc(card: Device, counter: int) -> Numbers:
    """Memory errors by kind, since the driver was loaded or in the card's life, as *counter* says."""
    kinds = (
        ("uncorrected", pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED),
        ("corrected", pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED),
    )
    counts = {name: card.ask(pynvml.nvmlDeviceGetTotalEccErrors, kind, counter) for name, kind in kinds}
    return {name: float(count) for name, count in counts.items() if count is not None}


def worn_memory(card: Device) -> dict[str, float | Numbers]:
    """Remapped rows, or retired pages on a card that knows no rows."""
    rows = card.ask(pynvml.nvmlDeviceGetRemappedRows)
    if rows is not None:
        corrected, uncorrected, waiting, failed = (float(each) for each in rows)
        counts = {"corrected": corrected, "uncorrected": uncorrected}
        return {"remapped_rows": counts, "remap_pending": waiting, "remap_failed": failed}
    pages = card.fields(_PAGES)
    found: dict[str, float | Numbers] = {}
    if counts := {
        name: pages[each] for name, each in zip(("corrected", "uncorrected"), _PAGES, strict=False) if each in pages
    }:
        found["retired_pages"] = counts
    if (pending := pages.get(_PAGES[2])) is not None:
        found["retirement_pending"] = pending
    return found


def slow_state(card: Device) -> Numbers:
    """Readings without a call of their own, and those that hardly change."""
    fields = card.fields(_STATE)
    found: Numbers = {}
    if celsius := fields.get(_STATE[0]):  # 0 where there is no sensor
        found["memory_temperature_celsius"] = celsius
    if (action := fields.get(_STATE[1])) is not None:
        found["recovery_needed"] = float(action != pynvml.NVML_GPU_RECOVERY_ACTION_NONE)
    if (milliwatts := card.ask(pynvml.nvmlDeviceGetEnforcedPowerLimit)) is not None:
        found["power_limit_watts"] = milliwatts / 1e3
    if (megahertz := card.ask(pynvml.nvmlDeviceGetClockInfo, pynvml.NVML_CLOCK_MEM)) is not None:
        found["memory_clock_hertz"] = megahertz * 1e6
    return found


def pcie(card: Device) -> Numbers:
    """The state of the card's slot."""
    readings = {
        "pcie_replays": card.ask(pynvml.nvmlDeviceGetPcieReplayCounter),
        "pcie_width": card.ask(pynvml.nvmlDeviceGetCurrPcieLinkWidth),
        "pcie_generation": card.ask(pynvml.nvmlDeviceGetCurrPcieLinkGeneration),
    }
    return {name: float(value) for name, value in readings.items() if value is not None}


class Links:
    """
    The NVLinks of one card. Which there are, and where it counts their errors, is found out once.

    Args:
        card: The card.
    """

    def __init__(self, card: Device) -> None:
        self._card = card
        self._links = self._find()
        self._kinds: dict[Field, str] | None = None
        self._counts: dict[Field, float] = {}
        """The last of each link: one that is down and says nothing must not make the sum fall."""

    def read(self) -> dict[str, float | Numbers]:
        """Active links and errors of all of them; empty without any link."""
        if not self._links:
            return {}
        states = [self._card.ask(pynvml.nvmlDeviceGetNvLinkState, link) for link in self._links]
        found: dict[str, float | Numbers] = {"nvlinks_active": float(sum(1 for state in states if state))}
        if self._kinds is None:
            self._kinds = self._choose()
        self._counts.update(self._card.fields(list(self._kinds)) if self._kinds else {})
        errors: Numbers = {}
        for field, count in self._counts.items():
            errors[self._kinds[field]] = errors.get(self._kinds[field], 0.0) + count
        if errors:
            found["nvlink_errors"] = errors
        return found

    def _find(self) -> list[int]:
        links: list[int] = []
        for link in range(_MAX_LINKS):
            if self._card.ask(pynvml.nvmlDeviceGetNvLinkState, link) is None:
                break
            links.append(link)
        return links

    def _choose(self) -> dict[Field, str]:
        """The fields in which this card counts, and what they count."""
        of_links: list[dict[Field, str]] = [
            {(field, link): kind for kind, field in generation for link in self._links} for generation in _LINK_ERRORS
        ]
        for fields in (*of_links, {field: kind for kind, field in _CARD_ERRORS}):
            if answered := self._card.fields(list(fields)):
                return {field: kind for field, kind in fields.items() if field in answered}
        return {}


def mig_enabled(card: Device) -> bool | None:
    """Whether the card is cut into MIG instances; None where that is not supported."""
    mode = card.ask(pynvml.nvmlDeviceGetMigMode)
    return None if mode is None else bool(mode[0] == pynvml.NVML_DEVICE_MIG_ENABLE)


def instances(card: Device) -> dict[int, Device]:
    """MIG instances by their number. Parts of one instance share its memory."""
    found: dict[int, Device] = {}
    most = card.ask(pynvml.nvmlDeviceGetMaxMigDeviceCount) or 0
    for index in range(min(most, _MAX_INSTANCES)):
        handle = card.ask(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, index)
        if handle is None:
            continue
        part = Device(handle)
        number = part.ask(pynvml.nvmlDeviceGetGpuInstanceId)
        if number is not None:
            found.setdefault(int(number), part)
    return found


def memory(card: Device) -> tuple[float, float] | None:
    """Bytes used and usable; None on cards that share the host's memory."""
    found = card.ask(pynvml.nvmlDeviceGetMemoryInfo, pynvml.nvmlMemory_v2)
    if found is None:  # an older driver; its "used" includes what is reserved
        found = card.ask(pynvml.nvmlDeviceGetMemoryInfo)
    if found is None or found.total <= 0:
        return None
    return float(found.used), float(found.total - getattr(found, "reserved", 0))


def processes(devices: list[Device]) -> list[tuple[int, float | None]] | None:
    """
    Who holds memory of a card or of its instances, with the bytes where they are known; largest first.

    None where the driver does not tell. Clients of an MPS server are listed by a call of their own.
    """
    held: dict[int, float | None] = {}
    told = False
    for device in devices:
        compute = device.ask(pynvml.nvmlDeviceGetComputeRunningProcesses_v3)
        if compute is None:  # missing in drivers before 510
            compute = device.ask(pynvml.nvmlDeviceGetComputeRunningProcesses_v2)
        clients = device.ask(pynvml.nvmlDeviceGetMPSComputeRunningProcesses_v3)
        told = told or compute is not None
        for process in (*(compute or ()), *(clients or ())):
            used = process.usedGpuMemory
            known = held.get(int(process.pid))
            held[int(process.pid)] = known if used is None else max(float(used), known or 0.0)
    if not told:
        return None
    return sorted(held.items(), key=lambda pair: -(pair[1] or 0.0))[:MAX_PROCESSES]
