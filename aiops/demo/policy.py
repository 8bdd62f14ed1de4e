"""What a gateway does with requests: how many it lets in, how long it waits, whom it asks again. All may change while it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """A gateway's configuration. Times are seconds; None means without limit."""

    keep: int = 32
    """Idle connections kept to each upstream; 0 opens one a request."""
    replaces_stale: bool = True
    """Whether a request that failed on a kept connection is sent again over a new one."""
    connect_s: float | None = None
    read_s: float | None = None
    """Longest silence of an upstream."""
    total_s: float | None = None
    """Longest whole answer."""
    rate: float | None = None
    """Requests a second let in."""
    burst: int = 0
    """Requests let in beyond that, at once."""
    in_flight: int | None = None
    """Requests let in at a time."""
    refuses_with: int = 503
    tries: int = 1
    """Upstreams asked for a request that could not be sent."""


class Bucket:
    """A leaky bucket, as nginx' limit_req has one with a burst and without delay."""

    def __init__(self) -> None:
        self._excess = 0.0
        self._last_s: float | None = None

    def takes(self, rate: float, burst: int, now_s: float) -> bool:
        """Whether one more request at *now_s* is within *rate* and *burst*."""
        passed_s = 0.0 if self._last_s is None else now_s - self._last_s
        excess = max(self._excess - rate * passed_s, 0.0)
        self._last_s = now_s
        self._excess = excess + 1.0 if excess <= burst else excess
        return excess <= burst
