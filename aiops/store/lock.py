"""
One process at a time works with a state folder: the daemon while it runs, a command while it changes the file.

A daemon keeps its open incidents and the count of people's words in memory and writes them again and again; what another
process put into the file meanwhile would be overwritten, or counted only after the next start. The port is no
lock: settings may name another one, and a daemon that hangs does not answer.

The lock is on the folder itself (flock), so the kernel gives it back however its holder ends, and no file is left over.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from aiops.errors import StateError

_PAUSE_S = 0.05


@contextlib.contextmanager
def held(directory: Path, wait_s: float = 0.0) -> Iterator[None]:
    """
    Hold *directory* while the block runs.

    Args:
        directory: The state folder; must exist.
        wait_s: How long somebody else may go on holding it.

    Raises:
        StateError: another process holds it.
    """
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        tries_left = round(wait_s / _PAUSE_S)
        while not _taken(folder):
            if not tries_left:
                raise StateError(f"another process works with {directory}")
            tries_left -= 1
            time.sleep(_PAUSE_S)
        yield
    finally:
        os.close(folder)


def _taken(folder: int) -> bool:
    """Whether it is ours now; a file system that knows no locks refuses nobody."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
