"""Which service a symptom belongs to: by its own label, its replica, its model, or nobody's."""

from __future__ import annotations

import pytest

from aiops.correlate.grouping import read_edges, symptoms_by_service
from aiops.model import UNNAMED_SERVICE, Alert, AlertState, Labels, Severity
from tests.fakes import FakeSeries

NOW_S = 1000.0


def alert(rule: str = "TimeToFirstTokenHigh", since_s: float = NOW_S, **labels: str) -> Alert:
    return Alert(
        rule=rule, labels=Labels.of(**labels), severity=Severity.TICKET, symptom=True, state=AlertState.FIRING,
        since_s=since_s, last_breach_s=NOW_S, value=1.0, limit=0.5, summary="", fired_at_s=NOW_S,
    )  # fmt: skip


class Node:
    """A gateway log and pages."""

    def __init__(self) -> None:
        self.series = FakeSeries()

    def passes(self, service: str, *upstreams: str) -> None:
        for upstream in upstreams:
            labels = Labels.of(service=service, outcome="ok", upstream=upstream)
            self.series.put("http_server_requests_total", labels, {NOW_S - 5: 1.0})

    def page(self, instance: str, model: str, *, age_s: float = 5.0, up: float = 1.0) -> None:
        self.series.put("gen_ai_server_up", Labels.of(instance=instance, model=model), {NOW_S - age_s: up})

    def groups(self, *symptoms: Alert, held: dict[str, str] | None = None) -> dict[str, list[str]]:
        found = symptoms_by_service(symptoms, held or {}, self.series, NOW_S)
        return {service: [a.rule for a in alerts] for service, alerts in found.items()}


@pytest.fixture
def node() -> Node:
    """Two services: chat of two replicas, and search of another one."""
    node = Node()
    node.passes("chat", "a:1", "a:2")
    node.passes("search", "b:1", "none")
    for instance, model in (("a:1", "llama"), ("a:2", "llama"), ("b:1", "e5")):
        node.page(instance, model)
    return node


def test_a_symptom_of_a_replica_joins_the_service_that_the_gateway_passes_it(node: Node):
    """One fault, one incident: 503 of the service and the silence of its replica."""
    down, refused = alert("InferenceServerDown", instance="a:2"), alert("ServiceUnavailable", 900.0, service="chat")

    assert node.groups(down, refused) == {"chat": ["ServiceUnavailable", "InferenceServerDown"]}


def test_a_replica_without_a_request_yet_belongs_to_the_service_of_its_model(node: Node):
    """A rollout's new replica."""
    node.page("a:3", "llama")

    assert node.groups(alert(instance="a:3", model="llama")) == {"chat": ["TimeToFirstTokenHigh"]}


def test_a_server_that_is_down_is_known_by_what_its_page_told_before():
    """The page of a dead server tells no model."""
    node = Node()
    node.page("a:1", "llama", age_s=300.0)
    node.page("a:1", "", age_s=1.0, up=0.0)

    assert node.groups(alert("InferenceServerDown", instance="a:1")) == {"llama": ["InferenceServerDown"]}


def test_without_a_gateway_log_the_model_is_the_service():
    """Whatever the page of the replica says."""
    node = Node()
    node.page("a:1", "llama")

    assert node.groups(alert(instance="a:1"), alert("EngineStalled", instance="a:1", model="llama")) == {
        "llama": ["EngineStalled", "TimeToFirstTokenHigh"]
    }
    assert node.groups(alert(instance="z:9")) == {UNNAMED_SERVICE: ["TimeToFirstTokenHigh"]}


def test_a_log_that_spells_no_replica_is_the_log_of_what_nobody_else_passes(node: Node):
    """Behind a name or a socket; with two such logs nothing is assumed."""
    node.passes("images", "unix:/run/images.sock")
    node.page("127.0.0.1:9000", "flux")
    behind = alert(instance="127.0.0.1:9000", model="flux")

    assert node.groups(behind) == {"images": ["TimeToFirstTokenHigh"]}
    node.passes("video", "pool")
    assert node.groups(behind) == {"flux": ["TimeToFirstTokenHigh"]}


def test_a_shared_replica_belongs_to_the_service_that_is_hurt_anyway(node: Node):
    """And to the first by name if neither is."""
    node.passes("zoo", "a:1")
    slow = alert(instance="a:1")

    assert node.groups(slow) == {"chat": ["TimeToFirstTokenHigh"]}
    assert node.groups(slow, alert("ServerErrors", service="zoo")) == {"zoo": ["ServerErrors", "TimeToFirstTokenHigh"]}


def test_a_symptom_stays_where_it_was_first_put(node: Node):
    """Traffic moves on; the incident does not."""
    slow = alert(instance="a:1")

    assert node.groups(slow, held={slow.fingerprint: "search"}) == {"search": ["TimeToFirstTokenHigh"]}


def test_nothing_is_known_of_an_empty_node():
    """The first second of a daemon."""
    edges = read_edges(FakeSeries(), NOW_S)

    assert (edges.services, edges.models, edges.unlinked) == ({}, {}, ())
