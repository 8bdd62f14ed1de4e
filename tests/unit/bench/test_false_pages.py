"""What is counted as a false page: a wrong rule would make the figure in docs/quality.md wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "bench"))

import calm_node
import false_pages
import tables_calm

from aiops.model import ChangeKind, Message, Notification, Sample, Severity


def notification(
    subject: str, change: ChangeKind, severity: Severity, at_s: float, receiver: str = "oncall"
) -> Notification:
    return Notification(f"{subject}:{at_s}:{receiver}", subject, receiver, at_s, Message(change, severity, subject, ()))


def test_users_are_hurt_only_where_queues_refused_more_than_the_objective_allows():
    """Ten minutes before and an hour after belong to it, for a budget is told of later than it is spent."""
    answered = np.full(4 * 3600, 10)
    refused = np.zeros(4 * 3600, int)
    refused[3700:3710] = 1

    found = false_pages.hurt(refused, answered)

    assert (found.argmax(), found.sum()) == (3000, 600 + 600 + 3600)
    assert not false_pages.hurt(refused * 0, answered).any()
    few = np.zeros(4 * 3600, int)
    few[3700:3704] = 1
    assert not false_pages.hurt(few, answered).any()


def test_an_incident_is_one_page_and_grouped_rows_are_one_each():
    """Updates and resolves wake nobody again."""
    page, ticket = Severity.PAGE, Severity.TICKET
    given = [
        notification("a", ChangeKind.OPENED, ticket, 1.0), notification("a", ChangeKind.UPDATED, page, 2.0),
        notification("a", ChangeKind.UPDATED, page, 3.0), notification("a", ChangeKind.RESOLVED, page, 4.0),
        notification("tickets", ChangeKind.TICKET, ticket, 5.0), notification("tickets", ChangeKind.TICKET, ticket, 6.0),
        notification("a", ChangeKind.UPDATED, page, 2.0, receiver="wall"),
    ]  # fmt: skip

    found = [(each["second"], each["severity"]) for each in false_pages.told(given, 0.0)]

    assert found == [(1, "ticket"), (2, "page"), (5, "ticket"), (6, "ticket")]


def test_short_files_are_played_whole_and_long_ones_share_what_is_left():
    """Thirty node-days must not all be of the longest file."""
    found = false_pages.share_out({"hour": 3_600.0, "week": 604_800.0, "months": 4_838_400.0}, 10.0)

    assert found["hour"] == 3_600
    assert found["week"] == found["months"]
    assert sum(found.values()) == pytest.approx(10 * 86_400, abs=2)


@pytest.mark.parametrize(("load", "refuses"), [(0.6, False), (1.6, True)])
def test_a_node_refuses_only_when_it_is_asked_for_more_than_it_can_do(load: float, refuses: bool):
    """Otherwise the benign traffic would not be benign, or the overload none."""
    rng = np.random.default_rng(7)
    node = calm_node.Node(calm_node.Build.drawn(rng), rng, 1_000.0)

    refused = 0
    for second in range(400):
        node.step(second, load * node.build.capacity)
        refused += node.refused

    assert (refused > 0) is refuses


def test_counters_of_a_node_never_fall_but_at_a_restart_and_times_are_in_order():
    """A model that breaks what every collector keeps to would measure the wrong thing."""
    rng = np.random.default_rng(11)
    node = calm_node.Node(calm_node.Build.drawn(rng), rng, 1_000.0)
    newest: dict[tuple[str, object], Sample] = {}
    for second in range(200):
        for observations in node.step(second, 0.5 * node.build.capacity):
            for sample in observations:
                if isinstance(sample, Sample):
                    before = newest.get((sample.metric, sample.labels))
                    if before is not None:
                        assert sample.at_s > before.at_s
                        assert not sample.metric.endswith("_total") or sample.value >= before.value
                    newest[sample.metric, sample.labels] = sample
    assert len(newest) > 100


def test_nothing_seen_in_thirty_days_may_still_be_three_a_month():
    """The rule of three, two-sided: 0 is never told without what it may hide."""
    low, high = tables_calm.poisson_interval(0)

    assert (low, high) == (0.0, pytest.approx(3.689, abs=1e-3))
    assert tables_calm.poisson_interval(3) == (pytest.approx(0.619, abs=1e-3), pytest.approx(8.767, abs=1e-3))
