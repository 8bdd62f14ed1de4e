"""Faults no cause file describes; each hurts, and none has a right answer but "undetermined"."""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING

from tests.lab.checks import SHARDS, spoil_adapter
from tests.lab.faults.fault import Fault

if TYPE_CHECKING:
    from tests.lab.house import House
    from tests.lab.plan import Plan

_SIDECAR_PORT = 7070


class Undescribed(Fault):
    """Something of this house alone goes wrong."""

    cause, kind = None, "undescribed"
    checks = ""
    """What the model servers ask, of `tests.lab.checks`."""

    def furnish(self, plan: Plan) -> Plan:
        if not self.checks:
            return plan
        options = ("--checks", self.checks, "--sidecar-port", str(_SIDECAR_PORT))
        return dataclasses.replace(plan, server_options=(*plan.server_options, *options))


class Licence(Undescribed):
    """A licence check in every server withholds a share of the answers."""

    name = "licence_withheld"

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes = {"refused_share": rng.uniform(0.15, 0.7)}

    async def begin(self, house: House) -> None:
        await self._set(house, float(self.magnitudes["refused_share"]))

    async def end(self, house: House) -> None:
        await self._set(house, 0.0)

    async def _set(self, house: House, share: float) -> None:
        for replica in house.replicas:
            await replica.switch("licence", refused_share=share)


class CorruptAdapter(Undescribed):
    """Bits of an adapter's file turn over on the disk, on one replica or on all: some rows cannot be read any more."""

    name, checks = "corrupt_adapter", "adapter"

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes = {"shards": rng.randint(8, 40), "replicas": rng.choice(("one", "all"))}
        self._shards = rng.sample(range(SHARDS), int(self.magnitudes["shards"]))

    async def begin(self, house: House) -> None:
        everybody = house.replicas
        spoilt = everybody if self.magnitudes["replicas"] == "all" else [self.rng.choice(everybody)]
        for replica in spoilt:
            spoil_adapter(replica.log.with_suffix(".adapter"), self._shards)

    async def end(self, house: House) -> None:
        """A file that is spoilt stays so until somebody copies it again."""


class _WithSidecar(Undescribed):
    async def prepare(self, house: House) -> None:
        self._sidecar = await house.service_beside("sidecar", "tests.lab.sidecar", "--port", str(_SIDECAR_PORT))

    async def _set(self, **what: float | str) -> None:
        await self._sidecar.call("POST", "/admin/set", what)


class FlagNonsense(_WithSidecar):
    """The flag service answers nonsense, and servers treat what they do not understand as closed."""

    name, checks = "flag_nonsense", "flags"

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes = {"nonsense": rng.choice(("text", "strings", "missing")), "share": rng.uniform(0.3, 1.0)}

    async def begin(self, house: House) -> None:
        await self._set(**self.magnitudes)

    async def end(self, house: House) -> None:
        await self._set(nonsense="", share=1.0)


class ClockJump(_WithSidecar):
    """The ticket service's clock jumps; what it issues is not valid by the servers' clocks."""

    name, checks = "clock_jump", "tickets"

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        hours = rng.choice((-1, 1)) * rng.uniform(0.25, 8.0)
        self.magnitudes = {"off_s": hours * 3600.0}

    async def begin(self, house: House) -> None:
        await self._set(clock_off_s=float(self.magnitudes["off_s"]))

    async def end(self, house: House) -> None:
        await self._set(clock_off_s=0.0)


class QuotaSpent(Undescribed):
    """A table of the database holds what may be answered in a day; somebody's batch has used most of it."""

    name, checks = "quota_spent", "quota"

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes = {"left": rng.randint(5, 120)}

    async def prepare(self, house: House) -> None:
        await house.database.execute(
            "CREATE TABLE daily_quota (day date PRIMARY KEY, used int NOT NULL, allowed int NOT NULL) WITH (fillfactor = 50)"
        )
        await house.database.execute("INSERT INTO daily_quota VALUES (current_date, 0, 100000)")

    async def begin(self, house: House) -> None:
        left = int(self.magnitudes["left"])
        await house.database.execute(f"UPDATE daily_quota SET used = allowed - {left} WHERE day = current_date")

    async def end(self, house: House) -> None:
        await house.database.execute("UPDATE daily_quota SET used = 0 WHERE day = current_date")


class MaintenancePage(Undescribed):
    """
    A maintenance page was left switched on in the gateway for a share of the users.

    Only nginx says in a log when it refuses because of a limit; without that the two could not be told apart by anybody.
    """

    name = "maintenance_page"
    gateways = ("nginx",)

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.magnitudes = {"closed": round(rng.uniform(0.08, 0.6), 2)}

    async def begin(self, house: House) -> None:
        await house.gateway.configure(closed=float(self.magnitudes["closed"]))

    async def end(self, house: House) -> None:
        await house.gateway.configure(closed=0.0)
