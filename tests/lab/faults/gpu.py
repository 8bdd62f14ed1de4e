"""What happens to cards: memory, heat, hardware, company."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.lab.faults.on_card import OnCard, tight

if TYPE_CHECKING:
    import random

    from tests.lab.house import House
    from tests.lab.plan import Plan

_RPC_S = 6.0
"""After which the driver gives up a call of a card's firmware and says so."""
_SPARE_MIB = 1_666.0
"""Free on a card beside an engine with its 92 %."""


class VramExhaustion(OnCard):
    """
    Another process takes the card's free memory: a notebook bit by bit, or a second engine, its weights and then its
    pool. The server's next allocation fails: the engine ends with it, or fails that request only.
    """

    name = cause = "vram_exhaustion"
    wait_s = 75.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        who = rng.choice(("notebook", "second_engine"))
        self.magnitudes |= {
            "variant": f"{who}, {rng.choice(('engine_ends', 'request_fails'))}",
            "mib": round(_SPARE_MIB * rng.uniform(1.0, 1.6)),
            "over_s": round(rng.uniform(4.0, 30.0) if who == "notebook" else rng.uniform(0.5, 4.0), 1),
            "steps": rng.randint(8, 40) if who == "notebook" else rng.randint(2, 4),
            "backoff_s": self._backoff_s,
        }

    def furnish(self, plan: Plan) -> Plan:
        """Engines that survive, where that is the variant."""
        return _surviving(plan) if "request_fails" in str(self.magnitudes["variant"]) else plan

    async def begin(self, house: House) -> None:
        self.supervise(house)
        mib, over_s, steps = (float(self.magnitudes[name]) for name in ("mib", "over_s", "steps"))
        await self.tenant(house, self.replica(house).gpu, mib=mib, over=over_s, steps=steps)


class VramLeak(OnCard):
    """Each request leaves a little memory of the card behind, until an allocation fails; a new process leaks again."""

    name = cause = "vram_leak"
    wait_s = 140.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes |= {
            "variant": rng.choice(("engine_ends", "request_fails")),
            "fills_in_s": round(rng.uniform(35.0, 100.0), 1),
            "backoff_s": self._backoff_s,
        }

    def furnish(self, plan: Plan) -> Plan:
        """Engines that survive, where that is the variant."""
        return _surviving(plan) if self.magnitudes["variant"] == "request_fails" else plan

    async def begin(self, house: House) -> None:
        requests = house.plan.rate / len(house.replicas) * float(self.magnitudes["fills_in_s"])
        mib = round(_SPARE_MIB / requests, 2)
        self.magnitudes["mib_a_request"] = mib
        self.replica(house).options = ("--vram-leak", str(mib))
        self.supervise(house)
        await self.replica(house).switch("vram_leak", mib=mib)

    async def end(self, house: House) -> None:
        await super().end(house)
        self.replica(house).options = ()


class GpuThermalThrottle(OnCard):
    """A card loses its cooling, heats up to its limit, and cuts its clock by a quarter to three fifths."""

    name = cause = "gpu_thermal_throttle"
    wait_s = 110.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        hardware = rng.random() < 0.4
        self.magnitudes |= {
            "variant": "hardware_slowdown" if hardware else "software_slowdown",
            "cut": round(rng.uniform(0.45, 0.6) if hardware else rng.uniform(0.25, 0.6), 3),
            "heads_for_c": round(rng.uniform(91.5, 94.5), 1),
        }

    def furnish(self, plan: Plan) -> Plan:
        """Engines without room to spare."""
        found, used = tight(plan, 1.0 - float(self.magnitudes["cut"]), self.rng)
        self.magnitudes["used"] = round(used, 2)
        return found

    async def begin(self, house: House) -> None:
        hot_c, cut = float(self.magnitudes["heads_for_c"]), float(self.magnitudes["cut"])
        hardware = self.magnitudes["variant"] == "hardware_slowdown"
        await house.cards.set(self.replica(house).gpu, hot_c=hot_c, cut=cut, hardware_slowdown=hardware)

    async def end(self, house: House) -> None:
        await house.cards.set(self.replica(house).gpu, hot_c=0.0)


