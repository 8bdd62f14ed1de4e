"""A receiver's own limit on messages, kept on our side: asking too often gets a bot blocked for minutes."""

from __future__ import annotations

from collections import deque


class Pace:
    """
    At most so many sends in so many seconds, for several windows at once.

    Args:
        limits: Pairs of a count and the seconds it holds for.
    """

    def __init__(self, *limits: tuple[int, float]) -> None:
        self._limits = limits
        self._sent: deque[float] = deque(maxlen=max(count for count, _ in limits))

    def wait_s(self, at_s: float) -> float:
        """Seconds until the next send is allowed; 0 when it is now. Times are of a clock that never goes back."""
        waits = [0.0]
        for count, window_s in self._limits:
            if len(self._sent) >= count:
                waits.append(self._sent[-count] + window_s - at_s)
        return max(waits)

    def took(self, at_s: float) -> None:
        """A send begins."""
        self._sent.append(at_s)
