"""
What can happen on stage: five faults, and two plays that must not end with a named cause.

Each switches something real in the running processes and switches it back; none tells the daemon. Change events are
what a deployer would send whatever happens.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import ClassVar

from aiops.demo.processes import Process
from aiops.demo.theatre import SERVICE, Replica, Theatre

_OLD, _NEW = "v1.0", "v2.0"
_NEW_WORK = 2.5
"""Work of a step of the new weights relative to the old: at the demo's load the replicas can no longer keep up."""


class Fault(ABC):
    """Something that happens and ends."""

    name: ClassVar[str]
    cause: ClassVar[str | None]
    """What the daemon must name; None when it must name nothing."""
    what: ClassVar[str]
    """What really happens, for the end of the demo."""

    @abstractmethod
    async def begin(self, theatre: Theatre) -> None:
        """Let it happen; returns when it is under way."""

    @abstractmethod
    async def end(self, theatre: Theatre) -> None:
        """Undo it."""


class VramExhaustion(Fault):
    """Another process takes the free memory of one replica's card."""

    name = cause = "vram_exhaustion"
    what = "a notebook took the free VRAM of GPU {victim} bit by bit; prefills there found no working memory"

    def __init__(self) -> None:
        self.victim = 0
        self._notebook: Process | None = None

    async def begin(self, theatre: Theatre) -> None:
        seat = theatre.random.choice(theatre.cards.seats)
        self.victim = seat.gpu
        await theatre.cards.check_alone(seat.gpu)
        self._notebook = await theatre.processes.actor("notebook", "notebook", *seat.arguments)

    async def end(self, theatre: Theatre) -> None:
        if self._notebook is not None:
            await theatre.processes.end(self._notebook)


class TrafficBurst(Fault):
    """Four times as many users within a few seconds."""

    name = cause = "traffic_burst"
    what = "users came four times as often; queues and KV caches filled"

    async def begin(self, theatre: Theatre) -> None:
        await theatre.set_rate(4.0, ramp_s=9.0)

    async def end(self, theatre: Theatre) -> None:
        await theatre.set_rate(1.0)


class DeployRegression(Fault):
    """New weights, rolled out over all replicas, need much longer for a token."""

    name = cause = "deploy_regression"
    what = f"{_NEW} was rolled out over the replicas; a token takes {_NEW_WORK} times the work of {_OLD}"

    async def begin(self, theatre: Theatre) -> None:
        for replica in theatre.replicas:
            await _roll(theatre, replica, "deploy", _NEW, _NEW_WORK)
            await asyncio.sleep(1.5)

    async def end(self, theatre: Theatre) -> None:
        for replica in theatre.replicas:
            await _roll(theatre, replica, "rollback", _OLD, 1.0)


async def _roll(theatre: Theatre, replica: Replica, action: str, version: str, work: float) -> None:
    await theatre.announce(
        action, f"{SERVICE} {version} on {replica.address}", service=SERVICE, instance=replica.address, version=version
    )
    await replica.switch("weights", version=version, factor=work)


class SlowNode(Fault):
    """One replica becomes five times slower, while another service is deployed."""

    name = cause = "slow_node"
    what = (
        "replica {victim} became five times slower while the gateway kept feeding it; the deploy was another service's"
    )

    def __init__(self) -> None:
        self.victim = 0

    async def begin(self, theatre: Theatre) -> None:
        self.victim = theatre.random.randrange(len(theatre.replicas))
        await theatre.announce("deploy", "billing 2026.11 is live", service="billing", version="2026.11")
        await theatre.replicas[self.victim].switch("pace", factor=5.0)

    async def end(self, theatre: Theatre) -> None:
        await theatre.replicas[self.victim].switch("pace", factor=1.0)


class ConnectionPoolExhaustion(Fault):
    """A code path of one replica takes connections and never gives them back."""

    name = cause = "connection_pool_exhaustion"
    what = "replica {victim} leaked two of five connections of its pool until callers waited in vain"

    def __init__(self) -> None:
        self.victim = 0

    async def begin(self, theatre: Theatre) -> None:
        self.victim = theatre.random.randrange(len(theatre.replicas))
        await theatre.replicas[self.victim].switch("leak", share=0.4)

    async def end(self, theatre: Theatre) -> None:
        await theatre.replicas[self.victim].switch("leak", share=0.0)


class Lookalike(Fault):
    """Everything that looks like a cause, and nobody is hurt: a harmless deploy, a burst that is served."""

    name, cause = "lookalike", None
    what = "a deploy that is no slower, a burst that was served, cards at 92 % VRAM: nobody was refused"

    async def begin(self, theatre: Theatre) -> None:
        for replica in theatre.replicas:
            await _roll(theatre, replica, "deploy", "v1.1", 1.0)
        await asyncio.sleep(12.0)
        await theatre.set_rate(1.35, ramp_s=3.0)
        await asyncio.sleep(20.0)
        await theatre.set_rate(1.0, ramp_s=3.0)

    async def end(self, theatre: Theatre) -> None:
        await theatre.set_rate(1.0)


class Unknown(Fault):
    """Refusals for a reason no cause describes."""

    name, cause = "unknown", None
    what = "a licence check in the servers withheld two of five answers: no cause file describes that"

    async def begin(self, theatre: Theatre) -> None:
        for replica in theatre.replicas:
            await replica.switch("licence", refused_share=0.4)

    async def end(self, theatre: Theatre) -> None:
        for replica in theatre.replicas:
            await replica.switch("licence", refused_share=0.0)


FAULTS: tuple[type[Fault], ...] = (
    VramExhaustion, TrafficBurst, DeployRegression, SlowNode, ConnectionPoolExhaustion,
)  # fmt: skip
"""Those with a cause; `random` takes one of them."""
_ALL: tuple[type[Fault], ...] = (*FAULTS, Lookalike, Unknown)
PLAYS = {play.name: play for play in _ALL}
"""Every play by name."""


def told(fault: Fault) -> str:
    """What really happened, with the victim filled in."""
    return fault.what.format(victim=getattr(fault, "victim", ""))
