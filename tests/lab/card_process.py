"""
The cards of a house: `aiops.demo.gpu` grown up by what a fault of a card needs.

Memory belongs to processes, by their real ids. Kernels are run here: a step of an engine is work that takes its time
on the card, shared with whatever else runs there, slower when the clock is lower, never done when a kernel hangs,
failed when the card is broken. What NVIDIA's library would say follows from that and is written to the state file of
its stand-in.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import struct
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiops.demo import gpu as demo
from aiops.demo import stage

_PUBLISH_S = 0.5
_WINDOW = 2
"""Publications that utilisation and power are a mean of: NVML's own is over about a second."""
_POWER_LIMIT_W = 300.0
_RESERVED_MIB = 512.0
_SLOWDOWN_C, _SHUTDOWN_C = 90.0, 95.0
_HOT_S = 6.0
"""How fast a card without cooling heats up."""
_STEP_DOWN, _STEP_UP = 0.12, 0.05
"""Share of its clock that the governor takes or gives back in one publication."""
_SOFTWARE_THERMAL, _HARDWARE_THERMAL, _HARDWARE = 0x20, 0x40, 0x08
_NICE = -10
"""A card does not wait for a core."""


@dataclass(slots=True, eq=False)
class Job:
    """A kernel, or a graph of them, that a process has launched."""

    owner: int
    left_s: float
    """Work left, in seconds of a whole card at full clock; infinite for one that hangs."""
    intensity: float
    """Share of the card's units that work while it runs."""
    answer: Callable[[dict[str, Any]], None]


@dataclass(slots=True)
class LabGpu(demo.SimulatedGpu):
    """One card that computes."""

    max_mhz: float = 1980.0
    clock: float = 1.0
    """SM clock over its highest."""
    cut: float = 0.0
    """Share of the clock that heat takes, while the card is hot."""
    hot_c: float = 0.0
    """Where its temperature goes to for want of cooling; 0 while it is cooled."""
    hardware_slowdown: bool = False
    error: str = ""
    """What every call of CUDA fails with, once the card is broken."""
    lost: bool = False
    ecc: int = 0
    rows_pending: int = 0
    jobs: list[Job] = field(default_factory=list)
    advanced_s: float = 0.0
    busy_s: float = 0.0
    joules: float = 0.0
    timer: asyncio.TimerHandle | None = None
    window: deque[tuple[float, float, float]] = field(default_factory=lambda: deque(maxlen=_WINDOW + 1))
    """Time, busy seconds and joules at the last publications."""

    def watts(self) -> float:
        """Power it draws now: by how many of its units work, and at which clock."""
        if not self.jobs:
            return demo._IDLE_W
        intensity = sum(job.intensity for job in self.jobs) / len(self.jobs)
        return demo._IDLE_W + (_POWER_LIMIT_W - demo._IDLE_W) * intensity * self.clock**2

    def advance(self, now_s: float) -> list[Job]:
        """Let the card work until *now_s*; what was finished."""
        passed = max(now_s - self.advanced_s, 0.0)
        self.joules += passed * self.watts()
        self.advanced_s = now_s
        if not self.jobs:
            return []
        self.busy_s += passed
        share = passed * self.clock / len(self.jobs)
        for job in self.jobs:
            job.left_s -= share
        done = [job for job in self.jobs if job.left_s <= 1e-6]
        self.jobs = [job for job in self.jobs if job not in done]
        return done

    def launch(self, job: Job, ahead_s: float) -> None:
        """Begin *job*, which waited on the card since *ahead_s* ago; if the card was free it has begun then."""
        if not self.jobs:
            ahead_s = min(ahead_s, job.left_s / self.clock)
            job.left_s -= ahead_s * self.clock
            self.busy_s += ahead_s
        self.jobs.append(job)

    def next_s(self) -> float | None:
        """When the next job will be done, if nothing changes; None if none will."""
        left = min((job.left_s for job in self.jobs), default=float("inf"))
        return None if left == float("inf") else self.advanced_s + left * len(self.jobs) / self.clock

    def govern(self, now_s: float) -> None:
        """Heat up or cool down, and let the clock follow."""
        mean_w = self.means(now_s)[1]
        passed, self.warmed_s = max(now_s - self.warmed_s, 0.0), now_s
        target, constant = (
            (self.hot_c, _HOT_S) if self.hot_c else (demo._AMBIENT_C + demo._C_PER_W * mean_w, demo._HEAT_S)
        )
        self.temperature_c += (target - self.temperature_c) * min(passed / constant, 1.0)
        floor = 1.0 - self.cut
        if self.hot_c and self.temperature_c >= _SLOWDOWN_C - 1.0:
            self.clock = floor if self.hardware_slowdown else max(self.clock - _STEP_DOWN, floor)
        else:
            self.clock = min(self.clock + _STEP_UP, 1.0)

    def means(self, now_s: float) -> tuple[float, float]:
        """Utilisation and watts of the last second."""
        if not self.window or now_s <= self.window[0][0]:
            return 0.0, self.watts()
        then_s, busy_s, joules = self.window[0]
        passed = now_s - then_s
        return min((self.busy_s - busy_s) / passed, 1.0), (self.joules - joules) / passed

    def reasons(self) -> int:
        """Why the clock is what it is, in NVML's bits."""
        if self.clock >= 0.999 or not self.cut:
            return 0
        return _HARDWARE_THERMAL | _HARDWARE if self.hardware_slowdown else _SOFTWARE_THERMAL


