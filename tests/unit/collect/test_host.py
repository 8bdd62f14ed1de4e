"""The host collector reads what is there, says what is not, and waits for no sick disk."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiops.catalog import CATALOG
from aiops.collect import host, host_devices
from aiops.collect.host_cpu import BusyCpus
from aiops.collect.host_tcp import Table
from aiops.collect.procfs import Since, number_after
from aiops.model import Labels, Observation, Sample, Sight
from tests.worlds import make_world

CASES = Path(__file__).parents[2] / "cases" / "collect" / "host"
N1 = Labels.of(host_name="n1")


def blind_spots(observations: list[Observation]) -> set[str]:
    return {o.subject for o in observations if isinstance(o, Sight) and not o.seen}


def test_on_an_empty_root_everything_is_a_blind_spot_and_said_once(tmp_path):
    """A container without /proc is odd, but the daemon must live and tell."""
    collector = host.build(host.Config(), make_world(root=tmp_path))
    first, second = list(collector.collect(0.0)), list(collector.collect(2.0))
    assert {"CPU", "memory", "pressure of io", "disks", "network", "TCP", "file systems", "this host"} <= blind_spots(
        first
    )
    assert second == []


def test_a_blind_spot_that_clears_up_is_said_too(tmp_path):
    """A page that shows old trouble is not believed the next time."""
    root = tmp_path / "root"
    root.mkdir()
    collector = host.build(host.Config(), make_world(root=root))
    list(collector.collect(0.0))
    root.rmdir()
    root.symlink_to(CASES / "bare_metal" / "1")
    seen = {o.subject for o in collector.collect(2.0) if isinstance(o, Sight) and o.seen}
    assert {"CPU", "memory", "disks"} <= seen


def test_on_this_machine_it_finds_cpu_and_memory():
    """The recorded trees are only as good as our idea of the kernel."""
    collector = host.build(host.Config(), make_world(root=Path("/")))
    values = {o.metric: o.value for o in collector.collect(0.0) if isinstance(o, Sample)}
    assert values["system_cpu_logical_count"] == os.cpu_count()
    assert 0.0 < values["system_memory_utilization_ratio"] < 1.0


@pytest.fixture
def large_node(tmp_path: Path) -> Path:
    """A tree that a test may spoil."""
    root = tmp_path / "root"
    shutil.copytree(CASES / "large_node" / "1", root)
    return root


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.sampled_from(["stat", "loadavg", "meminfo", "vmstat", "diskstats", "net/dev", "net/snmp", "net/netstat",
                        "pressure/io", "self/mounts", "net/sockstat",
                        "net/softnet_stat", "sys/fs/file-nr"]),
       st.binary(max_size=200) | st.sampled_from([b"9" * 5_000, b"inf", b"-1"]))  # fmt: skip
def test_any_content_of_a_file_is_survived(large_node, name, noise):
    """A new kernel may write what no kernel wrote before."""
    spoilt = large_node / "proc" / name
    sound = (CASES / "large_node" / "1" / "proc" / name).read_bytes()
    collector = host.build(host.Config(), make_world(root=large_node))
    seen = []
    for now_s, content in ((0.0, sound), (2.0, noise), (12.0, noise), (14.0, sound)):
        spoilt.write_bytes(content)
        seen += collector.collect(now_s)
    samples = [o for o in seen if isinstance(o, Sample)]
    assert {s.metric for s in samples} <= set(CATALOG)
    assert all(math.isfinite(s.value) for s in samples), "a reading that makes no sense is absent"
    assert len({s.metric for s in samples}) >= 30, "the other files are still read"


def test_a_clock_that_stands_still_or_goes_back_gives_no_rates():
    """Dividing by zero seconds, or by minus an hour, would show a rate nobody had."""
    since = Since()
    since.advance(100.0, (1,))
    assert since.advance(100.0, (2,)) is None
    assert since.advance(50.0, (3,)) is None
    assert since.advance(60.0, (8,)) == (10.0, (5,))


def test_a_counter_that_falls_gives_no_rate():
    """A replaced disk or a reloaded driver starts at zero; a negative rate is nonsense."""
    since = Since()
    since.advance(0.0, (100, 5))
    assert since.advance(1.0, (3, 6)) is None


def test_the_speed_of_a_link_that_is_down_is_unknown(tmp_path):
    """EINVAL is how the kernel says it; utilisation of an unknown speed is absent, not zero."""
    card = host_devices.Network(tmp_path, N1)
    assert card._bytes_per_second(b"eth0") is None
    speed = tmp_path / "sys/class/net/eth0/speed"
    speed.parent.mkdir(parents=True)
    for text, expected in (("-1\n", None), ("0\n", None), ("", None), ("10000\n", 1.25e9)):
        speed.write_text(text)
        assert card._bytes_per_second(b"eth0") == expected


def test_one_full_cpu_shows_beside_the_mean_of_all():
    """A tokenizer that fills one of 256 CPUs is what slows the replies; the mean says 1 %."""
    cpus = BusyCpus()
    before = [f"cpu{number} 100 0 0 900 0 0 0 0 0 0".encode() for number in range(256)]
    after = [f"cpu{number} 100 0 0 1000 0 0 0 0 0 0".encode() for number in range(255)]
    assert cpus.advance(before) == []
    busy = cpus.advance([*after, b"cpu255 200 0 0 900 0 0 0 0 0 0"])
    assert (len(busy), max(busy), sum(busy)) == (256, 1.0, 1.0)


def test_a_cpu_that_was_switched_off_and_on_is_left_out_for_a_round():
    """Its counters begin anew; a share of minus three would be nonsense."""
    cpus = BusyCpus()
    cpus.advance([b"cpu0 100 0 0 900 0 0 0 0", b"cpu1 100 0 0 900 0 0 0 0"])
    assert cpus.advance([b"cpu0 150 0 0 950 0 0 0 0", b"cpu1 1 0 0 9 0 0 0 0"]) == [0.5]


def test_a_table_of_another_kernel_gives_the_columns_it_has():
    """TCPSynRetrans came with Linux 3.15, and nobody promises an order."""
    table = Table(b"TcpExt:", (b"ListenDrops", b"TCPSynRetrans"))
    assert table.values(b"TcpExt: A ListenDrops\nTcpExt: 1 2\nIpExt: B\nIpExt: 3") == (2,)
    assert table.values(b"TcpExt: TCPSynRetrans ListenDrops\nTcpExt: 8 9\n") == (9, 8)
    with pytest.raises(ValueError, match="TcpExt"):
        table.values(b"Tcp: nothing else\n")


def test_slow_parts_are_read_every_ten_seconds_though_rounds_come_every_second():
    """In an incident rounds are hastened; the ports of a network card then must not be asked ten times as often."""

    class Counting:
        subject = "counted"

        def __init__(self) -> None:
            self.at_s: list[float] = []

        def read(self, now_s: float) -> Iterator[Sample]:
            self.at_s.append(now_s)
            yield Sample("system_open_files", N1, now_s, 1.0)

    often, seldom = Counting(), Counting()
    collector = host.Host(host.Config(), [(0.0, often), (9.5, seldom)])
    for now_s in [*map(float, range(100, 121)), 50.0]:
        list(collector.collect(now_s))
    assert len(often.at_s) == 22
    assert seldom.at_s == [100.0, 110.0, 120.0, 50.0], "a clock that was set back delays nothing"


def test_a_part_that_divides_by_nonsense_is_a_blind_spot():
    """Four thousand digits are a number to Python, and too large for any rate."""

    class Absurd:
        subject = "absurd"

        def read(self, now_s: float) -> Iterator[Sample]:
            yield Sample("system_open_files", N1, now_s, 10**400 / 3)

    assert "absurd" in blind_spots(list(host.Host(host.Config(), [(0.0, Absurd())]).collect(0.0)))


@given(st.binary(max_size=200), st.sampled_from([b"Dirty:", b"oom_kill "]))
def test_searching_for_a_number_finds_one_or_raises_its_error(text, mark):
    """Whatever stands in the file: a whole number, nothing, or ValueError."""
    try:
        found = number_after(text, mark)
    except ValueError:
        return
    assert found is None or isinstance(found, int)


def test_a_name_that_begins_like_another_is_not_taken_for_it():
    """Writeback and WritebackTmp stand one after the other."""
    text = b"WritebackTmp: 7 kB\nWriteback:   9 kB\nx pgmajfault 3\npgmajfault 4\n"
    assert number_after(text, b"Writeback:") == 9
    assert number_after(text, b"pgmajfault ") == 4
    assert number_after(text, b"Dirty:") is None


def test_more_disks_than_are_watched_are_said_once(tmp_path):
    """Thousands of device-mapper volumes must not become ten thousand series, nor go unsaid."""
    (tmp_path / "proc").mkdir()
    rows = [f"253 {number} dm-{number} 1 0 1 1 1 0 1 1 0 1 1" for number in range(500)]
    rows += [f"7 {number} loop{number} 1 0 1 1 1 0 1 1 0 1 1" for number in range(500)]
    (tmp_path / "proc/diskstats").write_text("\n".join(rows))
    disks = host_devices.Disks(tmp_path, N1)
    rounds = [list(disks.read(float(number))) for number in range(3)]
    assert len({o.labels.get("device") for o in rounds[1] if isinstance(o, Sample)}) == 48
    said = [o.detail for seen in rounds for o in seen if isinstance(o, Sight)]
    assert said == ["only the first 48 are watched"]
