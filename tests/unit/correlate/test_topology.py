"""Which replica runs on which card, from whatever the node shows; what is not shown is not assumed."""

from __future__ import annotations

from aiops.correlate.topology import Topology, read_topology
from aiops.correlate.view import View
from aiops.model import Labels
from aiops.rulebook.causes import Scope
from tests.fakes import FakeSeries

NOW_S = 1000.0


class Node:
    """A host of that name with a gateway log, replicas and cards."""

    def __init__(self, replicas: list[str], cards: int, host: str = "n1") -> None:
        self.series, self.host = FakeSeries(), host
        for replica in replicas:
            self.put("gen_ai_server_up", instance=replica, model="m")
            self.put("http_server_requests_total", service="chat", outcome="ok", upstream=replica)
        for card in range(cards):
            self.put("hw_gpu_memory_utilization_ratio", gpu=str(card))

    def put(self, metric: str, **labels: str) -> None:
        self.series.put(metric, Labels.of(host_name=self.host, **labels), {NOW_S: 1.0})

    def process(self, card: int, port: int) -> None:
        self.put("hw_gpu_process_port", gpu=str(card), port=str(port))

    def topology(self) -> Topology:
        return read_topology(View(self.series, 0.0, NOW_S), "chat")


def test_the_only_card_is_everybody_s():
    """Most nodes of most people."""
    node = Node(["10.0.0.1:8000", "127.0.0.1:8001"], cards=1)

    assert set(node.topology().gpus_of.values()) == {frozenset({"0"})}


def test_a_replica_is_on_the_cards_whose_memory_the_owner_of_its_port_holds():
    """Tensor parallelism: one port, two cards."""
    node = Node(["127.0.0.1:8000", "localhost:8001", "n1:8002"], cards=4)
    for card, port in ((0, 8000), (1, 8000), (2, 8001), (3, 8002), (3, 22)):
        node.process(card, port)

    topology = node.topology()

    assert topology.gpus_of == {
        "127.0.0.1:8000": frozenset({"0", "1"}), "localhost:8001": frozenset({"2"}), "n1:8002": frozenset({"3"}),
    }  # fmt: skip
    assert [place.instances for place in topology.places(Scope.GPU)][2] == {"localhost:8001"}


def test_a_port_of_another_machine_says_nothing_about_our_cards():
    """Every node serves on 8000."""
    node = Node(["10.0.0.7:8000", "127.0.0.1:8001"], cards=2)
    node.process(0, 8000)
    node.process(1, 8001)

    assert node.topology().gpus_of == {"127.0.0.1:8001": frozenset({"1"})}


def test_a_server_in_a_container_is_on_the_cards_its_processes_hold():
    """Its port is one of another network, and its address no other machine's."""
    node = Node(["10.1.2.3:8000", "127.0.0.1:8000"], cards=3)
    node.put("hw_gpu_process_instance", gpu="2", instance="10.1.2.3:8000")
    node.put("hw_gpu_process_instance", gpu="1", instance="127.0.0.1:8000")  # a worker of Ray
    node.process(0, 8000)

    assert node.topology().gpus_of == {
        "10.1.2.3:8000": frozenset({"2"}), "127.0.0.1:8000": frozenset({"0", "1"}),
    }  # fmt: skip


def test_what_the_settings_say_goes_before_what_processes_show():
    """Somebody knew better: a proxy on the port, a container whose processes are not the engine's."""
    node = Node(["127.0.0.1:8000", "127.0.0.1:8001"], cards=2)
    node.process(0, 8000)
    node.process(0, 8001)
    node.put("gen_ai_server_gpu", instance="127.0.0.1:8001", gpu="1")

    assert node.topology().gpus_of == {"127.0.0.1:8000": frozenset({"0"}), "127.0.0.1:8001": frozenset({"1"})}


def test_processes_of_a_card_are_places_of_their_own():
    """Which of two leaks; a card whose processes nobody sees is one place."""
    node = Node(["127.0.0.1:8000"], cards=2)
    node.process(0, 8000)
    node.put("gen_ai_server_gpu", instance="127.0.0.1:8000", gpu="1")
    node.put("gen_ai_server_gpu", instance="127.0.0.1:8000", gpu="0")
    node.put("hw_gpu_process_memory_usage_bytes", gpu="1", pid="400", process="trainer")
    node.put("hw_gpu_process_memory_usage_bytes", gpu="1", pid="77", process="vllm")

    places = node.topology().places(Scope.PROCESS)

    assert [place.text for place in places] == [
        "GPU 0", "GPU 1, process vllm (pid 77)", "GPU 1, process trainer (pid 400)",
    ]  # fmt: skip
    assert [place.where.get("gpu") for place in places] == ["0", "1", "1"]
    mine, other, card = (Labels.of(gpu="1", pid="77"), Labels.of(gpu="1", pid="400"), Labels.of(gpu="1"))
    assert [places[1].covers("gpu", labels) for labels in (mine, other, card)] == [True, False, True]


def test_replicas_of_one_model_are_a_place():
    """A service of two models: a question about one is not about the other."""
    node = Node(["127.0.0.1:8000", "127.0.0.1:8001"], cards=0)
    node.put("http_server_requests_total", service="chat", outcome="ok", upstream="127.0.0.1:8002")
    node.put("gen_ai_server_up", instance="127.0.0.1:8002", model="big")
    node.put("gen_ai_server_up", instance="127.0.0.1:8002")

    big, small = node.topology().places(Scope.MODEL)

    assert (big.text, big.instances) == ("model big", {"127.0.0.1:8002"})
    assert small.instances == {"127.0.0.1:8000", "127.0.0.1:8001"}
    assert [big.holds("model", name) for name in ("big", "m")] == [True, False]


def test_links_are_places_and_the_host_is_one_where_none_is_known():
    """A container sees no card of its own."""
    node = Node(["127.0.0.1:8000"], cards=0)
    assert [place.text for place in node.topology().places(Scope.LINK)] == ["host n1"]
    for device in ("eth1", "eth0"):
        node.put("system_network_utilization_ratio", device=device)

    first, second = node.topology().places(Scope.LINK)

    assert (first.text, dict(second.where.pairs)) == ("link eth0 of n1", {"device": "eth1", "host_name": "n1"})
    assert [first.holds("device", name) for name in ("eth0", "eth1")] == [True, False]
    assert node.topology().whole(Scope.HOST).holds("device", "eth1")
