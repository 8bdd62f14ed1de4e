"""One server's page, read again and again; whole pages stand in tests/cases/collect/inference."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.catalog import CATALOG
from aiops.collect.engines import dialects, gateways
from aiops.collect.server_page import ServerPage, gateway, server
from aiops.errors import SourceMalformed
from aiops.model import Sample

VLLM = next(dialect for dialect in dialects().known if dialect.name == "vllm")
SGLANG = next(dialect for dialect in dialects().known if dialect.name == "sglang")


def page_of(name: str = "vllm") -> ServerPage:
    return server(next(dialect for dialect in dialects().known if dialect.name == name), "n1", "h:1")


def values(samples: list[Sample], metric: str) -> list[float]:
    return [sample.value for sample in samples if sample.metric == f"gen_ai_server_{metric}"]


def test_a_counter_s_zero_is_written_once_and_never_before_the_first_reading():
    """A server watched for the first time may have a long past: its total is not an increase."""
    page = page_of()
    base = b'vllm:num_requests_running{model_name="m"} 1\n'
    counter = b'vllm:num_preemptions_total{model_name="m"} 4\n'

    def totals(text: bytes, at_s: float) -> list[tuple[float, float]]:
        return [(s.at_s, s.value) for s in page.read(text, at_s) if s.metric == "gen_ai_server_preemptions_total"]

    assert totals(base, 0.0) == []
    assert totals(base + counter, 5.0) == [(0.0, 0.0), (5.0, 4.0)]
    assert totals(base + counter, 10.0) == [(10.0, 4.0)]
    assert totals(base, 15.0) == []
    assert totals(base + counter, 20.0) == [(20.0, 4.0)]
    assert values(page_of().read(base + counter, 5.0), "preemptions_total") == [4.0]


@given(st.lists(st.binary(max_size=120), max_size=8))
def test_any_page_gives_samples_or_the_own_error(lines):
    """Whatever a server writes after a name we want, the collector of all servers goes on."""
    for dialect in (*dialects().known, dialects().unknown, *gateways().known):
        page = (gateway if dialect in gateways().known else server)(dialect, "n1", "h:1")
        names = sorted({name for row in dialect.rows for name in row.names} | set(dialect.progress))
        text = b"".join(name.encode() + line + b"\n" for line in lines for name in names[:40])
        for at_s in (0.0, 5.0):
            try:
                samples = page.read(text, at_s)
            except SourceMalformed:
                continue
            assert {sample.metric for sample in samples} <= set(CATALOG)
            assert all(math.isfinite(sample.value) for sample in samples)


@pytest.mark.parametrize("value", [b"NaN", b"+Inf", b"-Inf", b"1e999", b"nonsense"])
def test_a_value_that_is_no_number_is_absent_and_spoils_nothing_beside_it(value):
    """Of two engines one may have nothing to say; the other's queue is still a queue."""
    page = page_of()
    text = b'vllm:num_requests_waiting{engine="0"} %b\nvllm:num_requests_waiting{engine="1"} 7\nvllm:num_requests_running 1\n'
    for at_s in (0.0, 5.0):
        assert values(page.read(text % b"2", at_s), "requests_waiting") == [9.0]
        assert values(page.read(text % value, at_s), "requests_waiting") == [7.0]
        assert values(page.read(text.replace(b" 7", b" %b") % (value, value), at_s), "requests_waiting") == []


def test_a_series_that_stands_there_twice_counts_once():
    """A broken exporter repeats itself; a sum would double."""
    text = b'vllm:num_requests_running{engine="0"} 3\nvllm:num_requests_running{engine="0"} 3\n'
    assert values(page_of().read(text, 0.0), "requests_running") == [3.0]


def test_labels_without_end_are_cut_and_their_number_is_bounded():
    """A model name of a megabyte, or a new pool a scrape, must not become our memory."""
    page = page_of()
    text = b'vllm:num_requests_running{model_name="' + b"m" * 5_000 + b'"} 1\n'
    pools = b"".join(b'db_client_connection_count{pool="p%d",state="used"} 1\n' % number for number in range(3_000))
    samples = page.read(text + pools, 0.0)
    counts = {s.labels.get("pool"): s.value for s in samples if s.metric == "db_client_connection_count"}

    assert max(len(sample.labels.get("model")) for sample in samples) == 200
    assert len(counts) == 17
    assert counts["other"] == 3_000 - 16


def test_a_million_label_values_are_refused_or_folded():
    """As many series as lines are how a metrics page kills its reader."""
    flood = b"".join(b'vllm:request_success_total{finished_reason="r%d"} 1\n' % number for number in range(100_001))
    with pytest.raises(SourceMalformed):
        page_of().read(flood, 0.0)
    some = b"\n".join(flood.split(b"\n")[:5_000]) + b"\n"
    assert len(page_of().read(some, 0.0)) < 50


def stuck(page: ServerPage, *readings: tuple[float, str]) -> list[float]:
    """What is said of the engine's progress at each reading."""
    return [values(page.read(text.encode(), at_s), "no_progress_seconds")[0] for at_s, text in readings]


def vllm(running: int, tokens: int, engine: int = 0) -> str:
    labels = f'{{engine="{engine}",model_name="m"}}'
    return f"vllm:num_requests_running{labels} {running}\nvllm:generation_tokens_total{labels} {tokens}\n"


@pytest.mark.parametrize("step_s", [1.0, 5.0])
def test_an_engine_whose_tokens_stand_still_while_requests_run_is_seen(step_s):
    """It answers its health check with 200 and shows the batch it had: nothing else tells."""
    readings = [(step_s * n, vllm(4, 100 * min(n, 2))) for n in range(9)]
    assert stuck(page_of(), *readings) == [0.0, 0.0, 0.0, *(step_s * n for n in range(1, 7))]


