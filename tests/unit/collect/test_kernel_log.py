"""The kernel's log becomes records and, where a card or process is named, events."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import httpx
import pytest

from aiops.clock import ManualClock
from aiops.collect.kernel_log import Config, KernelLog
from aiops.model import Event, EventKind, Labels, LogRecord, Observation, Sample, Sight
from aiops.ports import World
from tests.fakes import FakeCheckpoints, FakeInbox

NOW_S = 1_800_000_000.0


class Kernel:
    """A socket that keeps record borders and does not block, as /dev/kmsg does."""

    def __init__(self, root: Path) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.theirs.setblocking(False)
        self.number = 1_000
        world = World("n1", root, ManualClock(), cast("httpx.AsyncClient", None), FakeCheckpoints(), FakeInbox())
        self.cards = world.cards
        self.collector = KernelLog(Config(), world, lambda whole: os.dup(self.theirs.fileno()))

    def say(self, text: str | bytes, priority: int = 4) -> None:
        self.number += 1
        raw = text if isinstance(text, bytes) else text.encode()
        self.ours.send(b"%d,%d,56789,-;%b\n SUBSYSTEM=pci\n" % (priority, self.number, raw))

    def heard(self, now_s: float = NOW_S) -> list[Observation]:
        return list(self.collector.collect(now_s))

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    cards = tmp_path / "proc/driver/nvidia/gpus"
    for name in ("0000:3b:00.0", "0000:1a:00.0"):
        (cards / name).mkdir(parents=True)
    kernel = Kernel(tmp_path)
    assert kernel.heard() == [Sight("kernel_log", "kernel log", seen=True, detail="followed")]
    yield kernel
    kernel.close()


def events(observations: list[Observation]) -> list[Event]:
    return [each for each in observations if isinstance(each, Event)]


def test_messages_become_records_without_prefix_and_properties(kernel: Kernel) -> None:
    """Masking and clustering want the words only."""
    kernel.say("nvme nvme0: I/O 17 QID 3 timeout")

    (record,) = kernel.heard()
    assert isinstance(record, LogRecord)
    assert record.text == "nvme nvme0: I/O 17 QID 3 timeout"
    assert dict(record.labels.pairs) == {"host_name": "n1", "source": "kernel"}
    assert kernel.heard() == []


def test_debug_chatter_is_left_out_and_facilities_do_not_matter(kernel: Kernel) -> None:
    """The prefix holds eight times the facility plus the level."""
    kernel.say("debug", priority=7)
    kernel.say("user debug", priority=15)
    kernel.say("info", priority=14)

    assert [each.text for each in kernel.heard() if isinstance(each, LogRecord)] == ["info"]


def test_an_xid_is_an_event_on_its_card(kernel: Kernel) -> None:
    """The driver names the bus address; NVML's number of the card is its rank among them."""
    kernel.say("NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, GPU has fallen off the bus.")

    (event,) = events(kernel.heard())
    assert (event.kind, event.action, event.message) == (EventKind.HARDWARE, "xid", "Xid 79 on GPU 1")
    assert (event.labels.get("gpu"), event.labels.get("xid"), event.labels.get("host_name")) == ("1", "79", "n1")


def test_a_card_nobody_knows_keeps_its_address(kernel: Kernel) -> None:
    """A wrong number would send somebody to the wrong card."""
    kernel.say("NVRM: Xid (PCI:0000:ff:00): 48, DBE")

    (event,) = events(kernel.heard())
    assert event.labels.get("gpu") == ""
    assert event.message == "Xid 48 on the GPU at 0000:ff:00"


def test_a_storm_of_one_error_is_one_event_in_ten_seconds(kernel: Kernel) -> None:
    """A failing card repeats itself thousands of times."""
    for _ in range(50):
        kernel.say("NVRM: Xid (PCI:0000:1a:00): 31, MMU fault")
        kernel.say("NVRM: Xid (PCI:0000:3b:00): 31, MMU fault")

    assert len(events(kernel.heard())) == 2
    kernel.say("NVRM: Xid (PCI:0000:1a:00): 31, MMU fault")
    assert len(events(kernel.heard(NOW_S + 11.0))) == 1


def test_a_card_that_nvml_shows_is_named_as_nvml_names_it(kernel: Kernel) -> None:
    """In a container NVML numbers fewer cards than the kernel has; the alert's card must be the one in the charts."""
    kernel.cards.show({"00000000:3B:00.0": Labels.of(host_name="n1", hw_id="GPU-7", gpu="0")}, NOW_S)
    kernel.say("NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus.")

    heard = kernel.heard()

    (event,) = events(heard)
    assert dict(event.labels.pairs) == {"host_name": "n1", "hw_id": "GPU-7", "gpu": "0", "xid": "79"}
    totals = [each.value for each in heard if isinstance(each, Sample) and each.metric == "hw_gpu_xid_errors_total"]
    assert totals[:2] == [0.0, 1.0]


