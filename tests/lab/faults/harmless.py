"""Runs in which nobody is hurt: a healthy service, and what looks like a cause and is none."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import random
from typing import TYPE_CHECKING

from tests.lab.faults.fault import Fault

if TYPE_CHECKING:
    from aiops.demo.processes import Process
    from tests.lab.house import House
    from tests.lab.plan import Plan


_KERNEL_S = 0.2
"""Of a training job: a large batch."""


class Nothing(Fault):
    """
    A healthy service, with the ups and downs of its demand, in a house as some fault needs it: a disk for records, a link,
    a tokenizer's process would else be seen only where something goes wrong.
    """

    name, cause, kind, hurts = "none", None, "none", False
    needs = ("ethtool", "mkfs.ext4")
    _whose: Fault

    def furnish(self, plan: Plan) -> Plan:
        """Draw whose house it is: only now it is known which are possible. Its engines have room to spare, as usual."""
        faults = importlib.import_module(__package__).FAULTS  # this module is part of what is gathered there
        able = [
            fault for fault in faults.values()
            if fault.kind == "fault" and plan.gateway in fault.gateways and plan.dialect in fault.dialects
        ]  # fmt: skip
        self._whose = self.rng.choice(able)(random.Random(self.rng.random()))
        self.magnitudes = {"house_of": self._whose.name}
        furnished = self._whose.furnish(plan)
        return dataclasses.replace(furnished, kv_blocks=plan.kv_blocks, max_running=plan.max_running)

    async def prepare(self, house: House) -> None:
        await self._whose.prepare(house)

    async def begin(self, house: House) -> None:
        """Nothing happens."""

    async def end(self, house: House) -> None:
        """And nothing ends."""


class Lookalike(Fault):
    """Something that looks like a cause. Users must not notice."""

    cause, kind, hurts = None, "lookalike", False
    hurt_s = 60.0

    async def end(self, house: House) -> None:
        """Nothing to undo, where nothing is said."""


class ServedBurst(Lookalike):
    """More users within seconds, all of them served: the house has room for them."""

    name = "served_burst"

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes = {"factor": rng.uniform(1.25, 1.7), "ramp_s": rng.uniform(1.0, 10.0)}

    def furnish(self, plan: Plan) -> Plan:
        """A house with room for it."""
        return dataclasses.replace(plan, rate=min(plan.rate, 10.0), max_waiting=plan.max_waiting * 3)

    async def begin(self, house: House) -> None:
        await house.load.set_rate(float(self.magnitudes["factor"]), float(self.magnitudes["ramp_s"]))

    async def end(self, house: House) -> None:
        await house.load.set_rate(1.0)


class HarmlessDeploy(Lookalike):
    """The chat itself is deployed, replica by replica; the new version is as fast as the old one."""

    name = "harmless_deploy"

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes = {"factor": rng.uniform(0.95, 1.05), "between_s": rng.uniform(0.5, 8.0)}

    async def begin(self, house: House) -> None:
        await self._roll(house, "deploy", "v1.1", float(self.magnitudes["factor"]))

    async def _roll(self, house: House, action: str, version: str, work: float) -> None:
        for replica in house.replicas:
            await house.announce(
                action, f"{house.service} {version} on {replica.address}",
                service=house.service, instance=replica.address, version=version,
            )  # fmt: skip
            await replica.switch("weights", version=version, factor=work)
            await asyncio.sleep(float(self.magnitudes["between_s"]))


class ScaryNeighbour(Lookalike):
    """The log of a batch job beside the chat, which the daemon is told to follow too, fills with its own troubles."""

    name = "scary_neighbour"

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes = {"lines_a_s": rng.uniform(1.0, 20.0)}

    def furnish(self, plan: Plan) -> Plan:
        return dataclasses.replace(plan, neighbour=True)

    async def begin(self, house: House) -> None:
        command = (
            "tests.lab.neighbour",
            "--log",
            str(house.neighbour_log),
            "--rate",
            str(self.magnitudes["lines_a_s"]),
        )
        await house.python("scary", *command, "--seed", str(house.plan.seed), "--scary")


class _CardUser(Lookalike):
    """Somebody else's process on cards."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._users: list[Process] = []

    async def _come(self, house: House, gpu: int, *, mib: float = 0.0, busy: float = 0.0) -> None:
        how = ("--duty", f"{busy:.2f}", "--kernel", f"{_KERNEL_S}") if busy else ("--steps", "1", "--over", "0")
        command = ("tests.lab.co_tenant", *house.cards.arguments(gpu), "--mib", f"{mib:.0f}", *how)
        self._users.append(await house.python(f"card-user-{gpu}", *command))

    async def end(self, house: House) -> None:
        while self._users:
            await house.processes.end(self._users.pop())


class BusyCards(_CardUser):
    """A training job keeps a card of its own at full load, and demand keeps the others busy; nobody waits."""

    name = "busy_cards"

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes = {"busy": rng.uniform(0.9, 1.0), "factor": rng.uniform(1.1, 1.3)}

    def furnish(self, plan: Plan) -> Plan:
        return dataclasses.replace(plan, max_waiting=plan.max_waiting * 3)

    async def begin(self, house: House) -> None:
        await self._come(house, house.cards.spare, busy=float(self.magnitudes["busy"]), mib=8000.0)
        await house.load.set_rate(float(self.magnitudes["factor"]), 5.0)

    async def end(self, house: House) -> None:
        await super().end(house)
        await house.load.set_rate(1.0)


class PreallocatedMemory(_CardUser):
    """Another server starts on a spare card and takes nine tenths of its memory at once, as servers do."""

    name = "preallocated_memory"

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes = {"share": rng.uniform(0.88, 0.97)}

    async def begin(self, house: House) -> None:
        total_mib = house.cards.total_mib
        await self._come(house, house.cards.spare, mib=float(self.magnitudes["share"]) * total_mib)
