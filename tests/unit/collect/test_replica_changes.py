"""Deploys that show on the pages of replicas only."""

from __future__ import annotations

from aiops.collect.replica_changes import ReplicaChanges
from aiops.model import Event, EventKind, Labels, Sample

BASE = Labels.of(host_name="n1", instance="127.0.0.1:8001", server="vllm")


def page(
    at_s: float, *, started_s: float | None = 0.0, version: str = "", model: str = "m", up: float = 1.0
) -> list[Sample]:
    labels = BASE.merge(model=model)
    found = [Sample("gen_ai_server_up", labels, at_s, up)]
    if started_s is not None:
        found.append(Sample("gen_ai_server_start_time_seconds", labels, at_s, started_s))
    if version:
        found.append(Sample("gen_ai_server_info", labels.merge(version=version), at_s, 1.0))
    return found


def covered(watch: ReplicaChanges, now_s: float) -> list[float]:
    return [sample.value for sample in watch.coverage(now_s)]


def test_another_version_after_a_restart_is_a_deploy_at_the_time_of_the_start():
    """The version is asked for after the restart, and known a round later."""
    watch = ReplicaChanges("n1")
    assert watch.look(page(10.0, version="1.0")) == []
    assert watch.look([Sample("gen_ai_server_up", BASE.merge(model="m"), 20.0, 0.0)]) == []
    assert watch.look(page(30.0, started_s=25.0)) == []
    labels = Labels.of(host_name="n1", instance="127.0.0.1:8001", model="m", version="2.0", seen_by="replicas")

    assert watch.look(page(35.0, started_s=25.0, version="2.0")) == [
        Event(EventKind.CHANGE, "deploy", 25.0, labels, "127.0.0.1:8001 is 2.0, it was 1.0")
    ]
    assert watch.look(page(40.0, started_s=25.0, version="2.0")) == []
    assert covered(watch, 40.0) == [1.0]


def test_another_model_is_a_deploy_too():
    """The engine is the same; what it computes is not."""
    watch = ReplicaChanges("n1")
    watch.look(page(10.0, started_s=None))

    (event,) = watch.look(page(20.0, started_s=None, model="m2"))

    assert (event.at_s, event.message) == (20.0, "127.0.0.1:8001 is m2, it was m")


def test_no_deploy_can_be_said_only_where_every_replica_tells_when_it_started():
    """A restart of which nobody knows why may have brought other settings."""
    watch = ReplicaChanges("n1")
    assert covered(watch, 0.0) == []
    watch.look(page(10.0))
    assert covered(watch, 10.0) == [1.0]
    assert covered(watch, 15.0) == [], "every ten seconds is enough"
    watch.look(page(30.0, started_s=25.0))
    assert covered(watch, 30.0) == [0.0]
    watch.look(page(3_700.0, started_s=25.0))
    assert covered(watch, 3_700.0) == [1.0]
    watch.look(page(3_710.0, started_s=None))
    assert covered(watch, 3_710.0) == [0.0]


def test_a_start_time_that_wanders_is_no_restart():
    """It is told as now minus uptime by some."""
    watch = ReplicaChanges("n1")
    for number in range(50):
        watch.look(page(10.0 * number, started_s=number * 0.01))

    assert covered(watch, 500.0) == [1.0]


def test_a_start_in_the_future_or_long_ago_does_not_date_a_deploy():
    """Clocks of containers are sometimes wrong."""
    watch = ReplicaChanges("n1")
    watch.look(page(10_000.0, version="1", started_s=1e12))

    (event,) = watch.look(page(10_010.0, version="2", started_s=2e12))

    assert event.at_s == 10_010.0


def test_replicas_are_bounded_and_forgotten():
    """A fleet of pods has ever new names."""
    watch = ReplicaChanges("n1")
    for number in range(2_000):
        watch.look([Sample("gen_ai_server_up", Labels.of(instance=str(number), model="m"), 0.0, 1.0)])
    assert len(watch._replicas) == 512
    assert covered(watch, 4_000.0) == []
