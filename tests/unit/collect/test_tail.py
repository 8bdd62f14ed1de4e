"""A log is followed through everything that happens to log files, and costs a bounded amount."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from aiops.collect.file_names import expand, reading_hint
from aiops.collect.losses import Losses
from aiops.collect.sampling import MAX_LINE_BYTES, Ration
from aiops.collect.tail import Follower
from tests.fakes import FakeCheckpoints

NOW_S = 1_800_000_000.0


@pytest.fixture
def checkpoints() -> FakeCheckpoints:
    return FakeCheckpoints()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "a.log"
    path.write_bytes(b"old\n")
    return path


@pytest.fixture
def follower(log: Path, checkpoints: FakeCheckpoints) -> Iterator[Follower]:
    follower = follow(log, checkpoints)
    assert read(follower) == []
    yield follower
    follower.close()


def follow(path: Path, checkpoints: FakeCheckpoints, *, from_start: bool = False) -> Follower:
    return Follower(str(path), checkpoints, name="log", max_away_s=60.0, from_start=from_start)


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def read(follower: Follower, now_s: float = NOW_S) -> list[bytes]:
    lines = list(follower.lines(now_s))
    follower.note(now_s)
    follower.save()
    return lines


def test_only_what_is_appended_is_read(follower: Follower, log: Path) -> None:
    """Yesterday's errors are no news at the first start."""
    append(log, b"one\r\n\n\r\ntwo\n")

    assert read(follower) == [b"one", b"two"]
    assert read(follower) == []


def test_half_a_line_waits_for_its_end(follower: Follower, log: Path) -> None:
    """A writer is often in the middle of a line when we look."""
    append(log, b"on")
    assert read(follower) == []
    append(log, b"e\ntw")
    assert read(follower) == [b"one"]
    append(log, b"o\n")
    assert read(follower) == [b"two"]


def test_a_start_in_the_middle_of_a_line_skips_its_end(log: Path, checkpoints: FakeCheckpoints) -> None:
    """The tail of a line looks like garbage to every parser."""
    log.write_bytes(b"first half")
    follower = follow(log, checkpoints)
    assert read(follower) == []
    append(log, b", second half\nwhole\n")

    assert read(follower) == [b"whole"]


def test_rotation_by_rename_loses_nothing(follower: Follower, log: Path) -> None:
    """logrotate renames; the writer goes on writing to the old file until it is told."""
    append(log, b"before\n")
    log.rename(log.with_suffix(".1"))
    append(log.with_suffix(".1"), b"late\n")
    log.write_bytes(b"after\n")
    append(log.with_suffix(".1"), b"no newline at its end")

    seen = [line for _ in range(3) for line in read(follower)]

    assert seen == [b"before", b"late", b"no newline at its end", b"after"]
    assert follower.problem == ""


def test_truncation_in_place_begins_anew(follower: Follower, log: Path) -> None:
    """Copytruncate keeps the inode and empties the file."""
    append(log, b"before, and long enough that the new content is shorter\n")
    assert len(read(follower)) == 1
    log.write_bytes(b"after\n")

    assert read(follower) == [b"after"]


def test_truncation_is_seen_even_when_the_file_has_grown_past_its_old_size(follower: Follower, log: Path) -> None:
    """Between two looks a busy log is emptied and refilled: its size alone would say that nothing happened."""
    log.write_bytes(b"another beginning\n" + b"line\n" * 10)

    assert read(follower)[:2] == [b"another beginning", b"line"]


def test_a_log_that_vanishes_is_survived_and_its_successor_read_from_the_start(follower: Follower, log: Path) -> None:
    """The handle of a deleted file is let go, or its disk space would never be free."""
    append(log, b"last words\n")
    log.unlink()
    assert read(follower) == [b"last words"]
    assert read(follower) == []
    assert follower.problem == "no such file or directory"
    assert not follower.is_open

    log.write_bytes(b"new\n")

    assert read(follower) == [b"new"]
    assert follower.problem == ""


