"""
Two faults at once: the second begins while the first is at work, and each makes bad answers of its own.

The second comes some seconds after the first has hurt, at another replica where both are at one. Pairs of which one
would hide the other are not drawn; a run in which one has not hurt by itself is no experiment.
"""

from __future__ import annotations

import asyncio
import importlib
import random
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tests.lab.faults.fault import Fault
from tests.lab.own_hurt import BadAnswer, Own, own, read_bad, span
from tests.lab.truth import Spoilt

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tests.lab.house import House
    from tests.lab.plan import Plan

_MOST_WAIT_S = 60.0
_LOOK_S = 1.0
_MOST_DRAWS = 500

_OF_ONE: dict[str, str] = {
    "gpu_compute_saturation": "one_card", "connection_pool_exhaustion": "leak", "network_retransmits": "one replica",
    "socket_exhaustion": "replica files",
}  # fmt: skip
"""The variant of a fault that is at one replica, where not every one is."""
_STOPS = frozenset({
    "upstream_unreachable", "connection_pool_exhaustion", "kv_transfer_failure", "disk_full", "gateway_limit",
})  # fmt: skip
"""At the whole service: hardly a request gets as far as an engine."""
_ENDS = frozenset({"engine_crash", "model_load_failure", "cold_start", "gpu_fault"})
"""A replica is gone: that shows without any request reaching an engine."""
_MAY_END = _ENDS | {"vram_exhaustion", "vram_leak", "probe_kill_loop"}
_SETS_ALL = frozenset({"deploy_regression", "queue_limit", "connection_pool_exhaustion", "kv_cache_exhaustion"})
"""Every server is told to do otherwise, and so has to be there."""
_EXCHANGES = {"rollout_capacity_loss": "", "kv_cache_exhaustion": "smaller", "deploy_regression": "restarted"}
"""Every replica is started anew, whatever state another fault has brought it to; the variant, or empty for all."""


class TwoFaults(Fault):
    """Two that have nothing to do with one another, drawn from all that are possible in this house."""

    name, cause, kind = "two_faults", None, "two"
    needs = ("nft", "tc", "sysctl", "mkfs.ext4")  # whatever is drawn
    hurt_s = 40.0
    """From when both have hurt."""
    _both: tuple[Fault, ...] = ()

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._between_s = rng.uniform(3.0, 25.0)
        self._began_s: list[float] = []

    def furnish(self, plan: Plan) -> Plan:
        """Draw them: only now it is known which house it is."""
        from aiops.rulebook.causes import load_causes, reachable
        from aiops.rulebook.places import shipped_rules

        faults = importlib.import_module(__package__).FAULTS  # this module is part of what is gathered there
        leads = {cause: frozenset(found) for cause, found in reachable(load_causes([shipped_rules()])).items()}
        pairs = possible_pairs(list(faults.values()), leads, plan.gateway, plan.dialect)
        self._both = draw_both(pairs, self.rng)
        self.stub = any(fault.stub for fault in self._both)
        self.healthy_s = max(fault.healthy_s for fault in self._both)
        self.magnitudes = {"between_s": self._between_s}
        for fault in self._both:
            plan = fault.furnish(plan)
            self.magnitudes |= {f"{fault.name}.{name}": value for name, value in fault.magnitudes.items()}
        return plan

    async def prepare(self, house: House) -> None:
        for fault in self._both:
            await fault.prepare(house)

    async def begin(self, house: House) -> None:
        """
        One, and when that has hurt, the other; returns when both have.

        Raises:
            Spoilt: one of them has not, or both are at one replica.
        """
        self._began_s = []
        for number, fault in enumerate(self._both):
            self._began_s.append(time.time())
            await asyncio.wait_for(fault.begin(house), fault.wait_s + _MOST_WAIT_S)
            places = [at_replica(each, house) for each in self._both[: number + 1]]
            if len(set(places) - {""}) < len([place for place in places if place]):
                raise Spoilt(f"both are at {places[0]}")
            await self._until_hurt(house, number)
            if number == 0:
                await _watch(house, self._between_s)

    async def _until_hurt(self, house: House, number: int) -> None:
        until_s = self._began_s[number] + self._both[number].wait_s
        while not self._own(house, time.time())[number].hurts:
            if time.time() > until_s:
                told = self._own(house, time.time())[number]
                raise Spoilt(f"{self._both[number].name} made {told.count} bad answers of its own: {told.kinds}")
            await _watch(house, _LOOK_S)

    def _own(self, house: House, now_s: float) -> list[Own]:
        """What each of those that have begun did; the first by what it did alone."""
        with house.gateway.log.open(encoding="utf-8", errors="replace") as file:
            bad: list[BadAnswer] = read_bad(file)
        started_s = self._began_s[0] - self.healthy_s
        edges = [started_s, *self._began_s, now_s]
        spans = [span(bad, start_s, end_s) for start_s, end_s in pairwise(edges)]
        places = [at_replica(fault, house) for fault in self._both[: len(self._began_s)]]
        everybody = [replica.address for replica in house.replicas]
        return [
            own(spans[number + 1], spans[: number + 1], at=place, taken=places[0] if number else "", replicas=everybody)
            for number, place in enumerate(places)
        ]

    async def end(self, house: House) -> None:
        try:
            self.each = self._evidence(house) if self._began_s else ()
        finally:
            for fault in reversed(self._both):
                await fault.end(house)

    def _evidence(self, house: House) -> tuple[dict[str, Any], ...]:
        return tuple(
            {
                "fault": fault.name, "cause": fault.cause, "where": fault.where(house), "began_s": began_s,
                "first_bad_s": found.first_s, "own_bad": found.count, "of": found.kinds,
            }
            for fault, began_s, found in zip(self._both, self._began_s, self._own(house, time.time()), strict=False)
        )  # fmt: skip

    @property
    def causes(self) -> tuple[str, ...]:
        return tuple(cause for fault in self._both for cause in fault.causes)


