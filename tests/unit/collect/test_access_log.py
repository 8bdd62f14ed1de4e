"""The access log becomes counts that say who answered what, when it arrived, and how long it took."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import uvicorn
import uvicorn.logging
from hypothesis import given
from hypothesis import strategies as st

from aiops.catalog import CATALOG
from aiops.clock import ManualClock
from aiops.collect.access_format import SUGGESTED_FORMAT, Format, Parser
from aiops.collect.access_log import AccessLog, Config, build
from aiops.collect.file_names import reading_hint
from aiops.collect.known_servers import named_upstreams
from aiops.document import FieldError
from aiops.model import Labels, Observation, Sample, Sight
from aiops.ports import World
from aiops.stats import increase
from tests.fakes import FakeCheckpoints, FakeInbox, FakeSeries

NOW_S = 1_800_000_000.0


class Gateway:
    """Writes a log and lets the collector read it, second by second."""

    def __init__(self, tmp_path: Path, **settings: Any) -> None:
        self.path = tmp_path / "chat.log"
        self.path.touch()
        self.checkpoints = FakeCheckpoints()
        self.root = tmp_path
        self.settings = {"paths": (str(self.path),), "discover": False, **settings}
        self.collector = self.start()
        self.series = FakeSeries()
        self.sights: list[Sight] = []
        self.now_s = NOW_S
        self.read()

    def start(self) -> AccessLog:
        world = World("n1", self.root, ManualClock(), cast("httpx.AsyncClient", None), self.checkpoints, FakeInbox())
        return build(Config(**self.settings), world)

    def write(self, *lines: str | bytes) -> None:
        with self.path.open("ab") as file:
            for line in lines:
                file.write((line if isinstance(line, bytes) else line.encode()) + b"\n")

    def read(self, after_s: float = 0.0) -> list[Observation]:
        self.now_s += after_s
        observations = list(self.collector.collect(self.now_s))
        self.series.extend(each for each in observations if isinstance(each, Sample))
        self.sights += [each for each in observations if isinstance(each, Sight)]
        self.collector.acknowledge(self.now_s)
        return observations

    def counted(self, start_s: float = 0.0, **match: str) -> float:
        windows = self.series.window("http_server_requests_total", start_s, self.now_s, match)
        return sum(increase(window.values) for window in windows)

    def bucket(self, metric: str, at_s: float) -> float | None:
        for points in self.series.held.get(metric, {}).values():
            return points.get(at_s)
        return None


def request(at_s: float = NOW_S + 0.5, **values: Any) -> str:
    """A line as the suggested format writes it."""
    return json.dumps(
        {
            "t": f"{at_s:.3f}", "st": 200, "rt": 0.2, "uht": "0.050", "urt": "0.200", "ust": "200",
            "ua": "127.0.0.1:8001", "uri": "/v1/chat/completions", "rc": "OK", "retry": "",
        }
        | values
    )  # fmt: skip


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path)


def test_upstreams_of_this_machine_are_told_to_whoever_looks_for_servers(gateway):
    """A new replica is in the log before anybody else knows of it."""
    gateway.write(request(), request(ua="localhost:8004"), request(ua="10.0.0.7:8000"), request(ua="-"))
    gateway.read(1.0)
    assert named_upstreams(gateway.checkpoints) == {"127.0.0.1:8001", "127.0.0.1:8004"}


# --- requests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ({}, "ok"),
        ({"st": 302}, "ok"),
        ({"st": 404}, "4xx"),
        ({"st": 429}, "429"),
        ({"st": 499}, "499"),
        ({"st": 503}, "503"),
        ({"st": 500}, "5xx"),
        ({"st": "504"}, "5xx"),
        ({"rc": ""}, "truncated"),
        ({"rt": 120.5}, "stalled"),
        ({"rt": 120.5, "rc": ""}, "truncated"),
        ({"rt": 120.5, "st": 503}, "503"),
    ],
)
def test_every_answer_has_one_outcome(gateway: Gateway, values: dict[str, Any], outcome: str) -> None:
    """Symptoms are told apart by it."""
    gateway.write(request(**values))
    gateway.read(2.0)

    assert gateway.counted(outcome=outcome) == gateway.counted() == 1


@pytest.mark.parametrize(
    ("values", "answered_by", "upstream"),
    [
        ({}, "upstream", "127.0.0.1:8001"),
        ({"st": 503, "ust": "503"}, "upstream", "127.0.0.1:8001"),
        ({"st": 503, "ust": "-", "ua": "-", "uht": "-"}, "gateway", "none"),
        ({"st": 503, "ust": "", "ua": "", "uht": ""}, "gateway", "none"),
        ({"st": 502, "ust": "502", "ua": "backend", "uht": "-"}, "gateway", "none"),
        ({"st": 502, "ust": "502", "uht": "-"}, "gateway", "127.0.0.1:8001"),
        ({"st": 504, "ust": "504, 504", "ua": "10.0.0.1:80, 10.0.0.2:80", "uht": "-, -"}, "gateway", "10.0.0.2:80"),
        ({"ust": "502, 200", "ua": "10.0.0.1:80, 10.0.0.2:80", "uht": "-, 0.1"}, "upstream", "10.0.0.2:80"),
        ({"ust": "404 : 200", "ua": "10.0.0.1:80 : 10.0.0.3:80"}, "upstream", "10.0.0.3:80"),
        ({"st": 502, "ust": "502", "uht": "0.010"}, "upstream", "127.0.0.1:8001"),
    ],
)
def test_who_answered_is_the_last_upstream_or_the_gateway(
    gateway: Gateway, values: dict[str, Any], answered_by: str, upstream: str
) -> None:
    """Nginx writes its own 502 and 504 where an upstream's status stands; only a header time proves an answer."""
    gateway.write(request(**values))
    gateway.read(2.0)

    assert gateway.counted(answered_by=answered_by, upstream=upstream) == 1


