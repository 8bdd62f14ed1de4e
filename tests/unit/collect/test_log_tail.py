"""Log files of servers become records that say which replica wrote them."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, cast

import httpx
import pytest

from aiops.clock import ManualClock
from aiops.collect.log_tail import Config, LogFile, LogTail, build
from aiops.model import LogRecord, Observation, Sample, Sight
from aiops.ports import World
from tests.fakes import FakeCheckpoints, FakeInbox

NOW_S = 1_800_000_000.0


class Slow(ManualClock):
    """A clock by which everything takes long."""

    def monotonic_s(self) -> float:
        self.advance(0.05)
        return super().monotonic_s()


def tail(root: Path, *files: LogFile, **settings: Any) -> LogTail:
    world = World("n1", root, ManualClock(), cast("httpx.AsyncClient", None), FakeCheckpoints(), FakeInbox())
    return build(Config(files=files, **{"discover": False, **settings}), world)


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def records(seen: list[Observation]) -> list[LogRecord]:
    return [each for each in seen if isinstance(each, LogRecord)]


def skipped(seen: list[Observation]) -> list[tuple[str, float]]:
    """What was counted as skipped: reason and total."""
    samples = [each for each in seen if isinstance(each, Sample) and each.metric == "log_lines_skipped_total"]
    return [(each.labels.get("reason"), each.value) for each in samples]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "a.log"
    path.touch()
    return path


def test_a_line_says_which_replica_wrote_it(tmp_path: Path, log: Path) -> None:
    """An out-of-memory line counts against one replica, not against all."""
    collector = tail(tmp_path, LogFile(str(log), "127.0.0.1:8001"))
    list(collector.collect(NOW_S))
    append(log, b"CUDA out of memory\xff\n")

    (record,) = records(list(collector.collect(NOW_S + 1.0)))

    assert record.text == "CUDA out of memory\ufffd"
    assert record.at_s == NOW_S + 1.0
    assert dict(record.labels.pairs) == {"host_name": "n1", "source": str(log), "instance": "127.0.0.1:8001"}


def test_wildcards_find_files_that_come_later(tmp_path: Path) -> None:
    """Engines put the date into the name."""
    collector = tail(tmp_path, LogFile(f"{tmp_path}/*.log"))
    list(collector.collect(NOW_S))
    (tmp_path / "2027-01-15.log").write_bytes(b"first\n")

    assert [record.text for record in records(list(collector.collect(NOW_S + 11.0)))] == ["first"]


def test_up_says_whether_a_log_is_followed(tmp_path: Path, log: Path) -> None:
    """Only where a log is followed does "not in the log" mean anything."""
    collector = tail(tmp_path, LogFile(str(log)))
    seen: list[Observation] = []
    for second in range(12):
        if second == 6:
            log.unlink()
        seen += collector.collect(NOW_S + second)

    ups = [(each.at_s - NOW_S, each.value) for each in seen if isinstance(each, Sample)]
    assert ups == [(0.0, 1.0), (5.0, 1.0), (6.0, 0.0), (11.0, 0.0)]
    assert [(each.seen, each.detail) for each in seen if isinstance(each, Sight)] == [
        (True, "followed"),
        (False, "no such file or directory"),
    ]


def test_hostile_lines_are_cut_counted_and_passed_on(tmp_path: Path, log: Path) -> None:
    """Judging them is the log path's work; bounding them is ours."""
    collector = tail(tmp_path, LogFile(str(log)))
    list(collector.collect(NOW_S))
    append(
        log, b"x" * 2**20 + b"\n" + bytes(range(32, 127)) + bytes(range(128, 256)) + b"\nwith \x1b[31mcolour\x1b[0m\n"
    )

    seen = list(collector.collect(NOW_S + 1.0))

    assert [(len(record.text), record.truncated) for record in records(seen)] == [
        (64 * 2**10, True),
        (95 + 128, False),
        (20, False),
    ]
    assert skipped(seen) == [("oversize", 0.0), ("oversize", 1.0)]


