"""Quantiles of histograms as Prometheus reckons them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.collect.buckets import gap, increase, quantile

INF = float("inf")


@pytest.mark.parametrize(
    ("buckets", "expected"),
    [
        ({}, None),
        ({0.5: 0.0, INF: 0.0}, None),
        ({0.5: 100.0, INF: 100.0}, 0.495),
        ({0.5: 0.0, 1.0: 100.0, INF: 100.0}, 0.995),
        ({0.5: 10.0, 1.0: 20.0, INF: 100.0}, 1.0),
        ({INF: 5.0}, 0.0),
    ],
)
def test_the_p99_is_interpolated_in_the_server_s_own_buckets(buckets, expected):
    """As Prometheus does it, so that our number and their dashboard agree."""
    found = quantile(0.99, list(buckets), list(buckets.values()))
    assert found == (None if expected is None else pytest.approx(expected))


@given(st.dictionaries(st.floats(0.001, 100.0), st.floats(0.0, 1e6), max_size=12))
def test_a_quantile_of_any_buckets_lies_within_their_edges(counts):
    """Buckets written one after another may even fall; the answer must stay an honest number."""
    edges = [*sorted(counts), INF]
    found = quantile(0.99, edges, [*(counts[edge] for edge in edges[:-1]), max(counts.values(), default=0.0)])
    assert found is None or 0.0 <= found <= max(counts)


def test_a_restart_counts_all_that_is_new():
    """The requests since the restart are what happened since the last reading."""
    assert increase([90.0, 100.0], [3.0, 5.0]) == [3.0, 5.0]
    assert increase([90.0, 100.0], [93.0, 105.0]) == [3.0, 5.0]


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ((0.1, 0.5, 1.0, INF), None),
        ((0.4, 0.6, INF), (0.4, 0.6)),
        ((0.1, 0.2, INF), (0.2, INF)),
        ((1.0, INF), (0.0, 1.0)),
        ((INF,), None),
        ((), None),
    ],
)
def test_where_a_limit_falls_between_two_edges_is_known(edges, expected):
    """A P99 of 0.55 s means little on a server that counts up to 0.4 and up to 0.6."""
    assert gap(edges, 0.5) == expected
