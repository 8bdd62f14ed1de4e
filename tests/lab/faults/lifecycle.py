"""What happens to servers as processes: they crash, are ended, start slowly, cannot start, or are exchanged."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.faults.fault import Fault
from tests.lab.gateway import gateway_address
from tests.lab.lifecycle import Backoff, KubeletLog, Probe, cancel, keep_running, probe_for_ever
from tests.lab.weights import shared_weights, write_weights

if TYPE_CHECKING:
    import random

    from tests.lab.house import House
    from tests.lab.plan import Plan


def loads_for(seconds: float, *, mib: int = 256) -> tuple[str, ...]:
    """Arguments of a server that needs so long to load a model of *mib*, which is sent to it over a network."""
    return ("--weights", str(shared_weights(mib)), "--weights-pace", f"{mib / seconds:.3f}")


class Supervised(Fault):
    """A fault of one replica, which a supervisor starts again."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._victim = rng.randrange(3)
        self._tasks: list[asyncio.Task[None]] = []

    def where(self, house: House) -> dict[str, str]:
        return {"instance": house.replicas[self._victim].address}

    def supervise(self, house: House, backoff: Backoff, index: int | None = None) -> None:
        """Start the victim, or the replica at *index*, again whenever it ends."""
        replica = house.replicas[self._victim if index is None else index]
        self._tasks.append(asyncio.create_task(keep_running(house, replica, backoff)))

    async def end(self, house: House) -> None:
        await cancel(*self._tasks)
        self._tasks.clear()


_EXCEPTIONS = (
    "IndexError: list index out of range",
    "AssertionError",
    "KeyError: 'cmpl-5f2a90000001c'",
    "RuntimeError: The size of tensor a (33) must match the size of tensor b (32) at non-singleton dimension 0",
    "ValueError: too many values to unpack (expected 2)",
)


class EngineCrash(Supervised):
    """
    A server ends by itself, once or again and again, and its supervisor starts it again: killed by somebody's script,
    an exception in the engine's loop, an exit in the middle of a request, an abort in a library.
    """

    name = cause = "engine_crash"

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes |= {
            "variant": rng.choice(("killed", "exception", "exception", "exit", "abort")),
            "text": rng.choice(_EXCEPTIONS),
            "times": rng.choice((1, 2, 3)),
            "every_s": round(rng.uniform(12.0, 25.0), 1),
            "backoff_s": round(rng.uniform(2.0, 15.0), 1),
            "load_s": round(rng.uniform(2.0, 10.0), 1),
        }

    async def begin(self, house: House) -> None:
        replica = house.replicas[self._victim]
        replica.options = loads_for(float(self.magnitudes["load_s"]))
        self.supervise(house, Backoff(first_s=float(self.magnitudes["backoff_s"]), factor=1.5))
        self._tasks.append(asyncio.create_task(self._again(house)))

    async def _again(self, house: House) -> None:
        replica, variant = house.replicas[self._victim], str(self.magnitudes["variant"])
        for _ in range(int(self.magnitudes["times"])):
            crashed = replica.process
            if variant == "killed":
                crashed.signal(signal.SIGKILL)
            elif variant == "exception":
                await replica.switch("crash", text=str(self.magnitudes["text"]))
            else:
                await replica.switch("fatal", how=variant, share=0.25)
            while replica.process is crashed or not await replica.ready():
                await asyncio.sleep(0.5)
            await asyncio.sleep(float(self.magnitudes["every_s"]))

    async def end(self, house: House) -> None:
        await super().end(house)
        house.replicas[self._victim].options = ()


class ProbeKillLoop(Supervised):
    """
    A liveness probe ends a server that works. Either its health path generates a token, which at the usual load takes one
    to two steps of 40 ms, and the probe is too tight for that; or the probe begins before the server, started anew for some good reason, has loaded its
    weights, so that it never will.
    """

    name = cause = "probe_kill_loop"
    wait_s = 75.0
    hurt_s = 60.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        variant = rng.choice(("busy", "before_loaded"))
        period_s = round(rng.uniform(1.0, 3.0), 2)
        failures = rng.choice((1, 2) if variant == "busy" else (1, 2, 3))
        self.magnitudes |= {
            "variant": variant, "period_s": period_s, "failures": failures,
            "timeout_s": round(rng.uniform(0.04, 0.075), 3) if variant == "busy" else 1.0,
            "busier": round(rng.uniform(1.0, 1.5), 2) if variant == "busy" else 1.0,
            "load_s": round(rng.uniform(3.0, 8.0) if variant == "busy" else period_s * failures + rng.uniform(3.0, 10.0), 1),
            "backoff_s": round(rng.uniform(1.0, 6.0), 1),
        }  # fmt: skip

    def furnish(self, plan: Plan) -> Plan:
        """Health paths that generate a token, where those are what is slow."""
        if self.magnitudes["variant"] == "busy":
            return replace(plan, server_options=(*plan.server_options, "--health-generates"))
        return plan

    async def begin(self, house: House) -> None:
        replica = house.replicas[self._victim]
        replica.options = loads_for(float(self.magnitudes["load_s"]))
        probe = Probe(
            float(self.magnitudes["period_s"]), float(self.magnitudes["timeout_s"]), int(self.magnitudes["failures"])
        )
        self.supervise(house, Backoff(first_s=float(self.magnitudes["backoff_s"]), factor=1.3))
        self._tasks.append(asyncio.create_task(probe_for_ever(replica, probe, KubeletLog(house.node_log))))
        if self.magnitudes["variant"] == "busy":
            await house.load.set_rate(float(self.magnitudes["busier"]), 3.0)
        else:
            replica.process.signal(signal.SIGTERM)

    async def end(self, house: House) -> None:
        await super().end(house)
        await house.load.set_rate(1.0)
        house.replicas[self._victim].options = ()


