from __future__ import annotations

import io
from dataclasses import dataclass

from aiops.cli.progress import Bar
from aiops.clock import ManualClock


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


@dataclass
class Reading:
    """A file of a thousand bytes, or a pipe."""

    total_bytes: int | None = 1_000
    read_bytes: int = 0


def last_line(screen: Screen) -> str:
    return screen.getvalue().split("\r\033[K")[-1]


def test_the_bar_says_how_far_and_how_fast():
    """A log of fifty gigabytes takes a while."""
    screen, clock, reading = Screen(), ManualClock(), Reading()
    with Bar(screen, reading, clock) as bar:
        clock.advance(2.0)
        reading.read_bytes = 250
        bar.draw(800_000)
        assert last_line(screen) == " 25% ██████░░░░░░░░░░░░░░░░░░  800,000 lines, 400,000 a second"
        reading.total_bytes = None
        clock.advance(2.0)
        bar.draw(1_000_000)
        assert last_line(screen) == "1,000,000 lines, 250,000 a second"
    assert last_line(screen) == "1,000,000 lines in 4.0 s, 250,000 a second\n"


def test_the_bar_is_drawn_ten_times_a_second_at_most():
    """A terminal far away must not slow the reading down."""
    screen, clock = Screen(), ManualClock()
    bar = Bar(screen, Reading(), clock)
    for lines in range(100):
        clock.advance(0.01)
        bar.draw(lines)
    assert screen.getvalue().count("\r") <= 10


def test_a_reading_that_is_stopped_leaves_nothing_behind():
    """After Ctrl-C the prompt stands at the beginning of its line."""
    screen, clock = Screen(), ManualClock()
    bar = Bar(screen, Reading(), clock)
    clock.advance(1.0)
    bar.draw(1)
    bar.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert last_line(screen) == ""


def test_without_a_terminal_nothing_is_written():
    """A log of our own full of carriage returns helps nobody."""
    stream = io.StringIO()
    with Bar(stream, Reading(), ManualClock()) as bar:
        bar.draw(1)
    assert stream.getvalue() == ""