def test_an_idle_engine_and_one_that_restarted_are_not_stuck():
    """No requests, no tokens: that is the night. A counter that falls has moved."""
    page = page_of()
    assert stuck(page, *((5.0 * n, vllm(0, 100)) for n in range(5))) == [0.0] * 5
    assert stuck(page, (30.0, vllm(2, 900)), (35.0, vllm(2, 900)), (40.0, vllm(2, 3)), (45.0, vllm(2, 3))) == [
        0.0, 5.0, 0.0, 5.0,
    ]  # fmt: skip


def test_one_engine_of_several_that_is_stuck_is_seen_beside_those_that_work():
    """Of eight data-parallel engines on one page seven hide the eighth in every sum."""
    readings = [(5.0 * n, vllm(3, 100 * n, 0) + vllm(3, 50, 1)) for n in range(4)]
    assert stuck(page_of(), *readings) == [0.0, 5.0, 10.0, 15.0]


def test_a_clock_that_jumps_and_a_pause_of_ours_are_no_stall():
    """An hour that was not watched, or that never was, is not an hour of standing still."""
    text = vllm(3, 100)
    assert stuck(page_of(), (0.0, text), (5.0, text), (3_605.0, text), (3_610.0, text), (10.0, text), (15.0, text)) == [
        0.0, 5.0, 0.0, 5.0, 0.0, 5.0,
    ]  # fmt: skip


def test_the_page_says_where_a_p99_is_a_guess():
    """SGLang counts up to 0.4 and 0.6 s: our limit of 0.5 s lies between."""
    lines = "".join(
        f'sglang:time_to_first_token_seconds_bucket{{is_streaming="true",le="{edge}"}} 1\n'
        for edge in (0.4, 0.6, "+Inf")
    )
    page = page_of("sglang")
    page.read(lines.encode(), 0.0)
    assert page.guessed == (0.4, 0.6)
    page.read(lines.replace("0.4", "0.5").encode(), 5.0)
    assert page.guessed is None


def test_a_queue_in_a_page_that_grows_a_line_keeps_its_quantiles():
    """A first 4xx adds a line: what was remembered of the buckets must not be thrown away with the layout."""
    page = page_of()
    text = 'vllm:time_to_first_token_seconds_bucket{{le="0.5"}} {0}\nvllm:time_to_first_token_seconds_bucket{{le="+Inf"}} {0}\n'
    page.read(text.format(100).encode(), 0.0)
    samples = page.read(b"vllm:num_requests_running 3\n" + text.format(200).encode(), 5.0)
    assert values(samples, "time_to_first_token_p99_seconds") == [pytest.approx(0.495)]


def tokens(**engines: int) -> bytes:
    """vLLM's page with a line for each engine."""
    lines = (f'vllm:generation_tokens_total{{engine="{name}"}} {count}\n' for name, count in engines.items())
    return ("vllm:num_requests_running 1\n" + "".join(lines)).encode()


@pytest.mark.parametrize(
    ("pages", "totals"),
    [
        # an engine dies: what it had counted stays, and what the others ever counted is no news
        ([{"a": 100, "b": 1_000}, {"b": 1_010}, {"b": 1_030}], [1_100, 1_110, 1_130]),
        # another comes, and has counted a little
        ([{"a": 100}, {"a": 110, "b": 5}, {"a": 110, "b": 9}], [100, 115, 119]),
        # one line is missing on one page
        ([{"a": 100, "b": 1_000}, {"a": 101}, {"a": 102, "b": 1_003}], [1_100, 1_101, 1_105]),
        # one comes back as a new program
        ([{"a": 100, "b": 1_000}, {"a": 101}, {"a": 102, "b": 3}], [1_100, 1_101, 1_105]),
        # all begin anew, with fewer engines, or later
        ([{"a": 100, "b": 1_000}, {"a": 1}, {"a": 2}], [1_100, 1, 2]),
        ([{"a": 100, "b": 1_000}, {"a": 101}, {"a": 2}, {"a": 3}], [1_100, 1_101, 2, 3]),
    ],
)
def test_a_total_of_several_engines_makes_no_step_where_one_comes_or_goes(pages, totals):
    """A sum that falls reads as a restart: all that the living ones ever counted would be a burst."""
    page = page_of()
    found = [
        values(page.read(tokens(**engines), 5.0 * number), "generation_tokens_total")[-1]
        for number, engines in enumerate(pages)
    ]
    assert found == totals


def test_a_cluster_that_is_moved_among_others_takes_nothing_along():
    """Envoy sorts: a new cluster in front moves the last of those told apart to the rest."""
    envoy = next(dialect for dialect in gateways().known if dialect.name == "envoy")
    page = gateway(envoy, "n1", "h:9901")

    def read(names: list[str], count: int, at_s: float) -> dict[str, float]:
        text = "".join(f'envoy_cluster_upstream_rq_timeout{{envoy_cluster_name="{name}"}} {count}\n' for name in names)
        samples = page.read(text.encode(), at_s)
        return {s.labels.get("cluster"): s.value for s in samples if s.metric == "http_gateway_timeouts_total"}

    names = [f"m{number:02}" for number in range(20)]
    assert read(names, 1_000, 0.0)["other"] == 4_000.0
    grown = read(["a", *names], 1_000, 5.0)
    assert grown["a"] == 1_000.0
    assert grown["other"] == 4_000.0, "the sixteenth is counted there from now on"
    assert read(["a", *names], 1_001, 10.0)["other"] == 4_005.0
    assert read(names, 1_002, 15.0)["m15"] == 1.0
