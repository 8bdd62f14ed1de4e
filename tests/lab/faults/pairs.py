"""Two faults at once: the second begins while the first is under way or has only just begun."""

from __future__ import annotations

import asyncio
import importlib
import random
from typing import TYPE_CHECKING

from tests.lab.faults.fault import Fault

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tests.lab.house import House
    from tests.lab.plan import Plan

_MOST_WAIT_S = 60.0


class TwoFaults(Fault):
    """Two that have nothing to do with one another, drawn from all that are possible in this house."""

    name, cause, kind = "two_faults", None, "two"
    needs = ("nft", "sysctl", "mkfs.ext4")  # whatever is drawn
    _both: tuple[Fault, ...] = ()

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._between_s = rng.uniform(0.0, 15.0)

    def furnish(self, plan: Plan) -> Plan:
        """Draw them: only now it is known which house it is."""
        from aiops.rulebook.causes import load_causes, reachable
        from aiops.rulebook.places import shipped_rules

        faults = importlib.import_module(__package__).FAULTS  # this module is part of what is gathered there
        leads = {cause: frozenset(found) for cause, found in reachable(load_causes([shipped_rules()])).items()}
        pairs = possible_pairs(list(faults.values()), leads, plan.gateway, plan.dialect)
        first, second = self.rng.choice(pairs)
        self._both = (first(random.Random(self.rng.random())), second(random.Random(self.rng.random())))
        self.stub = any(fault.stub for fault in self._both)
        self.healthy_s = max(fault.healthy_s for fault in self._both)
        self.wait_s = max(fault.wait_s for fault in self._both) + self._between_s
        self.hurt_s = max(fault.hurt_s for fault in self._both) + self._between_s
        self.magnitudes = {"between_s": self._between_s}
        for fault in self._both:
            plan = fault.furnish(plan)
            self.magnitudes |= {f"{fault.name}.{name}": value for name, value in fault.magnitudes.items()}
        return plan

    async def prepare(self, house: House) -> None:
        for fault in self._both:
            await fault.prepare(house)

    async def begin(self, house: House) -> None:
        first, second = self._both
        await asyncio.wait_for(first.begin(house), _MOST_WAIT_S)
        await asyncio.sleep(self._between_s)
        await second.begin(house)
        for fault in self._both:  # a place is one fault's
            places = ",".join(f"{key}={value}" for key, value in fault.where(house).items())
            self.magnitudes[f"{fault.name}.where"] = places

    async def end(self, house: House) -> None:
        for fault in reversed(self._both):
            await fault.end(house)

    @property
    def causes(self) -> tuple[str, ...]:
        return tuple(cause for fault in self._both for cause in fault.causes)


def possible_pairs(
    faults: Sequence[type[Fault]], leads: Mapping[str, Collection[str]], gateway: str, dialect: str
) -> list[tuple[type[Fault], type[Fault]]]:
    """
    Ordered pairs of faults for one house.

    Args:
        faults: All there are.
        leads: By cause, all it can lead to: of two such, one would be the other's consequence.
        gateway: Of the house.
        dialect: Of its model servers.
    """
    able = [
        fault for fault in faults
        if fault.kind == "fault" and fault.pairs and not fault.alone
        and gateway in fault.gateways and dialect in fault.dialects
    ]  # fmt: skip
    return [
        (first, second)
        for first in able
        for second in able
        if first.cause and second.cause and first.cause != second.cause
        and first.__module__ != second.__module__  # they would turn the same screws
        and (first.furnish is Fault.furnish or second.furnish is Fault.furnish)  # no house suits both
        and second.cause not in leads.get(first.cause, ()) and first.cause not in leads.get(second.cause, ())
    ]  # fmt: skip
