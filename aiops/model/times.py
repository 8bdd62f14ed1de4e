"""When something began, as far as that can be known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LONG_AGO_S: Final = 0.0
"""Earlier than any sample: the last normal one of what was never seen normal. JSON, as which incidents are kept, knows no infinity."""


@dataclass(frozen=True, slots=True)
class Onset:
    """
    When something began, as the interval (last normal sample, first abnormal sample].

    Two onsets are ordered only when their intervals do not overlap.
    """

    after_s: float
    by_s: float

    def before(self, other: Onset) -> bool:
        """Whether this certainly began earlier than *other*."""
        return self.by_s <= other.after_s
