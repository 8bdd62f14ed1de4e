"""A log is one sequence of bytes, whatever becomes of its files: each line is read once, before, during and after a stop."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiops.collect.rotated import PackedFile
from aiops.collect.sampling import Ration
from tests.unit.collect.trail_story import Tailer, append, compress, copy_and_truncate, rotate

NOW_S = 1_800_000_000.0
BANNER = (
    b"INFO: Started server process, as every file of this log begins; no time, no number, always the same words. " * 4
)


@pytest.fixture
def tailer(tmp_path: Path) -> Iterator[Tailer]:
    """Followed from its first byte; one line is read."""
    tailer = Tailer(tmp_path / "x.log")
    assert tailer.rounds(1) == []
    append(tailer.path, b"one\n")
    assert tailer.rounds(1) == [b"one"]
    yield tailer
    tailer.follower.close()


def reuse_inode(path: Path, content: bytes) -> bool:
    """Delete *path* and write another file under its name that gets the same inode; False where it does not."""
    inode = path.stat().st_ino
    path.unlink()
    made: list[Path] = []
    for number in range(200):
        other = path.with_name(f"candidate{number}")
        other.write_bytes(content)
        if other.stat().st_ino == inode:
            other.rename(path)
            break
        made.append(other)
    for other in made:
        other.unlink()
    return path.exists()


# --- failures seen in the field, replayed -----------------------------------------------------------------------------


@pytest.mark.parametrize("length", ["shorter", "longer"])
def test_an_inode_given_to_another_file_does_not_carry_the_old_place_over(tailer: Tailer, length: str) -> None:
    """
    vector#23076: the rotated file is deleted, its inode given to the new one, and reading "resumes" in the middle of it.

    A place beyond the new file's end silences it until it has grown as long; one within hides its beginning.
    """
    append(tailer.path, b"old line\n" * 100)
    tailer.rounds(1)
    lines = [b"new %d" % number for number in range(3 if length == "shorter" else 500)]
    tailer.follower.close()  # only then can the file system give its inode away
    if not reuse_inode(tailer.path, b"\n".join(lines) + b"\n"):
        pytest.skip("this file system does not give inodes to other files")
    tailer.away(1.0)

    assert tailer.rounds() == lines


@pytest.mark.parametrize("grown", [b"a1\n", b"a longer beginning\n" * 100], ids=["shorter", "longer than before"])
def test_a_file_truncated_and_written_anew_is_read_once(tailer: Tailer, grown: bytes) -> None:
    """vector#23619: the application empties its log when it starts; a new reader and the old one both read it."""
    append(tailer.path, b"two\nthree\n")
    assert tailer.rounds(2) == [b"two", b"three"]
    tailer.path.write_bytes(grown)

    assert tailer.rounds() == grown.splitlines()
    append(tailer.path, b"next\n")
    assert tailer.rounds() == [b"next"]


def test_copytruncate_repeats_nothing_and_loses_nothing(tailer: Tailer) -> None:
    """vector#23619, as logrotate does it: what was not read yet is in the copy only, what was read is in it too."""
    append(tailer.path, b"not read before the copy\n")
    copy_and_truncate(tailer.path)
    append(tailer.path, b"after\n")

    assert tailer.rounds() == [b"not read before the copy", b"after"]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("rotations", [1, 2, 3])
def test_what_was_rotated_while_stopped_is_caught_up_with(tailer: Tailer, rotations: int, *, packed: bool) -> None:
    """vector#22954: the rest of the old file, and every file between it and the new one, is never read."""
    tailer.follower.close()
    expected = []
    for number in range(rotations):
        line = b"rotation %d" % number
        append(tailer.path, line + b"\n")
        expected.append(line)
        rotate(tailer.path)
        if packed:
            compress(tailer.path.with_name("x.log.1"))
    append(tailer.path, b"now\n")
    tailer.away()

    assert tailer.rounds(10) == [*expected, b"now"]
    assert tailer.follower.lost_files == 0
    tailer.away()
    assert tailer.rounds(10) == []


def test_a_rotation_that_is_compressed_later_is_not_read_again(tailer: Tailer) -> None:
    """vector#7990: a.log.1 and a.log.1.gz are the same lines, and so they are after another stop."""
    append(tailer.path, b"two\n")
    rotate(tailer.path)
    append(tailer.path, b"three\n")
    assert tailer.rounds() == [b"two", b"three"]
    compress(tailer.path.with_name("x.log.1"))

    assert tailer.rounds() == []
    tailer.away()
    assert tailer.rounds() == []
    rotate(tailer.path)
    compress(tailer.path.with_name("x.log.1"))
    append(tailer.path, b"four\n")
    tailer.away()
    assert tailer.rounds() == [b"four"]


