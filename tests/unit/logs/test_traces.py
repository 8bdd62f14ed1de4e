from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiops.logs.cluster import Clusters
from aiops.logs.traces import MAX_DISTINCT, Source, Trace, Traces, wording_of
from aiops.model import NO_LABELS, LogSeverity

CLUSTER = Clusters().assign("a line", LogSeverity.INFO)


def new(trace_id: str = "t", at_s: float = 0.0) -> Trace:
    return Trace(trace_id, CLUSTER, None, NO_LABELS, at_s, Source(0.0))


@given(st.lists(st.floats(0, 3_000), max_size=80), st.floats(0, 3_000), st.floats(0, 3_000))
def test_a_window_counts_what_came_in_it(times: list[float], one: float, other: float):
    """To the ten seconds, in whatever order lines arrive."""
    traces, trace = Traces(5), new()
    traces.put(trace)
    for at_s in times:
        traces.count(trace, at_s, NO_LABELS)
    start_s, end_s = sorted((one, other))

    expected = sum(start_s // 10 <= at_s // 10 <= end_s // 10 for at_s in times)
    assert trace.count_within(start_s, end_s) == expected
    assert (trace.total, sum(trace.counts)) == (len(times), len(times))
    assert list(trace.buckets) == sorted(set(trace.buckets))


def test_the_first_line_of_a_window_is_told():
    """ "First seen" on an incident's page means since then."""
    traces, trace = Traces(5), new()
    traces.put(trace)
    for at_s in (12.0, 345.0):
        traces.count(trace, at_s, NO_LABELS)

    assert (trace.first_within(5.0), trace.first_within(15.0), trace.first_within(100.0)) == (10.0, 15.0, 340.0)


def test_wordings_are_counted_up_to_twenty():
    """What is behind twenty different lines is nobody's own text."""
    trace = new()
    for i in range(30):
        trace.add_wording(i // 2)
    assert trace.distinct == 15
    for i in range(30):
        trace.add_wording(i)
    assert (trace.distinct, trace.lines) == (MAX_DISTINCT, None)


def test_a_wording_has_the_same_number_in_every_process():
    """A line repeated after each restart must stay one line."""
    assert wording_of(b"user 0 asked") == 0x8D46B3125F311D8


def test_the_least_recently_met_gives_way():
    """Memory is bounded by the number of templates."""
    traces = Traces(2)
    for name in ("a", "b"):
        traces.put(new(name))
    held = traces.get("a")
    assert held is not None
    traces.count(held, 5.0, NO_LABELS)
    traces.put(new("c"))

    assert [trace.id for trace in traces] == ["a", "c"]
    traces.drop("a")
    traces.drop("a")
    assert len(traces) == 1


def test_thousands_of_templates_that_always_speak_have_shorter_memories():
    """Six minutes of ten thousand must not cost what an hour of a thousand does."""
    traces = Traces(2_000)
    all_of_them = [new(str(i)) for i in range(1_500)]
    for trace in all_of_them:
        traces.put(trace)
    for at_s in range(0, 2_000, 10):
        for trace in all_of_them:
            traces.count(trace, float(at_s), NO_LABELS)

    assert sum(len(trace.buckets) for trace in all_of_them) <= 200_000 + 1_500
    assert min(len(trace.buckets) for trace in all_of_them) >= 30
