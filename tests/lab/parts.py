"""
Stand-ins from the demo for parts of a house whose own modules do not exist yet. Each is replaced in house.py's imports
by the real one: cards, database, gateway, load, and the command line of a model server. What the methods here offer is
what the house needs; a real part may offer more.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from aiops.demo.card import simulated_at

if TYPE_CHECKING:
    from tests.lab.house import House, Replica


async def start_metadata(house: House) -> int:
    """What the demo's model servers ask about tenants; its port."""
    process = await house.processes.actor("metadata", "pool")
    return int(process.ready["port"])


def server_command(house: House, replica: Replica) -> tuple[str, ...]:
    """The command line of *replica*'s model server: on `replica.port`, its log in `replica.log`."""
    return (
        sys.executable, "-c",
        ("import sys, asyncio\nfrom aiops.demo import model_server as m, stage\nfrom pathlib import Path\n"
        "a=sys.argv\nstage.perform(lambda: m.model_server(m.Identity(int(a[1]), a[2], 22000.0, int(a[3]), Path(a[4]),"
        " int(a[5]), int(a[6]))))"),
        str(replica.gpu), simulated_at(house.cards.socket), str(house.metadata_port), str(replica.log),
        str(replica.port), str(house.plan.seed + replica.index),
    )  # fmt: skip
