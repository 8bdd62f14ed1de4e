"""Which replicas a change covers: those it names, those whose pages tell a new version, or all."""

from __future__ import annotations

import pytest

from aiops.correlate.rollout import covered
from aiops.correlate.scene import IncidentContext, Scene
from aiops.model import Event, EventKind, Labels
from aiops.rulebook.causes import Scope
from tests.fakes import FakeEvents, FakeSeries, FakeTemplates

BAD_S = 1000.0
ALL = frozenset({"r0", "r1", "r2"})
Versions = dict[str, dict[float, str]]
"""Per replica, the version it tells from so many seconds before the first bad one."""


def coverage(versions: Versions, **labels: str) -> frozenset[str]:
    series = FakeSeries()
    for name in sorted(ALL):
        series.put("gen_ai_server_up", Labels.of(instance=name), {BAD_S - 10: 1.0})
    for name, told in versions.items():
        for at_s in range(int(BAD_S) - 200, int(BAD_S) + 10, 5):
            version = next(v for ahead_s, v in sorted(told.items()) if BAD_S - at_s <= ahead_s)
            series.put("gen_ai_server_info", Labels.of(instance=name, version=version), {float(at_s): 1.0})
    scene = Scene(IncidentContext("chat", (), BAD_S, BAD_S), series, FakeEvents(), FakeTemplates(), BAD_S + 10)
    event = Event(EventKind.CHANGE, "deploy", BAD_S - 60, Labels.of(**labels))
    return covered(event, scene, scene.topology.whole(Scope.SERVICE))


@pytest.mark.parametrize(
    ("versions", "labels", "expected"),
    [
        ({}, {}, ALL),
        ({"r0": {1e9: "1"}, "r1": {1e9: "1"}}, {"version": "2"}, ALL),
        ({"r0": {50.0: "2", 1e9: "1"}, "r1": {1e9: "1"}}, {"version": "2"}, {"r0"}),
        ({"r0": {50.0: "2", 1e9: "1"}, "r1": {40.0: "3", 1e9: "1"}}, {"version": "v2"}, {"r0"}),
        ({"r0": {50.0: "2", 1e9: "1"}, "r1": {40.0: "3", 1e9: "1"}}, {"version": "model-b"}, {"r0", "r1"}),
        ({"r0": {50.0: "1", 150.0: "2", 1e9: "1"}, "r1": {1e9: "1"}}, {"version": "1"}, {"r0"}),
        ({"r0": {180.0: "2", 1e9: "1"}, "r1": {1e9: "1"}}, {"version": "2"}, ALL),
        ({"r0": {50.0: "2", 1e9: "1"}}, {"instance": "r2", "version": "2"}, {"r2"}),
    ],
    ids=[
        "no page tells a version", "the server's version did not change", "one changed to it", "only those to it",
        "another spelling: all that changed", "rolled back", "changed long before the event", "the event names one",
    ],
)  # fmt: skip
def test_a_change_covers_the_replicas_it_reached(versions: Versions, labels: dict[str, str], expected):
    """A canary's event often names only the service; three replicas would hide the slow one among them."""
    assert coverage(versions, **labels) == expected
