from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.offline.lines import MAX_LINE_BYTES, LineCutter, LineReader


def cut(blocks: Sequence[bytes]) -> list[str]:
    """All lines of *blocks*, which are read one after the other."""
    cutter = LineCutter()
    return [line for block in blocks for line in cutter.feed(block)] + cutter.end()


def read(*names: Path | str, size: int = 100) -> tuple[list[str], list[str]]:
    """Lines of these files, and what was complained about."""
    complaints: list[str] = []
    reader = LineReader([str(name) for name in names], complaints.append)
    lines = [line for batch in reader.batches(size) for line in batch]
    assert reader.failed == bool(complaints)
    return lines, complaints


LINE_ENDS = ["\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize("character", LINE_ENDS)
def test_only_a_line_feed_ends_a_line(character: str):
    """Whoever pastes answers beside lines counts line feeds, as wc does; str.splitlines would find more."""
    text = f"one{character}still one\ntwo"
    assert cut([text.encode()]) == [f"one{character}still one", "two"]


@given(
    st.lists(
        st.sampled_from(
            [b"a", b"\n", b"\n\n", b"\r", b"\xff", b"\xe2\x80", b"\xa8", b"\0", b"\xed\xa0\x80", b"z" * 70_000]
        )
    )
)
def test_there_are_as_many_lines_as_line_feeds_and_one_for_the_rest(blocks: list[bytes]):
    """Wherever blocks end, and whatever bytes they hold, no line is lost and none is made up."""
    data = b"".join(blocks)
    expected = [line[:MAX_LINE_BYTES].decode("utf-8", "replace") for line in data.split(b"\n")]
    if data.endswith(b"\n") or not data:
        expected.pop()
    assert cut(blocks) == expected


def test_a_line_without_end_is_kept_to_its_limit_and_counted():
    """A file that is one endless line must not fill the memory, and its reader is told."""
    cutter = LineCutter()
    for _ in range(100):
        assert cutter.feed(b"x" * 10_000) == []
    assert cutter.feed(b"\nnext\n") == ["x" * MAX_LINE_BYTES, "next"]
    assert cutter.oversize == 1
    assert cutter.end() == []


def test_a_line_of_just_the_limit_is_whole():
    """Off by one, every answer would say that something was cut."""
    cutter = LineCutter()
    assert cutter.feed(b"x" * MAX_LINE_BYTES + b"\n") == ["x" * MAX_LINE_BYTES]
    assert cutter.oversize == 0


def test_files_follow_one_another_and_an_unended_line_ends_with_its_file(tmp_path: Path):
    """A log that was cut off by a crash must not swallow the first line of the next one."""
    (tmp_path / "a").write_bytes(b"1\n2")
    (tmp_path / "b").write_bytes(b"")
    (tmp_path / "c").write_bytes(b"3\n")
    assert read(tmp_path / "c", tmp_path / "a", tmp_path / "b", tmp_path / "c") == (["3", "1", "2", "3"], [])


def test_a_pattern_means_its_files_by_name_and_an_existing_file_means_itself(tmp_path: Path):
    """The shell expands most patterns; in quotes, in a unit file, in a cron table it does not."""
    for name in ("2.log", "1.log", "[1].log"):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder.log").mkdir()
    assert read(f"{tmp_path}/?.log") == (["1.log", "2.log"], [])
    assert read(f"{tmp_path}/[1].log") == (["[1].log"], [])
    assert read(f"{tmp_path}/*.txt") == ([], [f"{tmp_path}/*.txt: no file matches this pattern"])


def test_a_compressed_file_is_read_as_what_it_holds(tmp_path: Path):
    """Rotated logs are compressed; several members in one file are what appending to one gives."""
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"1\n2\n") + gzip.compress(b"3"))
    assert read(tmp_path / "a.gz") == (["1", "2", "3"], [])


