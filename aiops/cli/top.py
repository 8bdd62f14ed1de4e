"""``aiops top``: what the daemon sees, live in a terminal; one picture where there is none."""

from __future__ import annotations

import argparse
import contextlib
import json
import select
import shutil
import sys
import termios
import tty
from collections import deque
from collections.abc import Callable, Iterator

from aiops import settings
from aiops.cli import client, run
from aiops.cli.screen import WANTED, Frame, Screen
from aiops.clock import Clock, SystemClock
from aiops.collect.exposition import Parser
from aiops.model import Incident, from_json
from aiops.offline.table import Look
from aiops.settings import Settings

_CLEAR_REST, _HOME, _CLEAR_LINE = "\033[J", "\033[H", "\033[K"
_ENTER, _LEAVE = "\033[?1049h\033[?25l", "\033[?25h\033[?1049l"
_SPAN_S = 10.0
"""What rates are taken over: the daemon renews its page every five seconds."""
_PLAIN_CELLS = 120
"""Width where nobody can say it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    run.add_arguments(parser)
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="time between pictures; default 2")


def main(args: argparse.Namespace) -> int:
    """Exit status 0; 1 when no daemon answers."""
    if not 0.2 <= args.every <= 3600.0:
        raise SystemExit("aiops top: --every takes 0.2 to 3600 seconds")
    source = Source(settings.load(run.settings_file(args.config)), SystemClock())
    if sys.stdout.isatty() and sys.stdin.isatty():
        with _terminal():
            _live(source, args.every, _somebody_leaves)
        return 0
    before = source.read()
    select.select([], [], [], _SPAN_S)
    print("\n".join(Screen(before, source.read(), Look(_PLAIN_CELLS, colours=False)).lines()))
    return 0


class Source:
    """
    Reads the daemon's pages.

    Args:
        config: Says where the daemon listens.
        clock: When a reading was made.
    """

    def __init__(self, config: Settings, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._parser = Parser(WANTED)

    def read(self) -> Frame:
        """
        What the daemon says now.

        Raises:
            DaemonDown: it does not answer.
        """
        status = client.get_json(self._config, "/api/v1/status")
        _, page = client.get(self._config, "/metrics")
        alerts = client.get_json(self._config, "/api/v1/alerts")["alerts"]
        found = client.get_json(self._config, "/api/v1/incidents?state=open")["incidents"]
        incidents = from_json(json.dumps(found), list[Incident])
        return Frame(self._clock.now_s(), self._parser.parse(page.encode()).readings, status, alerts, incidents)


def _live(source: Source, every_s: float, wait: Callable[[float], bool]) -> None:
    """Draw again and again until q or Ctrl-C; a daemon that restarts is waited for."""
    frames: deque[Frame] = deque()
    quits = False
    while not quits:
        size = shutil.get_terminal_size()
        try:
            frames.append(source.read())
            if len(frames) > 1 and frames[-1].at_s <= frames[-2].at_s:  # the clock was set back: no rate over that
                frames = deque([frames[-1]])
            while len(frames) > 2 and frames[-1].at_s - frames[1].at_s >= _SPAN_S:
                frames.popleft()
            before = frames[0] if len(frames) > 1 else None
            lines = Screen(before, frames[-1], Look(size.columns, colours=True)).lines()
        except client.DaemonDown as down:
            if not frames:
                raise
            lines = [str(down)]
        shown = [f"{line}{_CLEAR_LINE}" for line in lines[: size.lines - 1]]
        sys.stdout.write(_HOME + "\r\n".join(shown) + "\r\n" + _CLEAR_REST)
        sys.stdout.flush()
        quits = wait(every_s)


def _somebody_leaves(seconds: float) -> bool:
    """Whether q or Ctrl-D is pressed within *seconds*; any other key draws at once."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(ready) and sys.stdin.read(1) in {"q", "Q", "\x04", ""}


@contextlib.contextmanager
def _terminal() -> Iterator[None]:
    """A screen of our own, given back as it was whatever happens."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    sys.stdout.write(_ENTER)
    try:
        tty.setcbreak(keyboard)
        yield
    except KeyboardInterrupt:
        pass
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