class LabCards(demo.Cards):
    """
    All cards, who holds what, and what the stand-in shall say.

    Args:
        gpus: The cards.
        state: The stand-in's file.
    """

    def __init__(self, gpus: list[LabGpu], state: Path) -> None:
        super().__init__(gpus)  # type: ignore[arg-type]
        self.cards = gpus
        self.extra: list[str] = []
        """Lines of the stand-in that a fault adds: Xids, calls that hang."""
        self._state = state

    def answer(self, owner: int, question: dict[str, Any], reply: Callable[[dict[str, Any]], None]) -> None:
        """Do what *owner* asks; *reply* is called now, or when its kernel is done."""
        operation, card = question["op"], self.cards[int(question["gpu"])]
        if operation == "set":
            reply(self._set(card, question))
        elif card.error:
            reply({"ok": False, "cuda": card.error})
        elif operation == "run":
            self._touch(card)
            card.launch(Job(owner, float(question["s"]), float(question["intensity"]), reply), float(question["ahead"]))
            self._schedule(card)
        elif operation == "alloc":
            reply(self._alloc(owner, card, float(question["mib"])))
        elif operation == "free":
            self.free(int(question["id"]))
            reply({"ok": True})
        else:
            reply(self.room(card.index))

    def _alloc(self, owner: int, card: LabGpu, mib: float) -> dict[str, Any]:
        answer = self.alloc(owner, card.index, mib)
        others = {who for on, _, who in self.held.values() if on == card.index and who != owner}
        return answer if answer["ok"] else {**answer, "others": sorted(others)}

    def leave(self, owner: int) -> None:
        """Free everything *owner* holds, and end its kernels."""
        super().leave(owner)
        for card in self.cards:
            self._touch(card)
            card.jobs = [job for job in card.jobs if job.owner != owner]
            self._schedule(card)

    def publish(self, now_s: float) -> None:
        """Write what the library would say now."""
        lines = [f"count={len(self.cards)}", *self.extra]
        for card in self.cards:
            self._touch(card)
            lines += self._lines(card, now_s)
            card.window.append((now_s, card.busy_s, card.joules))
            card.govern(now_s)
            self._schedule(card)
        new = self._state.with_suffix(".new")
        new.write_text("\n".join(lines) + "\n")
        new.replace(self._state)

    def _lines(self, card: LabGpu, now_s: float) -> list[str]:
        n, (busy, watts) = card.index, card.means(now_s)
        readings = {
            "uuid": f"0x51d0d3e0{n:08x}", "total": int((card.total_mib + _RESERVED_MIB) * 2**20),
            "reserved": int(_RESERVED_MIB * 2**20), "used": int(card.used_mib * 2**20),
            "gpu": round(busy * 100), "mem": round(busy * 45), "temp": round(card.temperature_c),
            "limit": int(_SLOWDOWN_C), "shutdown": int(_SHUTDOWN_C), "power": int(watts * 1e3),
            "cap": int(_POWER_LIMIT_W * 1e3), "clock": int(card.max_mhz * card.clock), "maxclock": int(card.max_mhz),
            "reasons": card.reasons(), "ecc": card.ecc, "rowpending": card.rows_pending, "nvlink": 0,
        }  # fmt: skip
        lines = [f"{key}.{n}={value}" for key, value in readings.items()]
        held: dict[int, float] = {}
        for on, mib, owner in self.held.values():
            if on == n:
                held[owner] = held.get(owner, 0.0) + mib
        lines += [f"proc.{n}={owner}:{int(mib * 2**20)}" for owner, mib in held.items()] or [f"proc.{n}=0:0"]
        return [*lines, f"lost={n}"] if card.lost else lines

    def _set(self, card: LabGpu, question: dict[str, Any]) -> dict[str, Any]:
        """Change the card itself."""
        self._touch(card)
        for key in ("cut", "hot_c", "hardware_slowdown", "error", "lost", "rows_pending"):
            if key in question:
                setattr(card, key, question[key])
        card.ecc += int(question.get("ecc", 0))
        if (code := question.get("xid")) is not None:
            number = sum(1 for line in self.extra if line.startswith("xid=")) + 1
            self.extra.append(f"xid={number}:{card.index}:{code}")
        if (call := question.get("hang")) is not None:
            self.extra.append(f"hang={call}")
        if question.get("answering"):
            self.extra = [line for line in self.extra if not line.startswith("hang=")]
        if card.error:
            jobs, card.jobs = card.jobs, []
            for job in jobs:
                job.answer({"ok": False, "cuda": card.error})
        if question.get("freeze"):
            for job in card.jobs:
                job.left_s = float("inf")
        self._schedule(card)
        return {"ok": True}

    def _touch(self, card: LabGpu) -> None:
        for job in card.advance(asyncio.get_running_loop().time()):
            job.answer({"ok": True, "done_s": card.advanced_s})

    def _schedule(self, card: LabGpu) -> None:
        if card.timer is not None:
            card.timer.cancel()
            card.timer = None
        if (due_s := card.next_s()) is not None:
            card.timer = asyncio.get_running_loop().call_at(due_s, self._due, card)

    def _due(self, card: LabGpu) -> None:
        card.timer = None
        self._touch(card)
        self._schedule(card)


