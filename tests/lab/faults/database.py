"""What goes wrong with a dependency of the model servers, PostgreSQL, and with the pool of connections to it."""

from __future__ import annotations

import random
import signal
from typing import TYPE_CHECKING

from tests.lab.faults.fault import Fault

if TYPE_CHECKING:
    from aiops.demo.processes import Process
    from tests.lab.house import House


class UpstreamUnreachable(Fault):
    """
    The database cannot be reached any more.

    It is gone; or it fails over, as databases do, and from then on its name is not known, or it shows a certificate that
    has expired.
    """

    name = cause = "upstream_unreachable"

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes["variant"] = rng.choice(("gone", "name", "certificate"))
        self.magnitudes["signal"] = rng.choice(("SIGKILL", "SIGINT"))

    async def begin(self, house: House) -> None:
        database, variant = house.database, self.magnitudes["variant"]
        if variant == "gone":
            await database.stop(how=signal.Signals[str(self.magnitudes["signal"])])
            return
        if variant == "name":
            database.know_name(known=False)
        else:
            database.show_certificate(expired=True)
        await database.restart()

    async def end(self, house: House) -> None:
        house.database.know_name(known=True)
        house.database.show_certificate(expired=False)
        await house.database.restart()


class ConnectionPoolExhaustion(Fault):
    """
    No connection of the pool comes free.

    A code path of one replica takes connections and does not return them; or a release makes pools smaller and waits for
    another service inside its transactions; or somebody's forgotten transaction holds a lock that every request needs.
    """

    name = cause = "connection_pool_exhaustion"
    wait_s = 90.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes["variant"] = variant = rng.choice(("leak", "held", "lock"))
        if variant == "leak":
            self.magnitudes |= {"share": round(rng.uniform(0.1, 0.6), 2), "replicas": rng.choice((1, 1, 3))}
        elif variant == "held":
            self.magnitudes |= {"size": rng.choice((1, 2, 3)), "quota_s": round(rng.uniform(0.6, 2.0), 2)}
        self._victims: list[int] = []
        self._migration: Process | None = None

    async def begin(self, house: House) -> None:
        variant = self.magnitudes["variant"]
        self._victims = list(range(len(house.replicas)))
        if variant == "lock":
            self._migration = await house.database.hold_lock()
        elif variant == "held":
            size, quota_s = int(self.magnitudes["size"]), float(self.magnitudes["quota_s"])
            for replica in house.replicas:
                await replica.switch("pool", size=size, quota_s=quota_s)
        else:
            self._victims = self.rng.sample(self._victims, int(self.magnitudes["replicas"]))
            for victim in self._victims:
                await house.replicas[victim].switch("pool", leak_share=float(self.magnitudes["share"]))

    async def end(self, house: House) -> None:
        if self._migration is not None:
            house.excuse(self._migration)
            await house.processes.end(self._migration)
        size = house.plan.pool_size + house.plan.pool_overflow
        for victim in self._victims:
            await house.replicas[victim].switch("pool", leak_share=0.0, quota_s=0.0, size=size)

    def where(self, house: House) -> dict[str, str]:
        return {"instance": house.replicas[self._victims[0]].address} if len(self._victims) == 1 else {}
