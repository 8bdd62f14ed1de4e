"""Changes in a namespace, told by a fake of Kubernetes' API."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from aiops.collect.kubernetes import Config, Kubernetes
from aiops.collect.plugins import decode_plugins
from aiops.document import Secret
from aiops.errors import SourceError
from aiops.model import Event, EventKind, Observation, Sample, Sight
from aiops.ports import World
from tests.fake_kubernetes import TOKEN, FakeCluster, workload
from tests.worlds import make_world

NOW_S = 1_800_000_000.0
"""2027-01-15T08:00:00Z."""


class Scene:
    """A collector over a fake cluster."""

    def __init__(self, *, world: World | None = None, cluster: FakeCluster | None = None, **config: Any) -> None:
        self.cluster = cluster or FakeCluster()
        self.world = world or make_world()
        values = {"api": "https://k8s:6443", "token": Secret(TOKEN), "namespace": "chat", **config}
        transport = httpx.MockTransport(self._answer)
        self.now_s = NOW_S - 10.0
        self.collector = Kubernetes(Config(**values), self.world, lambda _: httpx.AsyncClient(transport=transport))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        status, body = self.cluster.answer(str(request.url.raw_path, "ascii"), request.headers["authorization"])
        return httpx.Response(status, content=body)

    def round(self) -> list[Observation]:
        """The next question, ten seconds after the last; the first is at NOW_S."""
        self.now_s += 10.0
        return list(asyncio.run(self.collector.gather(self.now_s)))


def events(observations: Sequence[Observation]) -> list[tuple[str, float, str]]:
    return [(o.action, o.at_s, o.labels.get("version")) for o in observations if isinstance(o, Event)]


def feed(observations: Sequence[Observation]) -> list[float]:
    return [o.value for o in observations if isinstance(o, Sample) and o.metric == "change_feed_up"]


def test_a_new_image_is_a_deploy_at_the_time_the_server_took_it():
    """The question comes up to ten seconds later; the pace is compared from the change on."""
    scene = Scene()
    scene.cluster.put("deployments", workload("vllm", "registry:5000/vllm:v1", "side:1"))
    assert events(scene.round()) == []
    scene.cluster.put("deployments", workload("vllm", "registry:5000/vllm:v2", "side:1", at="2027-01-15T07:59:53Z"))

    found = scene.round()

    assert events(found) == [("deploy", NOW_S - 7.0, "v2")]
    (event,) = (o for o in found if isinstance(o, Event))
    assert event.kind is EventKind.CHANGE
    assert dict(event.labels.pairs) == {
        "host_name": "n1", "namespace": "chat", "workload": "vllm", "version": "v2", "seen_by": "kubernetes",
    }  # fmt: skip
    assert events(scene.round()) == []


def test_an_image_that_ran_before_is_a_rollback():
    """The advice differs."""
    scene = Scene()
    for image in ("vllm:1", "vllm:2", "vllm:1"):
        scene.cluster.put("deployments", workload("vllm", image))
        last = scene.round()

    assert [action for action, _, _ in events(last)] == ["rollback"]


@pytest.mark.parametrize(
    ("after", "actions"),
    [
        (workload("vllm", "vllm:1", replicas=5), ["scale"]),
        (workload("vllm", "vllm:1", nodeName="x"), ["config"]),
        (workload("vllm", "vllm:1", annotations={"kubectl.kubernetes.io/restartedAt": "now"}), ["restart"]),
        (workload("vllm", "vllm@sha256:0123456789abcdef", replicas=1), ["deploy", "scale"]),
        (workload("vllm", "vllm:1", at="2027-01-15T08:00:00Z"), []),
    ],
)
def test_other_changes_are_told_as_what_they_are(after: dict[str, Any], actions: list[str]):
    """A deploy explains a slower pace; scaling does not."""
    scene = Scene()
    scene.cluster.put("statefulsets", workload("vllm", "vllm:1"))
    scene.round()
    scene.cluster.put("statefulsets", after)

    assert [action for action, _, _ in events(scene.round())] == actions


def test_a_deploy_while_the_daemon_was_down_is_told_after_its_start():
    """What was known is in a checkpoint."""
    first = Scene()
    first.cluster.put("deployments", workload("vllm", "vllm:1"))
    first.round()
    first.cluster.put("deployments", workload("vllm", "vllm:2", at="2027-01-15T07:59:00Z"))
    second = Scene(world=first.world, cluster=first.cluster)

    assert events(second.round()) == [("deploy", NOW_S - 60.0, "2")]


@pytest.mark.parametrize("in_stream", [False, True])
def test_a_version_that_the_server_has_forgotten_is_listed_anew(in_stream: bool):
    """etcd is compacted every five minutes; nothing may be lost by that."""
    scene = Scene()
    scene.cluster.gone_in_stream = in_stream
    scene.cluster.put("deployments", workload("vllm", "vllm:1"))
    scene.round()
    scene.cluster.put("deployments", workload("vllm", "vllm:2"))
    scene.cluster.oldest = scene.cluster.version + 1

    assert [action for action, _, _ in events(scene.round())] == ["deploy"]


def test_after_the_list_only_what_happened_is_asked_for():
    """A list of a thousand objects every ten seconds would be felt by the API server."""
    scene = Scene(match="app=vllm")
    for _ in range(4):
        scene.round()

    lists = [asked for asked in scene.cluster.asked if "watch" not in asked]
    assert len(lists) == 3
    assert sum("labelSelector=app%3Dvllm" in asked for asked in scene.cluster.asked) == 8


def test_a_long_list_comes_in_pages_and_has_an_end():
    """More workloads than are read are no coverage."""
    scene = Scene()
    for number in range(2_001):
        scene.cluster.held["deployments"][str(number)] = workload(str(number), "a:1")
    found = scene.round()

    assert feed(found) == [0.0]
    assert any(isinstance(o, Sight) and "narrow them with match" in o.detail for o in found)
    assert sum(isinstance(o, Sample) and o.metric == "k8s_workload_pods_desired" for o in found) == 64


def test_progress_of_a_rollout_is_told():
    """Half a fleet on the new version is where peers differ."""
    scene = Scene()
    scene.cluster.put("deployments", workload("vllm", "vllm:1", replicas=3))

    values = {o.metric: o.value for o in scene.round() if isinstance(o, Sample) and o.metric.startswith("k8s_")}
    assert values == {
        "k8s_workload_pods_desired": 3.0, "k8s_workload_pods_updated": 3.0, "k8s_workload_pods_available": 2.0,
    }  # fmt: skip


def happening(name: str, reason: str, *, host: str = "n1", at: str = "2027-01-15T07:59:50Z") -> dict[str, Any]:
    return {
        "metadata": {"name": name}, "reason": reason, "source": {"host": host}, "lastTimestamp": at,
        "involvedObject": {"kind": "Pod", "name": "vllm-0"}, "message": "user prompt: secret",
    }  # fmt: skip


def test_what_became_of_pods_of_this_node_is_told_without_its_message():
    """Other nodes have daemons of their own; messages may quote anything."""
    scene = Scene()
    for each in (
        happening("a", "OOMKilling"), happening("b", "Killing", host="n2"), happening("c", "Pulled"),
        happening("d", "Killing", at="2027-01-14T08:00:00Z"), happening("e", "Killing", at="soon"),
    ):  # fmt: skip
        scene.cluster.put("events", each)

    found = [o for o in scene.round() if isinstance(o, Event)]

    assert [(o.kind, o.action, o.at_s, o.message) for o in found] == [
        (EventKind.PROCESS, "oom_kill", NOW_S - 10.0, "OOMKilling in pod vllm-0")
    ]


def test_coverage_is_claimed_only_while_both_kinds_of_workload_are_seen():
    """A role that forgot statefulsets must not rule deploys out."""
    scene = Scene()
    assert feed(scene.round()) == [1.0]
    scene.cluster.statuses["statefulsets"] = 403
    found = scene.round()

    assert feed(found) == [0.0]
    assert [("docs/feeds.md has the role" in o.detail, o.seen) for o in found if isinstance(o, Sight)] == [
        (True, False)
    ]


@pytest.mark.parametrize("status", [401, 403, 404, 500, 302])
def test_an_api_that_refuses_everything_is_one_error(status: int):
    """The runner backs off, and says it once."""
    scene = Scene()
    scene.cluster.statuses = dict.fromkeys(("deployments", "statefulsets", "events"), status)

    with pytest.raises(SourceError, match=f"status {status}"):
        scene.round()


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"metadata": {}, "items": [3]}', b"[" * 100_000, b" " * (8 * 2**20 + 1)]
)
def test_whatever_else_answers_there_is_one_error(body: bytes):
    """A captive portal, a proxy, another program."""
    scene = Scene()
    scene.cluster.answer = lambda *_: (200, body)  # type: ignore[method-assign]

    with pytest.raises(SourceError):
        scene.round()


def test_in_a_pod_everything_is_found_where_the_kubelet_puts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """And the token, which is renewed, is read again."""
    account = tmp_path / "var/run/secrets/kubernetes.io/serviceaccount"
    account.mkdir(parents=True)
    (account / "namespace").write_text("chat")
    (account / "token").write_text("old")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    scene = Scene(world=make_world(root=tmp_path), api="", token=Secret(""), namespace="")
    with pytest.raises(SourceError, match="401"):
        scene.round()
    (account / "token").write_text(f"{TOKEN}\n")

    assert feed(scene.round()) == [1.0]
    assert scene.cluster.tokens == {"Bearer old", f"Bearer {TOKEN}"}
    assert decode_plugins({}, {"kubernetes": "aiops.collect.kubernetes"}) != ()


def test_outside_of_a_pod_and_without_settings_it_is_not_run(monkeypatch: pytest.MonkeyPatch):
    """No tick, no connection."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    assert decode_plugins({}, {"kubernetes": "aiops.collect.kubernetes"}) == ()