@pytest.mark.parametrize(
    "values",
    [
        {"uri": "/health"},
        {"uri": "/metrics?x=1"},
        {"uri": "/v1/models", "http_user_agent": "kube-probe/1.31"},
        {"uri": None, "request": "GET /ping HTTP/1.1"},
    ],
)
def test_probes_are_left_out(gateway: Gateway, values: dict[str, Any]) -> None:
    """A failing health check is no user; a thousand good ones would hide failing users."""
    line = {key: value for key, value in (json.loads(request()) | values).items() if value is not None}
    gateway.write(json.dumps(line), request())
    gateway.read(2.0)

    assert gateway.counted() == 1


def test_a_new_series_begins_at_zero_one_second_before_its_first_count(gateway: Gateway) -> None:
    """Without the zero the first 503 of a day would not be an increase; the first bad second is exact."""
    gateway.write(request(NOW_S + 0.2, st=503), request(NOW_S + 0.9, st=503))
    gateway.read(1.5)

    (points,) = gateway.series.held["http_server_requests_total"].values()
    assert points == {NOW_S: 0.0, NOW_S + 1.0: 2.0}


def test_seconds_written_in_one_go_stay_apart(gateway: Gateway) -> None:
    """After a pause of ours, thirty seconds come at once; each failure still has its second."""
    for second in (2, 3, 9):
        gateway.write(request(NOW_S + second + 0.5, st=503))
    gateway.read(20.0)

    assert gateway.counted(NOW_S + 2.0) == 3
    assert gateway.counted(NOW_S + 3.0) == 2
    assert gateway.counted(NOW_S + 4.0) == 1
    assert gateway.counted(NOW_S + 9.0) == 1
    assert gateway.counted(NOW_S + 10.0) == 0


def test_a_second_that_is_not_over_is_not_written(gateway: Gateway) -> None:
    """Half a second of answers looks like half the traffic."""
    gateway.write(request(NOW_S + 1.1))
    gateway.read(1.2)
    assert gateway.counted() == 0

    gateway.read(1.0)
    assert gateway.counted() == 1


def test_a_line_that_comes_late_counts_in_its_own_second(gateway: Gateway) -> None:
    """Gateways buffer their logs; the first bad second must not move because of it."""
    for second in range(6):
        gateway.write(request(NOW_S + second + 0.5))
        gateway.read(1.0)
    gateway.write(request(NOW_S + 2.7))
    gateway.read(1.0)

    assert gateway.counted(NOW_S + 2.0) - gateway.counted(NOW_S + 3.0) == 2


def test_an_unchanged_total_is_repeated_every_five_seconds(gateway: Gateway) -> None:
    """A reader must be able to tell "no more errors" from "no more data"."""
    gateway.write(request(NOW_S + 0.5))
    for _ in range(20):
        gateway.read(1.0)

    (points,) = gateway.series.held["http_server_requests_total"].values()
    assert max(points) >= NOW_S + 15.0
    assert len(points) <= 6


def test_upstreams_beyond_the_bound_are_one(gateway: Gateway) -> None:
    """Someone who can choose upstream names must not choose how much memory we use."""
    gateway.write(*(request(ua=f"10.0.{n // 250}.{n % 250}:80") for n in range(500)))
    gateway.read(2.0)

    assert len(gateway.series.held["http_server_requests_total"]) <= 66
    assert gateway.counted(upstream="other") >= 430
    assert gateway.counted() == 500


def test_upstreams_that_are_gone_give_their_places_to_new_ones(gateway: Gateway) -> None:
    """Each rollout brings replicas under new addresses; after the fourth the new ones must still be told apart."""
    gateway.write(*(request(ua=f"10.0.0.{number}:80") for number in range(64)))
    gateway.read(2.0)
    gateway.read(3_700.0)
    gateway.write(
        *(
            request(gateway.now_s + 0.5, ua=f"10.0.1.{number}:80", st=status)
            for number in range(64)
            for status in (200, 503)
        )
    )
    gateway.read(2.0)

    assert gateway.counted(upstream="10.0.1.63:80", outcome="503") == 1
    assert gateway.counted(upstream="other") == 0


def test_a_total_that_nobody_counts_into_ends_after_an_hour_and_begins_anew_at_zero(gateway: Gateway) -> None:
    """Or a daemon of a month tells of every replica there ever was, every five seconds."""
    gateway.write(request(ua="10.0.0.1:80"))
    told = [
        any(isinstance(each, Sample) and each.metric == "http_server_requests_total" for each in gateway.read(60.0))
        for _ in range(62)
    ]
    assert told == [True] * 60 + [False] * 2

    gateway.write(request(gateway.now_s + 0.5, ua="10.0.0.1:80"))
    gateway.read(2.0)
    assert gateway.counted() == 2


# --- arrivals -------------------------------------------------------------------------------------------------------


def test_arrivals_are_counted_when_they_came_not_when_they_ended(gateway: Gateway) -> None:
    """A log is written at completion: counted there, a slow server would look like a burst."""
    gateway.read(10.0)
    gateway.write(request(NOW_S + 10.5, rt=7.0))
    gateway.read(1.0)

    assert gateway.bucket("http_server_arrival_rate", NOW_S + 3.0) == 1
    assert gateway.bucket("http_server_arrival_rate", NOW_S + 10.0) == 0


