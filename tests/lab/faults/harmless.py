"""What must not be taken for a fault, what no cause file describes, and two faults at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lab.faults.fault import Fault

if TYPE_CHECKING:
    from tests.lab.house import House


class Nothing(Fault):
    """A healthy service."""

    name, cause, kind, hurts = "none", None, "none", False

    async def begin(self, house: House) -> None:
        """Nothing happens."""

    async def end(self, house: House) -> None:
        """And nothing ends."""


class Licence(Fault):
    """A licence check in every server withholds a share of the answers."""

    name, cause, kind = "licence_withheld", None, "undescribed"

    async def begin(self, house: House) -> None:
        self.magnitudes["refused_share"] = share = self.rng.uniform(0.2, 0.6)
        for replica in house.replicas:
            await replica.switch("licence", refused_share=share)

    async def end(self, house: House) -> None:
        for replica in house.replicas:
            await replica.switch("licence", refused_share=0.0)