async def _watch(house: House, seconds: float) -> None:
    """Let time pass in which nothing may end by itself."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + seconds
    while (left_s := until_s - loop.time()) > 0:
        house.check_alive()
        await asyncio.sleep(min(left_s, 1.0))


def at_replica(fault: Fault, house: House) -> str:
    """The one replica it is at, or whose card it is at; empty when there is none."""
    where = fault.where(house)
    by_card = [replica.address for replica in house.replicas if str(replica.gpu) == where.get("gpu")]
    return where.get("instance") or (by_card[0] if len(by_card) == 1 else "")


def draw_both(pairs: Sequence[tuple[type[Fault], type[Fault]]], rng: random.Random) -> tuple[Fault, Fault]:
    """
    Two that both can be seen, drawn from *pairs*.

    Raises:
        Spoilt: there are hardly any.
    """
    firsts = list(dict.fromkeys(first for first, _ in pairs))
    for _ in range(_MOST_DRAWS):
        first = rng.choice(firsts)  # each as often, however many can be beside it
        second = rng.choice([other for one, other in pairs if one is first])
        both = first(random.Random(rng.random())), second(random.Random(rng.random()))
        if seen_together(*both):
            return both
    raise Spoilt("no two faults can be seen together in this house")


def seen_together(first: Fault, second: Fault) -> bool:
    """Whether neither hides the other, as far as is known in advance."""
    both = (first, second)
    if any(_EXCHANGES.get(fault.name, "none") in {"", fault.magnitudes.get("variant")} for fault in both):
        return False
    alone = [fault for fault in both if of_one(fault)]
    if not alone:
        return False  # nobody could say whose bad answers are whose
    if len(alone) == 2:
        return None not in {first.victim, second.victim} and first.victim != second.victim
    whole = next(fault for fault in both if fault not in alone)
    if whole.name in _SETS_ALL and alone[0].name in _MAY_END:
        return False
    return whole.name not in _STOPS or alone[0].name in _ENDS


def of_one(fault: Fault) -> bool:
    """Whether it is at one replica."""
    if fault.name in _OF_ONE:
        one = fault.magnitudes.get("variant") == _OF_ONE[fault.name]
        return one and fault.magnitudes.get("replicas", 1) == 1
    return fault.victim is not None


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