def test_a_checkpoint_that_cannot_be_written_stops_nothing_and_holds_no_deleted_file(tmp_path: Path) -> None:
    """
    vector#22288: the disk is full, the checkpoint fails, and from then on deleted files are held, so it stays full.

    Ours are handed to the state file, which refuses later and elsewhere; reading and letting go do not depend on it.
    """
    path = tmp_path / "x.log"
    tailer = Tailer(path)
    tailer.rounds(1)
    for number in range(5):
        append(path, b"line %d\n" % number)
        list(tailer.follower.lines(tailer.now_s))  # noted, never saved
        tailer.follower.note(tailer.now_s)
        path.unlink()
        assert tailer.rounds(2) == []
        assert not tailer.follower.is_open


# --- rotation while running -------------------------------------------------------------------------------------------


def test_two_rotations_between_two_looks_lose_nothing(tailer: Tailer) -> None:
    """A busy log is rotated by size, and a slow disk makes us late."""
    append(tailer.path, b"two\n")
    rotate(tailer.path)
    append(tailer.path, b"three\n")
    rotate(tailer.path)
    append(tailer.path, b"four\n")

    assert tailer.rounds(6) == [b"two", b"three", b"four"]


def test_files_that_all_begin_alike_are_told_apart(tailer: Tailer) -> None:
    """A banner longer than the fingerprint must neither hide a file nor send us in circles."""
    tailer.path.unlink()
    tailer.rounds(2)
    append(tailer.path, BANNER + b"\nfirst\n")
    assert tailer.rounds(2) == [BANNER, b"first"]
    tailer.follower.close()
    rotate(tailer.path)
    append(tailer.path, BANNER + b"\nsecond, in the middle\n")
    rotate(tailer.path)
    append(tailer.path, BANNER + b"\nthird\n")
    tailer.away()

    assert tailer.rounds(8) == [BANNER, b"second, in the middle", BANNER, b"third"]


@pytest.mark.parametrize("name", ["x.log-20261124", "x.log.2026-11-24_00", "x-20261124.log", "x.log.20261124-120000"])
def test_rotations_named_by_date_are_found(tailer: Tailer, name: str) -> None:
    """logrotate's dateext, Python's handlers, kubelet."""
    append(tailer.path, b"two\n")
    tailer.follower.close()
    tailer.path.rename(tailer.path.with_name(name))
    append(tailer.path, b"three\n")
    tailer.away()

    assert tailer.rounds() == [b"two", b"three"]


def test_gzip_at_work_is_not_read_beside_the_plain_file(tailer: Tailer) -> None:
    """Until gzip is done both lie there, and its half is no use."""
    append(tailer.path, b"two\n")
    tailer.follower.close()
    rotate(tailer.path)
    half = gzip.compress(tailer.path.with_name("x.log.1").read_bytes())[:20]
    tailer.path.with_name("x.log.1.gz").write_bytes(half)
    append(tailer.path, b"three\n")
    tailer.away()

    assert tailer.rounds() == [b"two", b"three"]
    assert tailer.follower.lost_files == 0


def test_a_damaged_gzip_gives_what_it_has_and_is_counted(tailer: Tailer) -> None:
    """A disk was full while it was written."""
    append(tailer.path, os.urandom(20_000).hex().encode() + b"\n" + b"x" * 60_000 + b"\n")
    tailer.follower.close()
    rotate(tailer.path)
    packed = compress(tailer.path.with_name("x.log.1"))
    packed.write_bytes(packed.read_bytes()[:-60])
    append(tailer.path, b"now\n")
    tailer.away()

    lines = tailer.rounds(6)
    assert lines[-1] == b"now"
    assert len(lines[0]) == 40_000
    assert tailer.follower.lost_files == 1


def test_a_gzip_bomb_is_read_in_bounded_pieces(tailer: Tailer) -> None:
    """Ten megabytes on the disk may be ten gigabytes of zeros."""
    tailer.follower.close()
    rotate(tailer.path)
    plain = tailer.path.with_name("x.log.1")
    content = b"one\n" + b"\0" * (200 * 2**20) + b"\nlast\n"
    status = plain.stat()
    tailer.path.with_name("x.log.1.gz").write_bytes(gzip.compress(content, 1))
    os.utime(tailer.path.with_name("x.log.1.gz"), ns=(status.st_atime_ns, status.st_mtime_ns))
    plain.unlink()
    append(tailer.path, b"now\n")
    tailer.away()

    sizes = []
    for _ in range(100):
        lines = tailer.round()
        sizes.append(sum(map(len, lines)))
        if b"now" in lines:
            break
    assert lines[-1] == b"now"
    assert max(sizes) < 2**20
    assert len(sizes) > 20, "not all at once"