def test_seconds_without_arrivals_are_written_as_zero(gateway: Gateway) -> None:
    """A baseline needs its zeros."""
    for _ in range(5):
        gateway.read(1.0)

    (points,) = gateway.series.held["http_server_arrival_rate"].values()
    assert points == {NOW_S + second: 0.0 for second in range(5)}


def test_only_changed_buckets_are_written_again(gateway: Gateway) -> None:
    """Ten minutes of buckets every second would be most of our work."""
    gateway.read(300.0)
    gateway.write(request(NOW_S + 300.5, rt=100.0))

    again = [each for each in gateway.read(1.0) if isinstance(each, Sample) and each.metric.endswith("arrival_rate")]

    assert [(each.at_s, each.value) for each in again] == [(NOW_S + 200.0, 1.0), (NOW_S + 300.0, 0.0)]


def test_retries_are_no_demand(gateway: Gateway) -> None:
    """A rise of retries after the first refusal is a consequence, never a burst."""
    gateway.write(request(retry="0"), request(retry="2"), request(retry=1))
    gateway.read(2.0)

    assert gateway.bucket("http_server_arrival_rate", NOW_S) == 1
    assert gateway.bucket("http_server_retry_rate", NOW_S) == 2


def test_a_log_without_retry_counts_makes_no_retry_series(gateway: Gateway) -> None:
    """Unknown is not zero."""
    line = json.loads(request())
    del line["retry"]
    gateway.write(json.dumps(line))
    gateway.read(2.0)

    assert "http_server_retry_rate" not in gateway.series.held


def test_arrivals_from_before_the_start_make_no_half_bucket(gateway: Gateway) -> None:
    """Of the seconds before we looked, only the slow requests would be known."""
    gateway.write(request(NOW_S + 1.5, rt=30.0))
    gateway.read(3.0)

    (points,) = gateway.series.held["http_server_arrival_rate"].values()
    assert min(points) >= NOW_S


def test_while_the_log_is_gone_no_zero_is_claimed(gateway: Gateway) -> None:
    """A log that cannot be read is not a service without users."""
    gateway.path.unlink()
    for _ in range(10):
        gateway.read(1.0)
    gateway.path.touch()
    gateway.read(1.0)
    gateway.read(1.0)

    (points,) = gateway.series.held["http_server_arrival_rate"].values()
    assert NOW_S + 5.0 not in points
    assert points[NOW_S + 11.0] == 0.0


def test_ten_minutes_of_buckets_are_kept_and_no_more(gateway: Gateway) -> None:
    """A day of traffic must cost as much memory as ten minutes of it."""
    for _ in range(1500):
        gateway.write(request(gateway.now_s + 0.5))
        gateway.read(1.0)

    (service,) = gateway.collector._services.values()
    assert len(service.arrivals._counts) < 700
    assert all(len(total.seconds) < 70 and len(total.stamps) < 70 for total in service.requests._totals.values())
    assert gateway.counted() == 1500


def test_a_failed_requests_id_seen_again_is_a_retry(gateway: Gateway) -> None:
    """Not every client counts its attempts; the gateway's id goes with all of them."""
    gateway.write(
        request(http_x_request_id="a", st=503), request(http_x_request_id="a"), request(http_x_request_id="b")
    )
    gateway.read(2.0)

    assert gateway.bucket("http_server_arrival_rate", NOW_S) == 2
    assert gateway.bucket("http_server_retry_rate", NOW_S) == 1


def test_an_id_on_several_good_requests_is_no_retry(gateway: Gateway) -> None:
    """An agent asks the model ten times under one id: counted as retries, a burst of agents would be no demand."""
    line = {name: value for name, value in json.loads(request(http_x_request_id="a")).items() if name != "retry"}
    gateway.write(*[json.dumps(line)] * 10)
    gateway.read(2.0)

    assert gateway.bucket("http_server_arrival_rate", NOW_S) == 10
    assert "http_server_retry_rate" not in gateway.series.held


@pytest.mark.parametrize("jump_s", [3600.0, 8 * 86_400.0])
def test_a_clock_set_back_blinds_nobody(gateway: Gateway, jump_s: float) -> None:
    """A node boots with a wrong clock and is put right: what fails then must show then."""
    gateway.now_s += jump_s
    for _ in range(70):
        gateway.write(request(gateway.now_s + 0.5))
        gateway.read(1.0)
    gateway.now_s = NOW_S + 100.0
    gateway.read(1.0)
    for _ in range(10):
        gateway.write(request(gateway.now_s + 0.5), request(gateway.now_s + 0.5, st=503))
        gateway.read(1.0)

    assert gateway.counted(NOW_S + 101.0, outcome="503") >= 9
    assert gateway.bucket("http_server_arrival_rate", NOW_S + 105.0) == 2
    assert gateway.counted(outcome="ok") == 10


# --- refusals ------------------------------------------------------------------------------------------------------


def test_a_limit_and_an_upstream_that_is_down_have_different_reasons(gateway: Gateway) -> None:
    """Both are answered by the gateway itself; one is mended in its settings and the other is not."""
    gateway.write(
        *[request(st=503, ust="", ua="", uht="", uct="", rt=0.0)] * 3,
        request(st=429, ust="", ua="", uht="", uct="", rt=0.0),
        *[request(st=502, ust="502", uht="", uct="", rt=0.001)] * 2,
    )
    gateway.read(2.0)

    refused = {
        (window.labels.get("reason"), window.labels.get("upstream")): increase(window.values)
        for window in gateway.series.window("http_server_refusals_total", 0.0, gateway.now_s)
    }
    assert refused == {
        ("unexplained", "none"): 3.0,  # a limit, or a page for maintenance
        ("rate_limited", "none"): 1.0,
        ("connect_failure", "127.0.0.1:8001"): 2.0,
    }


