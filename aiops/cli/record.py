"""``aiops record``: what a running daemon observes, into a folder that ``aiops replay`` plays."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from types import FrameType

from aiops import settings
from aiops.cli import client, run
from aiops.clock import Clock, SystemClock
from aiops.errors import AiopsError
from aiops.export.recording import MAX_BYTES, RecordingFolder
from aiops.units import format_duration, format_quantity, parse_duration_s

_PATH = "/api/v1/recording"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    run.add_arguments(parser)
    parser.add_argument("folder", type=Path, metavar="DIR", help="an empty folder, or one to be made")
    parser.add_argument(
        "--for",
        dest="for_s",
        type=_duration,
        default=3600.0,
        metavar="TIME",
        help="how long, 24h at most (default 1h); Ctrl-C ends it earlier",
    )


def _duration(text: str) -> float:
    try:
        seconds = parse_duration_s(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if not 0.0 < seconds <= 86_400.0:
        raise argparse.ArgumentTypeError("expected more than 0 and at most 24h")
    return seconds


def main(args: argparse.Namespace) -> int:
    """Exit status 0; 1 when the disk or the daemon ended it."""
    config = settings.load(run.settings_file(args.config))
    asked = _Asked()
    with closing(client.post_lines(config, _PATH)) as lines:
        first = next(lines, b"")  # asked for before a folder is made: a refusal leaves nothing behind
        folder = RecordingFolder(args.folder, MAX_BYTES)
        print(f"Recording into {args.folder} for {format_duration(args.for_s)}; Ctrl-C ends it.", file=sys.stderr)
        folder.take(first)
        failure = record(lines, folder, asked, args.for_s, SystemClock())
    size = format_quantity(folder.size_bytes, "bytes")
    print(f"{folder.samples:,} samples, {size} in {args.folder}; {folder.ended}.", file=sys.stderr)
    return 1 if failure else 0


class _Asked:
    """Whether somebody asked for the end. A line comes every second, so nothing need be interrupted."""

    def __init__(self) -> None:
        self.to_end = False
        for caught in (signal.SIGINT, signal.SIGTERM):
            signal.signal(caught, self._catch)

    def _catch(self, _signal: int, _frame: FrameType | None) -> None:
        self.to_end = True


def record(lines: Iterable[bytes], folder: RecordingFolder, asked: _Asked, for_s: float, clock: Clock) -> bool:
    """
    Write *lines* into *folder* until one of the many ends.

    Returns:
        Whether something failed; what was recorded until then is good all the same.
    """
    until_s = clock.monotonic_s() + for_s
    failed, whole = False, True
    try:
        for line in lines:
            folder.take(line)
            if asked.to_end:
                folder.ended = "somebody ended it"
            elif clock.monotonic_s() >= until_s:
                folder.ended = "its time was over"
            if folder.ended:
                break
        folder.ended = folder.ended or "the daemon went away"
    except OSError as error:
        folder.ended, failed, whole = f"the disk refused: {error.strerror}", True, False
    except AiopsError as error:
        folder.ended, failed = str(error), True
    try:
        folder.close(folder.ended, whole=whole)
    except OSError as error:
        folder.ended, failed = f"the disk refused: {error.strerror}", True
    return failed
