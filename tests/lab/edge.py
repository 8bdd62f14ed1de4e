"""
The other machine: a network namespace of its own, where the gateway then runs, behind a real link of a stated speed.

The link is the cell's eth0: gateways reach replicas over it, and whatever else the node sends to that side. Users and
the lab's own questions come over a second link without limits, which the daemon does not watch.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.lab.house import House

_NAME = "edge"
_FOLDER = Path("/run/netns")
DEVICE = "eth0"
NODE, GATEWAY = "10.77.0.2", "10.77.0.1"
"""Ends of the link."""
FRONT = "10.78.0.1"
"""Where users find what runs on the other machine."""
_BACK = "10.78.0.2"


class Edge:
    """The other machine. Use `start`."""

    @classmethod
    async def start(cls, house: House, mbit: float, queue: int) -> Edge:
        """Make it, and lay a cable of *mbit* between cards that hold *queue* packets."""
        run = house.cell.run
        run("mkdir", "-p", str(_FOLDER))
        run("mount", "-t", "tmpfs", "tmpfs", str(_FOLDER))  # names of other cells' networks are not ours
        run("ip", "netns", "add", _NAME)
        edge = cls()
        run("ip", "link", "add", "veth-front", "type", "veth", "peer", "name", "veth-back", "netns", _NAME)
        for device, address, on_edge in (("veth-front", _BACK, False), ("veth-back", FRONT, True)):
            edge._up(house, device, address, on_edge=on_edge)
        for address, on_edge in ((NODE, False), (GATEWAY, True)):
            run(*edge._there(on_edge), "ip", "tuntap", "add", "dev", DEVICE, "mode", "tun")
            run(*edge._there(on_edge), "ip", "link", "set", DEVICE, "txqueuelen", str(queue))
            edge._up(house, DEVICE, address, on_edge=on_edge)
        run(*edge.command("ip", "link", "set", "lo", "up"))
        cable = (sys.executable, "-m", "tests.lab.cable", "--device", DEVICE, "--namespace", str(_FOLDER / _NAME))
        await house.processes.actor_of("cable", (*cable, "--mbit", str(mbit)))
        for on_edge in (False, True):
            run(*edge._there(on_edge), "ethtool", "-s", DEVICE, "speed", f"{mbit:.0f}", "duplex", "full")
        return edge

    def command(self, *argv: str) -> tuple[str, ...]:
        """*argv*, run on the other machine."""
        return ("ip", "netns", "exec", _NAME, *argv)

    def _there(self, on_edge: bool) -> tuple[str, ...]:
        return self.command() if on_edge else ()

    def _up(self, house: House, device: str, address: str, *, on_edge: bool) -> None:
        where = self._there(on_edge)
        house.cell.run(*where, "ip", "addr", "add", f"{address}/24", "dev", device)
        house.cell.run(*where, "ip", "link", "set", device, "up")
