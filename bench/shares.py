"""How sure a share is: Wilson's interval, and intervals over cases drawn again."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

_Z = 1.959964
"""Of the normal distribution, for 95 %."""


def wilson(hits: int, total: int) -> tuple[float, float]:
    """
    95 % bounds of a share (Wilson 1927).

    They stay within 0 and 1, and are honest for few cases and for shares near the ends.
    """
    if not total:
        return 0.0, 1.0
    share, weight = hits / total, _Z * _Z / total
    centre = share + weight / 2.0
    reach = _Z * math.sqrt(share * (1.0 - share) / total + weight / (4.0 * total))
    return max(0.0, (centre - reach) / (1.0 + weight)), min(1.0, (centre + reach) / (1.0 + weight))


def share(hits: Iterable[bool]) -> dict:
    """A share with its bounds and counts."""
    held = [bool(hit) for hit in hits]
    low, high = wilson(sum(held), len(held))
    value = sum(held) / len(held) if held else None
    return {"hits": sum(held), "of": len(held), "share": value, "low": round(low, 4), "high": round(high, 4)}


def bounds(values: np.ndarray) -> list[float]:
    """The middle 95 %."""
    return [round(float(v), 3) for v in np.quantile(values, (0.025, 0.975))]
