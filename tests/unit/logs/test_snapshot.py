from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.logs.snapshot import Saved, SavedTrace, Snapshot
from aiops.model import LogSeverity

SAVED = Saved(
    clusters=((LogSeverity.ERROR, "aaaaaaaaaaaa", "disk\n<*>\nis\n<**>"),),
    traces=(
        SavedTrace("aaaaaaaaaaaa", "aaaaaaaaaaaa", 1.5, 2.5, 7, (1, 2**64 - 1)),
        SavedTrace("bbbbbbbbbbbb-12ab", "bbbbbbbbbbbb", 1.0, 9.0, 20, None),
    ),
    sources={"/var/log/a.log": (12, 3)},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "templates"


def test_what_was_written_is_read(path: Path):
    """Ids and first times come back as they were."""
    Snapshot(path).write(SAVED)

    assert Snapshot(path).read() == SAVED


def test_only_the_owner_may_read_it(path: Path):
    """Templates hold words of logs."""
    Snapshot(path).write(SAVED)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_without_a_file_there_is_nothing(path: Path):
    """The first start is no failure."""
    assert Snapshot(path).read() is None


def good(path: Path) -> bytes:
    Snapshot(path).write(SAVED)
    return path.read_bytes()


DAMAGES = {
    "empty": lambda _: b"",
    "cut off in the head": lambda content: content[:9],
    "cut off in the body": lambda content: content[:-1],
    "longer": lambda content: content + b" ",
    "one bit": lambda content: content.replace(b"disk", b"disj"),
    "a later version": lambda content: content.replace(b"aiops-templates 1 ", b"aiops-templates 2 ", 1),
    "foreign": lambda _: b"\x80\x04\x95\x1f\x00\x00\x00cos\nsystem\n(S'touch pwned'\ntR.",
    "zeros, as after a crash": lambda content: bytes(len(content)),
    "a directory's worth of text": lambda _: b"hello\nworld\n",
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_set_aside(path: Path, name: str):
    """It may tell somebody what happened; and the next start must not stumble over it again."""
    content = DAMAGES[name](good(path))
    path.write_bytes(content)

    with pytest.raises(ValueError, match=r"."):
        Snapshot(path).read()

    assert path.with_name("templates.damaged").read_bytes() == content
    assert Snapshot(path).read() is None
    assert [one.name for one in path.parent.iterdir()] == ["templates.damaged"]


def test_whole_json_of_another_shape_is_damage_too(path: Path):
    """A sound checksum says only that somebody wrote it."""
    import hashlib

    body = b'{"clusters": [["error", 5]], "traces": 3}'
    checksum = hashlib.blake2b(body, digest_size=16).hexdigest().encode()
    path.write_bytes(b"aiops-templates 1 %d %s\n%s" % (len(body), checksum, body))

    with pytest.raises(ValueError, match="Expected"):
        Snapshot(path).read()


@given(st.binary(max_size=300))
def test_no_content_does_anything_but_fail(tmp_path_factory: pytest.TempPathFactory, content: bytes):
    """State folders are shared, restored from backups, edited."""
    path = tmp_path_factory.mktemp("state") / "templates"
    path.write_bytes(content)

    with pytest.raises(ValueError, match=r"."):
        Snapshot(path).read()


def test_a_disk_that_refuses_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch):
    """A full disk must not cost what was known before it was full."""
    Snapshot(path).write(SAVED)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        Snapshot(path).write(Saved())
    monkeypatch.undo()

    assert Snapshot(path).read() == SAVED
    assert [one.name for one in path.parent.iterdir()] == ["templates"]


def test_a_file_that_is_left_half_written_is_overwritten(path: Path):
    """The power may fail between any two steps."""
    path.with_name("templates.part").write_bytes(b"aiops-templates 1 99")
    Snapshot(path).write(SAVED)

    assert Snapshot(path).read() == SAVED
    assert [one.name for one in path.parent.iterdir()] == ["templates"]
