"""File systems: full, hung, broken, read-only. Nothing here blocks the caller, and no mount point is asked twice at once."""

from __future__ import annotations

import errno
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiops.collect import host_filesystems
from aiops.collect.host_filesystems import Filesystems, watched
from aiops.model import Event, Labels, Observation, Sample, Sight

N1 = Labels.of(host_name="n1")


class Disks:
    """A stand-in for statvfs: no real mount hangs here; a thread that asks for a hung one waits at a gate."""

    def __init__(self) -> None:
        self.gates: dict[str, threading.Event] = {}
        self.errors: dict[str, int] = {}
        self.asked: Counter[str] = Counter()
        self.inside: Counter[str] = Counter()
        self.most_inside = 0

    def hang(self, path: str) -> None:
        self.gates[path] = threading.Event()

    def release(self, path: str) -> None:
        self.gates.pop(path).set()

    def statvfs(self, path: bytes) -> os.statvfs_result:
        name = path.decode()
        self.asked[name] += 1
        self.inside[name] += 1
        self.most_inside = max(self.most_inside, *self.inside.values())
        if name in self.gates:
            self.gates[name].wait(20.0)
        self.inside[name] -= 1
        if name in self.errors:
            raise OSError(self.errors[name], os.strerror(self.errors[name]))
        return os.statvfs_result((4096, 4096, 100, 50, 40, 200, 80, 80, 0, 255))


@pytest.fixture
def disks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disks]:
    monkeypatch.setattr(host_filesystems, "_PATIENCE_S", 0.05)
    disks = Disks()
    yield disks
    for path in list(disks.gates):
        disks.release(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "proc/self").mkdir(parents=True)
    return tmp_path


def mount(root: Path, *rows: str) -> None:
    (root / "proc/self/mounts").write_text("".join(f"{row} 0 0\n" for row in rows))


def part(root: Path, disks: Disks) -> Filesystems:
    """The part under test, which asks about paths as they stand in the mount table."""
    return Filesystems(root, N1, lambda path: disks.statvfs(path.removeprefix(os.fsencode(root))))


def values(seen: list[Observation], metric: str) -> dict[str, float]:
    return {o.labels.get("mountpoint"): o.value for o in seen if isinstance(o, Sample) and o.metric == metric}


def sights(seen: list[Observation]) -> list[tuple[str, bool]]:
    return [(o.subject, o.seen) for o in seen if isinstance(o, Sight)]


RESPONDING, FULL = "system_filesystem_responding", "system_filesystem_utilization_ratio"


def test_space_and_inodes_are_told(root, disks):
    """No inode left looks like a full disk to a program, with half the space free."""
    mount(root, "/dev/sda1 / ext4 rw")
    seen = list(part(root, disks).read(0.0))
    assert values(seen, FULL) == {"/": pytest.approx(50 / 90)}
    assert values(seen, "system_filesystem_free_bytes") == {"/": 40 * 4096.0}
    assert values(seen, "system_filesystem_inodes_utilization_ratio") == {"/": 0.6}
    assert values(seen, RESPONDING) == {"/": 1.0}


def test_each_device_is_asked_once(root, disks):
    """Bind mounts repeat the same disk a hundred times; a container's layers are no disks."""
    mount(
        root,
        "/dev/sda1 /etc/hosts ext4 rw",
        "/dev/sda1 /data ext4 rw",
        "server:/export /mnt/nfs nfs4 rw",
        "server:/export /mnt/nfs/again nfs4 rw",
        "tmpfs /dev/shm tmpfs rw",
        "tmpfs /run tmpfs rw",
        "overlay / overlay rw",
        "overlay /var/lib/docker/overlay2/x/merged overlay rw",
        "s3fs /models fuse.s3fs ro",
        "lxcfs /var/lib/lxcfs fuse.lxcfs rw",
    )
    assert set(values(list(part(root, disks).read(0.0)), FULL)) == {"/", "/data", "/dev/shm", "/mnt/nfs", "/models"}


def test_a_dead_nfs_server_is_named_and_delays_nothing_else(root, disks):
    """Local disks keep being measured, and threads do not pile up at the dead mount."""
    mount(root, "/dev/sda1 / ext4 rw", "server:/a /mnt/a nfs rw", "server:/b /mnt/b nfs4 rw")
    disks.hang("/mnt/a")
    watcher = part(root, disks)
    rounds = [list(watcher.read(10.0 * number)) for number in range(6)]
    assert values(rounds[0], RESPONDING) == {"/": 1.0, "/mnt/b": 1.0}, "not known yet"
    for seen in rounds[1:]:
        assert values(seen, RESPONDING) == {"/": 1.0, "/mnt/b": 1.0, "/mnt/a": 0.0}
    assert [sights(seen) for seen in rounds] == [[], [("file system /mnt/a", False)], [], [], [], []]
    assert (disks.asked["/mnt/a"], disks.asked["/"]) == (1, 6)


