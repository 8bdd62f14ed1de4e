"""What faults of cards and of engines on them have in common: a victim, its supervisor, its neighbours, its size."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.lab.engine import PACE
from tests.lab.faults.fault import Fault

if TYPE_CHECKING:
    import random

    from aiops.demo.processes import Process
    from tests.lab.house import House, Replica
    from tests.lab.plan import Plan


def tight(plan: Plan, speed: float, rng: random.Random) -> tuple[Plan, float]:
    """
    *plan* with engines that are as large as their demand needs, and no larger: at *speed* of a card's they fall behind.

    Returns:
        The plan, and the share of its places an engine needs while all is well.
    """
    rate = plan.rate / plan.replicas
    output = sum(plan.output) / 2
    prompt_s = PACE.per_prompt_token_s * (sum(plan.prompt) / 2 - plan.prefix)

    def needed(at: float) -> float:
        running = 0.0
        for _ in range(30):
            step_s = PACE.host_s + (PACE.step_s + PACE.per_running_s * running) / at
            running = rate * output * step_s / max(1.0 - rate * prompt_s / at, 0.1)
        return running

    # more than that, and demand that comes in waves overflows while all is well
    used = rng.uniform(min(max(0.6, needed(1.0) / (0.93 * needed(speed))), 0.76), 0.78)
    return replace(plan, max_running=max(round(needed(1.0) / used), 3), kv_blocks=round(rng.uniform(320, 520))), used


class OnCard(Fault):
    """A fault of one replica's card, or of one replica, which its supervisor starts again when it ends."""

    stub = True

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._victim = rng.randrange(3)
        self._backoff_s = round(rng.uniform(3.0, 12.0), 1)
        self._supervisor: asyncio.Task[None] | None = None
        self._tenants: list[Process] = []

    def where(self, house: House) -> dict[str, str]:
        return {"gpu": str(self.replica(house).gpu)}

    def replica(self, house: House) -> Replica:
        """The one it happens to."""
        return house.replicas[self._victim]

    def supervise(self, house: House) -> None:
        """Start the replica again whenever it has ended, after a pause, as systemd and kubelets do."""
        self._supervisor = asyncio.create_task(_keep_up(house, self.replica(house), self._backoff_s))

    async def tenant(self, house: House, gpu: int, **options: float) -> None:
        """Let somebody else's process use card *gpu*."""
        words = [word for name, value in options.items() for word in (f"--{name}", f"{value:g}")]
        name = f"tenant-{len(self._tenants)}"
        arguments = (*house.cards.arguments(gpu), *words)
        self._tenants.append(await house.python(name, "tests.lab.co_tenant", *arguments))

    async def end(self, house: House) -> None:
        while self._tenants:
            await self._tenants.pop().stop()
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)


async def _keep_up(house: House, replica: Replica, backoff_s: float) -> None:
    house.excuse(replica.process)
    while True:
        await replica.process.handle.wait()
        await asyncio.sleep(backoff_s)
        await house.processes.end(replica.process)
        await replica.launch()
        house.excuse(replica.process)
