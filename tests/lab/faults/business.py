"""What demand and releases do: more of it, longer, uncached, impatient; a new version that is slower; one replica that is."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.lab.faults.fault import Fault
from tests.lab.faults.on_card import tight
from tests.lab.gateway import gateway_address
from tests.lab.questions import TENANTS
from tests.lab.server_start import ENGINE_VERSION, MODEL

if TYPE_CHECKING:
    import random

    from tests.lab.house import House, Replica
    from tests.lab.plan import Plan

_DRAINS_S = 4.0
"""An answer takes two or three."""


def roomy(plan: Plan) -> Plan:
    """*plan* with engines that leave room for the prefills of long prompts, as they find out for themselves at start."""
    return replace(plan, server_options=(*plan.server_options, "--memory-utilization", "0.78"))


class TrafficBurst(Fault):
    """Users come several times as often: all of them, or those of one tenant."""

    name = cause = "traffic_burst"

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes |= {
            "variant": rng.choice(("everybody", "one_tenant")),
            "factor": round(rng.uniform(2.2, 5.0), 2),
            "ramp_s": round(rng.choice((0.0, rng.uniform(0.0, 20.0))), 1),
            "tenant": rng.choice(TENANTS),
        }

    async def begin(self, house: House) -> None:
        factor, ramp_s = float(self.magnitudes["factor"]), float(self.magnitudes["ramp_s"])
        if self.magnitudes["variant"] == "everybody":
            await house.load.set_rate(factor, ramp_s)
            return
        tenant, steps = str(self.magnitudes["tenant"]), max(round(ramp_s), 1)
        for step in range(1, steps + 1):
            await house.load.set_tenant(tenant, "flood", times=(factor - 1.0) * step / steps)
            await asyncio.sleep(ramp_s / steps)

    async def end(self, house: House) -> None:
        await house.load.set_rate(1.0)
        await house.load.set_tenant(str(self.magnitudes["tenant"]), "none")


class LongPromptShift(Fault):
    """Prompts, answers, or both become longer at the same number of requests."""

    name = cause = "long_prompt_shift"

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        variant = rng.choice(("prompts", "answers", "both"))
        prompt, output = {
            "prompts": (rng.uniform(3.0, 6.0), 1.0),
            "answers": (1.0, rng.uniform(2.0, 6.0)),
            "both": (rng.uniform(1.6, 3.5), rng.uniform(1.6, 3.5)),
        }[variant]
        self.magnitudes |= {
            "variant": variant, "prompt": round(prompt, 2), "output": round(output, 2),
            "ramp_s": round(rng.choice((0.0, rng.uniform(0.0, 15.0))), 1),
        }  # fmt: skip

    def furnish(self, plan: Plan) -> Plan:
        return roomy(plan)

    async def begin(self, house: House) -> None:
        prompt, output, ramp_s = (float(self.magnitudes[name]) for name in ("prompt", "output", "ramp_s"))
        steps = max(round(ramp_s / 2), 1)
        for step in range(1, steps + 1):
            share = step / steps
            await house.load.set_shape(prompt=1.0 + (prompt - 1.0) * share, output=1.0 + (output - 1.0) * share)
            await asyncio.sleep(ramp_s / steps)

    async def end(self, house: House) -> None:
        await house.load.set_shape()


class PrefixCacheCollapse(Fault):
    """
    Prompts as long as before no longer begin alike: a time stands at their beginning, or tenants ship system prompts that
    differ from request to request.
    """

    name = cause = "prefix_cache_collapse"

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes |= {
            "variant": rng.choice(("time_at_the_beginning", "another_template")),
            "prefix": rng.randrange(320, 520, 16),
            "rest": rng.randrange(40, 100),
        }

    def furnish(self, plan: Plan) -> Plan:
        """System prompts as long as those of agents, which a healthy cache makes cheap."""
        prefix, rest = int(self.magnitudes["prefix"]), int(self.magnitudes["rest"])
        return roomy(replace(plan, prefix=prefix, prompt=(prefix + rest // 2, prefix + rest)))

    async def begin(self, house: House) -> None:
        if self.magnitudes["variant"] == "time_at_the_beginning":
            await house.load.set_shape(stamped=True)
        else:
            await house.load.set_shape(shared=0.0)

    async def end(self, house: House) -> None:
        await house.load.set_shape(stamped=False, shared=1.0)


class ClientErrors(Fault):
    """One tenant's new client gives up long before an answer can be there; nothing of the service is at fault."""

    name = cause = "client_errors"

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes |= {
            "variant": rng.choice(("impatient", "very_impatient")),
            "tenant": rng.choice(TENANTS),
            "times": round(rng.uniform(0.35, 0.7), 2),
        }
        low, high = (0.4, 1.0) if self.magnitudes["variant"] == "impatient" else (0.05, 0.3)
        self.magnitudes["patience_s"] = round(rng.uniform(low, high), 3)

    async def begin(self, house: House) -> None:
        await house.load.set_tenant(
            str(self.magnitudes["tenant"]), "impatient",
            times=float(self.magnitudes["times"]), patience_s=float(self.magnitudes["patience_s"]),
        )  # fmt: skip

    async def end(self, house: House) -> None:
        await house.load.set_tenant(str(self.magnitudes["tenant"]), "none")