def test_a_mount_that_answers_again_is_watched_again(root, disks):
    """The server came back after ten minutes: nobody should have to restart the daemon."""
    mount(root, "server:/a /mnt/a nfs rw")
    disks.hang("/mnt/a")
    watcher = part(root, disks)
    list(watcher.read(0.0))
    list(watcher.read(10.0))
    stuck = watcher._hung["/mnt/a"]
    disks.release("/mnt/a")
    stuck.wait(10.0)
    seen = list(watcher.read(20.0))
    assert values(seen, RESPONDING) == {"/mnt/a": 1.0}
    assert sights(seen) == [("file system /mnt/a", True)]


def test_a_local_disk_that_hangs_hides_no_other(root, disks):
    """One thread asks all local ones; what stood behind the sick one on its list is asked anew."""
    mount(root, "/dev/sda1 /a ext4 rw", "/dev/sdb1 /b xfs rw", "/dev/sdc1 /c xfs rw")
    disks.hang("/b")
    watcher = part(root, disks)
    list(watcher.read(0.0))
    seen = list(watcher.read(10.0))
    assert values(seen, RESPONDING) == {"/a": 1.0, "/b": 0.0, "/c": 1.0}
    assert set(values(seen, FULL)) == {"/a", "/c"}


def test_many_dead_mounts_hold_few_threads_and_each_only_one(root, disks):
    """Sixteen shares of one dead server must not become hundreds of threads overnight."""
    rows = [f"server:/{number} /mnt/{number} nfs rw" for number in range(40)]
    mount(root, "/dev/sda1 / ext4 rw", *rows)
    for number in range(40):
        disks.hang(f"/mnt/{number}")
    watcher = part(root, disks)
    before = threading.active_count()
    for number in range(5):
        seen = list(watcher.read(10.0 * number))
    assert disks.most_inside == 1
    assert threading.active_count() - before <= host_filesystems._MAX_REMOTE
    assert values(seen, FULL) == {"/": pytest.approx(50 / 90)}


@pytest.mark.parametrize(("code", "responds"), [(errno.ESTALE, 0.0), (errno.ENOTCONN, 0.0), (errno.EACCES, None)])
def test_a_broken_mount_is_told_from_one_hidden_from_us(root, disks, code, responds):
    """A stale handle is the mount's fault; a folder we may not enter is none."""
    mount(root, "server:/a /mnt/a nfs rw")
    disks.errors["/mnt/a"] = code
    seen = list(part(root, disks).read(0.0))
    assert values(seen, RESPONDING) == ({} if responds is None else {"/mnt/a": responds})
    assert sights(seen) == ([] if responds is None else [("file system /mnt/a", False)])


def test_a_disk_that_turns_read_only_is_an_event_once(root, disks):
    """The kernel remounts a failing ext4 so; every write fails from then on, and nothing else says it."""
    watcher = part(root, disks)
    mount(root, "/dev/sda1 / ext4 rw,relatime", "/dev/sdb1 /models ext4 ro")
    list(watcher.read(0.0))
    mount(root, "/dev/sda1 / ext4 ro,relatime", "/dev/sdb1 /models ext4 ro")
    rounds = [list(watcher.read(10.0)), list(watcher.read(20.0))]
    events = [[(o.action, o.labels.get("mountpoint")) for o in seen if isinstance(o, Event)] for seen in rounds]
    assert events == [[("read_only", "/")], []]
    assert values(rounds[1], "system_filesystem_read_only") == {"/": 1.0}, "what was always read-only is meant so"


def test_an_odd_mount_point_keeps_its_path_and_gets_a_printable_name(root, disks):
    """The kernel writes a space as \\040; bytes that are no UTF-8 would break the metrics page."""
    table = b"/dev/sdb /my\\040models xfs rw 0 0\n/dev/sdc /\xff xfs rw 0 0\nhalf a line\n"
    assert [(m.name, m.path) for m in watched(table)] == [("/my models", b"/my models"), ("/�", b"/\xff")]
