"""Discovery finds inference servers among the local ports without being a nuisance."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from aiops.collect.discovery import Discovery, Round, instance_of
from aiops.collect.engines import dialects
from aiops.collect.listeners import Listener

VLLM = '# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{model_name="m"} 1\n'


def listener(
    port: int, *, pid: int | None = None, inode: str = "", address: str = "0.0.0.0", command: str = "python"
) -> Listener:
    return Listener(address, port, inode or str(port), pid, command)


class Neighbourhood:
    """Ports of a machine, what each answers, and who was asked."""

    def __init__(self, *listeners: Listener) -> None:
        self.listeners = list(listeners)
        self.pages: dict[int, str | Exception | int] = {}
        """By port: a page, how the connection fails, or a status."""
        self.elsewhere: dict[int, str] = {}
        """Pages that stand at another path than the usual one."""
        self.asked: list[int] = []
        self.at_once = self.most_at_once = 0
        transport = httpx.MockTransport(self.answer)
        self.discovery = Discovery(
            httpx.AsyncClient(transport=transport), Path("/nowhere"), dialects(), ThreadPoolExecutor(1), self.ports
        )

    def ports(self, _root: Path) -> Sequence[Listener]:
        return self.listeners

    async def answer(self, request: httpx.Request) -> httpx.Response:
        port = request.url.port or 80
        self.asked.append(port)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        page = self.pages.get(port, httpx.ConnectError("refused"))
        if request.url.path == "/prometheus/metrics":
            page = self.elsewhere.get(port, "")
        if isinstance(page, Exception):
            raise page
        if isinstance(page, int):
            return httpx.Response(page)
        return httpx.Response(200, text=page) if page else httpx.Response(404)

    def look(self, now_s: float, known: tuple[str, ...] = (), named: tuple[str, ...] = ()) -> Round:
        return asyncio.run(self.discovery.look(now_s, known, named))


def test_servers_are_found_and_named_by_their_pages():
    """A person should not have to tell us what answers on which port."""
    street = Neighbourhood(listener(8000), listener(8001), listener(8002))
    street.pages = {8000: VLLM, 8001: "# TYPE tgi_queue_size gauge\ntgi_queue_size 1\n", 8002: "go_info 1\n"}
    found = street.look(0.0)
    assert [(one.instance, one.dialect.title) for one in found.found] == [
        ("127.0.0.1:8000", "vLLM"),
        ("127.0.0.1:8001", "TGI"),
    ]
    assert found.ports == 3


@pytest.mark.parametrize("answer", ["[]", ' {"error": "x"}'])
def test_a_server_that_answers_in_json_is_looked_up_at_its_second_path(answer):
    """trtllm-serve shows its own statistics at /metrics, and what we read at /prometheus/metrics."""
    street = Neighbourhood(listener(8000), listener(8001))
    street.pages = {8000: answer, 8001: answer}
    street.elsewhere = {8000: "trtllm_num_requests_running 1\n"}
    assert [(one.url, one.dialect.title) for one in street.look(0.0).found] == [
        ("http://127.0.0.1:8000/prometheus/metrics", "trtllm-serve")
    ]


def test_a_server_that_answers_503_is_asked_again_soon():
    """It loads its model; ten minutes later its first incident would be over."""
    street = Neighbourhood(listener(8000))
    street.pages = {8000: 503}
    street.look(0.0)
    street.pages = {8000: "llamacpp:requests_processing 0\n"}
    assert [one.dialect.title for one in street.look(60.0).found] == ["llama.cpp"]


def test_a_named_upstream_that_answers_503_is_a_server_already():
    """It serves users, and none of them gets an answer; what sort of server it is shows later."""
    street = Neighbourhood(listener(8000), listener(8001))
    street.pages = {8000: 503, 8001: 503}
    found = street.look(0.0, named=("127.0.0.1:8000",)).found
    assert [(one.instance, one.dialect.name, one.page) for one in found] == [("127.0.0.1:8000", "", b"")]


def test_a_named_upstream_that_is_silent_is_asked_again_at_the_next_look():
    """It opens its port before it answers there."""
    street = Neighbourhood(listener(8000))
    for at_s in (0.0, 10.0, 20.0):
        street.look(at_s, named=("127.0.0.1:8000",))
    assert street.asked == [8000] * 3


def test_our_own_page_is_not_taken_for_a_server():
    """It repeats the servers' metrics: reading it would feed the daemon its own words."""
    street = Neighbourhood(listener(9477), listener(9478, pid=os.getpid()))
    street.pages = {9477: '# TYPE x gauge\naiops_build_info{version="1"} 1\n' + VLLM, 9478: VLLM}
    assert street.look(0.0).found == []
    assert street.asked == [9477]


