"""
What keeps the resident process small: settings of the C allocator and of libraries, made before they are loaded.

Python's own objects are counted to the byte elsewhere; this is about what lies around them. Measured on an idle daemon of
75 MB: 2 MB for one heap instead of one for each thread, 2 MB given back after the start, 5 MB where rich and pygments are installed.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys

_M_ARENA_MAX = -8
"""Of glibc's `mallopt`."""


def be_frugal() -> None:
    """Call before numpy and structlog are loaded."""
    # every thread has an arena of its own, each with its own unused remains, for speed that threads which mostly wait do
    # not need. Other C libraries have no such call
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    # numpy's library for matrices starts a thread with buffers for every core of the node; we multiply none
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # structlog loads rich for coloured tracebacks, httpx pygments for its command line, wherever they are installed
    for name in ("rich", "pygments"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]


def settle() -> None:
    """
    Call when everything is loaded: what there is by then stays, and the collector need not look through it again.

    Modules, settings and rules are most of a hundred thousand objects. A full collection takes some 30 milliseconds with
    them and 10 without, and a look at an incident makes enough garbage for one now and then.
    """
    gc.unfreeze()  # of the settings before these
    gc.collect()
    gc.freeze()


def give_back() -> None:
    """Return what the C allocator holds and nobody uses to the system; about a millisecond."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