def test_what_cannot_be_read_is_named_and_the_rest_is_read(tmp_path: Path):
    """One bad file among fifty must neither stop the other forty-nine nor go unnoticed."""
    (tmp_path / "good").write_text("1\n")
    whole = gzip.compress(os.urandom(100_000).hex().replace("0", "\n").encode())
    (tmp_path / "short.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "damaged.gz").write_bytes(whole[:5_000] + b"\xff" * 50 + whole[5_050:])
    (tmp_path / "garbage.gz").write_bytes(b"no gzip at all")
    folder = tmp_path / "folder"
    folder.mkdir()
    names = ["gone", "folder", "short.gz", "damaged.gz", "garbage.gz"]
    lines, complaints = read(tmp_path / "good", *(tmp_path / name for name in names), tmp_path / "good")

    assert [Path(complaint.split(":")[0]).name for complaint in complaints] == names
    assert "No such file" in complaints[0]
    assert "Is a directory" in complaints[1]
    assert "ends too early" in complaints[2]
    assert "Not a gzipped file" in complaints[4]
    assert all("\n" not in complaint for complaint in complaints)
    assert lines[0] == lines[-1] == "1"
    assert len(lines) > 1_000, "what stands before the damage was read"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_closed_to_us_is_named(tmp_path: Path):
    """Logs of other services belong to other users."""
    closed = tmp_path / "closed"
    closed.touch(mode=0o000)
    assert read(closed) == ([], [f"{closed}: Permission denied"])


def test_a_compressed_file_that_unpacks_to_a_thousand_times_its_size_is_streamed(tmp_path: Path):
    """A megabyte can hold a gigabyte of zeros: no piece of it may be larger than what a line may be."""
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(b"\0" * 30_000_000 + b"\nend"))
    complaints: list[str] = []
    reader = LineReader([str(tmp_path / "bomb.gz")], complaints.append)
    assert [len(line) for batch in reader.batches(10) for line in batch] == [MAX_LINE_BYTES, 3]
    assert (reader.oversize, complaints) == (1, [])


def test_batches_are_full_until_the_last_one(tmp_path: Path):
    """The more lines are grouped at once, the less each costs."""
    (tmp_path / "a").write_text("x\n" * 7)
    (tmp_path / "b").write_text("y\n" * 4)
    reader = LineReader([str(tmp_path / "a"), str(tmp_path / "b")], pytest.fail)
    assert [len(batch) for batch in reader.batches(5)] == [5, 5, 1]


def test_batches_of_long_lines_are_smaller(tmp_path: Path):
    """Twenty thousand lines of the largest size would be more than a gigabyte."""
    (tmp_path / "a").write_bytes((b"x" * 60_000 + b"\n") * 1_000)
    reader = LineReader([str(tmp_path / "a")], pytest.fail)
    sizes = [len(batch) for batch in reader.batches(20_000)]
    assert sum(sizes) == 1_000
    assert max(sizes) < 400


def test_progress_is_told_in_bytes_on_disk(tmp_path: Path):
    """A bar that knows the size of what it reads needs no second reading."""
    data = gzip.compress(b"line\n" * 10_000)
    (tmp_path / "a.gz").write_bytes(data)
    (tmp_path / "b").write_text("x\n")
    reader = LineReader([str(tmp_path / "a.gz"), str(tmp_path / "b")], pytest.fail)
    assert (reader.total_bytes, reader.read_bytes) == (len(data) + 2, 0)
    assert sum(len(batch) for batch in reader.batches(100)) == 10_001
    assert reader.read_bytes == reader.total_bytes


@pytest.fixture
def pipe() -> tuple[int, int]:
    return os.pipe()


def test_standard_input_is_answered_as_it_comes(pipe: tuple[int, int]):
    """Behind ``tail -f`` there is no end to wait for."""
    reading, writing = pipe
    reader = LineReader(["-"], pytest.fail, stdin=reading)
    assert reader.total_bytes is None
    pieces = reader.as_they_come(100)
    for text in (b"1\n2\n", b"3\n"):
        threading.Thread(target=os.write, args=(writing, text)).start()
        assert next(pieces) == text.decode().split("\n")[:-1]
    os.close(writing)
    assert list(pieces) == []
    os.close(reading)


def test_closed_standard_input_is_an_input_that_cannot_be_read(pipe: tuple[int, int]):
    """Services are started without one."""
    for descriptor in pipe:
        os.close(descriptor)
    complaints: list[str] = []
    reader = LineReader(["-"], complaints.append, stdin=pipe[0])
    assert list(reader.batches(1)) == []
    assert complaints == ["standard input: Bad file descriptor"]
