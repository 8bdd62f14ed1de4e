"""Other hosts' pages are read; this host's never twice. Whole pages stand in tests/cases/collect/node_exporter."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.catalog import CATALOG
from aiops.collect import node_page
from aiops.collect.node_exporter import Config, build
from aiops.collect.node_page import NodePage
from aiops.errors import SourceMalformed
from aiops.model import Observation, Sample, Sight
from tests.worlds import make_world

URL = "http://10.0.0.5:9100/metrics"


def page(host: str = "gpu-17") -> bytes:
    return f'node_uname_info{{nodename="{host}"}} 1\nnode_load1 2\n'.encode()


class Exporter:
    """Answers with a page, or not at all; counts."""

    def __init__(self, body: bytes | None) -> None:
        self.body = body
        self.asked = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.body is None:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(200, content=self.body)

    def rounds(self, config: Config, *times_s: float) -> list[Sequence[Observation]]:
        async def scene() -> list[Sequence[Observation]]:
            http = httpx.AsyncClient(transport=httpx.MockTransport(self.answer))
            collector = build(config, make_world(http=http, host="n1"))
            return [list(await collector.gather(at_s)) for at_s in times_s]

        return asyncio.run(scene())


def hosts(observations: Sequence[Observation]) -> set[str]:
    return {o.labels.get("host_name") for o in observations if isinstance(o, Sample)}


def test_another_host_is_read_under_its_own_name():
    """Its address says nothing to whoever looks at a rack."""
    (seen,) = Exporter(page()).rounds(Config(urls=(URL,)), 0.0)
    assert hosts(seen) == {"gpu-17"}
    assert [o.detail for o in seen if isinstance(o, Sight)] == ["host gpu-17"]


def test_this_host_s_page_is_left_alone():
    """Two readers of one host would write every series twice."""
    exporter = Exporter(page("n1"))
    seen = exporter.rounds(Config(urls=(URL,)), 0.0, 15.0, 30.0)
    assert [hosts(each) for each in seen] == [set()] * 3
    assert exporter.asked == 1
    assert [o.detail for each in seen for o in each if isinstance(o, Sight)] == [
        "this host, which the host collector reads already"
    ]


def test_this_host_s_page_is_read_where_the_settings_say_so():
    """In a container without the host's /proc the exporter sees what we do not."""
    (seen,) = Exporter(page("n1")).rounds(Config(urls=(URL,), this_host=True), 0.0)
    assert hosts(seen) == {"n1"}


def test_a_host_that_does_not_answer_is_said_once():
    """A node that is off for a day is one line in the log."""
    exporter = Exporter(None)
    seen = exporter.rounds(Config(urls=(URL,)), 0.0, 15.0, 30.0)
    assert [o.seen for each in seen for o in each if isinstance(o, Sight)] == [False]
    assert exporter.asked == 3


def test_nobody_is_asked_where_no_address_is_given():
    """An exporter of this host is not looked for: reading /proc costs less than its page."""
    exporter = Exporter(page())
    assert exporter.rounds(Config(), 0.0, 15.0) == [[], []]
    assert exporter.asked == 0


def test_a_flood_of_devices_is_bounded():
    """A node with hundreds of volumes is not thousands of series."""
    names = ("size_bytes", "free_bytes", "avail_bytes", "files", "files_free", "readonly")
    text = "".join(
        f'node_filesystem_{name}{{fstype="ext4",mountpoint="/v{number}"}} 1\n'
        for name in names
        for number in range(900)
    )
    samples = list(NodePage("h").read(text.encode(), 0.0))
    assert len({sample.labels for sample in samples}) == 32


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["load1", "cpu_seconds_total", "disk_reads_completed_total", "x"]), st.binary(max_size=60)
        ),
        max_size=10,
    )
)
def test_any_page_gives_catalogued_numbers_or_the_own_error(lines):
    """It comes from another machine, and may be anything."""
    reader = NodePage("h")
    text = b"".join(b"node_" + name.encode() + rest + b"\n" for name, rest in lines)
    for at_s in (0.0, 15.0):
        try:
            samples = list(reader.read(text, at_s))
        except SourceMalformed:
            continue
        assert {sample.metric for sample in samples} <= CATALOG.keys()
        assert all(math.isfinite(sample.value) for sample in samples)


def test_a_number_that_no_host_has_is_left_out():
    """Its millionths would be infinite, and the other hosts' pages are read in the same round."""
    text = 'node_cpu_seconds_total{cpu="0",mode="idle"} 1e308\nnode_load1 2\n'
    assert [(s.metric, s.value) for s in NodePage("h").read(text.encode(), 0.0)] == [
        ("system_cpu_load_average_1m", 2.0)
    ]


@pytest.mark.parametrize(
    ("names", "virtual", "real"),
    [
        (("network_receive_bytes_total", "network_transmit_bytes_total"), "cali%03d", "eth0"),
        (node_page._DISK, "loop%d", "sda"),
    ],
)
def test_a_hundred_virtual_devices_take_no_real_one_s_place(names, virtual, real):
    """An exporter sorts by name, and a node's containers come first."""
    devices = [*(virtual % number for number in range(100)), real]

    def text(total: int) -> bytes:
        return "".join(f'node_{name}{{device="{device}"}} {total}\n' for name in names for device in devices).encode()

    reader = NodePage("h")
    list(reader.read(text(1), 0.0))
    assert {s.labels.get("device") for s in reader.read(text(2), 10.0)} == {real}


def test_a_share_of_time_stays_one_when_waiting_for_disks_runs_backwards():
    """The kernel's iowait does that now and then; the rest of the CPU's time is still known."""
    lines = 'node_cpu_seconds_total{{cpu="0",mode="idle"}} {}\nnode_cpu_seconds_total{{cpu="0",mode="iowait"}} {}\nnode_cpu_seconds_total{{cpu="0",mode="user"}} {}\n'
    reader = NodePage("h")
    list(reader.read(lines.format(100, 10, 50).encode(), 0.0))
    found = {s.metric: s.value for s in reader.read(lines.format(109, 9, 52).encode(), 10.0)}
    assert found["system_cpu_utilization_ratio"] == pytest.approx(0.2)
    assert "system_cpu_iowait_ratio" not in found
