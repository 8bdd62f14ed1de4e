"""A flood is sampled evenly, trouble first, and every line left out is counted."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from aiops.collect.sampling import Ration, cut, troubled
from aiops.collect.tail import Follower
from tests.fakes import FakeCheckpoints

NOW_S = 1_800_000_000.0


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "a.log"
    path.touch()
    return path


@pytest.fixture
def checkpoints() -> FakeCheckpoints:
    return FakeCheckpoints()


@pytest.fixture
def follower(log: Path) -> Iterator[Follower]:
    follower = Follower(str(log), FakeCheckpoints(), name="log", max_away_s=60.0)
    assert list(follower.lines(NOW_S)) == []
    yield follower
    follower.close()


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def ration(lines: int = 1_000, size_bytes: int = 2**20) -> Ration:
    return Ration(lines, size_bytes, 64 * 2**20, thin=True)


@pytest.mark.parametrize("count", [15_000, 50_000, 333_333])
def test_lines_taken_and_lines_left_out_add_up(follower: Follower, log: Path, count: int) -> None:
    """Whoever reads a rate must be able to tell what it is a rate of."""
    append(log, b"".join(b"INFO line number %d of a flood of many\n" % number for number in range(count)))

    taken = list(follower.lines(NOW_S, ration()))

    assert len(taken) + follower.skipped_lines == count
    assert 500 <= len(taken) <= 1_300
    assert list(follower.lines(NOW_S, ration())) == []


def test_the_sample_is_spread_over_the_whole_flood(follower: Follower, log: Path) -> None:
    """Not only its newest lines, and not only its first."""
    append(log, b"".join(b"INFO line number %07d of a flood of many\n" % number for number in range(200_000)))

    numbers = [int(line.split()[3]) for line in follower.lines(NOW_S, ration())]

    assert all(any(start <= number < start + 20_000 for number in numbers) for start in range(0, 200_000, 20_000))
    neighbours = sum(1 for one, other in pairwise(numbers) if other == one + 1)
    assert neighbours > 0.9 * len(numbers), "runs, so that records of several lines stay whole"


def test_the_one_line_of_trouble_in_a_flood_is_kept(follower: Follower, log: Path) -> None:
    """Fifty thousand requests a second are logged, and one line says why the next one fails."""
    flood = [b"INFO line number %d of a flood of many" % number for number in range(100_000)]
    flood[54_321] = b"ERROR torch.OutOfMemoryError: CUDA out of memory"
    append(log, b"\n".join(flood) + b"\n")

    assert flood[54_321] in list(follower.lines(NOW_S, ration()))
    assert follower.skipped_lines > 90_000


def test_a_flood_of_trouble_is_sampled_like_any_other(follower: Follower, log: Path) -> None:
    """Preference has a bound."""
    append(log, b"".join(b"ERROR number %d of a flood of many\n" % number for number in range(100_000)))

    taken = list(follower.lines(NOW_S, ration()))

    assert len(taken) <= 1_300
    assert len(taken) + follower.skipped_lines == 100_000


def test_a_short_burst_is_read_whole_over_a_few_rounds(follower: Follower, log: Path) -> None:
    """A crash writes a thousand lines at once, and each may be the reason."""
    append(
        log, b"".join(b"line number %d of a burst, which is long enough to be one of many\n" % n for n in range(2_500))
    )

    rounds = [list(follower.lines(NOW_S + second, ration())) for second in range(4)]

    assert [len(lines) for lines in rounds] == [1_000, 1_000, 500, 0]
    assert follower.skipped_lines == 0


def test_lines_much_shorter_than_before_do_not_break_the_bound(follower: Follower, log: Path) -> None:
    """The estimate of a line's length is only one."""
    append(log, b"x\n" * 1_000_000)

    taken = list(follower.lines(NOW_S, ration()))

    assert len(taken) <= 2_000
    assert len(taken) + follower.skipped_lines == 1_000_000


def test_long_lines_are_bounded_by_their_bytes(follower: Follower, log: Path) -> None:
    """A thousand lines of 64 KiB are no small sample."""
    append(log, (b"y" * 60_000 + b"\n") * 1_000)

    taken = list(follower.lines(NOW_S, ration()))

    assert sum(map(len, taken)) < 20 * 2**20
    assert len(taken) + follower.skipped_lines == 1_000


def test_a_packed_file_is_read_whole_or_sampled_like_any_other(tmp_path: Path, checkpoints: FakeCheckpoints) -> None:
    """How much waits in it, it says itself."""
    for count in (100, 100_000):
        log = tmp_path / f"{count}.log"
        append(log, b"first\n")
        follower = Follower(str(log), checkpoints, name="log", max_away_s=60.0, from_start=True)
        assert list(follower.lines(NOW_S)) == [b"first"]
        follower.note(NOW_S)
        follower.save()
        follower.close()
        append(log, b"".join(b"INFO line number %d of many\n" % number for number in range(count)))
        log.with_name(f"{log.name}.1.gz").write_bytes(gzip.compress(log.read_bytes()))
        log.unlink()
        append(log, b"INFO now\n")
        follower = Follower(str(log), checkpoints, name="log", max_away_s=60.0)
        taken = [line for second in range(5) for line in follower.lines(NOW_S + second, ration())]

        assert taken[-1] == b"INFO now"
        assert len(taken) + follower.skipped_lines == count + 1
        assert (follower.skipped_lines == 0) is (count == 100)
        checkpoints.values.clear()