@pytest.mark.parametrize(
    "command",
    ["postgres", "redis-server", "nginx", "haproxy", "envoy", "sshd", "java", "node", "prometheus", "raylet", "etcd"],
)
def test_a_program_known_to_be_something_else_is_never_asked(command):
    """A probe would end up in its log; one through a gateway would come back as a replica's page."""
    street = Neighbourhood(listener(8000, pid=77, command=command))
    street.pages = {8000: VLLM}
    assert street.look(0.0).found == []
    assert street.asked == []


@pytest.mark.parametrize(
    "command",
    [
        "", "python3.11", "pt_main_thread", "VLLM::APIServer", "vllm", "sglang::server", "text-generation", "tritonserver",
        "trtllm-serve", "llama-server", "uvicorn", "gunicorn: maste", "ray::ServeRepli", "docker-proxy",
    ],
)  # fmt: skip
def test_whoever_may_be_a_server_is_asked_and_whoever_is_not_known_too(command):
    """Another user's process shows no name; leaving it out would hide every server that runs as a service."""
    street = Neighbourhood(listener(8000, command=command))
    street.pages = {8000: VLLM}
    assert [one.instance for one in street.look(0.0).found] == ["127.0.0.1:8000"]


@pytest.mark.parametrize("port", [5600, 29_400, 29_500, 29_501, 29_599])
def test_ports_where_ranks_find_each_other_are_never_asked(port):
    """They belong to Python too, speak no HTTP, and a stranger's words may upset the start of a model."""
    street = Neighbourhood(listener(port))
    street.look(0.0)
    assert street.asked == []


@pytest.mark.parametrize("port", [22, 443, 3306, 5432, 6379])
def test_ports_of_other_services_are_never_asked(port):
    """A database that logs strangers would log us for ever."""
    street = Neighbourhood(listener(port))
    street.look(0.0)
    assert street.asked == []


def test_known_servers_are_not_asked_again():
    """The collector reads them anyway."""
    street = Neighbourhood(listener(8000))
    street.look(0.0, known=("127.0.0.1:8000",))
    assert street.asked == []


def test_a_port_that_is_something_else_is_asked_every_ten_minutes():
    """It may become a server later; a probe a minute would be rude."""
    street = Neighbourhood(listener(8000))
    street.pages = {8000: ""}
    for minute in range(21):
        street.look(60.0 * minute)
    assert len(street.asked) == 3


def test_a_silent_port_is_asked_soon_and_then_ever_more_rarely():
    """A server that loads its model accepts and says nothing; so does many a thing that never will."""
    street = Neighbourhood(listener(8000))
    street.pages = {8000: httpx.ReadTimeout("")}
    asked_at = []
    for minute in range(40):
        before = len(street.asked)
        street.look(60.0 * minute)
        if len(street.asked) > before:
            asked_at.append(minute)
    assert asked_at == [0, 1, 3, 7, 15, 25, 35]


def test_a_port_that_does_not_speak_http_is_left_alone_until_its_socket_is_another():
    """NCCL and other rendezvous ports must not be disturbed again and again."""
    street = Neighbourhood(listener(40_000, inode="a"))
    street.pages = {40_000: httpx.RemoteProtocolError("no HTTP")}
    for minute in range(60):
        street.look(60.0 * minute)
    assert len(street.asked) == 1
    street.listeners = [listener(40_000, inode="b")]
    street.look(3_600.0)
    assert len(street.asked) == 2


def test_a_new_port_is_asked_at_the_next_look():
    """A server started a minute ago is the one people look at."""
    street = Neighbourhood(listener(8000))
    street.pages = {8000: "", 8001: VLLM}
    street.look(0.0)
    street.listeners.append(listener(8001))
    assert [one.instance for one in street.look(60.0).found] == ["127.0.0.1:8001"]


def test_many_ports_are_asked_a_few_at_a_time_over_several_looks():
    """A machine with a thousand ports is no reason for a thousand connections."""
    street = Neighbourhood(*(listener(port) for port in range(10_000, 10_150)))
    street.pages = dict.fromkeys(range(10_000, 10_150), "")
    street.look(0.0)
    assert len(street.asked) == 64
    assert street.most_at_once <= 4
    street.look(60.0)
    street.look(120.0)
    assert len(set(street.asked)) == 150


@pytest.mark.parametrize(
    ("address", "reached"),
    [
        ("0.0.0.0", "127.0.0.1:8000"),
        ("::", "127.0.0.1:8000"),
        ("127.0.0.2", "127.0.0.2:8000"),
        ("::1", "[::1]:8000"),
        ("10.0.0.5", "10.0.0.5:8000"),
    ],
)
def test_a_server_is_reached_where_it_listens_and_called_by_one_name(address, reached):
    """A wildcard address cannot be connected to; a bound one must be used. What it is called must join other series."""
    street = Neighbourhood(listener(8000, address=address))
    street.pages = {8000: VLLM}
    (found,) = street.look(0.0).found

    assert found.url == f"http://{reached}/metrics"
    assert found.instance == instance_of(listener(8000, address=address)) == "127.0.0.1:8000"
