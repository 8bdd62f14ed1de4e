"""What goes wrong on the way: packets lost, a link filled, nothing left to open a connection with."""

from __future__ import annotations

import asyncio
import random
import resource
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.lab.edge import GATEWAY, Edge
from tests.lab.faults.fault import Fault
from tests.lab.loss import Loss

if TYPE_CHECKING:
    from aiops.demo.processes import Process
    from tests.lab.house import House
    from tests.lab.plan import Plan

_COPY_PORT = 9000


class NetworkRetransmits(Fault):
    """
    Packets are lost at random: of all that the host receives, between gateway and replicas, or on the way to one replica.

    The gateway opens a connection a request, as nginx does unless told otherwise, and gives up connecting after a second
    or two. What loses the packets (`tests.lab.loss`) depends on the kernel, and is the magnitude ``tool``.
    """

    name = cause = "network_retransmits"
    needs = ("nft", "tc")
    wait_s = 90.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes |= {
            "variant": rng.choice(("host", "replicas", "one replica")), "loss": round(rng.uniform(0.03, 0.15), 3),
            "connect_s": rng.choice((1.0, 1.0, 2.0)),
        }  # fmt: skip
        self._victim = rng.randrange(3) if self.magnitudes["variant"] == "one replica" else None

    def furnish(self, plan: Plan) -> Plan:
        settings = {**plan.gateway_settings, "keep": 0, "connect_s": float(self.magnitudes["connect_s"])}
        return replace(plan, gateway_settings=settings)

    async def begin(self, house: House) -> None:
        ports = [replica.port for replica in house.replicas]
        if self._victim is not None:
            ports = [ports[self._victim]]
        elif self.magnitudes["variant"] == "host":
            ports = []
        self.magnitudes["tool"] = Loss(house.cell.run).begin(float(self.magnitudes["loss"]), ports)

    async def end(self, house: House) -> None:
        Loss(house.cell.run).end()

    def where(self, house: House) -> dict[str, str]:
        return {"instance": house.replicas[self._victim].address} if self._victim is not None else {}


class NicSaturation(Fault):
    """
    A copy to the other machine fills the link over which the gateway reaches the replicas.

    In many streams, as tools for object stores copy, or in datagrams that give way to nobody.
    """

    name = cause = "nic_saturation"
    needs = ("ethtool",)
    pairs = False
    wait_s = 90.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes |= {
            "variant": rng.choice(("streams", "datagrams")), "mbit": rng.choice((10, 20, 50)), "queue": rng.choice((100, 200, 500)),
            "streams": rng.choice((48, 96, 144)), "over": round(rng.uniform(1.05, 1.6), 2), "connect_s": rng.choice((1.0, 2.0)),
        }  # fmt: skip
        self._backup: Process | None = None

    def furnish(self, plan: Plan) -> Plan:
        settings = {**plan.gateway_settings, "keep": 0, "connect_s": float(self.magnitudes["connect_s"])}
        return replace(plan, gateway_settings=settings)

    async def prepare(self, house: House) -> None:
        house.edge = await Edge.start(house, float(self.magnitudes["mbit"]), int(self.magnitudes["queue"]))

    async def begin(self, house: House) -> None:
        assert house.edge is not None
        copier = ("tests.lab.copier", GATEWAY, str(_COPY_PORT))
        receiver = house.edge.command(sys.executable, "-m", *copier, "--receive")
        await house.helper("backup-store", *receiver)
        await asyncio.sleep(1.0)
        mbit = float(self.magnitudes["mbit"]) * float(self.magnitudes["over"])
        how = (
            ("--mbit", f"{mbit:.1f}")
            if self.magnitudes["variant"] == "datagrams"
            else ("--streams", str(self.magnitudes["streams"]))
        )
        self._backup = await house.python("backup", *copier, *how)

    async def end(self, house: House) -> None:
        if self._backup is not None:
            await house.processes.end(self._backup)


class SocketExhaustion(Fault):
    """
    Nothing is left to open a connection with.

    Ephemeral ports: the gateway opens a connection a request, and each waits for a minute after its end in a range that is
    too narrow. Descriptors of the gateway: its limit is below what comes at once. Descriptors of a replica: an agent opens
    connections to it and closes none.
    """

    name = cause = "socket_exhaustion"
    needs = ("sysctl",)
    wait_s = 100.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes["variant"] = variant = rng.choice(("ports", "gateway files", "replica files"))
        if variant == "ports":
            self.magnitudes["ports"] = rng.choice((80, 120, 160))
        elif variant == "gateway files":
            self.magnitudes["files"] = rng.choice((32, 40, 48))
        else:
            files = rng.choice((128, 256, 512))
            self.magnitudes |= {"files": files, "opened_per_s": round(files / rng.uniform(15.0, 45.0), 1)}
        self._victim = rng.randrange(3) if variant == "replica files" else None
        self._port_range = ""
        self._agent: Process | None = None

    def furnish(self, plan: Plan) -> Plan:
        if self.magnitudes["variant"] != "replica files":
            return plan
        return replace(plan, gateway_settings={**plan.gateway_settings, "keep": 0, "read_s": 10.0})

    async def begin(self, house: House) -> None:
        variant = self.magnitudes["variant"]
        if variant == "ports":
            self._port_range = house.cell.run("sysctl", "-n", "net.ipv4.ip_local_port_range").strip()
            low, ports = 40_000, int(self.magnitudes["ports"])
            house.cell.run(
                "sysctl", "-qw", "net.ipv4.tcp_tw_reuse=0", f"net.ipv4.ip_local_port_range={low} {low + ports - 1}"
            )
            await house.gateway.configure(keep=0)
        elif variant == "gateway files":
            await house.gateway.configure(files=int(self.magnitudes["files"]))
        elif self._victim is not None:
            replica = house.replicas[self._victim]
            files = int(self.magnitudes["files"])
            resource.prlimit(replica.pid, resource.RLIMIT_NOFILE, (files, files))
            self._agent = await house.python(
                "agent", "tests.lab.opener", str(replica.port), str(self.magnitudes["opened_per_s"])
            )

    async def end(self, house: House) -> None:
        if self._port_range:
            house.cell.run(
                "sysctl", "-qw", f"net.ipv4.ip_local_port_range={self._port_range}", "net.ipv4.tcp_tw_reuse=2"
            )
            await house.gateway.configure(keep=int(house.plan.gateway_settings["keep"]))
        elif self._agent is not None:
            await house.processes.end(self._agent)
        else:
            await house.gateway.configure(files=None)

    def where(self, house: House) -> dict[str, str]:
        return {"instance": house.replicas[self._victim].address} if self._victim is not None else {}