def test_binary_data_is_left_out_counted_and_said_once(tmp_path: Path, log: Path) -> None:
    """A core dump in a log would become ten thousand templates; the text around it is read all the same."""
    collector = tail(tmp_path, LogFile(str(log)))
    list(collector.collect(NOW_S))
    random = Random(1)
    seen: list[Observation] = []
    for second in range(1, 11):
        append(log, random.randbytes(100_000) + b"\n\0\0\0\nERROR a line of text\n")
        seen += collector.collect(NOW_S + second)

    texts = [record.text for record in records(seen)]
    assert texts.count("ERROR a line of text") == 10
    assert sum(map(len, texts)) < 20_000, "a few short pieces pass for text"
    assert skipped(seen)[-1][0] == "binary"
    assert skipped(seen)[-1][1] > 3_000
    assert [each.detail for each in seen if isinstance(each, Sight)] == [
        "followed; binary data among its lines is left out"
    ]


def test_a_flood_in_one_file_does_not_starve_the_other(tmp_path: Path) -> None:
    """One replica in a loop of tracebacks must not hide what another says."""
    loud, quiet = tmp_path / "loud.log", tmp_path / "quiet.log"
    loud.touch()
    quiet.touch()
    collector = tail(tmp_path, LogFile(str(loud)), LogFile(str(quiet)))
    list(collector.collect(NOW_S))
    append(loud, b"traceback of some length, again and again\n" * 150_000)
    append(quiet, b"the reason\n")

    rounds = [records(list(collector.collect(NOW_S + second))) for second in (1, 2)]

    assert all(len(each) <= 20_001 for each in rounds)
    assert "the reason" in [record.text for each in rounds for record in each]


def test_one_round_takes_a_bounded_amount_of_text(tmp_path: Path, log: Path) -> None:
    """Twenty thousand lines of 64 KiB would be more memory than we may have."""
    collector = tail(tmp_path, LogFile(str(log)))
    list(collector.collect(NOW_S))
    append(log, (b"INFO " + b"y" * 60_000 + b"\n") * 200)

    first_seen = list(collector.collect(NOW_S + 1.0))
    first = records(first_seen)
    rest = [record for second in range(2, 20) for record in records(list(collector.collect(NOW_S + second)))]

    assert sum(len(record.text) for record in first) < 3 * 2**20
    assert 20 < len(first) + len(rest) < 200
    assert len(first) + len(rest) + skipped(first_seen)[-1][1] == 200, "what is left out is counted"


def test_of_two_floods_and_a_quiet_log_each_gets_its_share(tmp_path: Path) -> None:
    """Who has little is read whole; the others share what is left, and what they lose is counted."""
    paths = [tmp_path / name for name in ("loud.log", "louder.log", "quiet.log")]
    for path in paths:
        path.touch()
    collector = tail(tmp_path, *(LogFile(str(path)) for path in paths))
    list(collector.collect(NOW_S))
    for path, lines in zip(paths, (60_000, 200_000, 300), strict=True):
        append(path, b"INFO a line of some length, as many as there may be\n" * lines)

    seen = list(collector.collect(NOW_S + 1.0))

    taken = Counter(record.labels.get("source") for record in records(seen))
    lost = {
        each.labels.get("source"): each.value
        for each in seen
        if isinstance(each, Sample) and each.metric == "log_lines_skipped_total"
    }
    assert taken[str(paths[2])] == 300
    assert 1_000 < taken[str(paths[0])] < 4_000
    assert 1_000 < taken[str(paths[1])] < 4_000
    assert [taken[str(path)] + lost.get(str(path), 0.0) for path in paths] == [60_000, 200_000, 300]


