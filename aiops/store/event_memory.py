"""
Events of the last day, in memory.

Whoever looks for a deploy before an incident must not wait for the disk, and must see an event as soon as it came. A
source may tell one twice, after a restart or because somebody pushed it again: it is held once.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from math import isfinite

from aiops.model import Event, EventKind

KEPT = 5_000
"""Events held at most."""


class EventMemory:
    """
    The newest events, by time; implements `ports.EventSink` and `ports.EventReader`. Safe to use from several threads.

    Args:
        has_change_feed: Whether anybody reported a change before; what this daemon saw by itself says nothing about that.
    """

    def __init__(self, *, has_change_feed: bool = False) -> None:
        self._change_feed = has_change_feed
        self._events: list[Event] = []
        self._known: set[Event] = set()
        self._lock = threading.Lock()

    def remember(self, event: Event) -> None:
        if not isfinite(event.at_s):
            return
        with self._lock:
            self._change_feed = self._change_feed or _is_pushed(event)
            if event in self._known:
                return
            self._known.add(event)
            insort(self._events, event, key=_at_s)
            if len(self._events) > KEPT:
                self._known.discard(self._events.pop(0))

    def events(self, start_s: float, end_s: float) -> Sequence[Event]:
        with self._lock:
            first = bisect_left(self._events, start_s, key=_at_s)
            return self._events[first : bisect_right(self._events, end_s, first, key=_at_s)]

    def has_change_feed(self) -> bool:
        return self._change_feed

    def forget(self, before_s: float) -> None:
        """Let go of what happened before *before_s*."""
        with self._lock:
            end = bisect_left(self._events, before_s, key=_at_s)
            self._known.difference_update(self._events[:end])
            del self._events[:end]


def _is_pushed(event: Event) -> bool:
    return event.kind is EventKind.CHANGE and not event.labels.get("seen_by")


def _at_s(event: Event) -> float:
    return event.at_s