def test_a_log_that_does_not_say_who_answered_gives_no_reason(gateway: Gateway) -> None:
    """Unknown is absent."""
    gateway.write(COMBINED, request(st=504, ust="504", uht=None))
    gateway.write(json.dumps({"t": NOW_S + 0.5, "st": 502, "ust": "502", "ua": "10.0.0.1:80"}))
    gateway.read(2.0)

    assert {
        window.labels.get("reason") for window in gateway.series.window("http_server_refusals_total", 0.0, 2e9)
    } == {"timeout"}
    assert gateway.counted(outcome="5xx", answered_by="unknown") == 1


def test_a_timeout_shows_as_a_pile_of_durations(gateway: Gateway) -> None:
    """Sixty seconds and a few milliseconds, again and again: nobody's work takes that."""
    gateway.read(300.0)
    gateway.write(*(request(gateway.now_s + 0.1, st=504, rt=60.0 + n / 1000) for n in range(9)))
    gateway.write(request(gateway.now_s + 0.1, st=500, rt=7.0), request(gateway.now_s + 0.1, st=503, rt=0.0))
    gateway.read(6.0)

    (share,) = gateway.series.latest("http_server_failed_duration_pile_ratio", gateway.now_s)
    (value,) = gateway.series.latest("http_server_failed_duration_pile_seconds", gateway.now_s)
    assert (share.labels.get("outcome"), share.value) == ("5xx", pytest.approx(0.9))
    assert value.value == pytest.approx(60.0, abs=0.01)


def test_refusals_for_want_of_a_live_upstream_hide_no_time_out(gateway: Gateway) -> None:
    """nginx takes a server out after a time-out, and with all of them out refuses dozens at once."""
    gateway.read(300.0)
    gateway.write(
        *(request(gateway.now_s + 0.1, st=504, ust="504", uht="-", uct="0.001", rt=1.5 + n / 1000) for n in range(6))
    )
    gateway.write(
        *(
            request(gateway.now_s + 0.1, st=502, ust="502", ua="engines", uht="-", uct="-", urt="0.000", rt=0.0)
            for _ in range(60)
        )
    )
    gateway.read(6.0)

    (share,) = gateway.series.latest("http_server_failed_duration_pile_ratio", gateway.now_s)
    (value,) = gateway.series.latest("http_server_failed_duration_pile_seconds", gateway.now_s)
    assert share.value == 1.0
    assert value.value == pytest.approx(1.5, abs=0.01)


def test_a_pile_of_a_minute_ago_is_forgotten(gateway: Gateway) -> None:
    """And its memory with it."""
    gateway.write(*(request(st=504, rt=60.0) for _ in range(1000)))
    for _ in range(90):
        gateway.read(1.0)

    (points,) = gateway.series.held["http_server_failed_duration_pile_ratio"].values()
    (service,) = gateway.collector._services.values()
    assert max(points) <= NOW_S + 61.0
    assert service.piles._failed == {}


# --- latencies ------------------------------------------------------------------------------------------------------


def test_quantiles_are_of_the_last_window_per_upstream(gateway: Gateway) -> None:
    """A slow replica shows against its peers."""
    for n in range(100):
        gateway.write(request(uht=f"{n / 100:.3f}", rt=n / 10), request(ua="127.0.0.1:8002", uht="0.5"))
    gateway.read(6.0)

    slow, even = ({"upstream": f"127.0.0.1:{port}"} for port in (8001, 8002))
    found = {
        (window.labels.get("upstream"), window.labels.get("quantile")): window.values[-1]
        for window in gateway.series.window("http_server_time_to_first_byte_seconds", 0.0, gateway.now_s)
    }
    assert found[slow["upstream"], "0.5"] == pytest.approx(0.49, rel=0.01)
    assert found[slow["upstream"], "0.95"] == pytest.approx(0.94, rel=0.01)
    assert found[slow["upstream"], "0.99"] == pytest.approx(0.98, rel=0.01)
    assert found[even["upstream"], "0.99"] == pytest.approx(0.5, rel=0.01)


def test_bad_answers_have_no_latency(gateway: Gateway) -> None:
    """A refusal takes a millisecond: counted in, an overload would look fast."""
    gateway.write(request(st=503, uht="0.001", rt=0.001))
    gateway.read(6.0)

    assert "http_server_time_to_first_byte_seconds" not in gateway.series.held


def test_the_quantiles_of_a_flood_are_as_close(gateway: Gateway) -> None:
    """Memory is bounded; the answer may not depend on it by much."""
    gateway.write(*(request(uht=f"{n / 10_000:.4f}") for n in range(10_000)))
    gateway.read(6.0)

    (median,) = gateway.series.window("http_server_time_to_first_byte_seconds", 0.0, gateway.now_s, {"quantile": "0.5"})
    assert median.values[-1] == pytest.approx(0.5, abs=0.01)


# --- formats --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        {"msec": NOW_S, "status": 200, "request_time": "0.2"},
        {"time_iso8601": "2027-01-15T08:00:00+00:00", "status": "200", "request_time": 0.2},
        {"time_local": "15/Jan/2027:09:00:00 +0100", "status": 200, "request_time": 0.2},
        {"time": "2027-01-15T08:00:00Z", "status": 200, "request_time": 0.2},
        {"ts": NOW_S * 1000, "st": 200, "rt": 0.2},
    ],
)
def test_common_key_names_are_known(line: dict[str, Any]) -> None:
    """Nobody agrees on the keys of a JSON log."""
    entry = Parser().parse(json.dumps(line).encode())

    assert entry is not None
    assert (entry.at_s, entry.status, entry.duration_s) == (NOW_S, 200, 0.2)