class GpuFault(OnCard):
    """
    The card breaks: it falls off the bus; its memory has errors that cannot be corrected, contained in one process or
    not; its firmware does not answer, so that kernels and calls of the library hang.
    """

    name = cause = "gpu_fault"
    hurt_s = 60.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes |= {
            "variant": rng.choice(("off_the_bus", "off_the_bus", "ecc", "ecc_contained", "firmware")),
            "errors": rng.randint(1, 40),
            "backoff_s": self._backoff_s,
        }

    async def begin(self, house: House) -> None:
        replica, variant = self.replica(house), self.magnitudes["variant"]
        gpu, errors = replica.gpu, int(self.magnitudes["errors"])
        self.supervise(house)
        if variant == "off_the_bus":
            await house.cards.set(gpu, lost=True, error="CUDA error: unknown error", xid=79)
        elif variant == "ecc":
            await house.cards.set(gpu, ecc=errors, xid=48)
            await house.cards.set(gpu, rows_pending=1, error=_ECC, xid=95)
        elif variant == "ecc_contained":
            died = asyncio.create_task(replica.process.handle.wait())
            await house.cards.set(gpu, ecc=errors, rows_pending=1, error=_ECC, xid=94)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(died, 10.0)
            await house.cards.set(gpu, error="")
        else:
            await replica.switch("stall", how="spin")
            await house.cards.set(gpu, freeze=True)
            await asyncio.sleep(_RPC_S)
            await house.cards.set(gpu, xid=119)
            await asyncio.sleep(_RPC_S)
            await house.cards.set(gpu, hang="nvmlDeviceGetUtilizationRates")

    async def end(self, house: House) -> None:
        await super().end(house)
        await house.cards.set(self.replica(house).gpu, lost=False, error="", answering=True)


_ECC = "CUDA error: uncorrectable ECC error encountered"


class GpuComputeSaturation(OnCard):
    """
    Cards compute all they can, though no more is asked of the engines: a training job or a batch of embeddings runs
    beside one of them, or beside all.
    """

    name = cause = "gpu_compute_saturation"
    wait_s = 110.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes |= {
            "variant": rng.choice(("one_card", "one_card", "all_cards")),
            "jobs": rng.choice((1, 1, 2)),
            "duty": round(rng.uniform(0.75, 1.0), 2),
            "kernel_s": round(rng.uniform(0.004, 0.04), 4),
            "intensity": round(rng.uniform(0.8, 1.0), 2),
            "mib": round(rng.uniform(80.0, 260.0)),
        }

    def furnish(self, plan: Plan) -> Plan:
        """Engines without room to spare."""
        share = float(self.magnitudes["duty"]) * float(self.magnitudes["jobs"])
        found, used = tight(plan, 1.0 / (1.0 + share), self.rng)
        self.magnitudes["used"] = round(used, 2)
        return found

    async def begin(self, house: House) -> None:
        duty, kernel_s, intensity, mib = (
            float(self.magnitudes[name]) for name in ("duty", "kernel_s", "intensity", "mib")
        )
        victims = house.replicas if self.magnitudes["variant"] == "all_cards" else [self.replica(house)]
        for replica in victims:
            for job in range(int(self.magnitudes["jobs"])):
                await self.tenant(
                    house, replica.gpu, mib=mib, duty=duty, kernel=kernel_s, intensity=intensity, seed=job
                )

    def where(self, house: House) -> dict[str, str]:
        return {} if self.magnitudes["variant"] == "all_cards" else super().where(house)


def _surviving(plan: Plan) -> Plan:
    return replace(plan, server_options=(*plan.server_options, "--survives-oom"))
