"""The error budget over hours and days: what is booked, what is unknown, and what survives."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from aiops.detect.budget import ErrorBudget
from aiops.model import Labels, Sample
from aiops.selfstat import SelfStat
from aiops.store.rings import Rings
from tests.fakes import FakeCheckpoints

START_S = 1_700_006_400.0
HOUR, DAY = 3600.0, 86_400.0
REQUESTS = "http_server_requests_total"


class Node:
    """A gateway's counters, rings and the book, with a clock that can be set."""

    def __init__(self, checkpoints: FakeCheckpoints | None = None, **services: float) -> None:
        self.checkpoints = checkpoints or FakeCheckpoints()
        self.services = services
        self.now_s = START_S
        self.totals: dict[tuple[str, str], float] = {}
        self.newest: dict[tuple[str, Labels], float] = {}
        self.start()

    def start(self) -> None:
        """A fresh process: rings and counters begin anew, the checkpoints stay."""
        self.totals.clear()
        self.reload()
        self.rings = Rings(SelfStat(CollectorRegistry()))

    def reload(self) -> None:
        """A fresh session on the same rings and counters."""
        self.budget = ErrorBudget("n1", 0.9995, self.services, self.checkpoints)

    def run(self, seconds: float, good: float, bad: float = 0.0, service: str = "chat", step: float = 5.0) -> None:
        """Answers a second for *seconds*, read every *step*."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.answer(service, good * step, bad * step, step)

    def answer(self, service: str, good: float, bad: float, step: float = 5.0) -> None:
        before_s, self.now_s = self.now_s, self.now_s + step
        for outcome, count in (("ok", good), ("503", bad)):
            key, labels = (service, outcome), Labels.of(host_name="n1", service=service, outcome=outcome)
            if key not in self.totals:
                if not count:
                    continue
                self.totals[key] = 0.0
                self.rings.extend([Sample(REQUESTS, labels, before_s, 0.0)])
            self.totals[key] += count
            self.rings.extend([Sample(REQUESTS, labels, self.now_s, self.totals[key])])
        self.tick()

    def tick(self) -> None:
        self.rings.expire(self.now_s)
        for sample in self.budget.samples(self.rings, self.now_s):
            self.newest[sample.metric, sample.labels] = sample.value

    def reading(self, metric: str, service: str = "chat", window: str = "") -> float | None:
        """The newest, asked for right now."""
        self.newest.clear()
        self.now_s += 15.0
        self.tick()
        labels = Labels.of(host_name="n1", service=service)
        return self.newest.get((metric, labels.merge(window=window) if window else labels))


def test_a_failing_hour_is_seen_in_every_window_that_knows_enough():
    """One in a hundred failing burns a budget of 0.05 % twenty times too fast."""
    node = Node()
    node.run(HOUR, 19.8, 0.2)

    assert node.reading("slo_burn_rate", window="5m") == pytest.approx(20.0, rel=0.02)
    assert node.reading("slo_burn_rate", window="1h") == pytest.approx(20.0, rel=0.02)
    assert node.reading("slo_failed_requests", window="1h") == pytest.approx(720.0, rel=0.03)
    assert node.reading("slo_burn_rate", window="6h") is None, "five of six hours nobody watched"
    assert node.reading("slo_objective_ratio") == 0.9995


def test_a_calm_night_after_a_bad_hour_leaves_the_short_windows_and_stays_in_the_long_ones():
    """What a ticket about three days is made of."""
    node = Node()
    node.run(HOUR, 10.0, 0.1, step=15.0)
    node.run(40 * HOUR, 10.0, step=60.0)

    assert node.reading("slo_burn_rate", window="1h") == 0.0
    assert node.reading("slo_burn_rate", window="6h") == 0.0
    assert node.reading("slo_burn_rate", window="3d") == pytest.approx(0.01 / 1.01 / 41 / 0.0005, rel=0.1)


def test_the_budget_left_is_a_share_of_the_failures_allowed_among_the_answers_seen():
    """A million answers allow five hundred failures."""
    node = Node()
    node.run(28 * HOUR, 9.999, 0.001, step=300.0)

    assert node.reading("slo_error_budget_remaining_ratio") == pytest.approx(1 - 0.0001 / 0.0005, rel=0.02)


def test_a_budget_that_allows_a_handful_of_failures_is_no_reading():
    """In its first minutes a service that keeps its promise would be told to have broken it for thirty days."""
    node = Node()
    node.run(1_700.0, 9.996, 0.004, step=100.0)
    assert node.reading("slo_error_budget_remaining_ratio") is None

    node.run(500.0, 9.996, 0.004, step=100.0)
    assert node.reading("slo_error_budget_remaining_ratio") == pytest.approx(0.2, abs=0.02)


def test_a_service_may_promise_something_else():
    """A batch service that may fail once in a hundred."""
    node = Node(batch=0.99)
    node.run(HOUR, 9.9, 0.1, service="batch", step=15.0)

    assert node.reading("slo_burn_rate", "batch", "1h") == pytest.approx(1.0, rel=0.02)


def test_what_expired_from_memory_stays_in_the_book_and_after_thirty_days_it_goes():
    """The book is longer than the rings, and not endless."""
    node = Node()
    node.run(HOUR, 10.0, 1.0, step=15.0)
    node.run(29 * DAY, 10.0, step=3600.0)
    assert node.reading("slo_error_budget_remaining_ratio") < 1.0

    node.run(2 * DAY, 10.0, step=3600.0)
    assert node.reading("slo_error_budget_remaining_ratio") == 1.0


def test_a_counter_that_restarts_counts_from_zero():
    """The gateway's reader was restarted; nothing failed a million times."""
    node = Node()
    node.run(HOUR, 10.0, 0.05, step=15.0)
    node.totals = dict.fromkeys(node.totals, 0.0)
    node.run(HOUR, 10.0, 0.05, step=15.0)

    assert node.reading("slo_burn_rate", window="1h") == pytest.approx(0.05 / 10.05 / 0.0005, rel=0.05)


