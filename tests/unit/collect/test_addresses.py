"""A replica of this machine has one name, whoever spells it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from aiops.collect import access_log, changes, inference, log_tail
from aiops.collect.addresses import read_addresses
from aiops.model import Event, EventKind, Labels, LogRecord, Observation, Sample
from tests.worlds import make_world

FIB_TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     +-- 10.1.0.0/16 2 0 2
        |-- 10.1.0.0
           /16 link UNICAST
        |-- 10.1.2.3
           /32 host LOCAL
        |-- 10.1.255.255
           /32 link BROADCAST
Local:
        |-- 10.1.2.3
           /32 host LOCAL
        |-- not an address
           /32 host LOCAL
"""
IF_INET6 = "20010db8000000000000000000000005 02 40 00 80     eth0\nnonsense\n"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    net = tmp_path / "proc/net"
    net.mkdir(parents=True)
    (net / "fib_trie").write_text(FIB_TRIE)
    (net / "if_inet6").write_text(IF_INET6)
    return tmp_path


@pytest.mark.parametrize(
    "spelling",
    [
        "127.0.0.1:8001", "localhost:8001", "LOCALHOST.:8001", "[::1]:8001", "0.0.0.0:8001", "[::]:8001",
        "10.1.2.3:8001", "[2001:db8::5]:8001", "[2001:DB8:0::5]:8001", "[::ffff:10.1.2.3]:8001", "node-1:8001",
    ],
)  # fmt: skip
def test_every_spelling_of_this_machine_is_one_replica(machine: Path, spelling: str):
    """The gateway's log and the server's page must join, or half of the evidence is lost."""
    assert read_addresses(machine, "node-1").instance(spelling) == "127.0.0.1:8001"


@pytest.mark.parametrize(
    "spelling",
    [
        "10.1.2.4:8001", "10.1.255.255:8001", "node-2:8001", "[2001:db8::6]:8001", "none", "other", "", "backend",
        "unix:/run/server.sock", "localhost", "localhost:http", ":8001", "localhost:" + "1" * 300,
    ],
)  # fmt: skip
def test_what_is_not_here_keeps_its_name(machine: Path, spelling: str):
    """Another machine's replica on the same port is another replica."""
    assert read_addresses(machine, "node-1").instance(spelling) == spelling


def test_a_machine_that_hides_its_addresses_still_knows_loopback(tmp_path: Path):
    """A container may have no such files."""
    addresses = read_addresses(tmp_path, "")

    assert addresses.instance("localhost:1") == "127.0.0.1:1"
    assert addresses.instance("10.1.2.3:1") == "10.1.2.3:1"


def named(observations: Iterable[Observation], label: str) -> set[str]:
    """What *label* says in all that was observed."""
    labels = [o.labels.get(label) for o in observations if isinstance(o, Sample | Event | LogRecord)]
    return set(labels) - {""}


def test_log_page_settings_and_event_call_a_replica_alike(machine: Path, tmp_path: Path):
    """A 503 in the gateway's log, the page of the server, its own log and its deploy are about one replica."""
    gateway, server = tmp_path / "access.log", tmp_path / "server.log"
    gateway.write_text("")
    server.write_text("")
    world = make_world(root=machine, host="node-1")
    now_s = 1_800_000_000.0
    requests = access_log.build(access_log.Config(paths=(str(gateway),), discover=False), world)
    lines = log_tail.build(
        log_tail.Config(files=(log_tail.LogFile(str(server), "10.1.2.3:8001"),), discover=False), world
    )
    list(requests.collect(now_s))
    list(lines.collect(now_s))
    entry = {"t": now_s + 1, "st": 503, "rt": 0.1, "uht": "0.1", "ust": "503", "ua": "localhost:8001", "uri": "/v1"}
    gateway.write_text(json.dumps(entry) + "\n")
    server.write_text("CUDA out of memory\n")
    world.inbox.offer(Event(EventKind.CHANGE, "deploy", now_s, Labels.of(instance="[::1]:8001")))

    async def pages() -> Iterable[Observation]:
        target = inference.TargetConfig("http://node-1:8001/metrics", gpu="1")
        collector = inference.build(inference.Config(targets=(target,), discover=False), world)
        seen = await collector.gather(now_s)
        collector.close()
        return seen

    assert named(requests.collect(now_s + 5), "upstream") == {"127.0.0.1:8001"}
    assert named(lines.collect(now_s + 5), "instance") == {"127.0.0.1:8001"}
    assert named(changes.build(changes.Config(), world).collect(now_s), "instance") == {"127.0.0.1:8001"}
    assert named(asyncio.run(pages()), "instance") == {"127.0.0.1:8001"}