def test_what_is_kept_of_a_gzip_while_it_is_read_survives_a_stop(tailer: Tailer) -> None:
    """Killed in the middle of catching up: what had arrived is not repeated."""
    append(tailer.path, b"".join(b"line %d of many\n" % number for number in range(200_000)))
    tailer.follower.close()
    rotate(tailer.path)
    compress(tailer.path.with_name("x.log.1"))
    append(tailer.path, b"now\n")
    seen: list[bytes] = []
    for _ in range(20):
        tailer.away(1.0)
        seen += tailer.round(Ration(lines=30_000))
        tailer.kill()
    tailer.away(1.0)
    seen += tailer.rounds()

    assert seen == [*(b"line %d of many" % number for number in range(200_000)), b"now"]


def test_a_rotation_nobody_can_find_is_counted_and_the_next_ones_are_read(tailer: Tailer) -> None:
    """maxage deleted it, or it is packed in a way we do not know: said, not guessed."""
    tailer.follower.close()
    rotate(tailer.path)
    tailer.path.with_name("x.log.1").unlink()
    append(tailer.path, b"between\n", at_s=tailer.now_s + 10.0)
    rotate(tailer.path)
    append(tailer.path, b"now\n")
    tailer.away()

    assert tailer.rounds() == [b"between", b"now"]
    assert tailer.follower.lost_files == 1


def test_a_hole_before_a_line_is_no_line(tailer: Tailer) -> None:
    """A server started with > instead of >> goes on at its old offset after copytruncate: megabytes of nothing before it."""
    with tailer.path.open("r+b") as writer:  # not in append mode
        writer.seek(0, os.SEEK_END)
        writer.write(b"x" * 3_000_000 + b"\n")
        writer.flush()
        assert len(tailer.rounds(3)) == 1
        copy_and_truncate(tailer.path)
        writer.write(b"after the hole\n")
        writer.flush()
        assert tailer.rounds() == [b"after the hole"]
        writer.write(b"and on\n")
    assert tailer.rounds() == [b"and on"]


def test_the_writer_of_a_renamed_file_may_go_on(tailer: Tailer) -> None:
    """With nocreate and no signal, a server writes into the renamed file until it restarts."""
    with tailer.path.open("ab") as writer:
        rotate(tailer.path)
        for number in range(5):
            writer.write(b"late %d\n" % number)
            writer.flush()
            assert tailer.round() == [b"late %d" % number]
    append(tailer.path, b"new\n")
    assert tailer.rounds() == [b"new"]


# --- stops ------------------------------------------------------------------------------------------------------------


def test_killed_at_any_time_nothing_is_lost_and_only_what_had_not_arrived_is_repeated(tailer: Tailer) -> None:
    """A line counts as arrived when its round was acknowledged."""
    append(tailer.path, b"two\n")
    assert tailer.rounds(1) == [b"two"]
    append(tailer.path, b"three\n")
    assert tailer.kill() == [b"three"]
    tailer.start()

    assert tailer.rounds() == [b"three"]


def test_the_same_file_under_the_same_name_is_resumed_though_its_inode_changed(tailer: Tailer) -> None:
    """Moved to another disk, or restored: known by what is in it."""
    tailer.follower.close()
    content = tailer.path.read_bytes()
    tailer.path.unlink()
    tailer.path.with_name("holds the inode").write_bytes(b"")
    tailer.path.write_bytes(content + b"two\n")
    tailer.away()

    assert tailer.rounds() == [b"two"]


def test_a_clock_set_back_during_a_stop_costs_nothing(tailer: Tailer) -> None:
    """An hour "before" the checkpoint is still right after it."""
    append(tailer.path, b"two\n")
    tailer.away(-3_600.0)

    assert tailer.rounds() == [b"two"]


def test_a_log_that_was_away_at_the_start_and_comes_back_is_resumed(tailer: Tailer) -> None:
    """/var/log is mounted after us."""
    away = tailer.path.with_name("elsewhere")
    append(tailer.path, b"two\n")
    tailer.follower.close()
    tailer.path.rename(away)
    tailer.away()
    assert tailer.rounds(2) == []
    away.rename(tailer.path)

    assert tailer.rounds() == [b"two"]


