"""What a server's own code does to itself: it blocks its event loop, or its front end is out of CPU."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.lab.faults.fault import Fault

if TYPE_CHECKING:
    import random

    from tests.lab.house import House
    from tests.lab.plan import Plan


class ThreadBlocking(Fault):
    """
    Some requests meet a call that blocks the event loop: a synchronous client library, pure Python over a long text, or
    the same in a thread, which keeps the interpreter's lock.
    """

    name = cause = "thread_blocking"

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        how = rng.choice(("sleep", "regex", "thread"))
        seconds = round(rng.uniform(0.8, 4.0), 2)
        # about four requests a second meet it: blocked from a good half of the time on
        self.magnitudes |= {
            "variant": how,
            "seconds": seconds,
            "share": round(rng.uniform(0.7, 1.5) / seconds / 4.0, 3),
        }
        self._victim = rng.randrange(3)

    async def begin(self, house: House) -> None:
        await house.replicas[self._victim].switch(
            "block", how=str(self.magnitudes["variant"]), seconds=float(self.magnitudes["seconds"]),
            share=float(self.magnitudes["share"]),
        )  # fmt: skip

    async def end(self, house: House) -> None:
        await house.replicas[self._victim].switch("block", share=0.0)

    def where(self, house: House) -> dict[str, str]:
        return {"instance": house.replicas[self._victim].address}


class FrontendCpu(Fault):
    """
    The process that tokenises for a replica cannot keep up: tokenising became expensive (another tokenizer, a chat
    template that is rendered twice), or its CPU quota was cut.
    """

    name = cause = "frontend_cpu"
    wait_s = 90.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        variant = rng.choice(("dearer", "quota"))
        self.magnitudes |= {
            "variant": variant,
            "healthy_s": round(rng.uniform(0.006, 0.012), 4),
            "quota_cores": round(rng.uniform(0.15, 0.3) if variant == "dearer" else rng.uniform(0.010, 0.016), 4),
            "times": round(rng.uniform(10.0, 20.0), 1) if variant == "dearer" else 1.0,
            "read_s": round(rng.uniform(4.0, 10.0), 1),
        }
        self._victim = rng.randrange(3)

    def furnish(self, plan: Plan) -> Plan:
        """Servers that tokenise in a process of its own, and a gateway that does not wait for ever."""
        options = ("--tokenizer-process", str(self.magnitudes["healthy_s"]))
        return replace(
            plan, server_options=(*plan.server_options, *options),
            gateway_settings={**plan.gateway_settings, "read_s": float(self.magnitudes["read_s"])},
        )  # fmt: skip

    async def begin(self, house: House) -> None:
        replica = house.replicas[self._victim]
        group = house.cell.group(f"{replica.name}-frontend")
        for child in replica.children():
            group.move(child)
        group.limit_cores(float(self.magnitudes["quota_cores"]))
        cost_s = float(self.magnitudes["healthy_s"]) * float(self.magnitudes["times"])
        await replica.switch("tokenizer_process", seconds=cost_s)

    async def end(self, house: House) -> None:
        replica = house.replicas[self._victim]
        house.cell.group(f"{replica.name}-frontend").limit_cores(None)
        await replica.switch("tokenizer_process", seconds=float(self.magnitudes["healthy_s"]))

    def where(self, house: House) -> dict[str, str]:
        return {"instance": house.replicas[self._victim].address}
