"""What happens to cards and to engines on them: memory, heat, hardware, company, hangs, blocks, transfers."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.lab.engine import PACE
from tests.lab.faults.fault import Fault
from tests.lab.gateway import gateway_address

if TYPE_CHECKING:
    import random

    from aiops.demo.processes import Process
    from tests.lab.house import House, Replica
    from tests.lab.plan import Plan

_DRAINED_S = 6.0
"""What runs on a replica is served to its end meanwhile."""
_RPC_S = 6.0
"""After which the driver gives up a call of a card's firmware and says so."""
_SPARE_MIB = 1_666.0
"""Free on a card beside an engine with its 92 %."""


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

    used = rng.uniform(min(max(0.6, needed(1.0) / (0.93 * needed(speed))), 0.82), 0.84)
    return replace(plan, max_running=max(round(needed(1.0) / used), 3), kv_blocks=round(rng.uniform(320, 520))), used


class _OnCard(Fault):
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


class VramExhaustion(_OnCard):
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


class VramLeak(_OnCard):
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


class GpuThermalThrottle(_OnCard):
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


class GpuFault(_OnCard):
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


class GpuComputeSaturation(_OnCard):
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
        spare.options = options
        await spare.start()
        for replica in replicas:
            await house.gateway.configure(upstreams=tuple(a for r, a in addresses.items() if r is not replica))
            await asyncio.sleep(_DRAINED_S)
            replica.options = options
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


class EngineStall(_OnCard):
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


def _surviving(plan: Plan) -> Plan:
    return replace(plan, server_options=(*plan.server_options, "--survives-oom"))
