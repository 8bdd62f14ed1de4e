"""What really happened in a run, as it stands beside its recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Truth:
    """Times are epoch seconds; None is what did not happen."""

    fault: str
    cause: str | None
    causes: tuple[str, ...]
    """Ids of all causes that are right as roots."""
    kind: str
    """fault, lookalike, none, undescribed, two."""
    where: dict[str, str]
    """``{"gpu": "2"}``, ``{"instance": "127.0.0.1:8001"}``, or empty: everywhere."""
    stub: bool
    """Whether the decisive signal comes from the stand-in for NVIDIA's library."""
    gateway: str
    dialect: str
    seed: int
    magnitudes: dict[str, Any]
    began_s: float
    first_bad_s: float | None
    ended_s: float
    decoy_s: float
    revision: str
    """Of the tree that ran."""
    answers: dict[str, int] = field(default_factory=dict)
    """What users got in all, by status."""
    bad_share: float = 0.0
    """Of the answers from the first bad one to the end of the fault."""

    each: tuple[dict[str, Any], ...] = ()
    """Of two faults at once: when each began, where, and which bad answers were its own."""

    def as_json(self) -> dict[str, Any]:
        """For truth.json."""
        return asdict(self)


class Spoilt(Exception):
    """The experiment says nothing: nobody was hurt though somebody should, or the house failed by itself."""


_LEAST_BAD, _LEAST_SHARE = 10, 0.02
"""Less than both is nothing anybody would be woken for."""
_STRAY, _CLEAR_S = 2, 5.0
"""So many bad answers, so long before the fault, are everyday: no service is without any."""


def check_hurt(
    *, hurts: bool, began_s: float, ended_s: float, bad_s: Sequence[float], answers: int
) -> tuple[float | None, float]:
    """
    When the fault first hurt (None where it should not and did not), and which share of answers was bad from then on.

    Args:
        hurts: Whether it should.
        began_s: When it began.
        ended_s: When it was ended.
        bad_s: When users got bad answers, in order.
        answers: How many answers they got from about the first bad one to the end of the fault.

    Raises:
        Spoilt: users were hurt before it began, or although they should not, or were not (or hardly) although they should.
    """
    early = [at_s for at_s in bad_s if at_s < began_s]
    if len(early) > _STRAY or any(at_s > began_s - _CLEAR_S for at_s in early):
        raise Spoilt(f"{len(early)} bad answers before anything happened, the first {began_s - early[0]:.1f} s before")
    within = [at_s for at_s in bad_s if began_s <= at_s <= ended_s]
    if not hurts:
        if len(bad_s) > _STRAY:
            raise Spoilt(f"{len(bad_s)} bad answers though nobody should be hurt")
        return None, 0.0
    share = len(within) / max(answers, len(within), 1)
    if len(within) < _LEAST_BAD or share < _LEAST_SHARE:
        raise Spoilt(f"hardly anybody was hurt: {len(within)} bad answers, {share * 100:.1f} %")
    return within[0], share
