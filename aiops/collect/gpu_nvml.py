"""
Load, heat, power, memory, links and errors of every GPU, asked of a child that owns NVML.

A driver call may hang for ever. Then the answer stays out, the child is killed, `hw_gpu_driver_responding` reads 0 and
everything else goes on; the next round asks a new child. A card that is lost, or that was there and is not listed any
more, reads `hw_gpu_up` 0 and is an event once. On a machine without an NVIDIA driver no child is kept: it is looked for
every ten minutes.

Cards that share the host's memory report none of their own; the host's stands in for it.

What NVML shows is noted in the machine's `CardBook`: dcgm-exporter pages leave those cards to us, and an Xid or a lost
card that the kernel log told already is not told again.

Which server uses which card shows in the list of processes that hold a card's memory: the ports on which such a
process, or one it descends from, listens are told beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiops.cards import Spot
from aiops.child import Child
from aiops.collect.gpu_card import MAX_PROCESSES, KnownCard, Tenants
from aiops.collect.listeners import ports_of
from aiops.collect.procfs import read_file
from aiops.document import Duration, doc
from aiops.errors import ChildError, ChildResting, ChildTimeout, SourceMalformed
from aiops.model import Labels, Observation, Sample, Sight
from aiops.ports import World

COMMAND = (sys.executable, "-m", "aiops.collect.nvml")
_SLOW_EVERY_S = 10.0
"""Process lists cost milliseconds and hold the driver's lock; error counters change rarely."""
_LINKS_EVERY_S = 30.0
"""A card has up to 36 links with several counters each."""
_BEGIN_S = 30.0
"""Without persistence mode the driver wakes every card at first."""
_AGAIN_EVERY_S = 60.0
"""A lost card may be reset; looking cards up anew disturbs the others for a moment."""
_NO_DRIVER_EVERY_S = 600.0
_PORTS_EVERY_S = 60.0
"""Ports are looked at when another process shows up, and this often: a server listens after it has loaded its model."""
_MAX_CARDS = 64


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of the NVML collector."""

    enabled: bool = field(default=True, metadata=doc("read NVIDIA GPUs through their driver"))
    interval: Duration = field(default=5.0, metadata=doc("time between readings; faster polling disturbs the cards"))
    deadline: Duration = field(default=4.0, metadata=doc("a driver that takes longer to answer counts as hung"))


class GpuNvml:
    """
    The collector.

    Args:
        config: Its settings.
        world: Names this host; its root holds process names and the host's memory.
        command: The program that speaks to NVML.
    """

    def __init__(self, config: Config, world: World, command: Sequence[str] = COMMAND) -> None:
        self.interval_s = config.interval
        self.deadline_s = config.deadline + 2.0  # ours must end first: it knows what a hang means
        self._answer_s = config.deadline
        self._root = world.root
        self._labels = Labels.of(host_name=world.host)
        self._child = Child(command)
        self._asked: asyncio.Task[Any] | None = None
        self._cards: dict[str, KnownCard] = {}
        """By UUID: numbers shift when a card is gone."""
        self._responding: bool | None = None
        """None while nothing is known: no driver, or not answered yet."""
        self._quiet_until_s = -math.inf
        self._book = world.cards
        self._slow_s = self._links_s = -math.inf
        self._again_s = -math.inf
        self._said = ""
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="gpu-ports")
        self._pids: frozenset[int] = frozenset()
        self._tenants = Tenants({}, {})
        self._ports_s = -math.inf
        self._hidden = False

    async def gather(self, now_s: float) -> Iterable[Observation]:
        if now_s < self._quiet_until_s and self._quiet_until_s - now_s <= _NO_DRIVER_EVERY_S:
            return ()
        try:
            answer = await self._ask(now_s)
        except ChildTimeout:
            return list(self._hung(now_s))
        except ChildResting:
            answer = None
        except ChildError as error:
            return list(self._broken(str(error), now_s))
        if answer is None:
            return () if self._responding is not False else [self._driver(now_s)]
        if not isinstance(answer, dict):
            raise SourceMalformed("the NVML child did not answer with a mapping")
        if answer.get("missing"):
            return list(self._no_driver(answer, now_s))
        await self._look_at_processes(answer, now_s)
        return list(self._observe(answer, now_s))

    def close(self) -> None:
        """End the child."""
        if self._asked is not None:
            self._asked.cancel()
        self._child.close()
        self._reader.shutdown(wait=False, cancel_futures=True)

    # --- asking -----------------------------------------------------------------------------------------------------

    async def _ask(self, now_s: float) -> Any:
        """The child's answer; None while the driver still begins, which may take longer than a round."""
        if self._asked is None:
            slow = not 0.0 <= now_s - self._slow_s < _SLOW_EVERY_S
            links = not 0.0 <= now_s - self._links_s < _LINKS_EVERY_S
            self._slow_s = now_s if slow else self._slow_s
            self._links_s = now_s if links else self._links_s
            down = any(not card.up for card in self._cards.values())
            again = down and not 0.0 <= now_s - self._again_s < _AGAIN_EVERY_S
            if again:
                self._again_s = now_s
            question = {"processes": slow, "errors": slow, "links": links, "again": again}
            deadline_s = self._answer_s if self._child.pid is not None else _BEGIN_S
            self._asked = asyncio.ensure_future(self._child.ask(question, deadline_s))
        await asyncio.wait({self._asked}, timeout=self._answer_s + 0.5)
        if not self._asked.done():
            return None
        asked, self._asked = self._asked, None
        return asked.result()

    def _hung(self, now_s: float) -> Iterator[Observation]:
        self._responding = False
        self._slow_s = self._links_s = -math.inf
        yield self._driver(now_s)
        hint = "look for NVRM and Xid lines in dmesg; a reset of the card or a reboot may be needed"
        yield from self._say("the GPU driver does not answer", hint)

    def _broken(self, reason: str, now_s: float) -> Iterator[Observation]:
        """The child ended by itself: a crash inside the library says as little about the cards as a hang."""
        if self._responding is False:
            yield self._driver(now_s)
        yield from self._say(f"the NVML reader failed: {reason}", "")

    def _no_driver(self, answer: Mapping[str, Any], now_s: float) -> Iterator[Observation]:
        if self._cards:  # it was there: somebody unloads or updates it
            for card in self._cards.values():
                yield from self._down(card, now_s)
            yield from self._count(now_s)
        else:
            self._child.close()
            self._quiet_until_s = now_s + _NO_DRIVER_EVERY_S
        self._responding = None
        hint = "on a GPU node: install the driver, or give this service /dev/nvidia* and libnvidia-ml.so.1; looked for again every 10 minutes"
        yield from self._say(f"no NVIDIA driver: {str(answer['missing'])[:200]}", hint)

    def _count(self, now_s: float) -> Iterator[Sample]:
        up = sum(1 for known in self._cards.values() if known.up)
        yield Sample("hw_gpu_count", self._labels, now_s, float(up))
        yield Sample("hw_gpus_expected", self._labels, now_s, float(len(self._cards)))

    def _driver(self, now_s: float) -> Sample:
        return Sample("hw_gpu_driver_responding", self._labels, now_s, 1.0 if self._responding else 0.0)

    def _say(self, problem: str, hint: str) -> Iterator[Sight]:
        if problem != self._said:
            self._said = problem
            yield Sight("gpu_nvml", "NVIDIA GPUs", seen=False, detail=problem, hint=hint)

    async def _look_at_processes(self, answer: Mapping[str, Any], now_s: float) -> None:
        """Names and ports of the processes that hold memory of a card; reading /proc takes a thread."""
        lists = [card["processes"] for card in answer.get("cards") or () if "processes" in card]
        pids = frozenset(int(pid) for listed in lists for pid, _ in listed[:MAX_PROCESSES])
        if not lists or (pids <= self._pids and 0.0 <= now_s - self._ports_s < _PORTS_EVERY_S):
            return
        self._pids, self._ports_s = pids, now_s
        loop = asyncio.get_running_loop()
        self._tenants = await loop.run_in_executor(self._reader, _look_at, self._root, pids, self._tenants)

    # --- reading the answer -----------------------------------------------------------------------------------------

    def _observe(self, answer: Mapping[str, Any], now_s: float) -> Iterator[Observation]:
        self._responding = True
        yield self._driver(now_s)
        listed: set[str] = set()
        shown: dict[str, Labels] = {}
        at_number: dict[int, KnownCard] = {}
        for card in list(answer.get("cards") or ())[:_MAX_CARDS]:
            key, known = self._know(card)
            listed.add(key)
            shown[known.spot.address or key] = known.labels
            at_number[int(card["index"])] = known
            if card.get("lost"):
                yield from self._down(known, now_s)
            else:
                known.up = True
                yield Sample("hw_gpu_up", known.labels, now_s, 1.0)
                yield from known.read(self._with_memory(card), self._tenants, now_s)
        self._book.show(shown, now_s)
        if any("processes" in card for card in answer.get("cards") or ()):  # asked every ten seconds
            self._book.leave(self._portless(answer, at_number))
        yield from self._xids(answer, at_number, now_s)
        for key, known in self._cards.items():
            if key not in listed:
                yield from self._down(known, now_s)
        up = [known for known in self._cards.values() if known.up]
        yield from self._count(now_s)
        yield from self._tell(up, str(answer.get("driver", "")))
        yield from self._tell_hidden(len(up))

    def _portless(self, answer: Mapping[str, Any], cards: Mapping[int, KnownCard]) -> dict[int, tuple[Labels, ...]]:
        """Processes that hold memory of a card and of which no port shows, with their cards."""
        found: dict[int, tuple[Labels, ...]] = {}
        for card in answer.get("cards") or ():
            known = cards.get(int(card["index"]))
            for pid, _ in card.get("processes", ())[:MAX_PROCESSES]:
                if known is not None and not self._tenants.ports.get(int(pid)):
                    found[int(pid)] = (*found.get(int(pid), ()), known.labels)
        return found

    def _xids(self, answer: Mapping[str, Any], cards: Mapping[int, KnownCard], now_s: float) -> Iterator[Observation]:
        for watched in cards.values() if answer.get("watching") else ():
            self._book.watch(watched.labels)
        for number, code in answer.get("xids") or ():
            if (known := cards.get(int(number))) is not None:
                yield from self._book.xid("gpu_nvml", known.spot, now_s, int(code))
        yield from self._book.totals(now_s)

    def _know(self, card: Mapping[str, Any]) -> tuple[str, KnownCard]:
        """Which card this is; one that is lost may not even say its UUID, and is then known by its number."""
        number, uuid = str(card["index"]), str(card.get("uuid", ""))
        at_number = (key for key, known in self._cards.items() if known.labels.get("gpu") == number)
        nameless = f"number {number}"
        key = uuid or next(at_number, nameless)
        if uuid:  # a card that was lost before it told its name has come back
            self._cards.pop(nameless, None)
        known = self._cards.get(key)
        if known is None:
            labels = self._labels.merge(gpu=number, hw_id=uuid)
            known = self._cards[key] = KnownCard(Spot(labels, str(card.get("address", ""))), str(card.get("name", "")))
        return key, known

    def _down(self, known: KnownCard, now_s: float) -> Iterator[Observation]:
        yield Sample("hw_gpu_up", known.labels, now_s, 0.0)
        if known.up:
            known.up = False
            yield from self._book.lost("gpu_nvml", known.spot, now_s, f"{known.spot.name} does not answer any more")

    def _tell(self, up: Sequence[KnownCard], driver: str) -> Iterator[Sight]:
        names = sorted({known.name or "GPU" for known in up})
        lost = [known.labels.get("gpu") for known in self._cards.values() if not known.up]
        detail = f"{len(up)} x {', '.join(names)}, driver {driver}" if up else "no card answers"
        if lost:
            detail += f"; lost: GPU {', '.join(lost)}"
        if detail != self._said:
            self._said = detail
            yield Sight("gpu_nvml", "NVIDIA GPUs", seen=bool(up), detail=detail)

    def _tell_hidden(self, cards: int) -> Iterator[Sight]:
        """Where there are several cards, one must know whose they are."""
        hidden = len(self._pids - self._tenants.ports.keys() - self._book.served()) if cards > 1 else 0
        if bool(hidden) != self._hidden:
            self._hidden = bool(hidden)
            detail = f"{hidden} processes do not show us which server they are" if hidden else "their servers are known"
            hint = "tell a server's card in collect.inference.targets" if hidden else ""
            yield Sight("gpu_nvml", "processes on GPUs", seen=not hidden, detail=detail, hint=hint)

    def _with_memory(self, card: Mapping[str, Any]) -> Mapping[str, Any]:
        """*card*; with the host's memory, if it has none of its own."""
        return card if "memory_limit_bytes" in card else {**card, **_shared_memory(self._root)}


