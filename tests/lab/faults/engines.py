"""What happens to engines: blocks that run out, steps that hang, keys and values that do not arrive."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.lab.engine import PACE
from tests.lab.faults.fault import Fault
from tests.lab.faults.on_card import OnCard
from tests.lab.gateway import gateway_address

if TYPE_CHECKING:
    import random

    from tests.lab.house import House
    from tests.lab.plan import Plan

_DRAINED_S = 6.0
"""What runs on a replica is served to its end meanwhile."""


class KvCacheExhaustion(Fault):
    """
    Blocks run out, though no more is asked: requests leave blocks behind that nobody frees, or every replica was
    exchanged, drained and with one more to help out, for one with a smaller cache.
    """

    name = cause = "kv_cache_exhaustion"
    wait_s = 140.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes |= {
            "variant": rng.choice(("leak", "smaller")),
            "blocks_a_request": round(rng.uniform(0.4, 2.5), 2),
            "of_need": round(rng.uniform(0.5, 0.85), 2),
        }

    def furnish(self, plan: Plan) -> Plan:
        """A replica more, for the time of an exchange."""
        return replace(plan, later=1) if self.magnitudes["variant"] == "smaller" else plan

    async def begin(self, house: House) -> None:
        if self.magnitudes["variant"] == "leak":
            for replica in house.replicas:
                await replica.switch("kv_leak", blocks=float(self.magnitudes["blocks_a_request"]))
            return
        plan = house.plan
        own = (sum(plan.prompt) / 2 - plan.prefix + sum(plan.output) / 4) / 16 + 1
        rate, output = plan.rate / plan.replicas, sum(plan.output) / 2
        need = rate * output * (PACE.host_s + PACE.step_s + 0.003) * own
        blocks = max(round(need * float(self.magnitudes["of_need"])), -(-(plan.prompt[1] + plan.output[1]) // 16) + 2)
        self.magnitudes["blocks"] = blocks
        await self._roll(house, ("--kv-blocks", str(blocks)))

    async def _roll(self, house: House, options: tuple[str, ...]) -> None:
        """Exchange every replica, drained, while a further one serves in its place: no capacity is missing."""
        *replicas, spare = house.replicas
        addresses = {replica: gateway_address(house, replica) for replica in house.replicas}
        spare.settings = options
        await spare.start()
        for replica in replicas:
            await house.gateway.configure(upstreams=tuple(a for r, a in addresses.items() if r is not replica))
            await asyncio.sleep(_DRAINED_S)
            replica.settings = options
            await replica.restart()
        await house.gateway.configure(upstreams=tuple(addresses[replica] for replica in replicas))
        await asyncio.sleep(_DRAINED_S)
        house.excuse(spare.process)
        await house.processes.end(spare.process)

    async def end(self, house: House) -> None:
        for replica in house.replicas[: house.plan.replicas]:
            replica.settings = ()
            await replica.switch("kv_leak", blocks=0.0)
            await replica.switch("blocks", number=house.plan.kv_blocks)


class EngineStall(OnCard):
    """A step does not come back while the page is still served: a lock nobody gives back, or a rank that spins."""

    name = cause = "engine_stall"
    stub = False
    hurt_s = 60.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes |= {"variant": rng.choice(("deadlock", "spin"))}

    async def begin(self, house: House) -> None:
        await self.replica(house).switch("stall", how=str(self.magnitudes["variant"]))

    async def end(self, house: House) -> None:
        await self.replica(house).restart(number=signal.SIGKILL)

    def where(self, house: House) -> dict[str, str]:
        return {"instance": self.replica(house).address}


class KvTransferFailure(Fault):
    """
    Keys and values that another engine computed do not arrive: nobody listens there any more, it is frozen, the link is
    a trickle, or connections are cut.
    """

    name = cause = "kv_transfer_failure"

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes |= {
            "variant": rng.choice(("refused", "frozen", "slow", "cut")),
            "bytes_a_second": round(rng.uniform(4_000, 40_000)),
            "cut_share": round(rng.uniform(0.3, 1.0), 2),
        }

    def furnish(self, plan: Plan) -> Plan:
        """Split engines."""
        return replace(plan, split=True)

    async def begin(self, house: House) -> None:
        variant, prefill = self.magnitudes["variant"], house.prefill
        assert prefill is not None
        if variant == "refused":
            prefill.kill()
        elif variant == "frozen":
            prefill.freeze(frozen=True)
        elif variant == "slow":
            await prefill.tell(rate=float(self.magnitudes["bytes_a_second"]))
        else:
            await prefill.tell(cut_share=float(self.magnitudes["cut_share"]))

    async def end(self, house: House) -> None:
        if (prefill := house.prefill) is None:
            return
        if self.magnitudes["variant"] == "refused":
            await prefill.restart()
        elif self.magnitudes["variant"] == "frozen":
            prefill.freeze(frozen=False)
        else:
            await prefill.tell(rate=0.0, cut_share=0.0)
