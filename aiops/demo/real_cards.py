"""
Whether the demo may use this machine's real cards, and how much of each.

Only cards nobody else uses are taken: no process is listed on them and no more memory is in use than an idle driver
holds, since in a container the list is empty whoever is there. Of such a card the servers hold what leaves a reserve
free; only the fault itself takes the reserve, for as long as it lasts. Driver calls are made by children with a deadline.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiops.child import ask_once
from aiops.errors import ChildError, ChildTimeout

DEADLINE_S = 25.0
"""Without persistence mode the driver wakes every card at first."""
_IDLE_BYTES = 128 * 2**20
"""More in use than this on a card without processes: a screen, or somebody we do not see."""
_RESERVE_MIB, _RESERVE_SHARE = 2048.0, 0.05
_WORKING_MIB = 1024.0
"""Room for the prefills of one server."""
_LEAST_HELD_MIB = 256.0
_NVML = "aiops.collect.nvml"
_CUDA = "aiops.demo.cuda_probe"
_WITHOUT = {_NVML: "no NVIDIA driver here", _CUDA: "CUDA cannot be used"}


class NoCard(Exception):
    """No real card can be used; the text says why."""


@dataclass(frozen=True, slots=True)
class RealGpu:
    """A card that may be used."""

    index: int
    """As NVML counts."""
    uuid: str
    name: str
    free_mib: float
    """With one context open."""
    total_mib: float


async def usable_cards(most: int, deadline_s: float = DEADLINE_S) -> list[RealGpu]:
    """
    Up to *most* cards that nobody uses and CUDA can; each of two questions to the driver may take *deadline_s*.

    Raises:
        NoCard: there is none.
    """
    reading = await _ask(_NVML, {"processes": True}, deadline_s)
    idle = idle_cards(reading.get("cards") or ())
    probed = await _ask(_CUDA, {"cards": list(idle), "most": most}, deadline_s)
    found, refused = probed["found"], probed["refused"]
    if not found:
        uuid, reason = next(iter(refused.items()))
        raise NoCard(f"GPU {idle[uuid]['index']} cannot be used: {reason}")
    return [RealGpu(int(idle[u]["index"]), u, str(idle[u].get("name", "")), *sizes) for u, sizes in found.items()]


def idle_cards(cards: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """
    By UUID, the cards of an NVML reading that nobody uses.

    Raises:
        NoCard: there is none.
    """
    present = [card for card in cards if card.get("uuid") and not card.get("lost")]
    if not present:
        raise NoCard("no NVIDIA GPU answers here")
    measured = [card for card in present if "memory_used_bytes" in card]
    if not measured:
        raise NoCard("the GPU has no memory of its own")
    idle = {c["uuid"]: c for c in measured if not c.get("processes") and c["memory_used_bytes"] <= _IDLE_BYTES}
    if not idle:
        raise NoCard("somebody else uses " + ("the GPU" if len(measured) == 1 else "every GPU"))
    return idle


def held_mib(gpu: RealGpu, servers: int) -> float:
    """
    What each of *servers* on *gpu* may hold.

    Raises:
        NoCard: the card is too small.
    """
    context_mib = gpu.total_mib - gpu.free_mib  # at least one context: the card was idle
    reserve_mib = max(_RESERVE_MIB, _RESERVE_SHARE * gpu.total_mib)
    held = (gpu.free_mib - (servers - 1) * context_mib - reserve_mib) / servers - _WORKING_MIB
    if held < _LEAST_HELD_MIB:
        raise NoCard(f"not enough free memory on GPU {gpu.index}")
    return held


async def others_on(index: int, ours: int) -> bool:
    """Whether more than *ours* processes are on card *index*; the ids of the list may be another namespace's."""
    reading = await _ask(_NVML, {"processes": True}, DEADLINE_S)
    listed = next((c.get("processes") or () for c in reading.get("cards") or () if c.get("index") == index), ())
    return len(listed) > ours


async def _ask(module: str, question: dict[str, Any], deadline_s: float) -> dict[str, Any]:
    """
    What a child says of the driver.

    Raises:
        NoCard: there is none, or it does not answer.
    """
    leash = (sys.executable, "-m", "aiops.demo.leash", str(os.getpid()), str(int(signal.SIGKILL)))
    try:
        answer = await ask_once((*leash, sys.executable, "-m", module), question, deadline_s)
    except ChildTimeout as error:
        raise NoCard("the NVIDIA driver does not answer") from error
    except ChildError as error:
        raise NoCard(f"the NVIDIA driver cannot be read: {error}") from error
    if missing := answer.get("missing"):
        raise NoCard(f"{_WITHOUT[module]}: {str(missing)[:120]}")
    return dict(answer)
