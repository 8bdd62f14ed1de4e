"""Pushed observations reach the next tick as they are."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import httpx

from aiops.clock import ManualClock
from aiops.collect.changes import Config, build
from aiops.model import Event, EventKind, Labels, Sample, Sight
from aiops.ports import World
from tests.fakes import FakeCheckpoints, FakeInbox

NOW_S = 1_800_000_000.0
DEPLOY = Event(EventKind.CHANGE, "deploy", NOW_S, Labels.of(version="2.0"))
SUCCESS = Sample("business_success_ratio", Labels.of(service="chat"), NOW_S, 0.99)


def test_what_was_pushed_comes_once_and_in_order() -> None:
    """A deploy counted twice would look like a rollback."""
    inbox = FakeInbox()
    collector = build(
        Config(), World("n1", Path("/"), ManualClock(), cast("httpx.AsyncClient", None), FakeCheckpoints(), inbox)
    )
    list(collector.collect(NOW_S))
    inbox.offer(DEPLOY)
    inbox.offer(SUCCESS)

    seen = [each for each in collector.collect(NOW_S) if not isinstance(each, Sight)]

    how_late = Sample("business_lag_seconds", Labels.of(service="chat", metric="business_success_ratio"), NOW_S, 0.0)
    assert seen == [DEPLOY, SUCCESS, how_late]
    assert list(collector.collect(NOW_S)) == []


def test_a_missing_feed_is_a_blind_spot_until_the_first_push() -> None:
    """Without a deploy feed "no deploy" cannot be claimed: the user should know."""
    inbox = FakeInbox()
    collector = build(
        Config(), World("n1", Path("/"), ManualClock(), cast("httpx.AsyncClient", None), FakeCheckpoints(), inbox)
    )

    first = [each for each in collector.collect(NOW_S) if isinstance(each, Sight)]
    inbox.offer(DEPLOY)
    second = [each for each in collector.collect(NOW_S) if isinstance(each, Sight)]

    assert [(sight.subject, sight.seen) for sight in first] == [("change events", False), ("business metrics", False)]
    assert [(sight.subject, sight.seen) for sight in second] == [("change events", True)]
    assert "/api/v1/events" in first[0].hint