@pytest.mark.parametrize("again", [Node.start, Node.reload])
def test_a_restart_or_reload_loses_nothing_and_counts_nothing_twice(again: Callable[[Node], None]):
    """A reload keeps the rings, whose last minutes are in the book already."""
    node = Node()
    node.run(HOUR, 9.9, 0.1)
    failed = node.reading("slo_failed_requests", window="1h")
    node.budget.remember()
    again(node)

    assert node.reading("slo_failed_requests", window="1h") == pytest.approx(failed, rel=0.02)
    node.run(300.0, 9.9, 0.1)
    assert node.reading("slo_burn_rate", window="1h") == pytest.approx(20.0, rel=0.02)


def test_a_time_the_daemon_was_down_is_unknown_and_not_good():
    """Ten minutes before and ten after an hour of nobody looking: an hour is not half known."""
    node = Node()
    node.run(600.0, 9.0, 1.0)
    node.budget.remember()
    node.start()
    node.now_s += HOUR - 900.0
    node.run(600.0, 9.0, 1.0)

    assert node.reading("slo_burn_rate", window="1h") is None
    assert node.reading("slo_burn_rate", window="5m") == pytest.approx(200.0, rel=0.02)


def test_a_log_that_cannot_be_read_makes_no_good_minutes():
    """Its counters go on being written, and stand still."""
    node = Node()
    node.run(HOUR, 9.0, 1.0)
    up = Labels.of(host_name="n1", service="chat")
    for _ in range(12 * 40):
        node.rings.extend([Sample("http_server_log_up", up, node.now_s, 0.0)])
        node.answer("chat", 0.0, 0.0)

    assert node.reading("slo_burn_rate", window="30m") is None
    assert node.reading("slo_burn_rate", window="1h") is None


@pytest.mark.parametrize("jump_s", [-7200.0, -60.0, 90.0, 7200.0])
def test_a_clock_that_jumps_makes_no_failures(jump_s: float):
    """Whatever the clock says, one answer in two hundred failed."""
    node = Node()
    node.run(HOUR, 9.95, 0.05, step=5.0)
    node.now_s += jump_s
    node.rings.expire(node.now_s)
    node.run(HOUR, 9.95, 0.05, step=5.0)

    assert node.reading("slo_burn_rate", window="1h") == pytest.approx(10.0, rel=0.1)
    assert node.reading("slo_error_budget_remaining_ratio") == pytest.approx(-9.0, rel=0.1)


def test_a_month_survives_a_clock_that_was_wrong_for_a_moment():
    """An hour in the year 2033 must not be the end of the book."""
    node = Node()
    node.run(5 * HOUR, 9.0, 1.0, step=15.0)
    node.now_s += 10 * 365 * DAY
    node.run(60.0, 10.0)
    node.now_s -= 10 * 365 * DAY
    node.rings.expire(node.now_s)
    node.run(HOUR, 10.0)

    assert node.reading("slo_burn_rate", window="6h") == pytest.approx(5 / 60 / 0.0005, rel=0.05)


def test_a_late_line_of_a_new_kind_is_booked():
    """The first 503 may be stamped a few seconds before the last look."""
    node = Node()
    node.run(HOUR, 10.0)
    labels = Labels.of(host_name="n1", service="chat", outcome="503")
    node.rings.extend(
        [Sample(REQUESTS, labels, node.now_s - 7.0, 0.0), Sample(REQUESTS, labels, node.now_s - 6.0, 25.0)]
    )

    assert node.reading("slo_failed_requests", window="1h") == 25.0


@pytest.mark.parametrize(
    "saved",
    [
        b"rubbish",
        zlib.compress(b"{}"),
        zlib.compress(b"[" * 100_000),
        zlib.compress(json.dumps({"service": "chat", "minutes": [[1, 1, 2]], "hours": [], "until_s": 0}).encode()),
        zlib.compress(b" " * 10_000_000),
    ],
    ids=["no zlib", "nothing in it", "nested", "more bad than all", "huge"],
)
def test_a_book_that_cannot_be_read_back_begins_anew(saved: bytes):
    """A damaged checkpoint must not keep the daemon from starting."""
    checkpoints = FakeCheckpoints()
    checkpoints.put("slo/0", saved)
    node = Node(checkpoints)
    node.run(HOUR, 9.9, 0.1, step=15.0)

    assert node.reading("slo_burn_rate", window="1h") == pytest.approx(20.0, rel=0.02)


def test_there_is_room_for_sixteen_services_and_for_new_ones_when_old_ones_are_gone():
    """Names made up by clients must not fill the memory."""
    node = Node()
    for number in range(20):
        node.answer(f"s{number}", 50.0, 50.0)
        node.answer(f"s{number}", 50.0, 50.0, step=15.0)
    assert sum(node.reading("slo_objective_ratio", f"s{number}") is not None for number in range(20)) == 16

    node.now_s += 31 * DAY
    node.run(600.0, 9.0, 1.0, service="late")
    assert node.reading("slo_burn_rate", "late", "5m") == pytest.approx(200.0, rel=0.02)


def test_a_full_book_fits_into_a_checkpoint():
    """Sixty-four kibibytes are what one may hold."""
    node = Node()
    node.run(31 * DAY, 123.456, 0.789, step=3600.0)
    node.run(7 * HOUR, 123.456, 0.789, step=60.0)
    node.budget.remember()

    assert 0 < len(node.checkpoints.values["slo/0"]) < 48 * 1024
