from __future__ import annotations

import random

import pytest

from aiops.logs.cluster import Clusters
from aiops.logs.news import news_of
from aiops.logs.traces import Source, Trace, Traces
from aiops.model import NO_LABELS, LogSeverity, NewsKind, TemplateNews

START_S, END_S = 1_000.0, 1_320.0
WATCHED_S = 100.0


def trace_of(times: list[float], *, source: Source | None = None, surprise: float | None = None) -> Trace:
    cluster = Clusters().assign("something happened", LogSeverity.INFO)
    trace = Trace("t", cluster, None, NO_LABELS, times[0], source or Source(WATCHED_S))
    trace.surprise = surprise
    traces = Traces(10)
    traces.put(trace)
    for at_s in times:
        traces.count(trace, at_s, NO_LABELS)
    return trace


def every(step_s: float, start_s: float, end_s: float) -> list[float]:
    return [start_s + i * step_s for i in range(int((end_s - start_s) / step_s))]


def judged(times: list[float], **about: object) -> TemplateNews | None:
    return news_of(trace_of(times, **about), START_S, END_S)  # type: ignore[arg-type]


def test_a_line_never_seen_in_a_log_that_seldom_says_anything_new_is_news():
    """It may be the only trace of a cause nobody wrote down."""
    found = judged([1_234.5], surprise=0.01)

    assert found is not None
    assert (found.kind, found.onset.by_s) == (NewsKind.NEW, 1_234.5)


@pytest.mark.parametrize("surprise", [None, 0.05, 1.0])
def test_while_a_log_is_being_learned_nothing_in_it_is_new(surprise: float | None):
    """After a start everything was never seen before."""
    assert judged([1_234.5], surprise=surprise) is None


def test_a_template_known_before_the_window_is_not_new():
    """However seldom it comes."""
    assert judged([500.0, 1_200.0], surprise=0.001) is None


def test_a_log_is_learned_once_few_kinds_were_seen_only_once():
    """Good's estimate: what was seen once tells how much was never seen."""
    assert Source(0.0, lines=49, once=0).surprise() is None
    assert Source(0.0, lines=999, once=9).surprise() == pytest.approx(0.01)
    assert Source(0.0, lines=99, once=99).surprise() == 1.0


def test_a_jump_is_news_from_where_it_began():
    """What moved first is told by onsets."""
    found = judged([*every(5.0, WATCHED_S, 1_250.0), *every(0.25, 1_250.0, END_S)])

    assert found is not None
    assert found.kind is NewsKind.MORE
    assert found.onset.by_s == pytest.approx(1_255.0, abs=10.0)
    assert found.ratio == pytest.approx(20.0, rel=0.1)


def test_a_template_that_speaks_as_before_is_no_news():
    """Chance alone makes every count differ from every other."""
    for seed in range(60):
        rng = random.Random(seed)
        rate = rng.choice((0.02, 0.2, 2.0, 10.0))
        at_s, times = WATCHED_S, []
        while (at_s := at_s + rng.expovariate(rate)) < END_S:
            times.append(at_s)

        assert not times or judged(times) is None


def test_bursts_that_always_came_are_no_news():
    """Fifty lines each minute are what this log is like."""
    times = [minute + i / 100 for minute in range(120, 1_320, 60) for i in range(50)]

    assert judged(times) is None


def test_a_burst_much_larger_than_any_before_is_news():
    """The same log, ten times as loud."""
    times = [minute + i / 100 for minute in range(120, 1_260, 60) for i in range(50)]
    times += [1_300.0 + i / 100 for i in range(500)]

    found = judged(times)
    assert found is not None
    assert found.onset.by_s == pytest.approx(1_310.0, abs=1.0)


def test_few_lines_are_no_jump():
    """Nine of anything happen."""
    assert judged([500.0, *every(1.0, 1_300.0, 1_309.0)]) is None


def test_without_a_past_there_is_no_jump():
    """A log that is read since twenty seconds has no normal yet."""
    assert judged([500.0, *every(0.1, 1_300.0, END_S)], source=Source(1_295.0)) is None
    assert judged([500.0, *every(0.1, 1_300.0, END_S)], source=Source(None)) is None


def test_a_kind_of_line_that_floods_a_log_still_being_learned_is_a_jump():
    """Forty out-of-memory lines in the second minute after the start are news all the same."""
    found = judged(every(0.25, 1_300.0, 1_310.0), source=Source(1_240.0))

    assert found is not None
    assert (found.kind, found.onset.by_s) == (NewsKind.MORE, 1_300.0)


def test_what_was_forgotten_is_not_taken_for_silence():
    """A template whose older counts were given up did not begin to speak then."""
    trace = trace_of(every(0.5, WATCHED_S, END_S))
    del trace.buckets[:100], trace.counts[:100]
    trace.forgotten = trace.buckets[0] - 1

    assert news_of(trace, START_S, END_S) is None