def test_when_time_is_up_the_rest_waits(follower: Follower, log: Path) -> None:
    """A slow disk must not hold the round."""
    append(log, b"line\n" * 500_000)
    asked: list[int] = []

    def is_over() -> bool:
        asked.append(1)
        return len(asked) > 2

    taken = list(follower.lines(NOW_S, Ration(1_000, 2**20, 64 * 2**20, thin=True, is_over=is_over)))
    assert 0 < len(taken) + follower.skipped_lines < 200_000
    while lines := list(follower.lines(NOW_S, ration())):
        taken += lines
    assert len(taken) + follower.skipped_lines == 500_000


def test_a_block_gives_at_least_a_line() -> None:
    """However small the share, nothing is silent."""
    end, trouble = cut(b"one\ntwo\nthree\n", 0, 0.0001, 5.0)

    assert end == len(b"one\n")
    assert trouble >= 1


def test_trouble_is_found_by_whole_lines_that_open_a_record() -> None:
    """Start and end of the line, not of the word; and nothing from within a prompt or a traceback."""
    text = b"fine\nan ERROR here\nfine\nan OOM\nTraceback (most recent call last):\n  OOM and out of memory"

    def opens(line: bytes) -> bool:
        return line.startswith(b"an ")

    assert [text[start:end] for start, end in troubled(text, 0, 9, opens)] == [b"an ERROR here", b"an OOM"]
    assert len(list(troubled(text, 0, 1, opens))) == 1


HEAD = "INFO 01-02 03:04:05 [logger.py:41] "


def prompts(count: int, lines: int) -> list[bytes]:
    """A flood of prompts of several lines, in a log that begins each record with a time."""
    inside = (
        b"CANARY tell me",
        b"ERROR No space left on device CANARY",
        b"2025-01-02 03:04:05 ERROR CANARY",
        b"CANARY",
    )
    return [
        line
        for number in range(count)
        for line in (
            f"{HEAD}Received request {number}: prompt: 'first".encode(),
            *inside[:2], *[b"CANARY and more"] * lines, *inside[2:],
            *[f"{HEAD}Added request {number}.".encode()] * 8,
        )
    ]  # fmt: skip


def keeps_prompts_closed(taken: list[bytes]) -> bool:
    """Whether each line of a prompt comes behind the one that opens it."""
    is_open = False
    for line in taken:
        if line.startswith(b"INFO"):
            is_open = b"prompt: '" in line
        elif not is_open:
            return False
    return True


def test_a_flood_never_gives_lines_of_a_prompt_without_its_opening(follower: Follower, log: Path) -> None:
    """Nobody could tell any more what they are, and they would be kept and shown."""
    lines = prompts(4_000, 5)
    append(log, b"\n".join(lines) + b"\n")

    taken = list(follower.lines(NOW_S, ration()))
    append(log, b"ERROR CANARY\nCANARY, says the inside of the last one\n" + f"{HEAD}free\n".encode())
    after = list(follower.lines(NOW_S + 1, ration()))

    assert len(taken) > 500
    assert any(b"CANARY" in line for line in taken), "there was something to lose"
    assert keeps_prompts_closed(taken)
    assert after == [f"{HEAD}free".encode()]
    assert len(taken) + len(after) + follower.skipped_lines == len(lines) + 3


def test_a_log_without_heads_gives_nothing_after_a_gap_until_it_rests(follower: Follower, log: Path) -> None:
    """Any line of it may be the inside of something."""
    flood = b"".join(b"worker %d: step done, no error\n" % number for number in range(100_000))
    append(log, flood)
    first = list(follower.lines(NOW_S, ration()))
    append(log, b"the inside of something\n" * 100)
    amid = list(follower.lines(NOW_S + 1, ration()))
    follower_rests = list(follower.lines(NOW_S + 2, ration()))
    append(log, b"something new\n")
    later = list(follower.lines(NOW_S + 3, ration()))

    assert [line.split()[1] for line in first] == [b"%d:" % number for number in range(len(first))], "before the gap"
    assert amid == follower_rests == []
    assert later == [b"something new"]
    assert len(first) + follower.skipped_lines == 100_100


def test_a_log_rests_after_the_clock_was_set_back_too(follower: Follower, log: Path) -> None:
    """Or its lines would be held to be the inside of something for as long as the clock went back."""
    append(log, b"".join(b"worker %d: step done, no error\n" % number for number in range(100_000)))
    list(follower.lines(NOW_S, ration()))
    for second in range(3):
        list(follower.lines(NOW_S - 3_600 + second, ration()))
    append(log, b"something new\n")

    assert list(follower.lines(NOW_S - 3_597, ration())) == [b"something new"]


def test_a_log_without_heads_goes_on_after_as_many_lines_as_a_prompt_is_followed(follower: Follower, log: Path) -> None:
    """It must not be lost for good."""
    append(log, b"".join(b"worker %d: step done\n" % number for number in range(100_000)))
    list(follower.lines(NOW_S, ration()))
    skipped = follower.skipped_lines
    append(log, b"".join(b"then %d\n" % number for number in range(700)))

    assert next(iter(follower.lines(NOW_S + 0.5, ration()))) == b"then 500"
    assert follower.skipped_lines == skipped + 500
