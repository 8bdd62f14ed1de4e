"""
Stand-ins from the demo for parts of a house whose own modules do not exist yet. Each is replaced in house.py's imports
by the real one: cards, database, gateway, load, and the command line of a model server. What the methods here offer is
what the house needs; a real part may offer more.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiops.demo.cards import SimulatedCards
from aiops.demo.wire import Client

if TYPE_CHECKING:
    from tests.lab.house import House, Replica


class Cards:
    """The machine's cards."""

    def __init__(self, demo: SimulatedCards) -> None:
        self._demo = demo

    @classmethod
    async def start(cls, house: House) -> Cards:
        """Start the card process. The replicas are not started yet."""
        return cls(
            await SimulatedCards.start(house.plan.replicas, house.folder / "card.sock", house.processes, "the lab's")
        )

    def gpu_of(self, index: int) -> int:
        """The card of replica *index*."""
        return self._demo.seats[index].gpu

    def arguments(self, gpu: int) -> tuple[str, ...]:
        """For the command line of whatever uses card *gpu*: a server, a neighbour."""
        return self._demo.seats[gpu].arguments

    def settings(self) -> dict[str, Any]:
        """The daemon's collectors of these cards."""
        return self._demo.settings()

    def environment(self) -> Mapping[str, str]:
        """The daemon's environment, in which its NVML child meets the stand-in."""
        return {}

    async def set(self, gpu: int, **what: Any) -> None:
        """Change something of card *gpu*."""
        raise NotImplementedError


class Database:
    """What model servers ask about tenants."""

    def __init__(self, port: int) -> None:
        self.port = port

    @classmethod
    async def start(cls, house: House) -> Database:
        """Start it; first of all parts."""
        process = await house.processes.actor("metadata", "pool")
        return cls(int(process.ready["port"]))


def server_command(house: House, replica: Replica) -> tuple[str, ...]:
    """The command line of *replica*'s model server: on `replica.port`, its log in `replica.log`."""
    return (
        sys.executable, "-c",
        ("import sys, asyncio\nfrom aiops.demo import model_server as m, stage\nfrom pathlib import Path\n"
        "a=sys.argv\nstage.perform(lambda: m.model_server(m.Identity(int(a[1]), a[2], 22000.0, int(a[3]), Path(a[4]),"
        " int(a[5]), int(a[6]))))"),
        str(replica.gpu), house.cards.arguments(replica.gpu)[3], str(house.database.port), str(replica.log),
        str(replica.port), str(house.plan.seed + replica.index),
    )  # fmt: skip


class Gateway:
    """What users meet."""

    def __init__(self, kind: str, port: int, log: Path) -> None:
        self.kind, self.port, self.log = kind, port, log

    @classmethod
    async def start(cls, house: House) -> Gateway:
        """Start it, of the kind of `house.plan.gateway`. The replicas serve by now."""
        log = house.folder / "access.log"
        upstreams = [word for replica in house.replicas for word in ("--upstream", str(replica.port))]
        process = await house.processes.actor("gateway", "gateway", *upstreams, "--log", str(log))
        return cls("python", int(process.ready["port"]), log)

    def log_settings(self) -> dict[str, Any]:
        """What the daemon must be told of the log, beyond its path and service: ``nginx_conf`` of an nginx."""
        return {}

    def status_urls(self) -> tuple[str, ...]:
        """Its own pages of metrics, such as nginx's stub_status."""
        return ()

    async def configure(self, **changes: Any) -> None:
        """Change its settings and reload it."""
        raise NotImplementedError


class Load:
    """Its users."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @classmethod
    async def start(cls, house: House) -> Load:
        """Let users come, at `house.plan.rate`. The last part to be started."""
        process = await house.processes.actor(
            "load", "load", "--gateway", str(house.gateway.port), "--seed", str(house.plan.seed)
        )
        return cls(Client(int(process.ready["port"])))

    async def stats(self) -> dict[str, Any]:
        """
        What users got: ``answers`` by status (also ``broken``, ``timeout``, ``truncated``), ``in_flight``, and
        ``bad_s``: when each bad answer came (epoch), in order.
        """
        found = (await self._client.call("GET", "/stats"))[1]
        return {**found, "bad_s": [found["first_503"]] if found["first_503"] else []}

    async def set_rate(self, factor: float, ramp_s: float = 0.0) -> None:
        """Let users come *factor* times as often as normally."""
        await self._client.call("POST", "/admin/rate", {"factor": factor, "ramp_s": ramp_s})
