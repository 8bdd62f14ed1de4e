"""What every fault offers: a name, what it should be called, how it begins and ends, and where it is."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from tests.lab.house import House
    from tests.lab.plan import Plan

Magnitudes = dict[str, float | str]


class Fault(ABC):
    """
    Something real that happens to a house, and ends.

    Args:
        rng: Magnitudes are drawn from it, here and nowhere else: wide and realistic, chosen before anybody looked at what
            the daemon makes of them.
    """

    name: ClassVar[str]
    cause: ClassVar[str | None]
    """Id of the cause file that describes it; None when none does, or when nothing is wrong."""
    kind: ClassVar[str] = "fault"
    """Or lookalike, none, undescribed, two."""
    hurts: ClassVar[bool] = True
    """Whether users must get bad answers; where not, they must get none."""
    stub: ClassVar[bool] = False
    """Whether its decisive signal comes from the stand-in for NVIDIA's library."""
    alone: ClassVar[bool] = False
    """Whether it uses up what cells share (cores, the disk, the kernel's log), so that no other may run beside it."""
    pairs: ClassVar[bool] = True
    """Whether it may be one of two faults at once."""
    healthy_s: ClassVar[float] = 45.0
    """How long the house runs before it."""
    wait_s: ClassVar[float] = 60.0
    """Within which users must be hurt, from its beginning; else the experiment failed."""
    hurt_s: ClassVar[float] = 50.0
    """How long it lasts from the first bad answer on; from its beginning, where it hurts nobody."""
    gateways: ClassVar[tuple[str, ...]] = ("python", "nginx")
    """Those it is possible on."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Programs it runs, beyond those of any house; see `tests.lab.needs`."""
    dialects: ClassVar[tuple[str, ...]] = ("vllm", "sglang")

    _victim: int | None = None
    each: tuple[dict[str, Any], ...] = ()
    """Of several at once, after their end: when each began, where, and its own bad answers."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.magnitudes: Magnitudes = {}

    def furnish(self, plan: Plan) -> Plan:
        """The house it needs, where that is not any house: `dataclasses.replace` of *plan*."""
        return plan

    async def prepare(self, house: House) -> None:  # noqa: B027 - most need nothing
        """What it needs from the start on and not every house has. Database and cards run; nothing else does yet."""

    @abstractmethod
    async def begin(self, house: House) -> None:
        """Let it happen; returns when it is under way, which may be before anybody is hurt."""

    @abstractmethod
    async def end(self, house: House) -> None:
        """Undo it; also called when `begin` failed half-way."""

    @property
    def causes(self) -> tuple[str, ...]:
        """Ids of all causes that are right as roots."""
        return (self.cause,) if self.cause else ()

    @property
    def victim(self) -> int | None:
        """The index of the replica it happens to, where that is drawn in advance."""
        return self._victim

    def where(self, house: House) -> dict[str, str]:
        """The place that must be named: ``gpu`` or ``instance``; empty when it is everywhere. Asked after `begin`."""
        return {}