def test_what_nginx_writes_without_json_escapes_is_repaired() -> None:
    """Many logs in the field are almost JSON."""
    parser = Parser()
    escaped = parser.parse(rb'{"t":1800000000.0,"st":200,"uri":"/a\xE4","rt":0.2}')
    bare = parser.parse(b'{"t":1800000000.0,"st":503,"uht":-,"urt":,"rt":0.2}')
    foreign = parser.parse(b'{"t":1800000000.0,"st":200,"uri":"/\xff\xfe","rt":0.2}')

    assert escaped is not None
    assert bare is not None
    assert foreign is not None
    assert (escaped.path, bare.status, bare.first_byte_s) == ("/a\xe4", 503, None)


COMBINED = '10.1.2.3 - - [15/Jan/2027:08:00:00 +0000] "POST /v1/chat?key=s HTTP/1.1" 503 190 "-" "openai/1.0"'


def test_the_combined_format_is_read_and_its_limits_are_named(tmp_path: Path) -> None:
    """It says neither how long a request took nor who answered: a person is told what to add."""
    gateway = Gateway(tmp_path)
    gateway.write(COMBINED)
    gateway.read(2.0)

    assert gateway.counted(outcome="503", answered_by="unknown", upstream="none") == 1
    assert gateway.bucket("http_server_arrival_rate", NOW_S) == 1
    (sight,) = [sight for sight in gateway.sights if sight.subject.endswith(": format")]
    assert not sight.seen
    assert "how long requests took" in sight.detail
    assert "$upstream_status" in sight.hint


def test_pairs_behind_the_combined_format_are_read() -> None:
    """The usual way to add durations to it."""
    entry = Parser().parse(f'{COMBINED} rt=1.5 ust="-, 503" ua="10.0.0.1:80, 10.0.0.2:80" uht="-, 1.2"'.encode())

    assert entry is not None
    assert (entry.duration_s, entry.upstream, entry.by_upstream, entry.path) == (1.5, "10.0.0.2:80", True, "/v1/chat")


def test_routes_have_quantiles_of_their_own(gateway: Gateway) -> None:
    """Embeddings beside generation: together they have a P99 that is neither's."""
    gateway.write(*[request(uri="/v1/embeddings", rt=0.01)] * 50, *[request(rt=8.0)] * 50)
    gateway.read(6.0)

    found = {
        window.labels.get("route"): window.values[-1]
        for window in gateway.series.window(
            "http_server_route_duration_seconds", 0.0, gateway.now_s, {"quantile": "0.99"}
        )
    }
    assert found == {
        "/v1/embeddings": pytest.approx(0.01, rel=0.01),
        "/v1/chat/completions": pytest.approx(8.0, rel=0.01),
    }


@pytest.mark.parametrize("form", ["yaml", "$remote_addr", "log_format x '$uri';"])
def test_a_format_of_no_use_is_refused_in_the_settings(form: str) -> None:
    """And says what is expected, with the file and line."""
    with pytest.raises(FieldError, match="expected one of auto, json"):
        Config(format=form)


def test_a_definition_in_the_settings_is_a_format(tmp_path: Path) -> None:
    """People copy it from nginx.conf."""
    gateway = Gateway(tmp_path, format="log_format x '$msec|$status|$request_time';")
    gateway.write(f"{NOW_S + 0.5}|503|0.5")
    gateway.read(2.0)

    assert gateway.counted(outcome="503") == 1


def test_a_line_of_uvicorns_own_formatter_is_read() -> None:
    """What vLLM and SGLang print is made by it."""
    made = uvicorn.logging.AccessFormatter(
        uvicorn.config.LOGGING_CONFIG["formatters"]["access"]["fmt"], use_colors=False
    )
    record = logging.LogRecord(
        "uvicorn.access", logging.INFO, "", 0, '%s - "%s %s HTTP/%s" %d',
        ("10.0.0.7:51234", "POST", "/v1/chat/completions?key=canary", "1.1", 503), None,
    )  # fmt: skip

    entry = Parser().parse(made.format(record).encode())

    assert entry is not None
    assert (entry.at_s, entry.status, entry.path, entry.by_upstream) == (None, 503, "/v1/chat/completions", True)


def test_a_servers_lines_are_counted_when_they_are_read(gateway: Gateway) -> None:
    """Uvicorn writes no time; among other lines of the program, which are no losses."""
    gateway.write(
        'INFO:     10.0.0.7:5 - "POST /v1/completions HTTP/1.1" 503 Service Unavailable', *["Traceback:"] * 50
    )
    gateway.read(1.0)
    gateway.read(1.0)

    assert gateway.counted(outcome="503", answered_by="upstream") == 1
    assert "log_lines_skipped_total" not in gateway.series.held
    (sight,) = [sight for sight in gateway.sights if sight.subject.endswith(": format")]
    assert "name the gateway's log" in sight.hint