@asynccontextmanager
async def card_process(count: int, path: Path, state: Path) -> AsyncIterator[dict[str, Any]]:
    """Serve *count* cards at the unix socket *path*."""
    with contextlib.suppress(PermissionError):
        os.nice(_NICE)
    loop = asyncio.get_running_loop()
    cards = LabCards([LabGpu(index, advanced_s=loop.time(), warmed_s=loop.time()) for index in range(count)], state)

    connections: Counter[int] = Counter()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        owner = _peer(writer)
        connections[owner] += 1

        def reply(answer: dict[str, Any]) -> None:
            writer.write(json.dumps(answer).encode() + b"\n")

        try:
            while line := await reader.readline():
                cards.answer(owner, json.loads(line), reply)
        except (OSError, ValueError, KeyError, IndexError):
            pass  # the process ended, or is none of ours
        finally:
            connections[owner] -= 1
            if not connections[owner]:
                cards.leave(owner)
            writer.close()

    async def publish() -> None:
        while True:
            cards.publish(loop.time())
            await asyncio.sleep(_PUBLISH_S)

    server = await asyncio.start_unix_server(connected, str(path))
    async with stage.background(publish()):
        try:
            yield {}
        finally:
            server.close()


def _peer(writer: asyncio.StreamWriter) -> int:
    """The process at the other end."""
    credentials = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int(struct.unpack("3i", credentials)[0])


def main() -> None:
    """Run the cards until told to stop."""
    parser = argparse.ArgumentParser(prog="tests.lab.card_process", description="The cards of a house.")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--state", type=Path, required=True)
    args = parser.parse_args()
    stage.perform(lambda: card_process(args.count, args.socket, args.state))


if __name__ == "__main__":
    main()
