"""``aiops run``: the daemon."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import threading
from pathlib import Path

from aiops import memory, settings

SYSTEM_FILE = Path("/etc/aiops/aiops.yaml")
"""Read when no file is named and this one exists."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="FILE",
        help=f"settings file; without it {SYSTEM_FILE} if there is one, else everything is found by itself",
    )


def settings_file(named: Path | None) -> Path | None:
    """The settings file to read: the one *named*, else the system's, else none."""
    if named is not None:
        return named
    # os.path, not Path: a folder closed to us is as good as none
    return SYSTEM_FILE if os.path.isfile(SYSTEM_FILE) else None  # noqa: PTH113


def main(args: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT; exit status 0."""
    path = settings_file(args.config)
    first = settings.load(path)
    memory.be_frugal()
    # after the settings: a wrong file must say so at once, without half a second of imports
    from aiops import app  # noqa: PLC0415
    from aiops.cli import console  # noqa: PLC0415

    console.configure(first.log.level, first.log.format)
    pending = [first]
    asyncio.run(app.run(lambda: pending.pop() if pending else settings.load(path)))
    leave()
    return 0


def leave() -> None:
    """
    End now if a thread hangs in a dead disk or driver.

    By now state is closed and messages are safe, and all is printed. Python would wait for such a thread for ever, and systemd would kill us.
    """
    main_thread = threading.main_thread()
    hung = [t for t in threading.enumerate() if t is not main_thread and not t.daemon]
    for thread in hung:
        thread.join(0.5 / len(hung))
    if any(thread.is_alive() for thread in hung):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
