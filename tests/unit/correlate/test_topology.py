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


def test_what_the_settings_say_goes_before_what_processes_show():
    """Somebody knew better: a proxy on the port, a container whose processes are not the engine's."""
    node = Node(["127.0.0.1:8000", "127.0.0.1:8001"], cards=2)
    node.process(0, 8000)
    node.process(0, 8001)
    node.put("gen_ai_server_gpu", instance="127.0.0.1:8001", gpu="1")

    assert node.topology().gpus_of == {"127.0.0.1:8000": frozenset({"0"}), "127.0.0.1:8001": frozenset({"1"})}
