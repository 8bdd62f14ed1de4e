"""A network file system whose server never answers: a real mount, FUSE without anybody behind it."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

DEVICE = Path("/dev/fuse")
_LIBC = ctypes.CDLL(None, use_errno=True)
_DETACH = 2
"""MNT_DETACH of umount2."""


@contextlib.contextmanager
def dead_mount(folder: Path) -> Iterator[None]:
    """A network file system on *folder* whose server never answers; needs root."""
    folder.mkdir()
    device = os.open(DEVICE, os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0"
    if _LIBC.mount(b"dead:/models", os.fsencode(folder), b"fuse.sshfs", 0, options.encode()):
        os.close(device)
        raise OSError(ctypes.get_errno(), "mount", str(folder))
    try:
        yield
    finally:
        os.close(device)  # ends the connection: calls that hang return with an error
        _LIBC.umount2(os.fsencode(folder), _DETACH)
