"""A cause of the host is told of one replica where nearly all bad answers come from it."""

from __future__ import annotations

import pytest

from aiops.correlate.narrowing import hurt_alone
from tests.unit.correlate.test_evidence import BAD_S, Node

REPLICAS = ("r0", "r1", "r2")


def node(rates: dict[str, float]) -> Node:
    found = Node()
    for name in REPLICAS:
        found.counter("http_server_requests_total", 4.0, from_s=0.0, service="chat", outcome="ok", upstream=name)
    for name, rate in rates.items():
        found.counter("http_server_requests_total", rate, from_s=BAD_S, service="chat", outcome="5xx", upstream=name)
    return found


@pytest.mark.parametrize(
    ("rates", "name"),
    [
        ({"r1": 2.0}, "r1"),
        ({"r1": 2.0, "r2": 0.2}, "r1"),  # retries that failed as well
        ({"r1": 2.0, "r2": 1.0}, ""),
        ({"r0": 1.0, "r1": 1.0, "r2": 1.0}, ""),
        ({"r1": 0.2}, ""),  # three bad answers: chance
        ({}, ""),
    ],
)
def test_one_replica_is_named_where_it_alone_is_hurt(rates: dict[str, float], name: str):
    """Else the host is: what all feel is not one replica's."""
    assert hurt_alone(node(rates).scene()) == name