def test_a_servers_lines_of_a_stop_are_not_counted_as_now(gateway: Gateway) -> None:
    """Ten minutes of requests in the second of a restart would look like a burst."""
    uvicorn = 'INFO:     10.0.0.7:5 - "POST /v1/completions HTTP/1.1" 200 OK'
    gateway.write(uvicorn)
    gateway.read(1.0)
    gateway.write(*[uvicorn] * 100)
    gateway.collector, gateway.series = gateway.start(), FakeSeries()
    gateway.read(60.0)
    gateway.write(*[uvicorn] * 2)
    gateway.read(1.0)
    gateway.read(1.0)

    assert gateway.counted() == 2
    (lost,) = gateway.series.latest("log_lines_skipped_total", gateway.now_s)
    assert (lost.labels.get("reason"), lost.value) == ("undated", 100.0)


def test_a_given_format_refuses_the_other() -> None:
    """Who says json wants to know when it is none."""
    assert Parser(Format.JSON).parse(COMBINED.encode()) is None
    assert Parser(Format.COMBINED).parse(request().encode()) is None
    assert Parser(Format.COMBINED).parse(COMBINED.encode()) is not None


def test_queries_and_addresses_are_forgotten(gateway: Gateway) -> None:
    """Keys stand in query strings, people behind addresses: neither may get into a label."""
    gateway.write(request(uri="/v1/chat?api_key=sk-canary", remote_addr="10.9.8.7"), COMBINED)
    everything = repr(gateway.read(2.0))

    assert "canary" not in everything
    assert "10.9.8.7" not in everything
    assert "10.1.2.3" not in everything


# --- hostile and broken input ---------------------------------------------------------------------------------------

HOSTILE: dict[str, bytes] = {
    "binary": bytes(range(11, 256)) * 20,
    "a megabyte": b'{"t":1800000000.5,"st":200,"uri":"' + b"x" * 2**20 + b'"}',
    "no JSON": b'{"t":1800000000.5,"st":',
    "deep": b'{"a":' * 20_000,
    "a list": b"[1,2,3]",
    "no status": b'{"t":1800000000.5}',
    "status of text": b'{"t":1800000000.5,"st":"abc"}',
    "status out of range": b'{"t":1800000000.5,"st":99999}',
    "time of nothing": b'{"t":null,"st":200}',
    "time of NaN": b'{"t":"NaN","st":200}',
    "time before the epoch": b'{"t":-5,"st":200}',
    "time as a huge number": b'{"t":1e999,"st":200}',
    "time as an endless integer": b'{"t":' + b"9" * 5000 + b',"st":200}',
    "local time of no month": b'{"t":"15/Foo/2027:08:00:00 +0000","st":200}',
    "the far future": b'{"t":1900000000.5,"st":503}',
    "long ago": b'{"t":1700000000.5,"st":503}',
    "NUL bytes": b"\0" * 1000,
}


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_line_that_makes_no_sense_is_counted_and_the_next_one_read(gateway: Gateway, line: bytes) -> None:
    """Anyone can make a gateway log anything."""
    gateway.write(line, request(), line)
    gateway.read(2.0)

    assert gateway.counted() == 1
    skipped = sum(window.values[-1] for window in gateway.series.window("log_lines_skipped_total", 0.0, 2e9))
    assert skipped >= 2


def test_a_flood_of_names_makes_no_flood_of_series(gateway: Gateway) -> None:
    """Clients choose paths, models, ids and (through a broken upstream) statuses; none may choose our memory."""
    for second in range(5):
        gateway.write(
            *(
                request(
                    NOW_S + second + 0.5, ua=f"10.0.{n % 250}.{n // 250}:80", uri=f"/{'abcdefghij'[n % 10]}{n}/x", st=200 + n % 400, model=f"m{n}",
                    http_x_request_id=f"r{n}", ust=str(200 + n % 400),
                )
                for n in range(second * 4_000, second * 4_000 + 4_000)
            )
        )  # fmt: skip
        gateway.read(1.0)
    gateway.read(6.0)

    (service,) = gateway.collector._services.values()
    held = {metric: len(by_labels) for metric, by_labels in gateway.series.held.items()}
    assert gateway.counted() == 20_000
    assert held["http_server_route_requests_total"] <= 128 + 5
    assert held["http_server_refusals_total"] <= 128 + 11
    assert held["http_server_route_duration_seconds"] <= 32 * 3
    assert len(service._failed_ids) <= 4_096
    assert len(service._models._heard_s) <= 16


@pytest.mark.parametrize(
    "values",
    [
        {"rt": -5},
        {"rt": "abc"},
        {"rt": 1e300},
        {"rt": None},
        {"rt": True},
        {"ua": 7},
        {"ua": "\n:"},
        {"ust": []},
        {"uri": {}},
    ],
)
def test_a_reading_that_makes_no_sense_is_left_out(gateway: Gateway, values: dict[str, Any]) -> None:
    """The answer still happened."""
    gateway.write(request(**values))
    gateway.read(2.0)

    assert gateway.counted() == 1


