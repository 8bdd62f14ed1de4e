from __future__ import annotations

from aiops.catalog import CATALOG
from aiops.logs.rates import Rates, TemplateRates
from aiops.model import Labels

A = Labels.of(source="/var/log/a.log", instance="127.0.0.1:8001")


def said(rates: Rates, now_s: float) -> list[tuple[float, float]]:
    return [(sample.at_s, sample.value) for sample in rates.samples(now_s)]


def test_a_new_total_is_preceded_by_its_zero():
    """Without the zero, the first out-of-memory line would be no increase."""
    rates = Rates("n1")
    rates.count(A, "vram_exhaustion", "3")
    rates.count(A, "vram_exhaustion", "3")

    zero, two = rates.samples(100.0)

    assert (zero.at_s, zero.value, two.at_s, two.value) == (99.0, 0.0, 100.0, 2.0)
    assert zero.metric == "log_records_total"
    assert zero.labels == Labels.of(
        host_name="n1", source="/var/log/a.log", instance="127.0.0.1:8001", log_class="vram_exhaustion", gpu="3"
    )


def test_labels_that_are_not_known_are_left_out():
    """An empty gpu label would look like a card without a name."""
    rates = Rates("n1")
    rates.count(Labels.of(source="kernel"), "gpu_hw", "")

    assert next(iter(rates.samples(1.0))).labels == Labels.of(host_name="n1", source="kernel", log_class="gpu_hw")


def test_unchanged_totals_are_repeated_every_fifteen_seconds():
    """Readers take a sample older than 30 s for missing; saying it every second would be waste."""
    rates = Rates("n1")
    rates.count(A, "dns", "")
    said(rates, 100.0)

    assert [now_s for now_s in range(101, 150) if said(rates, float(now_s))] == [115, 130, 145]


def test_a_step_after_a_rest_is_told_where_it_happened():
    """Onset is an interval between two samples: fifteen seconds of silence must not become its width."""
    rates = Rates("n1")
    rates.count(A, "dns", "")
    said(rates, 100.0)
    for now_s in range(101, 110):
        assert said(rates, float(now_s)) == []
    rates.count(A, "dns", "")

    assert said(rates, 110.0) == [(109.0, 1.0), (110.0, 2.0)]
    rates.count(A, "dns", "")
    assert said(rates, 111.0) == [(111.0, 3.0)]


def test_a_total_that_stood_still_for_an_hour_is_given_up_and_begins_anew():
    """Sources come and go; their totals must not be repeated for ever."""
    rates = Rates("n1")
    rates.count(A, "dns", "")
    said(rates, 100.0)

    assert said(rates, 3_700.0) == []
    assert said(rates, 3_800.0) == []
    rates.count(A, "dns", "")
    assert said(rates, 3_801.0) == [(3_800.0, 0.0), (3_801.0, 1.0)]


def test_a_clock_set_back_does_not_silence_totals():
    """The rings give up the future; what is said now must be there."""
    rates = Rates("n1")
    rates.count(A, "dns", "")
    said(rates, 10_000.0)

    assert said(rates, 6_400.0) == [(6_400.0, 1.0)]


def test_label_sets_are_bounded():
    """Files that are named after requests must not make series without end."""
    rates = Rates("n1")
    taken = [rates.count(Labels.of(source=str(i)), "dns", "") for i in range(2_010)]

    assert taken.count(True) == 2_000
    assert rates.count(Labels.of(source="0"), "dns", "")


def template_totals(rates: TemplateRates, now_s: float) -> dict[str, float]:
    return {sample.labels.get("template_id"): sample.value for sample in rates.samples(now_s)}


def test_a_template_is_counted_by_source():
    """Which log says it is half of what it means."""
    rates = TemplateRates("n1")
    rates.count("t1", "a.log", "dns", "error")
    rates.count("t1", "b.log", "dns", "error")
    rates.count("t1", "b.log", "dns", "error")

    last = [sample for sample in rates.samples(5.0) if sample.at_s == 5.0]
    assert [(sample.labels.get("source"), sample.value) for sample in last] == [("a.log", 1.0), ("b.log", 2.0)]
    for sample in last:
        assert sample.metric in CATALOG
        assert {name for name, _ in sample.labels.pairs} == set(CATALOG[sample.metric].labels)


def test_templates_beyond_a_hundred_are_counted_together():
    """Series cost memory for an hour, and a program may write what it likes."""
    rates = TemplateRates("n1")
    for i in range(130):
        rates.count(f"t{i}", "a.log", "benign", "error")

    totals = template_totals(rates, 1.0)
    assert (len(totals), totals["others"]) == (101, 30.0)


def test_a_template_that_fell_silent_gives_its_place_to_one_that_speaks():
    """What is wrong now must have a series; what was wrong last week has history."""
    rates = TemplateRates("n1")
    for i in range(100):
        rates.count(f"t{i}", "a.log", "benign", "error")
    template_totals(rates, 0.0)
    for now_s in range(1, 80):
        for i in range(1, 100):
            rates.count(f"t{i}", "a.log", "benign", "error")
        template_totals(rates, float(now_s))
    rates.count("late", "a.log", "benign", "error")

    totals = template_totals(rates, 80.0)
    assert totals["late"] == 1.0
    assert "others" not in totals
    assert "t0" not in totals