def test_a_slow_disk_ends_the_round_and_not_the_others(tmp_path: Path) -> None:
    """One round takes a bounded time, whatever it reads from; what is left comes next time."""
    paths = [tmp_path / f"{number}.log" for number in range(4)]
    for path in paths:
        path.touch()
    clock = Slow()
    world = World("n1", tmp_path, clock, cast("httpx.AsyncClient", None), FakeCheckpoints(), FakeInbox())
    collector = build(Config(files=tuple(LogFile(str(path)) for path in paths), discover=False), world)
    list(collector.collect(NOW_S))
    for path in paths:
        append(path, b"INFO a line\n" * 500)

    rounds = [records(list(collector.collect(NOW_S + second))) for second in range(1, 8)]

    assert len(rounds[0]) < 2_000
    assert sum(map(len, rounds)) == 2_000


def test_a_wildcard_that_matches_rotations_too_reads_nothing_twice(tmp_path: Path, log: Path) -> None:
    """*.log* is easily written."""
    collector = tail(tmp_path, LogFile(f"{tmp_path}/*.log*"))
    list(collector.collect(NOW_S))
    append(log, b"one\n")
    seen = records(list(collector.collect(NOW_S + 1.0)))
    log.rename(tmp_path / "a.log.1")
    append(log, b"two\n")
    (tmp_path / "a.log.2.gz").write_bytes(gzip.compress(b"zero\n"))
    for second in range(2, 30):
        seen += records(list(collector.collect(NOW_S + second)))

    assert [record.text for record in seen] == ["one", "two"]


def test_containers_logs_are_found_and_unwrapped(tmp_path: Path) -> None:
    """In a DaemonSet nothing has to be named."""
    pod = tmp_path / "var/log/pods/prod_vllm-1_2/vllm/0.log"
    pod.parent.mkdir(parents=True)
    pod.touch()
    collector = tail(tmp_path, discover=True)
    list(collector.collect(NOW_S))
    append(pod, b"2027-01-15T08:00:00.5Z stderr F CUDA out of memory\n")

    (record,) = records(list(collector.collect(NOW_S + 1.0)))

    assert (record.text, record.at_s, record.late) == ("CUDA out of memory", NOW_S + 0.5, False)
    assert dict(record.labels.pairs) == {"host_name": "n1", "source": str(pod)}


def test_found_files_that_are_gone_make_room(tmp_path: Path) -> None:
    """Pods come and go; the number of open files stays."""
    collector = tail(tmp_path, LogFile(f"{tmp_path}/*.log"))
    texts: list[str] = []
    for day in range(5):
        for number in range(50):
            append(tmp_path / f"{day}-{number}.log", b"day %d\n" % day)
        for second in range(4):
            texts += [record.text for record in records(list(collector.collect(NOW_S + 60.0 * day + 11.0 * second)))]
        assert len(collector._sources) <= 64
        for path in tmp_path.glob("*.log"):
            path.unlink()

    assert Counter(texts)["day 4"] == 50, "there was room for them"


def test_nothing_to_follow_is_a_blind_spot_with_a_hint(tmp_path: Path) -> None:
    """Said once."""
    collector = tail(tmp_path, discover=True)

    (sight,) = list(collector.collect(NOW_S))

    assert isinstance(sight, Sight)
    assert "collect.log_tail.files" in sight.hint
    assert list(collector.collect(NOW_S + 1.0)) == []


# --- finding files --------------------------------------------------------------------------------------------------


