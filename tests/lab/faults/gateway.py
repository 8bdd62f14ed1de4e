"""What goes wrong in a gateway: limits that are too low, time-outs that are too short, connections closed by one side only."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.lab.edge import DEVICE, Edge
from tests.lab.faults.fault import Fault

if TYPE_CHECKING:
    from tests.lab.house import House, Replica
    from tests.lab.plan import Plan

_TABLE = "middlebox"
_LINK_MBIT, _LINK_QUEUE = 1000.0, 1000
_SEEN_S = 6.0
"""How long a stateful device must see a house's connections before it knows those in use."""


class GatewayLimit(Fault):
    """A change of configuration limits requests or connections to less than what comes."""

    name = cause = "gateway_limit"

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.variant = rng.choice(("requests", "connections"))
        self.magnitudes["variant"] = self.variant
        if self.variant == "requests":
            self.magnitudes |= {"share": round(rng.uniform(0.25, 0.75), 2), "burst": rng.choice((0, 5, 10, 20))}
        else:
            self.magnitudes["connections"] = rng.choice((2, 4, 5, 8, 10))

    async def begin(self, house: House) -> None:
        if self.variant == "requests":
            rate = max(round(float(self.magnitudes["share"]) * house.plan.rate), 1)
            await house.gateway.configure(rate=float(rate), burst=int(self.magnitudes["burst"]))
        else:
            await house.gateway.configure(in_flight=int(self.magnitudes["connections"]))

    async def end(self, house: House) -> None:
        await house.gateway.configure(rate=None, burst=0, in_flight=None)


class GatewayTimeout(Fault):
    """A change of configuration lets the gateway wait for less time than whole answers take."""

    name = cause = "gateway_timeout"

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes |= {"limit_s": rng.choice((1.0, 1.5, 2.0, 3.0)), "streamed": round(rng.uniform(0.0, 0.6), 2)}
        self._whole = rng.random() < 0.5
        """Whether the limit is on the whole answer, where the gateway has such a limit."""
        self.magnitudes["variant"] = "read"

    def furnish(self, plan: Plan) -> Plan:
        if self._whole and plan.gateway == "python":
            self.magnitudes["variant"] = "total"
        streamed = float(self.magnitudes["streamed"])
        return replace(plan, rate=round(plan.rate * 0.6, 2), output=(60, 150), streamed=streamed)

    async def begin(self, house: House) -> None:
        limit_s = float(self.magnitudes["limit_s"])
        await house.gateway.configure(**{"total_s" if self.magnitudes["variant"] == "total" else "read_s": limit_s})

    async def end(self, house: House) -> None:
        await house.gateway.configure(total_s=None, read_s=float(house.plan.gateway_settings["read_s"]))


class KeepaliveRace(Fault):
    """
    Idle connections between gateway and servers end sooner than the gateway believes.

    Either a stateful device between them (a firewall, a balancer) forgets a flow after an idle time and answers what comes
    later with a reset, or the servers close what is idle and a gateway's pool that does not look hands it out. nginx looks,
    so there it is the device.
    """

    name = cause = "keepalive_race"
    needs = ("nft", "sysctl", "ethtool")
    pairs = False  # it is between two machines
    wait_s = 90.0
    hurt_s = 60.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes |= {"idle_s": rng.choice((1, 2, 3, 4, 5)), "load": round(rng.uniform(0.25, 0.6), 2)}
        self._server_closes = rng.random() < 0.5

    def furnish(self, plan: Plan) -> Plan:
        closes = self._server_closes and plan.gateway == "python"
        self.magnitudes["variant"] = "server" if closes else "middlebox"
        settings = {**plan.gateway_settings, "keep": 32, "replaces_stale": False}
        return replace(plan, rate=round(plan.rate * float(self.magnitudes["load"]), 2), gateway_settings=settings)

    async def prepare(self, house: House) -> None:
        if self.magnitudes["variant"] == "middlebox":
            house.edge = await Edge.start(house, _LINK_MBIT, _LINK_QUEUE)

    async def begin(self, house: House) -> None:
        if self.magnitudes["variant"] == "server":
            for replica in house.replicas:
                await replica.switch("keepalive", idle_s=float(self.magnitudes["idle_s"]))
        else:
            await self._forget_idle(house)

    async def _forget_idle(self, house: House) -> None:
        """Track what comes over the link for a while, so that connections in use are known; then be strict."""
        idle_s = int(self.magnitudes["idle_s"])
        arriving = (
            f"add rule inet {_TABLE} in iifname {DEVICE} tcp dport {house.replicas[0].port}-{house.replicas[-1].port}"
        )
        house.cell.run("nft", "add", "table", "inet", _TABLE)
        house.cell.run("nft", f"add chain inet {_TABLE} in {{ type filter hook input priority 0 ; }}")
        # resets pass, as through any firewall; or a server would never learn that its client is gone
        house.cell.run("nft", f"{arriving} tcp flags & rst == rst accept")
        house.cell.run("nft", f"{arriving} ct state new,established accept")
        house.cell.run(
            "sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_loose=1", "net.netfilter.nf_conntrack_tcp_be_liberal=1"
        )
        await asyncio.sleep(_SEEN_S)
        house.cell.run("sysctl", "-qw", f"net.netfilter.nf_conntrack_tcp_timeout_established={idle_s}")
        house.cell.run("sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_loose=0")
        house.cell.run("nft", f"{arriving} ct state invalid reject with tcp reset")

    async def end(self, house: House) -> None:
        if self.magnitudes["variant"] == "server":
            for replica in house.replicas:
                await replica.switch("keepalive", idle_s=None)
        else:
            house.cell.run("nft", "delete", "table", "inet", _TABLE, check=False)


class QueueLimit(Fault):
    """A rollout of engine options lets the engine take fewer requests than the card could: a short queue, few at a time."""

    name = cause = "queue_limit"

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes["variant"] = variant = rng.choice(("short queue", "few running"))
        if variant == "short queue":
            self.magnitudes |= {"waiting": rng.choice((0, 1)), "running": 32}
        else:
            self.magnitudes |= {"waiting": rng.choice((1, 2, 4, 6)), "running": rng.choice((2, 3, 4))}

    async def begin(self, house: House) -> None:
        for replica in house.replicas:
            await self._set(replica, int(self.magnitudes["waiting"]), int(self.magnitudes["running"]))

    async def end(self, house: House) -> None:
        for replica in house.replicas:
            await self._set(replica, house.plan.max_waiting, house.plan.max_running)

    async def _set(self, replica: Replica, waiting: int, running: int) -> None:
        await replica.switch("queue", max_waiting=waiting, max_running=running)
