"""An engine that refuses while it holds less than it used to has another limit; one that fills up first has another want."""

from __future__ import annotations

import pytest

from aiops.correlate.holding import holding_finding
from aiops.model import EvidenceState
from aiops.rulebook.causes import Scope
from aiops.rulebook.clauses import HoldingTest
from tests.unit.correlate.test_evidence import BAD_S, Node

PRESENT, ABSENT, UNKNOWN = EvidenceState.PRESENT, EvidenceState.ABSENT, EvidenceState.UNKNOWN


def node(
    *,
    runs: tuple[float, float],
    waits: tuple[float, float],
    stands_s: float = 0.0,
    refuses: float = 2.0,
    page: bool = True,
) -> Node:
    """Three replicas alike: what they run and let wait before the first bad answer, and since."""
    found = Node()
    for name in ("r0", "r1", "r2"):
        for metric, (before, since) in (("running", runs), ("waiting", waits)):
            found.gauge(f"gen_ai_server_requests_{metric}", before, then=since, at_s=BAD_S, instance=name)
        found.gauge("gen_ai_server_no_progress_seconds", 0.0, then=stands_s, at_s=BAD_S, instance=name)
        if page:
            found.counter("gen_ai_server_requests_rejected_total", refuses, instance=name)
        else:
            labels = {"outcome": "503", "answered_by": "upstream", "upstream": name, "service": "chat"}
            found.counter("http_server_requests_total", refuses, **labels)
    return found


def outcome(found: Node) -> EvidenceState:
    scene, place = found.at(Scope.SERVICE, 0)
    return holding_finding(HoldingTest(), scene, place).state


@pytest.mark.parametrize(
    ("runs", "waits", "state"),
    [
        ((8, 1), (0, 0), PRESENT),  # a queue that takes nobody
        ((8, 2), (0, 3), PRESENT),
        ((8, 4), (0, 6), PRESENT),  # more than ever in all, and yet it runs half as many
        ((8, 32), (0, 8), ABSENT),  # a burst: it filled up
        ((8, 8), (0, 8), ABSENT),  # always at its limit, and now more than that
        ((8, 20), (0, 0), ABSENT),
    ],
)
def test_a_limit_has_moved_where_less_is_held_than_before(runs, waits, state):
    """What was carried without refusing shows what the hardware can do."""
    assert outcome(node(runs=runs, waits=waits)) is state
    assert outcome(node(runs=runs, waits=waits, page=False)) is state


def test_an_engine_that_hangs_has_no_limit():
    """Its page shows for ever what it held; one that takes nobody any more has ended most of that first."""
    assert outcome(node(runs=(8, 7), waits=(0, 0), stands_s=20.0)) is ABSENT
    assert outcome(node(runs=(8, 2), waits=(0, 0), stands_s=20.0)) is PRESENT, "pages may show the last batch for ever"


def test_an_engine_that_refuses_nothing_says_nothing():
    """Nor does one whose past nobody saw."""
    assert outcome(node(runs=(8, 2), waits=(0, 3), refuses=0.0)) is UNKNOWN
    assert outcome(Node()) is UNKNOWN