class ClientMistakes(Fault):
    """One tenant sends what cannot be answered, and is told so: 400, which is no fault of anybody else's."""

    name, cause, kind, hurts = "client_mistakes", None, "lookalike", False

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes |= {"tenant": rng.choice(TENANTS), "times": round(rng.uniform(0.1, 0.6), 2)}

    async def begin(self, house: House) -> None:
        await house.load.set_tenant(
            str(self.magnitudes["tenant"]), "invalid", times=float(self.magnitudes["times"])
        )  # fmt: skip

    async def end(self, house: House) -> None:
        await house.load.set_tenant(str(self.magnitudes["tenant"]), "none")


class DeployRegression(Fault):
    """A new version, rolled out over the replicas, needs longer for a token."""

    name = cause = "deploy_regression"
    wait_s = 90.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes |= {
            "variant": rng.choice(("announced", "announced_once", "restarted")),
            "factor": round(rng.uniform(1.35, 3.0), 2),
            "pause_s": round(rng.uniform(0.5, 6.0), 1),
            "version": f"0.{rng.randint(34, 60)}.{rng.randint(0, 5)}",
        }

    def furnish(self, plan: Plan) -> Plan:
        """Engines that are as large as their demand needs."""
        return tight(plan, 1.0 / float(self.magnitudes["factor"]), self.rng)[0]

    async def begin(self, house: House) -> None:
        version, variant = str(self.magnitudes["version"]), self.magnitudes["variant"]
        for index, replica in enumerate(house.replicas):
            if variant == "announced" or (variant == "announced_once" and index == 0):
                where = f" on {replica.address}" if variant == "announced" else ""
                labels = {"instance": replica.address} if variant == "announced" else {}
                await house.announce(
                    "deploy", f"{house.service} {version}{where}", service=house.service, version=version, **labels
                )
            if variant == "restarted":
                await self._exchange(house, replica)
            else:
                await replica.switch("weights", version=version, factor=float(self.magnitudes["factor"]))
            await asyncio.sleep(float(self.magnitudes["pause_s"]))

    async def _exchange(self, house: House, replica: Replica) -> None:
        """Nobody says anything: drained, ended, started as the new version, and taken in again when it is ready."""
        version = str(self.magnitudes["version"])
        replica.options = ("--version", version, "--factor", str(self.magnitudes["factor"]))
        replica.options += ("--served-name", f"{MODEL}-{version}") if house.dialect == "sglang" else ()
        everybody = tuple(gateway_address(house, each) for each in house.replicas)
        await house.gateway.configure(
            upstreams=tuple(each for each in everybody if each != gateway_address(house, replica))
        )
        await asyncio.sleep(_DRAINS_S)
        await replica.restart()
        await house.gateway.configure(upstreams=everybody)

    async def end(self, house: House) -> None:
        for replica in house.replicas:
            replica.options = ()
            await replica.switch("weights", version=ENGINE_VERSION, factor=1.0)


class SlowNode(Fault):
    """One replica becomes slower than its peers while the gateway keeps feeding it."""

    name = cause = "slow_node"

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes |= {
            "variant": rng.choice(("at_once", "creeping")),
            "factor": round(rng.uniform(2.5, 8.0), 2),
            "creep_s": round(rng.uniform(5.0, 20.0), 1),
        }
        self._victim = rng.randrange(3)

    async def begin(self, house: House) -> None:
        factor, replica = float(self.magnitudes["factor"]), house.replicas[self._victim]
        steps = 1 if self.magnitudes["variant"] == "at_once" else 5
        for step in range(1, steps + 1):
            await replica.switch("pace", factor=1.0 + (factor - 1.0) * step / steps)
            if step < steps:
                await asyncio.sleep(float(self.magnitudes["creep_s"]) / steps)

    async def end(self, house: House) -> None:
        await house.replicas[self._victim].switch("pace", factor=1.0)

    def where(self, house: House) -> dict[str, str]:
        return {"instance": house.replicas[self._victim].address}