def _shared_memory(root: Path) -> dict[str, float]:
    """The host's memory, used and in all."""
    values: dict[str, float] = {}
    with contextlib.suppress(OSError, ValueError, LookupError):
        for line in read_file(str(root / "proc/meminfo")).splitlines():
            name, _, rest = line.partition(b":")
            if name in {b"MemTotal", b"MemAvailable"}:
                values[name.decode()] = float(rest.split()[0]) * 1024.0
        total, available = values["MemTotal"], values["MemAvailable"]
        return {"memory_limit_bytes": total, "memory_used_bytes": total - available}
    return {}


def _look_at(root: Path, pids: Collection[int], before: Tenants) -> Tenants:
    """What is known of processes *pids*; their ports as they were *before*, when the kernel does not tell."""
    ports = before.ports
    with contextlib.suppress(OSError):
        ports = ports_of(root, pids)
    return Tenants({pid: _command(root, pid) for pid in pids}, ports)


def _command(root: Path, pid: int) -> str:
    """A process's short name; empty in another pid namespace, or when it has ended."""
    with contextlib.suppress(OSError):
        return read_file(str(root / f"proc/{pid}/comm")).decode("utf-8", "replace").strip()[:64]
    return ""


def build(config: Config, world: World) -> GpuNvml:
    """The collector of this machine's NVIDIA cards."""
    return GpuNvml(config, world)
