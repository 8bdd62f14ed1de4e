"""What is piped into the daemon is a log, and its writer never waits for us."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from aiops.collect.sampling import Ration
from aiops.collect.standard_input import StandardInput

NOW_S = 1_800_000_000.0


class Pipe:
    """A writer's end and ours."""

    def __init__(self) -> None:
        self.theirs, self.end = os.pipe()
        self.log = StandardInput(self.theirs)
        assert list(self.log.lines(NOW_S)) == []

    def lines_until(self, enough: Callable[[list[bytes]], bool], ration: Ration | None = None) -> list[bytes]:
        """What comes until it is *enough*; the thread needs a moment."""
        seen: list[bytes] = []
        until_s = time.monotonic() + 10.0
        while not enough(seen):
            assert time.monotonic() < until_s, seen[-3:]
            seen += self.log.lines(NOW_S, ration)
            threading.Event().wait(0.001)
        return seen

    def close(self) -> None:
        self.log.close()
        for handle in (self.theirs, self.end):
            try:
                os.close(handle)
            except OSError:
                continue


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def test_lines_come_when_they_are_whole(pipe: Pipe) -> None:
    """Half a line waits, here as everywhere."""
    os.write(pipe.end, b"one\n\ntw")
    assert pipe.lines_until(lambda seen: len(seen) == 1) == [b"one"]
    os.write(pipe.end, b"o\r\n")
    assert pipe.lines_until(lambda seen: len(seen) == 1) == [b"two"]


def test_the_end_is_said_and_the_last_line_needs_no_newline(pipe: Pipe) -> None:
    """The server has ended; we have not."""
    os.write(pipe.end, b"one\nlast words")
    os.close(pipe.end)

    assert pipe.lines_until(lambda seen: len(seen) == 2) == [b"one", b"last words"]
    assert pipe.log.problem == "it has ended"
    assert not pipe.log.is_open
    assert list(pipe.log.lines(NOW_S)) == []


def test_a_writer_never_waits_and_what_is_thrown_away_is_counted(pipe: Pipe) -> None:
    """Twenty megabytes while nobody asks: the server must not stand still because a daemon watches it."""
    line = b"x" * 99 + b"\n"
    written = 200_000
    writer = threading.Thread(
        target=lambda: [os.write(pipe.end, line * 100) for _ in range(written // 100)], daemon=True
    )
    writer.start()
    writer.join(10.0)
    assert not writer.is_alive()
    os.close(pipe.end)

    seen = pipe.lines_until(lambda seen: bool(pipe.log.problem))

    assert set(seen) == {line[:-1]}, "no line is made of two halves"
    assert len(seen) + pipe.log.skipped_lines == written
    assert sum(map(len, seen)) < 6 * 2**20


def test_a_flood_is_sampled(pipe: Pipe) -> None:
    """As in files: a bounded number of lines a round, trouble kept."""
    os.set_blocking(pipe.end, True)
    lines = [b"INFO line %d" % number for number in range(20_000)]
    lines[12_345] = b"ERROR CUDA error: out of memory"
    os.write(pipe.end, b"\n".join(lines[:1]) + b"\n")
    pipe.lines_until(lambda seen: len(seen) == 1)
    for start in range(1, 20_000, 500):
        os.write(pipe.end, b"\n".join(lines[start : start + 500]) + b"\n")
    while pipe.log.backlog_bytes() < sum(map(len, lines[1:])) + 19_999:
        threading.Event().wait(0.001)

    taken = list(pipe.log.lines(NOW_S, Ration(1_000, 2**20, 2**20, thin=True)))

    assert len(taken) + pipe.log.skipped_lines == 19_999
    assert len(taken) < 1_300
    assert b"ERROR CUDA error: out of memory" in taken


def test_what_is_taken_counts_against_the_ration(pipe: Pipe) -> None:
    """The round is shared by all logs; a pipe must not take its part and that of the others."""
    lines = [b"INFO line %d" % number for number in range(2_000)]
    hold(pipe, b"\n".join(lines) + b"\n")
    ration = Ration(1_000, 2**20, 2**20, thin=True)

    first = list(pipe.log.lines(NOW_S, ration))
    assert (ration.lines, ration.size_bytes) == (0, 2**20 - sum(map(len, first)))
    assert ration.scan_bytes < 2**20
    assert pipe.log.backlog_bytes() == sum(map(len, lines[1_000:])) + 1_000
    second = list(pipe.log.lines(NOW_S + 1, Ration(1_000, 2**20, 2**20, thin=True)))

    assert first + second == lines, "a burst of three rounds is read whole"
    assert pipe.log.skipped_lines == pipe.log.backlog_bytes() == 0


def test_a_round_that_is_over_leaves_the_rest(pipe: Pipe) -> None:
    """Time is shared too."""
    hold(pipe, b"INFO line\n" * 100_000)

    assert list(pipe.log.lines(NOW_S, Ration(is_over=lambda: True))) == []
    assert len(list(pipe.log.lines(NOW_S, Ration()))) == 100_000


def hold(pipe: Pipe, data: bytes) -> None:
    """Write *data*, and wait until it is held."""
    for start in range(0, len(data), 32_768):
        os.write(pipe.end, data[start : start + 32_768])
    while pipe.log.backlog_bytes() < len(data):
        threading.Event().wait(0.001)


def test_a_line_without_an_end_is_cut_and_bounded(pipe: Pipe) -> None:
    """A gigabyte of base64 must not be held."""
    for _ in range(100):
        os.write(pipe.end, b"y" * 65_536)
        list(pipe.log.lines(NOW_S))
    os.write(pipe.end, b"\nnext\n")

    assert pipe.lines_until(lambda seen: seen[-1:] == [b"next"])[-1] == b"next"
    assert pipe.log.truncated == 1
    assert len(pipe.log._rest) <= 65_536


def test_closing_ends_the_thread_while_the_pipe_stays_open(pipe: Pipe) -> None:
    """A reload or a stop must not wait for a server that says nothing."""
    thread = pipe.log._thread
    assert thread is not None
    pipe.log.close()

    assert not thread.is_alive()


def test_an_input_that_is_closed_is_a_problem_not_a_crash() -> None:
    """Started without a standard input at all."""
    log = StandardInput(900)
    until_s = time.monotonic() + 5.0
    while not log.problem and time.monotonic() < until_s:
        list(log.lines(NOW_S))
    log.close()

    assert log.problem == "bad file descriptor"
