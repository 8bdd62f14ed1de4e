"""Whatever happens to a log and to us, in whatever order: each line is read once, in order."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.collect.trail_story import Tailer, append, compress, copy_and_truncate, rotate, shift

STEPS = (
    "write",
    "write little",
    "round",
    "rounds",
    "rename",
    "rename and compress",
    "copytruncate",
    "stop and start",
    "half a line",
)


class Story:
    """A log, its writer, its logrotate, and a daemon."""

    def __init__(self, folder: Path, banner: bytes) -> None:
        self.tailer = Tailer(folder / "x.log")
        self.banner = banner
        self.written: list[bytes] = []
        self.seen: list[bytes] = []
        self.half = b""
        self.seen += self.tailer.round()
        self.write(1)
        self.seen += self.tailer.round()  # a log that comes and goes between two looks was never there

    def write(self, count: int) -> None:
        path = self.tailer.path
        if self.banner and (not path.exists() or not path.stat().st_size):
            append(path, self.banner + b"\n")
            self.written.append(self.banner)
        for _ in range(count):
            line = b"line %d" % len(self.written)
            append(path, line[len(self.half) :] + b"\n" if self.half else line + b"\n")
            self.half = b""
            self.written.append(line)

    def do(self, step: str) -> None:
        path = self.tailer.path
        if step.startswith("write"):
            self.write(1 if step == "write little" else 300)
        elif step == "half a line" and not self.half and path.exists() and path.stat().st_size:
            self.half = b"line"
            append(path, self.half)
        elif step == "round":
            self.seen += self.tailer.round()
        elif step == "rounds":
            self.seen += self.tailer.rounds(8)
        elif step == "kill":
            self.seen += self.tailer.kill()
            self.tailer.start()
        elif step == "stop and start":
            self.tailer.away(5.0)
        elif step in {"rename", "rename and compress", "copytruncate"} and path.exists() and not self.half:
            if step == "copytruncate":
                shift(path)
                copy_and_truncate(path)
            else:
                rotate(path)
                if step == "rename and compress":
                    compress(path.with_name("x.log.1"))

    def end(self) -> None:
        self.write(1)
        self.seen += self.tailer.rounds(30)
        self.tailer.follower.close()


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.sampled_from(STEPS), max_size=14), banner=st.sampled_from([b"", b"b" * 40]))
@example(steps=["copytruncate", "round", "write", "copytruncate", "rename"], banner=b"")
@example(steps=["rename and compress", "round", "write", "rename"], banner=b"")  # an inode given away
@example(steps=["rename and compress", "round", "write little", "round", "stop and start"], banner=b"")  # and as long
@example(steps=["rename and compress", "write", "rename and compress"], banner=b"B" * 400)
def test_each_line_is_read_once_and_in_order(steps: list[str], banner: bytes) -> None:
    """Rotations of every kind, stops, and files that begin alike."""
    with tempfile.TemporaryDirectory() as folder:
        story = Story(Path(folder), banner)
        for step in steps:
            story.do(step)
        story.end()

        assert story.seen == story.written


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(st.sampled_from((*STEPS, "kill")), max_size=14))
def test_killed_at_any_time_each_line_is_read_at_least_once(steps: list[str]) -> None:
    """What was read in vain is read again; nothing else is."""
    with tempfile.TemporaryDirectory() as folder:
        story = Story(Path(folder), b"")
        for step in steps:
            story.do(step)
        story.end()

        assert list(dict.fromkeys(story.seen)) == story.written
        if "kill" not in steps:
            assert len(story.seen) == len(story.written)