def test_a_card_off_the_bus_without_an_xid_is_an_event(kernel: Kernel) -> None:
    """Some cards go without a number."""
    kernel.say("NVRM: GPU at PCI:0000:1a:00: has fallen off the bus")

    (event,) = events(kernel.heard())
    assert (event.action, event.labels.get("gpu")) == ("gpu_lost", "0")


def test_a_process_killed_for_memory_is_an_event(kernel: Kernel) -> None:
    """It explains a replica that vanished without a traceback."""
    kernel.say("Out of memory: Killed process 4711 (python3) total-vm:9kB, anon-rss:8kB")

    (event,) = events(kernel.heard())
    assert (event.kind, event.action, event.labels.get("pid")) == (EventKind.PROCESS, "oom_kill", "4711")


@pytest.mark.parametrize(
    "record", [b"", b"no prefix at all", b";", b"x,1,2,-;text", b"9" * 5000 + b";text", bytes(range(256)), b"6,1,2,-;"]
)
def test_a_record_that_makes_no_sense_is_survived(kernel: Kernel, record: bytes) -> None:
    """Anyone who may write to /dev/kmsg chooses what stands in it."""
    if record:
        kernel.ours.send(record)
    kernel.say("after")

    assert [each.text for each in kernel.heard() if isinstance(each, LogRecord)][-1:] == ["after"]


def test_an_overwritten_ring_goes_on_with_what_is_left(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """EPIPE says that records were lost, not that the log ended."""
    kernel.say("left")
    read, failures = os.read, [BrokenPipeError(32, "Broken pipe")]

    def read_or_fail(handle: int, size: int) -> bytes:
        if failures:
            raise failures.pop()
        return read(handle, size)

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", read_or_fail)
        heard = kernel.heard()

    assert [each.text for each in heard if isinstance(each, LogRecord)] == ["left"]


def test_one_round_takes_a_bounded_number(kernel: Kernel) -> None:
    """A flood is read over several rounds."""
    kernel.ours.setblocking(False)
    sent = 0
    try:
        while sent < 5_000:
            kernel.say("flood")
            sent += 1
    except BlockingIOError:
        pass

    assert 0 < len(kernel.heard()) <= 1_000


@pytest.mark.parametrize(
    ("error", "detail", "hint"),
    [
        (PermissionError(1, "Operation not permitted"), "permission denied", "CAP_SYSLOG"),
        (FileNotFoundError(2, "No such file or directory"), "no such file or directory", ""),
    ],
)
def test_a_log_that_may_not_be_read_is_a_blind_spot_said_once(
    tmp_path: Path, error: OSError, detail: str, hint: str
) -> None:
    """Unprivileged is the normal case; the rest of the daemon goes on."""

    def refuse(whole: bool) -> int:
        raise error

    world = World("n1", tmp_path, ManualClock(), cast("httpx.AsyncClient", None), FakeCheckpoints(), FakeInbox())
    collector = KernelLog(Config(), world, refuse)

    (sight,) = list(collector.collect(NOW_S))
    assert isinstance(sight, Sight)
    assert (sight.seen, sight.detail) == (False, detail)
    assert hint in sight.hint
    assert [each for second in range(1, 200) for each in collector.collect(NOW_S + second)] == []


def test_a_right_given_later_is_noticed(tmp_path: Path) -> None:
    """No restart needed after sysctl."""
    kernel = Kernel(tmp_path)
    tries: list[int] = []

    def open_log(whole: bool) -> int:
        tries.append(1)
        if len(tries) == 1:
            raise PermissionError(1, "Operation not permitted")
        return os.dup(kernel.theirs.fileno())

    world = World("n1", tmp_path, ManualClock(), cast("httpx.AsyncClient", None), FakeCheckpoints(), FakeInbox())
    collector = KernelLog(Config(), world, open_log)
    list(collector.collect(NOW_S))
    (sight,) = list(collector.collect(NOW_S + 61.0))

    assert isinstance(sight, Sight)
    assert sight.seen
    kernel.close()


# --- over restarts ----------------------------------------------------------------------------------------------------


class Ring:
    """Records the kernel still holds, and daemons that come and go."""

    def __init__(self, root: Path) -> None:
        (root / "proc/sys/kernel/random").mkdir(parents=True)
        self.boot = root / "proc/sys/kernel/random/boot_id"
        self.boot.write_text("first boot\n")
        self.clock = ManualClock(1_000.0)
        self.world = World("n1", root, self.clock, cast("httpx.AsyncClient", None), FakeCheckpoints(), FakeInbox())
        self.records: list[bytes] = []
        self.pipes: list[Kernel] = []
        self.opened: list[bool] = []

    def say(self, number: int, text: str, at_s: float = 1_000.0) -> None:
        self.records.append(b"4,%d,%d,-;%b\n" % (number, int(at_s * 1e6), text.encode()))

    def start(self) -> KernelLog:
        pipe = Kernel(self.world.root)
        self.pipes.append(pipe)

        def open_log(whole: bool) -> int:
            self.opened.append(whole)
            for record in self.records if whole else ():
                pipe.ours.send(record)
            return os.dup(pipe.theirs.fileno())

        return KernelLog(Config(), self.world, open_log)

    def close(self) -> None:
        for pipe in self.pipes:
            pipe.close()


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Ring]:
    ring = Ring(tmp_path)
    yield ring
    ring.close()


