"""
The simulated card: keeps a real budget of VRAM per GPU, and shows it as dcgm-exporter would.

Nothing about its numbers is scripted: memory used is the sum of what processes hold, utilisation is what the engines
report of their own busy time, power and temperature follow from that.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiops.demo import stage, wire

TOTAL_MIB = 24_576.0
_IDLE_W, _FULL_W = 55.0, 290.0
_AMBIENT_C, _C_PER_W, _HEAT_S = 27.0, 0.135, 25.0
"""A card at full power settles at 66 °C, two thirds of the way after 25 s."""
_FULL_MHZ, _IDLE_MHZ = 1980, 1200
_BUSY_MEMORY_S = 2.0
"""A busy report older than this counts as idle."""


@dataclass(slots=True)
class SimulatedGpu:
    """One card: memory, load, heat. Times are of the event loop."""

    index: int
    total_mib: float = TOTAL_MIB
    used_mib: float = 300.0  # driver and context
    share: float = 0.0
    reported_s: float = -math.inf
    temperature_c: float = 34.0
    warmed_s: float = 0.0

    def load(self, now_s: float) -> float:
        """Share of time kernels run, 0 to 1."""
        return self.share if now_s - self.reported_s <= _BUSY_MEMORY_S else 0.0

    def power_w(self, now_s: float) -> float:
        """Power drawn."""
        return _IDLE_W + (_FULL_W - _IDLE_W) * self.load(now_s)

    def warm(self, now_s: float) -> float:
        """Let heat flow until *now_s*; the temperature then."""
        target = _AMBIENT_C + _C_PER_W * self.power_w(now_s)
        passed = max(now_s - self.warmed_s, 0.0)
        self.warmed_s = now_s
        self.temperature_c += (target - self.temperature_c) * (1.0 - math.exp(-passed / _HEAT_S))
        return self.temperature_c


@dataclass(slots=True)
class Cards:
    """All cards of the machine, and who holds what on them."""

    gpus: list[SimulatedGpu]
    held: dict[int, tuple[int, float, int]] = field(default_factory=dict)
    """Handle to GPU index, MiB and owner."""
    ids: itertools.count[int] = field(default_factory=itertools.count)

    def room(self, index: int) -> dict[str, float]:
        """Memory of GPU *index*, free and in all. MiB."""
        gpu = self.gpus[index]
        return {"free": gpu.total_mib - gpu.used_mib, "total": gpu.total_mib}

    def alloc(self, owner: int, index: int, mib: float) -> dict[str, Any]:
        """Give *owner* *mib* on GPU *index*, or say how much there is."""
        room = self.room(index)
        if not 0 < mib <= room["free"]:
            own = sum(size for on, size, who in self.held.values() if on == index and who == owner)
            return {"ok": False, **room, "own": own}
        self.gpus[index].used_mib += mib
        handle = next(self.ids)
        self.held[handle] = (index, mib, owner)
        return {"ok": True, "id": handle}

    def free(self, handle: int) -> None:
        """Take back what *handle* stands for; unknown handles are nobody's."""
        if (entry := self.held.pop(handle, None)) is not None:
            self.gpus[entry[0]].used_mib -= entry[1]

    def leave(self, owner: int) -> None:
        """Free everything *owner* holds."""
        for handle in [handle for handle, entry in self.held.items() if entry[2] == owner]:
            self.free(handle)

    def page(self, now_s: float) -> str:
        """The cards in dcgm-exporter's words."""
        readings = [(gpu, gpu.load(now_s), gpu.power_w(now_s), gpu.warm(now_s)) for gpu in self.gpus]
        rows: list[tuple[str, str, list[str]]] = [
            ("GPU_UTIL", "GPU utilization (in %).", [f"{load * 100:.0f}" for _, load, _, _ in readings]),
            ("FB_USED", "Framebuffer memory used (in MiB).", [f"{g.used_mib:.0f}" for g, *_ in readings]),
            (
                "FB_FREE",
                "Framebuffer memory free (in MiB).",
                [f"{max(g.total_mib - g.used_mib, 0.0):.0f}" for g, *_ in readings],
            ),
            ("GPU_TEMP", "GPU temperature (in C).", [f"{heat:.0f}" for *_, heat in readings]),
            ("POWER_USAGE", "Power draw (in W).", [f"{power:.1f}" for _, _, power, _ in readings]),
            ("SM_CLOCK", "SM clock frequency (in MHz).", [str(_FULL_MHZ if r[1] > 0 else _IDLE_MHZ) for r in readings]),
            ("XID_ERRORS", "Value of the last XID error encountered.", ["0"] * len(readings)),
        ]
        lines: list[str] = []
        for name, text, values in rows:
            lines += [f"# HELP DCGM_FI_DEV_{name} {text}", f"# TYPE DCGM_FI_DEV_{name} gauge"]
            lines += [f"DCGM_FI_DEV_{name}{{{_labels(i)}}} {value}" for i, value in enumerate(values)]
        return "\n".join(lines) + "\n"


def _labels(index: int) -> str:
    return (
        f'gpu="{index}",UUID="GPU-51d0d3e0-0000-4000-8000-{index:012d}",device="nvidia{index}",'
        'modelName="Simulated GPU",Hostname="demo"'
    )


def _answer(cards: Cards, owner: int, question: dict[str, Any], now_s: float) -> dict[str, Any]:
    if question["op"] == "room":
        return cards.room(int(question["gpu"]))
    if question["op"] == "alloc":
        return cards.alloc(owner, int(question["gpu"]), float(question["mib"]))
    if question["op"] == "free":
        cards.free(int(question["id"]))
    elif question["op"] == "busy":
        gpu = cards.gpus[int(question["gpu"])]
        gpu.share, gpu.reported_s = min(max(float(question["share"]), 0.0), 1.0), now_s
    return {"ok": True}


@asynccontextmanager
async def card_process(count: int, socket: Path) -> AsyncIterator[dict[str, Any]]:
    """Serve *count* simulated cards at the unix *socket*, and their page on a loopback port."""
    loop = asyncio.get_running_loop()
    cards = Cards([SimulatedGpu(index) for index in range(count)])
    owners = itertools.count()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        owner = next(owners)
        try:
            while line := await reader.readline():
                answer = _answer(cards, owner, json.loads(line), loop.time())
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError, KeyError, IndexError):
            pass  # the process ended, or is none of ours
        finally:
            cards.leave(owner)
            writer.close()

    async def page(request: wire.Request) -> wire.Reply:
        if request.path != "/metrics":
            return wire.Reply(404)
        return wire.Reply(200, cards.page(loop.time()).encode(), "text/plain; version=0.0.4; charset=utf-8")

    server = await asyncio.start_unix_server(connected, str(socket))
    web = await wire.serve(page)
    try:
        yield {"port": wire.port_of(web)}
    finally:
        server.close()
        web.close()


def main() -> None:
    """Run the card until told to stop."""
    parser = argparse.ArgumentParser(prog="aiops.demo.gpu", description="The demo's simulated GPUs.")
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--socket", type=Path, required=True)
    args = parser.parse_args()
    stage.perform(lambda: card_process(args.count, args.socket))


if __name__ == "__main__":
    main()