def test_a_log_found_again_is_resumed_not_reread(tailer: Tailer) -> None:
    """It was dropped while its folder was gone; that it is new to this process does not make it new."""
    append(tailer.path, b"two\n")
    tailer.follower.close()
    tailer.start(from_start=True)

    assert tailer.rounds() == [b"two"]


def test_catching_up_is_told_until_the_present_is_reached(tailer: Tailer) -> None:
    """Whoever dates lines must know that these are old."""
    append(tailer.path, b"two\n")
    tailer.follower.close()
    rotate(tailer.path)
    append(tailer.path, b"three\n")
    stopped_s = tailer.now_s
    tailer.away()

    told = [(line, tailer.follower.behind_since_s) for line in tailer.follower.lines(tailer.now_s)]
    assert [(line, since_s is not None and since_s <= stopped_s) for line, since_s in told] == [(b"two", True)]
    tailer.rounds()
    append(tailer.path, b"four\n")
    assert tailer.rounds() == [b"four"]
    assert tailer.follower.behind_since_s is None


def test_a_disk_that_fails_in_the_middle_repeats_nothing(tailer: Tailer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The place in this process is newer than the one that is saved."""
    append(tailer.path, b"two\nthree\n" + b"x" * 300_000 + b"\nlast\n")
    real, calls = os.pread, []

    def fail_later(handle: int, size: int, offset: int) -> bytes:
        calls.append(offset)
        if len(calls) == 4:
            raise OSError(5, "Input/output error")
        return real(handle, size, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", fail_later)
        first = list(tailer.follower.lines(tailer.now_s))
    assert tailer.follower.problem == "input/output error"
    assert first == [b"two", b"three"]

    assert [line[:4] for line in tailer.rounds()] == [b"xxxx", b"last"]
    assert tailer.follower.behind_since_s is None


def test_a_disk_that_fails_while_a_gzip_is_read_repeats_nothing(
    tailer: Tailer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was unpacked is not in the file at that offset."""
    append(tailer.path, b"".join(b"line %d\n" % number for number in range(1_000)))
    tailer.follower.close()
    rotate(tailer.path)
    compress(tailer.path.with_name("x.log.1"))
    append(tailer.path, b"now\n")
    tailer.away()
    seen = list(tailer.follower.lines(tailer.now_s, Ration(lines=100)))

    def fail(file: PackedFile, offset: int, size: int) -> bytes:
        if not offset:
            return real(file, offset, size)
        raise OSError(5, "Input/output error")

    real = PackedFile.read
    with monkeypatch.context() as patch:
        patch.setattr(PackedFile, "read", fail)
        assert list(tailer.follower.lines(tailer.now_s)) == []
    assert tailer.follower.problem == "input/output error"
    seen += tailer.rounds()

    assert seen == [*(b"line %d" % number for number in range(1_000)), b"now"]


# --- rights -----------------------------------------------------------------------------------------------------------

CHILD = """
import os, sys
sys.path.insert(0, sys.argv[2])
from aiops.collect.tail import Follower
from tests.fakes import FakeCheckpoints
from tests.unit.collect.trail_story import Tailer, append, compress, copy_and_truncate, rotate
os.setgid(65534); os.setuid(65534)
follower = Follower(sys.argv[1], FakeCheckpoints(), name="log", max_away_s=60.0)
def round():
    lines = list(follower.lines(1.8e9)); print(follower.problem, lines, flush=True)
round()
for order in sys.stdin:
    round()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can play another user")
def test_a_log_that_loses_its_permission_is_named_and_read_again_when_it_gets_it_back() -> None:
    """A real chmod, seen by a real other user: what is open stays readable, what is opened anew does not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        permission_story(Path(folder) / "x.log")


def permission_story(path: Path) -> None:
    path.write_bytes(b"secret\n")
    path.chmod(0o600)
    root = str(Path(__file__).parents[3])
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:

        def answer() -> str:
            assert child.stdin is not None
            child.stdin.write("again\n")
            child.stdin.flush()
            assert child.stdout is not None
            return child.stdout.readline().strip()

        assert child.stdout is not None
        assert child.stdout.readline().strip() == "permission denied []"
        path.chmod(0o644)
        assert answer() == "[]"
        append(path, b"one\n")
        path.chmod(0o600)
        assert answer() == "[b'one']"
        path.unlink()
        path.write_bytes(b"two\n")
        path.chmod(0o600)
        answers = [answer() for _ in range(3)]
        assert answers[-1] == "permission denied []"
        path.chmod(0o644)
        assert answer() == "[b'two']"
    finally:
        child.communicate(timeout=10.0)
