"""A file is known again by what is in it, and checkpoints stay few."""

from __future__ import annotations

import json

import pytest

from aiops.collect.place import Place, Read, Shelf
from tests.fakes import FakeCheckpoints

NOW_S = 1_800_000_000.0
KEY = (1, 2)


def reading(content: bytes) -> Read:
    return lambda offset, size: content[offset : offset + size]


def test_a_place_is_found_in_its_file_and_in_what_the_file_has_grown_to() -> None:
    """Append-only files keep their beginning."""
    place = Place.of(KEY, reading(b"one\ntwo\n"), 4, NOW_S)

    assert place.is_in(reading(b"one\ntwo\n"))
    assert place.is_in(reading(b"one\ntwo\nthree\n" * 100))


@pytest.mark.parametrize(
    "content", [b"", b"one", b"One\ntwo\n", b"x" * 1_000], ids=["empty", "shorter", "another beginning", "another"]
)
def test_a_place_is_not_found_in_another_file(content: bytes) -> None:
    """Inode and name say nothing."""
    assert not Place.of(KEY, reading(b"one\ntwo\n"), 4, NOW_S).is_in(reading(content))


def test_files_with_one_banner_differ_before_the_place() -> None:
    """The first bytes of a server's log are often the same."""
    banner = b"b" * 300

    place = Place.of(KEY, reading(banner + b"first\n"), 306, NOW_S)
    assert place.is_in(reading(banner + b"first\nmore\n"))
    assert not place.is_in(reading(banner + b"other\nmore\n"))


def test_an_empty_file_may_become_any() -> None:
    """Nothing was read of it, so nothing can be repeated."""
    assert Place.of(KEY, reading(b""), 0, NOW_S).is_in(reading(b"anything\n"))


def test_a_place_survives_being_written_down() -> None:
    """A checkpoint is a few hundred bytes of text."""
    place = Place.of(KEY, reading(b"one\ntwo\n"), 4, NOW_S)

    assert Place.load(place.dump()) == place
    assert len(place.dump()) < 200


@pytest.mark.parametrize(
    "junk",
    [None, b"", b"\xff", b"[1]", b"{}", b"[" * 100_000, b'[1, 2, 3, "a", 1700000000.0]',
     b'[1, 2, 99999999999, "h", 0, "g", 5, 1.0]', b'[1, 2, 1, "h", 64, "g", -5, 1.0]', b'[1, 2, 1, "h", 0, "g", 1e999, 1.0]'],
)  # fmt: skip
def test_junk_is_no_place(junk: bytes | None) -> None:
    """Another version, another program, half a write."""
    assert Place.load(junk) is None


def test_a_shelf_keeps_many_values_under_one_name() -> None:
    """Restarted, it has them all."""
    checkpoints = FakeCheckpoints()
    shelf = Shelf(checkpoints, "tail", 10)
    shelf.put("a", b"1")
    shelf.put("b", b"2")
    assert checkpoints.values == {}
    shelf.keep()
    other = Shelf(checkpoints, "tail", 10)

    assert (other.get("a"), other.get("b"), other.get("c")) == (b"1", b"2", None)
    assert list(checkpoints.values) == ["tail"]


def test_a_shelf_forgets_what_was_put_longest_ago() -> None:
    """Pods come and go by the thousand; the state file must not remember them all."""
    checkpoints = FakeCheckpoints()
    shelf = Shelf(checkpoints, "tail", 64)
    for number in range(1_000):
        shelf.put("stays", b"x" * 200)
        shelf.put(f"/var/log/pods/{'x' * 150}/{number}.log", b"y" * 200)
    shelf.keep()

    assert shelf.get("stays") == b"x" * 200
    assert len(checkpoints.values["tail"]) < 65_536
    assert len(json.loads(checkpoints.values["tail"])) == 64


def test_an_unchanged_shelf_is_not_written() -> None:
    """The state file is synced to the disk at each write."""
    checkpoints = FakeCheckpoints()
    shelf = Shelf(checkpoints, "tail", 10)
    shelf.put("a", b"1")
    shelf.keep()
    checkpoints.values.clear()
    shelf.keep()

    assert checkpoints.values == {}


@pytest.mark.parametrize("junk", [b"\xff", b"[]", b"7", b"[" * 100_000, b"null"])
def test_a_shelf_that_cannot_be_read_is_empty(junk: bytes) -> None:
    """As with a single checkpoint."""
    checkpoints = FakeCheckpoints()
    checkpoints.put("tail", junk)

    assert Shelf(checkpoints, "tail", 10).get("a") is None