class Machine:
    """A tree with processes that listen."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "proc/net").mkdir(parents=True)
        self.sockets: list[str] = []
        self.write_sockets()

    def write_sockets(self) -> None:
        (self.root / "proc/net/tcp").write_text("  sl  local_address ...\n" + "".join(self.sockets))

    def run(self, pid: int, command: str, port: int, files: dict[int, Path], *, flags: str = "0102001") -> None:
        inode = 1000 + pid + port
        n = len(self.sockets)
        self.sockets.append(
            f"   {n}: 0100007F:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 {inode} 1\n"
        )
        self.write_sockets()
        process = self.root / "proc" / str(pid)
        (process / "fd").mkdir(parents=True, exist_ok=True)
        (process / "fdinfo").mkdir(exist_ok=True)
        (process / "cmdline").write_bytes(command.replace(" ", "\0").encode())
        (process / "comm").write_text(command.split(maxsplit=1)[0])
        (process / f"fd/{90 + n}").symlink_to(f"socket:[{inode}]")
        for handle, path in files.items():
            (process / f"fd/{handle}").symlink_to(path)
            (process / f"fdinfo/{handle}").write_text(f"pos:\t0\nflags:\t{flags}\nmnt_id:\t1\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "root")


def test_the_output_of_a_local_server_is_found_and_named_by_its_port(machine: Machine, log: Path) -> None:
    """`vllm serve … > a.log &` is how it is mostly started."""
    machine.run(4242, "python -m vllm.entrypoints.openai.api_server", 8000, {0: log, 1: log, 2: log})
    machine.run(4242, "python -m vllm.entrypoints.openai.api_server", 45_000, {})
    collector = tail(machine.root, discover=True)
    list(collector.collect(NOW_S))
    append(log, b"hello\n")

    (record,) = records(list(collector.collect(NOW_S + 1.0)))

    assert (record.labels.get("source"), record.labels.get("instance")) == (str(log), "127.0.0.1:8000")


def test_what_a_later_server_wrote_before_it_was_found_is_read(machine: Machine, log: Path) -> None:
    """The load error is its first line."""
    collector = tail(machine.root, discover=True)
    list(collector.collect(NOW_S))
    append(log, b"loading\n")
    machine.run(4242, "sglang serve", 30000, {1: log})

    assert [record.text for record in records(list(collector.collect(NOW_S + 61.0)))] == ["loading"]


def test_one_file_for_two_replicas_names_neither(machine: Machine, log: Path) -> None:
    """Whose line it is cannot be told, so nobody is blamed."""
    machine.run(1, "vllm serve", 8000, {1: log})
    machine.run(2, "vllm serve", 8001, {1: log})
    collector = tail(machine.root, discover=True)
    list(collector.collect(NOW_S))
    append(log, b"hello\n")

    (record,) = records(list(collector.collect(NOW_S + 1.0)))
    assert record.labels.get("instance") == ""


@pytest.mark.parametrize(
    ("command", "flags", "handle"),
    [("postgres -D x", "0102001", 1), ("vllm serve", "0100000", 1), ("vllm serve", "0102001", 7)],
    ids=["another program", "only read", "a data file"],
)
def test_other_files_are_left_alone(machine: Machine, tmp_path: Path, command: str, flags: str, handle: int) -> None:
    """A database's log or a model's weights are none of our business."""
    path = tmp_path / "data.bin"
    path.touch()
    machine.run(4242, command, 8000, {handle: path}, flags=flags)
    collector = tail(machine.root, discover=True)
    list(collector.collect(NOW_S))
    append(path, b"secret\n")

    assert records(list(collector.collect(NOW_S + 1.0))) == []


def test_a_named_file_keeps_the_instance_of_the_settings(machine: Machine, log: Path) -> None:
    """What a person wrote goes before what we guess."""
    machine.run(4242, "vllm serve", 8000, {1: log})
    collector = tail(machine.root, LogFile(str(log), "10.0.0.5:8000"), discover=True)
    list(collector.collect(NOW_S))
    append(log, b"hello\n")

    (record,) = records(list(collector.collect(NOW_S + 1.0)))
    assert record.labels.get("instance") == "10.0.0.5:8000"


def test_a_broken_proc_is_survived(machine: Machine) -> None:
    """Processes end while we look at them."""
    machine.run(4242, "vllm serve", 8000, {1: Path("/nowhere/at/all.log")})
    (machine.root / "proc/4242/cmdline").unlink()
    collector = tail(machine.root, discover=True)

    assert all(isinstance(each, Sight) for each in collector.collect(NOW_S))