class ColdStart(Supervised):
    """
    A young replica is asked before it has read its weights: moved to another node, or started in addition and put on the
    gateway's list at once. It listens early, as SGLang does, or late, as vLLM does.
    """

    name = cause = "cold_start"

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes |= {
            "variant": rng.choice(("moved", "scaled_out")),
            "listens": rng.choice(("early", "late")),
            "load_s": round(rng.uniform(20.0, 70.0), 1),
        }
        if self.magnitudes["variant"] == "scaled_out":
            self._victim = 3

    def furnish(self, plan: Plan) -> Plan:
        """A fourth replica that is not there yet."""
        return replace(plan, later=1) if self.magnitudes["variant"] == "scaled_out" else plan

    async def begin(self, house: House) -> None:
        replica = house.replicas[self._victim]
        replica.options = (*loads_for(float(self.magnitudes["load_s"]), mib=1024), "--cold")
        if self.magnitudes["listens"] == "early":
            replica.options += ("--listens-early",)
        if self.magnitudes["variant"] == "moved":
            await replica.restart(wait=False)
        else:
            await replica.launch()
            await house.gateway.configure(upstreams=tuple(gateway_address(house, each) for each in house.replicas))

    async def end(self, house: House) -> None:
        await super().end(house)
        house.replicas[self._victim].options = ()


class ModelLoadFailure(Supervised):
    """A replica is started anew, and its weights are gone, cut short or overwritten: it ends, again and again."""

    name = cause = "model_load_failure"

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes |= {
            "variant": rng.choice(("gone", "cut_short", "overwritten")),
            "share_left": round(rng.uniform(0.1, 0.9), 2),
            "backoff_s": round(rng.uniform(2.0, 10.0), 1),
        }

    async def begin(self, house: House) -> None:
        replica = house.replicas[self._victim]
        replica.options = ("--weights", str(self._spoilt(house)))
        self.supervise(house, Backoff(first_s=float(self.magnitudes["backoff_s"])))
        replica.process.signal(signal.SIGTERM)

    def _spoilt(self, house: House) -> Path:
        """A model's folder, after something happened to it."""
        path = write_weights(house.folder / "model", 48)
        if self.magnitudes["variant"] == "gone":
            path.unlink()
        elif self.magnitudes["variant"] == "cut_short":
            with path.open("r+b") as file:
                file.truncate(int(path.stat().st_size * float(self.magnitudes["share_left"])))
        else:
            with path.open("r+b") as file:
                file.write(self.rng.randbytes(4096))
        return path.parent

    async def end(self, house: House) -> None:
        await super().end(house)
        house.replicas[self._victim].options = ()


class RolloutCapacityLoss(Fault):
    """A new version, as good as the old, is rolled out without a surge: replicas are ended before others have started."""

    name = cause = "rollout_capacity_loss"
    wait_s = 75.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes |= {
            "variant": rng.choice(("one_by_one", "two_at_once")),
            "action": rng.choice(("deploy", "deploy", "restart", "config")),
            "version": f"v1.{rng.randint(1, 30)}",
            "load_s": round(rng.uniform(6.0, 16.0), 1),
            "pause_s": round(rng.uniform(0.0, 4.0), 1),
        }
        self._task: asyncio.Task[None] | None = None

    async def begin(self, house: House) -> None:
        action, version = str(self.magnitudes["action"]), str(self.magnitudes["version"])
        await house.announce(
            action, f"{house.service} {version}: {action} of {len(house.replicas)} replicas", service=house.service,
            version=version,
        )  # fmt: skip
        self._task = asyncio.create_task(self._roll(house))

    async def _roll(self, house: House) -> None:
        size = 2 if self.magnitudes["variant"] == "two_at_once" else 1
        for first in range(0, len(house.replicas), size):
            batch = house.replicas[first : first + size]
            for replica in batch:
                replica.options = (
                    *loads_for(float(self.magnitudes["load_s"])), "--version", str(self.magnitudes["version"])
                )  # fmt: skip
                await replica.restart(wait=False)
            while not all([await replica.ready() for replica in batch]):
                await asyncio.sleep(0.5)
            await asyncio.sleep(float(self.magnitudes["pause_s"]))

    async def end(self, house: House) -> None:
        if self._task is not None:
            await cancel(self._task)
        for replica in house.replicas:
            replica.options = ()