def test_a_file_that_appears_later_is_read_from_its_beginning(tmp_path: Path, checkpoints: FakeCheckpoints) -> None:
    """A server that starts after us writes its load errors first."""
    follower = follow(tmp_path / "later.log", checkpoints)
    assert read(follower) == []
    (tmp_path / "later.log").write_bytes(b"first\n")

    assert read(follower) == [b"first"]


@pytest.mark.parametrize("kind", ["fifo", "folder", "device"])
def test_what_is_no_file_is_named_and_never_blocks(tmp_path: Path, checkpoints: FakeCheckpoints, kind: str) -> None:
    """Container images link access.log to a pipe; opening one would wait for a writer for ever."""
    path = tmp_path / "odd"
    make = {"fifo": os.mkfifo, "folder": Path.mkdir, "device": lambda path: path.symlink_to("/dev/zero")}[kind]
    make(path)
    follower = follow(path, checkpoints)

    assert read(follower) == []
    assert follower.problem == "not a regular file"


def test_a_file_without_permission_is_named(
    follower: Follower, log: Path, checkpoints: FakeCheckpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root reads everything, so the refusal is played; it must not be mistaken for an empty log."""

    def refuse(*args: object, **kwargs: object) -> int:
        raise PermissionError(13, "Permission denied")

    other = follow(log, checkpoints)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert read(other) == []
    assert other.problem == "permission denied"
    append(log, b"one\n")
    assert read(other) == [b"one"]
    assert other.problem == ""


def test_a_disk_that_fails_is_named_and_tried_again(
    follower: Follower, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An I/O error on one log is no reason to lose the others, or this one for good."""

    def fail(*args: object, **kwargs: object) -> bytes:
        raise OSError(5, "Input/output error")

    append(log, b"one\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", fail)
        assert read(follower) == []
    assert follower.problem == "input/output error"

    assert read(follower) == [b"one"]
    assert follower.problem == ""


def test_a_line_of_a_megabyte_is_cut_and_counted(follower: Follower, log: Path) -> None:
    """A base64 image in a log must not become a base64 image in memory."""
    append(log, b"x" * 2**20 + b"\n" + b"y" * 100_000 + b"\nshort\n")

    lines = read(follower)

    assert [line[:5] for line in lines] == [b"xxxxx", b"yyyyy", b"short"]
    assert {len(line) for line in lines[:2]} == {MAX_LINE_BYTES}
    assert follower.truncated == 2


def test_a_line_without_an_end_is_passed_over_in_bounded_pieces(follower: Follower, log: Path) -> None:
    """A gigabyte without a newline: its beginning is a line, and what follows its end is read again."""
    for _ in range(6):
        append(log, b"x" * 4 * 2**20)
    rounds = [read(follower) for _ in range(8)]

    assert [len(line) for lines in rounds for line in lines] == [MAX_LINE_BYTES]
    append(log, b"end of it\nnext\n")
    assert read(follower) == [b"next"]
    assert follower.truncated == 1


def test_a_binary_file_is_just_lines(follower: Follower, log: Path) -> None:
    """What is in a line is not the follower's business."""
    append(log, bytes(range(256)) * 10 + b"\n")

    assert b"".join(read(follower)).startswith(bytes(range(10)))


def test_a_backlog_too_large_is_skipped_and_counted(follower: Follower, log: Path) -> None:
    """After a pause, the present is worth more than gigabytes of the past; and the loss is known."""
    line = b"z" * 999 + b"\n"
    append(log, line * 40_000)
    append(log, b"newest\n")

    lines = read(follower)

    assert follower.skipped_bytes > 35_000_000
    assert set(lines) <= {line[:-1], b"newest"}
    assert (lines + read(follower))[-1] == b"newest"


def test_one_round_reads_a_bounded_amount(follower: Follower, log: Path) -> None:
    """A flood must not hold the collector's thread beyond its deadline."""
    append(log, (b"z" * 99 + b"\n") * 100_000)

    sizes = [len(read(follower)) for _ in range(3)]

    assert sum(sizes) == 100_000
    assert max(sizes) * 100 < 5 * 2**20


def test_a_limit_leaves_the_rest_for_later(follower: Follower, log: Path) -> None:
    """A line not handed out is not consumed."""
    append(log, b"1\n2\n3\n")

    assert list(follower.lines(NOW_S, Ration(lines=2))) == [b"1", b"2"]
    assert read(follower) == [b"3"]


def test_reading_that_stops_midway_loses_nothing(follower: Follower, log: Path) -> None:
    """A caller who has had enough leaves the loop."""
    append(log, b"1\n2\n")
    next(follower.lines(NOW_S))

    assert read(follower) == [b"2"]


def test_a_restart_resumes_where_reading_stopped(follower: Follower, log: Path, checkpoints: FakeCheckpoints) -> None:
    """What was written while the daemon restarted may be the very reason of the incident."""
    append(log, b"read\n")
    read(follower)
    append(log, b"while away\n")

    assert read(follow(log, checkpoints), NOW_S + 59.0) == [b"while away"]


def test_a_restart_after_long_begins_at_the_end(follower: Follower, log: Path, checkpoints: FakeCheckpoints) -> None:
    """Lines get the time they are read at: yesterday's must not look like now."""
    read(follower)
    append(log, b"while away\n")

    assert read(follow(log, checkpoints), NOW_S + 61.0) == []


def test_a_silent_file_keeps_its_place(follower: Follower, log: Path, checkpoints: FakeCheckpoints) -> None:
    """The checkpoint says when the file was last followed, not when it was last written."""
    for second in range(0, 120, 10):
        read(follower, NOW_S + second)
    append(log, b"while away\n")

    assert read(follow(log, checkpoints), NOW_S + 130.0) == [b"while away"]


def test_a_file_rotated_during_a_restart_is_read_whole(
    follower: Follower, log: Path, checkpoints: FakeCheckpoints
) -> None:
    """Another file under the name: all of it is new."""
    log.unlink()
    log.write_bytes(b"another file\nof the same name\n")

    assert read(follow(log, checkpoints), NOW_S + 1.0) == [b"another file", b"of the same name"]


@pytest.mark.parametrize("junk", [b"", b"\xff", b"[1]", b'["a", 2, 3, 4, 5]', b"{}"])
def test_a_checkpoint_that_cannot_be_read_is_none(log: Path, checkpoints: FakeCheckpoints, junk: bytes) -> None:
    """A newer version may have written it."""
    checkpoints.put("log", junk)
    follower = follow(log, checkpoints)

    assert read(follower) == []
    assert follower.problem == ""


def test_losses_begin_at_zero_and_are_told_when_they_change() -> None:
    """Without the zero the first loss would not show as an increase."""
    losses = Losses("n1", "a.log")
    losses.counts["malformed"] += 2

    assert [sample.value for sample in losses.samples(NOW_S)] == [0.0, 2.0]
    assert list(losses.samples(NOW_S + 1.0)) == []


def test_wildcards_name_files_that_are_there(tmp_path: Path) -> None:
    """A name without wildcards stands for itself even while the file is missing."""
    for name in ("b.log", "a.log", "c.txt"):
        (tmp_path / name).touch()

    assert expand(f"{tmp_path}/*.log", 5) == [f"{tmp_path}/a.log", f"{tmp_path}/b.log"]
    assert expand(f"{tmp_path}/*.log", 1) == [f"{tmp_path}/a.log"]
    assert expand("/nowhere/x.log", 5) == ["/nowhere/x.log"]


def test_the_hint_names_the_group_that_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One command that can be copied beats a paragraph."""
    monkeypatch.setattr("grp.getgrgid", lambda number: SimpleNamespace(gr_name="adm"))
    monkeypatch.setattr("pwd.getpwuid", lambda number: SimpleNamespace(pw_name="aiops"))

    assert reading_hint(str(tmp_path / "missing.log")) == (
        "add aiops to the group that may read it: usermod -aG adm aiops"
    )


def test_a_file_only_root_may_read_needs_another_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody should join the group root for a log."""
    monkeypatch.setattr("grp.getgrgid", lambda number: SimpleNamespace(gr_name="root"))
    monkeypatch.setattr("pwd.getpwuid", lambda number: SimpleNamespace(pw_name="aiops"))

    assert "setfacl -m u:aiops:r" in reading_hint(str(tmp_path / "a.log"))
