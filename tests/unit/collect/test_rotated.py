"""Rotations are told from logs by their names, and ordered by age."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from aiops.collect.rotated import PackedFile, is_rotation, rotations


def touch(folder: Path, *names: str) -> None:
    """Files, each a second younger than the one before."""
    for number, name in enumerate(names):
        (folder / name).touch()
        os.utime(folder / name, (1_000.0 + number, 1_000.0 + number))


@pytest.mark.parametrize(
    "names",
    [
        ["x.log.10.gz", "x.log.2.gz", "x.log.1"],
        ["x.log-20261122.gz", "x.log-20261123.gz", "x.log-20261124"],
        ["x.log.2026-11-24_09", "x.log.2026-11-24_10"],
        ["x-20261123.log.gz", "x-20261124.log"],
        ["x.log.20261124-090000.gz", "x.log.20261124-100000"],
        ["x.log-20261120", "x.log.2", "x.log.1"],
    ],
)
def test_rotations_are_found_oldest_first(tmp_path: Path, names: list[str]) -> None:
    """By count, by date, and by time where both are used."""
    touch(tmp_path, *names, "x.log")
    touch(tmp_path, "y.log.1", "x.log.bak", "x.logs", "x.log.gz.tmp", "x.log.old", "ax.log.1")

    assert [Path(rotation.path).name for rotation in rotations(str(tmp_path / "x.log"))] == names


def test_the_plain_file_goes_before_the_compressed_one_of_the_same_name(tmp_path: Path) -> None:
    """gzip is still at work."""
    touch(tmp_path, "x.log.1.gz", "x.log.1", "x.log.2", "x.log.2.gz")

    assert [Path(rotation.path).name for rotation in rotations(str(tmp_path / "x.log"))] == ["x.log.2", "x.log.1"]


def test_very_many_rotations_are_bounded(tmp_path: Path) -> None:
    """Somebody keeps ten years."""
    touch(tmp_path, *(f"x.log.{number}" for number in range(1, 200)))

    found = rotations(str(tmp_path / "x.log"))
    assert len(found) == 64
    assert Path(found[-1].path).name == "x.log.1"


def test_a_folder_that_cannot_be_read_has_none() -> None:
    """It may be gone."""
    assert rotations("/nowhere/at/all/x.log") == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x.log", False),
        ("x.log.1", True),
        ("x.log-20261124", True),
        ("x-20261124.log", True),
        ("x-1.log", False),
        ("other-20261124.log", False),
        ("other.log.1", False),
        ("other.log.gz", True),
        ("other.log.zst", True),
    ],
)
def test_a_pattern_that_matches_rotations_too_does_not_follow_them(
    tmp_path: Path, name: str, *, expected: bool
) -> None:
    """*.log* is easily written; replicas are numbered, and some logs have the date in their only name."""
    touch(tmp_path, "x.log", name)

    assert is_rotation(str(tmp_path / name), set()) is expected


def test_a_rotation_of_a_followed_log_that_is_missing_just_now_is_one(tmp_path: Path) -> None:
    """Between logrotate's rename and the server's next line."""
    touch(tmp_path, "x.log.1")

    assert is_rotation(str(tmp_path / "x.log.1"), {str(tmp_path / "x.log")})
    assert not is_rotation(str(tmp_path / "x.log.1"), set())


def packed(path: Path, content: bytes) -> PackedFile:
    path.write_bytes(gzip.compress(content, 1))
    return PackedFile(os.open(path, os.O_RDONLY))


def test_a_packed_file_reads_by_offsets_of_what_it_holds(tmp_path: Path) -> None:
    """As a plain one, but forwards only; its beginning stays."""
    content = b"".join(b"line %d\n" % number for number in range(100_000))
    file = packed(tmp_path / "x.gz", content)

    assert file.read(0, 256) == content[:256]
    assert file.read(500_000, 1_000) == content[500_000:501_000]
    assert file.read(500_936, 64) == content[500_936:501_000]
    assert file.read(0, 256) == content[:256]
    assert file.read(501_000, 10**9) == content[501_000:]
    assert file.has_ended(len(content))
    assert not file.is_damaged
    file.close()


def test_a_far_offset_of_a_packed_file_is_reached_over_several_calls(tmp_path: Path) -> None:
    """Unpacking a gigabyte takes seconds, which a round has not."""
    file = packed(tmp_path / "x.gz", b"\0" * (100 * 2**20) + b"end\n")
    calls = 1
    while not (found := file.read(100 * 2**20, 10)):
        calls += 1
        assert calls < 100
        assert not file.has_ended(100 * 2**20)
        assert len(file._held) < 2**20

    assert found == b"end\n"
    assert calls > 4
    file.close()


@pytest.mark.parametrize("content", [b"", b"no gzip", b"\x1f\x8b\x08\x00"], ids=["empty", "text", "half a head"])
def test_what_is_no_gzip_is_damaged_or_empty(tmp_path: Path, content: bytes) -> None:
    """The name promises nothing."""
    (tmp_path / "x.gz").write_bytes(content)
    file = PackedFile(os.open(tmp_path / "x.gz", os.O_RDONLY))

    assert file.read(0, 100) == b""
    assert file.has_ended(0)
    assert file.is_damaged is bool(content)
    file.close()
