"""The host collector reads what is there, says what is not, and waits for no sick disk."""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiops.catalog import CATALOG
from aiops.collect import host, host_devices
from aiops.collect.host_devices import Filesystems
from aiops.collect.procfs import Since
from aiops.model import Labels, Observation, Sample, Sight
from tests.worlds import make_world

CASES = Path(__file__).parents[2] / "cases" / "collect" / "host"
N1 = Labels.of(host_name="n1")


def blind_spots(observations: list[Observation]) -> set[str]:
    return {o.subject for o in observations if isinstance(o, Sight) and not o.seen}


def mounts(root: Path, *rows: str) -> None:
    (root / "proc/self").mkdir(parents=True, exist_ok=True)
    (root / "proc/self/mounts").write_text("".join(f"{row} rw 0 0\n" for row in rows))


def mountpoints(samples: list[Sample]) -> list[str]:
    return [sample.labels.get("mountpoint") for sample in samples]


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


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(st.sampled_from(["stat", "loadavg", "meminfo", "vmstat", "diskstats", "net/dev", "net/snmp", "net/netstat",
                        "pressure/io", "self/mounts"]), st.binary(max_size=200))  # fmt: skip
def test_any_content_of_a_file_is_survived(tmp_path, name, noise):
    """A new kernel may write what no kernel wrote before."""
    for number in (1, 2):
        for source in (CASES / "bare_metal" / str(number)).rglob("*"):
            target = tmp_path / source.relative_to(CASES / "bare_metal" / str(number))
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes())
        (tmp_path / "proc" / name).write_bytes(noise)
        collector = host.build(host.Config(), make_world(root=tmp_path))
        seen = [*collector.collect(0.0), *collector.collect(2.0)]
        samples = [o for o in seen if isinstance(o, Sample)]
        assert {s.metric for s in samples} <= set(CATALOG)
        assert all(math.isfinite(s.value) for s in samples), "a reading that makes no sense is absent"
        assert len({s.metric for s in samples}) >= 5, "the other files are still read"


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


def test_only_local_file_systems_are_measured_each_once(tmp_path):
    """A dead NFS server blocks whoever asks; bind mounts repeat the same disk a hundred times."""
    for folder in ("data", "mnt/nfs", "etc/hosts", "dev/shm", "run"):
        (tmp_path / folder).mkdir(parents=True)
    mounts(
        tmp_path,
        "/dev/sda1 /etc/hosts ext4",
        "/dev/sda1 /data ext4",
        "server:/export /mnt/nfs nfs4",
        "tmpfs /dev/shm tmpfs",
        "tmpfs /run tmpfs",
        "overlay / overlay",
        "overlay /var/lib/docker/overlay2/x/merged overlay",
    )
    assert mountpoints(list(Filesystems(tmp_path, N1).read(0.0))) == ["/", "/data", "/dev/shm"]


def test_a_mount_point_with_a_space_is_unescaped(tmp_path):
    """The kernel writes it as \\040."""
    (tmp_path / "my models").mkdir()
    mounts(tmp_path, "/dev/sdb /my\\040models xfs")
    assert mountpoints(list(Filesystems(tmp_path, N1).read(0.0))) == ["/my models"]


def test_a_mount_point_that_is_gone_is_left_out(tmp_path):
    """Between the list and the question a volume may be unmounted."""
    mounts(tmp_path, "/dev/sdb /gone xfs", "/dev/sda1 / ext4")
    assert mountpoints(list(Filesystems(tmp_path, N1).read(0.0))) == ["/"]


def test_a_file_system_that_blocks_costs_its_own_part_only(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """CPU and network must stay in sight on the very machine whose disk is dying."""
    gate = threading.Event()

    def blocking(_path: object) -> os.statvfs_result:
        gate.wait(20.0)
        raise OSError

    monkeypatch.setattr(host_devices.os, "statvfs", blocking)
    monkeypatch.setattr(host_devices, "_SPACE_PATIENCE_S", 0.01)
    mounts(tmp_path, "/dev/sda1 / ext4")
    part = Filesystems(tmp_path, N1)
    try:
        assert list(part.read(0.0)) == []
        assert list(part.read(5.0)) == []
        with pytest.raises(OSError, match="does not answer"):
            list(part.read(11.0))
    finally:
        gate.set()
        if part._thread is not None:
            part._thread.join()


def test_the_speed_of_a_link_that_is_down_is_unknown(tmp_path):
    """EINVAL is how the kernel says it; utilisation of an unknown speed is absent, not zero."""
    card = host_devices.Network(tmp_path, N1)
    assert card._bytes_per_second(b"eth0") is None
    speed = tmp_path / "sys/class/net/eth0/speed"
    speed.parent.mkdir(parents=True)
    for text, expected in (("-1\n", None), ("0\n", None), ("", None), ("10000\n", 1.25e9)):
        speed.write_text(text)
        assert card._bytes_per_second(b"eth0") == expected