def heard(collector: KernelLog, now_s: float = NOW_S) -> list[str]:
    return [each.text for each in collector.collect(now_s) if isinstance(each, LogRecord)]


def test_a_restart_reads_what_the_kernel_said_meanwhile_and_nothing_twice(ring: Ring) -> None:
    """The card failed while the daemon was being upgraded."""
    first = ring.start()
    assert heard(first) == []
    ring.pipes[0].ours.send(b"4,7,1,-;seven\n")
    assert heard(first) == ["seven"]
    first.acknowledge(NOW_S)
    ring.say(6, "six")
    ring.say(7, "seven")
    ring.say(8, "eight")
    second = ring.start()

    assert heard(second) == ["eight"]
    assert ring.opened == [False, True]


def test_what_did_not_arrive_is_read_again_after_a_kill(ring: Ring) -> None:
    """At least once."""
    first = ring.start()
    heard(first)
    first.acknowledge(NOW_S)
    ring.pipes[0].ours.send(b"4,7,1,-;seven\n")
    heard(first)
    first.acknowledge(NOW_S)
    ring.pipes[0].ours.send(b"4,8,1,-;eight\n")
    assert heard(first) == ["eight"]
    ring.say(7, "seven")
    ring.say(8, "eight")

    assert heard(ring.start()) == ["eight"]


def test_another_boot_begins_with_the_present(ring: Ring) -> None:
    """Numbers begin anew, and mean something else."""
    first = ring.start()
    heard(first)
    ring.pipes[0].ours.send(b"4,7,1,-;seven\n")
    heard(first)
    first.acknowledge(NOW_S)
    ring.boot.write_text("second boot\n")
    ring.start()
    list(ring.start().collect(NOW_S))

    assert ring.opened[-1] is False


@pytest.mark.parametrize("junk", [b"", b"\xff", b"7", b"[1]", b'["first boot", null]', b'["first boot", "x"]'])
def test_a_checkpoint_of_the_kernel_log_that_cannot_be_read_is_none(ring: Ring, junk: bytes) -> None:
    """Another version wrote it."""
    ring.world.checkpoints.put("kernel_log", junk)

    assert heard(ring.start()) == []
    assert ring.opened == [False]


def test_an_event_missed_during_a_stop_keeps_its_time_and_its_line_is_late(ring: Ring) -> None:
    """An Xid of ten minutes ago is not the reason of what happens now, and must not look like it."""
    ring.world.checkpoints.put("kernel_log", b'["first boot", 6]')
    ring.say(7, "NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus.", at_s=400.0)
    ring.say(8, "usb 1-1: new device", at_s=999.0)

    seen = list(ring.start().collect(NOW_S))

    assert [event.at_s for event in events(seen)] == [NOW_S - 600.0]
    lines = [each for each in seen if isinstance(each, LogRecord)]
    assert [(line.at_s, line.late) for line in lines] == [(NOW_S - 600.0, True), (NOW_S - 1.0, False)]


def test_numbers_that_are_missing_are_counted(kernel: Kernel) -> None:
    """The ring was overwritten before we came: how much was lost is known exactly."""
    kernel.say("one")
    kernel.heard()
    kernel.number += 41
    kernel.say("two")

    counted = [each for each in kernel.heard() if isinstance(each, Sample)]
    assert [(each.labels.get("reason"), each.value) for each in counted] == [
        ("overwritten", 0.0),
        ("overwritten", 41.0),
    ]