LONG = 65_000
SLOW: dict[str, str] = {
    "spaces after a colon": '{"a":' + " " * LONG + "x}",
    "dashes after colons": '{"a"' + ": - " * (LONG // 4),
    "escapes": '{"a":"' + "\\x" * (LONG // 2),
    "digits": '{"t":"' + "9" * LONG + '","st":200}',
    "a list without end": '{"t":1800000000,"st":200,"ua":"' + "a:1, " * (LONG // 5) + '"}',
    "a request without end": '10.1.2.3 - - [15/Jan/2027:08:00:00 +0000] "' + "\\a" * (LONG // 2),
    "words behind": COMBINED + " " + "w" * LONG,
    "pairs behind": COMBINED + " " + 'a="' * (LONG // 3),
    "quotes": ' - "' * (LONG // 4),
    "a port": "INFO:     " + "1" * LONG + ':1 - "GET /',
    "brackets": "[" * LONG,
    "HAProxy's beginnings": "[15/Jan/2027:08:00:01.100] " * (LONG // 27),
    "HAProxy's slashes": "[15/Jan/2027:08:00:01.100] a " + "b/" * (LONG // 2),
    "blanks": " " * LONG,
}


@pytest.mark.parametrize("line", SLOW.values(), ids=SLOW.keys())
def test_no_line_takes_long(line: str) -> None:
    """A single line that takes a second, sent once a second, blinds the daemon."""
    parser = Parser()
    raw = line.encode()

    begun_s = time.process_time()
    parser.parse(raw)

    assert time.process_time() - begun_s < 0.2


@given(st.one_of(st.binary(max_size=300), st.dictionaries(st.sampled_from(["t", "st", "rt", "ua", "ust", "uht", "uri", "rc", "retry"]), st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.lists(st.integers(), max_size=2)))))  # fmt: skip
def test_no_line_raises(line: bytes | dict[str, Any]) -> None:
    """One line must not end the reading of all others."""
    raw = line if isinstance(line, bytes) else json.dumps(line).encode()

    entry = Parser().parse(raw)

    assert entry is None or 100 <= entry.status <= 599


def test_a_clock_slightly_ahead_is_forgiven(gateway: Gateway) -> None:
    """Clocks differ by a moment; a count stamped in the future would not be seen by anyone."""
    gateway.write(request(NOW_S + 3.0))
    gateway.read(1.0)
    gateway.read(1.0)

    assert gateway.counted() == 1


def test_a_log_in_no_known_format_is_a_blind_spot(gateway: Gateway) -> None:
    """Twenty unreadable lines are no accident; a page that says "watching" would be a lie."""
    gateway.write(*(f"GET / {n}" for n in range(25)))
    gateway.read(1.0)

    assert (gateway.sights[-1].seen, gateway.sights[-1].detail) == (False, "none of its lines can be read")
    assert "log_format" in gateway.sights[-1].hint
    (up,) = gateway.series.latest("http_server_log_up", gateway.now_s)
    assert up.value == 0.0


def test_a_log_that_vanishes_is_said_once_and_back_once(gateway: Gateway) -> None:
    """A log down for a night is one line in ours."""
    gateway.path.unlink()
    for _ in range(5):
        gateway.read(1.0)
    gateway.write(request(gateway.now_s + 0.5))
    for _ in range(5):
        gateway.read(1.0)

    said = [(sight.seen, sight.detail) for sight in gateway.sights if sight.subject.startswith("access log")]
    assert said == [
        (True, "requests of service chat"),
        (False, "no such file or directory"),
        (True, "requests of service chat"),
    ]
    assert gateway.counted() == 1


def test_up_is_written_at_once_when_it_changes_and_then_every_five_seconds(gateway: Gateway) -> None:
    """Detectors ask whether anyone is watching."""
    for _ in range(3):
        gateway.read(1.0)
    gateway.path.unlink()
    for _ in range(3):
        gateway.read(1.0)

    (points,) = gateway.series.held["http_server_log_up"].values()
    assert list(points.values()) == [1.0, 0.0]
    assert min(points) == NOW_S


# --- finding logs ---------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "var/log/nginx").mkdir(parents=True)
    return tmp_path


def test_logs_in_the_usual_places_are_found(tree: Path) -> None:
    """`aiops run` without settings watches nginx."""
    log = tree / "var/log/nginx/api_access.log"
    log.touch()
    gateway = Gateway(tree, paths=(), discover=True)
    with log.open("a") as file:
        file.write(request() + "\n")
    gateway.read(2.0)

    assert gateway.counted(service="api_access") == 1


def test_a_log_that_appears_later_is_found_and_read_whole(tree: Path) -> None:
    """Nginx may start after us."""
    gateway = Gateway(tree, paths=(), discover=True)
    (tree / "var/log/nginx/access.log").write_text(request(NOW_S + 20.0) + "\n")
    gateway.read(31.0)
    gateway.read(1.0)

    assert gateway.counted() == 1


def test_where_every_day_has_a_file_of_its_own_today_s_is_read(tmp_path: Path) -> None:
    """After sixteen days there is no place for another, unless one that nobody writes any more is left."""
    for day in range(20):
        old = tmp_path / f"gw-2027-01-{day + 1:02}.log"
        old.touch()
        os.utime(old, (NOW_S + day,) * 2)
    gateway = Gateway(tmp_path, paths=(str(tmp_path / "gw-*.log"),), service="chat")
    gateway.path = tmp_path / "gw-2027-01-20.log"
    gateway.write(request(NOW_S + 0.5))
    gateway.read(2.0)
    assert gateway.counted() == 1

    for day in range(21, 25):
        gateway.path = tmp_path / f"gw-2027-01-{day}.log"
        gateway.write(request(gateway.now_s + 86_400.5))
        gateway.read(86_402.0)
        gateway.read(1.0)
    assert gateway.counted() == 5
    assert len(gateway.collector._logs) == 16
    assert list(gateway.collector._services) == ["chat"]


def test_rotations_that_a_pattern_names_are_not_read_as_logs_of_their_own(tmp_path: Path) -> None:
    """Every request would count twice, after each rotation once more."""
    gateway = Gateway(tmp_path, paths=(str(tmp_path / "chat.log*"),))
    gateway.write(request())
    gateway.read(2.0)
    gateway.path.rename(tmp_path / "chat.log.1")
    gateway.path.touch()
    for _ in range(40):
        gateway.read(1.0)

    assert gateway.counted() == 1
    assert list(gateway.collector._logs) == [str(gateway.path)]


def test_an_idle_log_nobody_asked_for_claims_nothing(tree: Path) -> None:
    """A web server's empty log must not silence the other ways to see refusals, nor raise an alert when it goes."""
    log = tree / "var/log/nginx/access.log"
    log.touch()
    gateway = Gateway(tree, paths=(), discover=True)
    for _ in range(10):
        gateway.read(1.0)
    assert "http_server_log_up" not in gateway.series.held

    log.write_text(request(gateway.now_s + 0.5) + "\n")
    gateway.read(1.0)
    (up,) = gateway.series.latest("http_server_log_up", gateway.now_s)
    assert up.value == 1.0


def conf_of(tree: Path, text: str) -> Path:
    folder = tree / "etc/nginx"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nginx.conf").write_text(text)
    return folder / "nginx.conf"


def test_a_log_is_found_where_nginx_is_told_to_write_it(tree: Path) -> None:
    """With the format it is told to write."""
    log = tree / "var/log/nginx/chat.log"
    log.touch()
    conf_of(tree, "log_format own '$status at $msec'; access_log /var/log/nginx/chat.log own;")
    gateway = Gateway(tree, paths=(), discover=True)
    log.write_text(f"503 at {NOW_S + 0.5}\n")
    gateway.read(2.0)

    assert gateway.counted(service="chat", outcome="503") == 1


def test_a_log_beside_a_better_one_is_followed_only_if_it_is_named(tree: Path) -> None:
    """Whoever adds the suggested format beside the old log must not be paged twice for one outage."""
    logs = [tree / "var/log/nginx" / name for name in ("access.log", "better.log")]
    for log in logs:
        log.touch()
    conf_of(
        tree, f"{SUGGESTED_FORMAT} access_log /var/log/nginx/access.log; access_log /var/log/nginx/better.log aiops;"
    )

    assert list(Gateway(tree, paths=(), discover=True).collector._logs) == [str(logs[1])]
    assert set(Gateway(tree, paths=(str(logs[0]),), discover=True).collector._logs) == {str(log) for log in logs}


def test_a_format_changed_in_the_configuration_is_learnt(tree: Path) -> None:
    """Within half a minute, and what came before under the old one is counted too."""
    log = tree / "var/log/nginx/chat.log"
    log.touch()
    conf = conf_of(tree, "log_format own '$status at $msec'; access_log /var/log/nginx/chat.log own;")
    os.utime(conf, (1.0, 1.0))
    gateway = Gateway(tree, paths=(), discover=True)
    log.write_text(f"503 at {NOW_S + 20.5}\n")
    gateway.read(21.0)
    conf_of(tree, "log_format own '$msec=$status'; access_log /var/log/nginx/chat.log own;")
    gateway.read(10.0)
    with log.open("a") as file:
        file.write(f"{NOW_S + 31.5}=503\n")
    gateway.read(2.0)

    assert gateway.counted(outcome="503") == 2


def test_no_log_at_all_is_a_blind_spot_with_a_hint(tmp_path: Path) -> None:
    """Without a gateway log 503 and 500 cannot be told apart: the user should know what to add."""
    gateway = Gateway(tmp_path, paths=(), discover=True)

    (sight,) = gateway.sights
    assert not sight.seen
    assert "log_format" in sight.hint


def test_a_log_that_may_not_be_read_names_the_group(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The most common reason, and one command mends it."""
    log = tree / "var/log/nginx/access.log"
    log.touch()
    opened = os.open

    def refuse(path: Any, *args: Any, **kwargs: Any) -> int:
        if str(path) == str(log):
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        gateway = Gateway(tree, paths=(), discover=True)

    (sight,) = gateway.sights
    assert sight.detail == "permission denied"
    assert sight.hint == reading_hint(str(log))


def test_the_same_log_under_two_names_is_read_once(tree: Path) -> None:
    """Named in the settings and found by search."""
    log = tree / "var/log/nginx/access.log"
    log.touch()
    gateway = Gateway(tree, paths=(str(log),), discover=True)
    with log.open("a") as file:
        file.write(request() + "\n")
    gateway.read(2.0)

    assert gateway.counted() == 1


def test_after_a_restart_what_was_missed_is_counted(gateway: Gateway) -> None:
    """kill -9 in the middle of a spike: the failures of the meantime must show."""
    gateway.write(request(NOW_S + 0.5))
    gateway.read(1.0)
    gateway.write(*(request(NOW_S + second + 0.5, st=503) for second in range(2, 8)))
    gateway.collector, gateway.series = gateway.start(), FakeSeries()
    gateway.read(10.0)

    assert gateway.counted(outcome="503") == 6
    assert gateway.bucket("http_server_arrival_rate", NOW_S + 5.0) == 1


def test_only_catalogued_metrics_and_labels_come_out(gateway: Gateway) -> None:
    """Rules may only cite what stands in the catalogue."""
    gateway.write(request(retry=1), request(st=503), "junk", COMBINED)
    observations: Iterable[Observation] = [*gateway.read(2.0), *gateway.read(6.0)]

    for sample in (each for each in observations if isinstance(each, Sample)):
        assert {name for name, _ in sample.labels.pairs} == set(CATALOG[sample.metric].labels)


def test_labels_are_sorted_and_so_join_with_those_of_others(gateway: Gateway) -> None:
    """Two label sets are equal only in one order."""
    gateway.write(request())
    gateway.read(2.0)

    for by_labels in gateway.series.held.values():
        for labels in by_labels:
            assert labels == Labels.from_mapping(dict(labels.pairs))
