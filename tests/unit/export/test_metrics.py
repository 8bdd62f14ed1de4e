"""The /metrics page can be read by whoever scrapes it, whatever the labels hold."""

from __future__ import annotations

import random

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from aiops.catalog import CATALOG, Metric, MetricKind
from aiops.export.metrics import Exposition
from aiops.model import Labels, Sample
from aiops.selfstat import SelfStat

GPU = Labels.of(host_name="n1", hw_id="GPU-1", gpu="0")


def page_of(*samples: Sample) -> str:
    exposition = Exposition(CollectorRegistry())
    exposition.render(samples)
    return exposition.page().decode()


def read(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_prometheus_parser_reads_back_every_catalogued_metric_with_its_kind_and_help():
    """What Prometheus reads is what the rings hold, under the kind the catalogue says."""
    node = [name for name in CATALOG if not name.startswith("aiops_")]
    samples = [Sample(name, GPU, 1.0, float(i) + 0.1) for i, name in enumerate(node)]

    text = page_of(*samples)

    assert read(text) == {(name, frozenset(GPU.pairs)): i + 0.1 for i, name in enumerate(node)}
    for name in node:
        if not name.endswith(("_seconds_sum", "_seconds_count")):
            assert f"# HELP {name} {CATALOG[name].help}\n# TYPE {name} {CATALOG[name].kind}\n{name}{{" in text


def test_a_running_sum_and_its_count_are_one_summary():
    """As two counters without _total they would be renamed by parsers and lamented by linters."""
    base = "gen_ai_server_time_to_first_token_seconds"
    text = page_of(Sample(f"{base}_sum", GPU, 1.0, 9.0), Sample(f"{base}_count", GPU, 1.0, 3.0))

    (family,) = text_string_to_metric_families(text)
    assert (family.name, family.type) == (base, "summary")
    assert sorted((s.name, s.value) for s in family.samples) == [(f"{base}_count", 3.0), (f"{base}_sum", 9.0)]


@pytest.mark.parametrize(
    "hostile", ['quo"te', "back\\slash", "new\nline", "tail\\", '"} 1\nforged{a="', "", "汉字", "\x00\r\t", "{}=,#"]
)
def test_hostile_label_values_survive_the_round_trip_and_forge_no_line(hostile):
    """Label values come from file names and other programs' pages."""
    labels = Labels.of(host_name="n1", device=hostile)

    found = read(page_of(Sample("system_disk_await_seconds", labels, 1.0, 2.5)))

    assert found == {("system_disk_await_seconds", frozenset(labels.pairs)): 2.5}


def test_bytes_that_are_no_utf8_do_not_break_the_page():
    """A mount point may have any bytes in its name; they arrive as lone surrogates."""
    labels = Labels.of(host_name="n1", mountpoint="/mnt/\udcff")

    text = page_of(Sample("system_filesystem_utilization_ratio", labels, 1.0, 0.5))

    assert 'mountpoint="/mnt/?"' in text


def test_the_order_does_not_depend_on_the_order_of_the_samples():
    """A page that reshuffles at each scrape cannot be diffed or compressed."""
    samples = [
        Sample(metric, Labels.of(host_name="n1", gpu=str(gpu)), 1.0, 1.0)
        for metric in ("hw_power_watts", "hw_gpu_up", "hw_temperature_celsius")
        for gpu in range(8)
    ]
    shuffled = samples.copy()
    random.Random(4).shuffle(shuffled)

    assert page_of(*samples) == page_of(*shuffled)


def test_a_reading_that_is_no_finite_number_is_absent_rather_than_zero():
    """Unknown is a value of its own."""
    text = page_of(
        Sample("hw_power_watts", GPU, 1.0, float("nan")),
        Sample("hw_temperature_celsius", GPU, 1.0, float("inf")),
        Sample("hw_gpu_up", GPU, 1.0, 1.0),
    )

    assert "hw_power_watts" not in text
    assert "hw_temperature_celsius" not in text
    assert "hw_gpu_up{" in text


def test_no_metric_is_both_in_the_catalogue_and_one_of_our_own():
    """A metric given twice makes Prometheus refuse the whole page."""
    registry = CollectorRegistry()
    SelfStat(registry)
    own = {sample.name for family in registry.collect() for sample in family.samples}
    own |= {family.name for family in registry.collect()}

    assert own
    assert not own & set(CATALOG)
    assert 'aiops_collector_up{collector="host"} 1.0\n' in page_of(
        Sample("aiops_collector_up", Labels.of(collector="host"), 1.0, 1.0)
    )


def test_names_the_catalogue_does_not_know_are_left_out():
    """A collector's mistake must not become a metric somebody builds a dashboard on."""
    assert "typo" not in page_of(Sample("typo_ratio", GPU, 1.0, 1.0))


def test_the_later_of_two_samples_of_a_series_wins():
    """A duplicate line would make the page unreadable."""
    text = page_of(Sample("hw_gpu_up", GPU, 1.0, 1.0), Sample("hw_gpu_up", GPU, 2.0, 0.0))

    assert list(read(text).values()) == [0.0]


def test_a_series_that_ended_leaves_the_page_and_the_cache():
    """Otherwise every process id ever seen would stay in memory."""
    exposition = Exposition(CollectorRegistry())
    exposition.render([Sample("hw_gpu_up", Labels.of(gpu=str(i)), 1.0, 1.0) for i in range(100)])
    exposition.render([Sample("hw_gpu_up", Labels.of(gpu="7"), 1.0, 1.0)])

    assert exposition.page().decode().count("hw_gpu_up{") == 1
    assert sum(len(family) for family in exposition._prefixes.values()) == 1


def test_own_counters_are_as_fresh_as_the_scrape():
    """Only node samples are cached; our own counters say whether we still work."""
    registry = CollectorRegistry()
    counter = Counter("aiops_example_total", "Example.", registry=registry)
    exposition = Exposition(registry)
    exposition.render([])
    counter.inc(3)

    assert "aiops_example_total 3.0" in exposition.page().decode()


def test_help_text_with_newlines_stays_one_line():
    """A second line of help would be read as a sample."""
    catalog = {"m": Metric("m", MetricKind.GAUGE, "ratio", (), "one\ntwo \\ three", "test")}
    exposition = Exposition(CollectorRegistry(), catalog)
    exposition.render([Sample("m", Labels(), 1.0, 1.0)])

    assert exposition.page().decode().splitlines() == [r"# HELP m one\ntwo \\ three", "# TYPE m gauge", "m 1.0"]


def test_a_tick_nobody_scrapes_costs_nothing_and_scrapes_until_the_next_share_one_page() -> None:
    """Ten scrapers must not cost ten times as much, and most ticks are scraped by nobody."""
    asked: list[int] = []

    def samples() -> list[Sample]:
        asked.append(len(asked))
        return [Sample("hw_gpu_count", Labels(), 1.0, float(len(asked)))]

    exposition = Exposition(CollectorRegistry())
    exposition.renew(samples)
    exposition.renew(samples)
    assert asked == []

    pages = [exposition.page() for _ in range(10)]

    assert len(asked) == 1
    assert set(pages) == {pages[0]}
    exposition.renew(samples)
    assert b"hw_gpu_count 2.0" in exposition.page()
