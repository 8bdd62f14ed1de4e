"""
A model's weights on disk: a small safetensors file, written once, read whole at every start of a server.

Reading is real: a slow disk makes a slow start, and a file that is gone, cut short or overwritten fails where and as
safetensors fails.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import struct
import time
from pathlib import Path

NAME = "model-00001-of-00001.safetensors"
_PIECE = 1 << 20
_SHARED = Path("/var/tmp/aiops-lab")
_MAX_HEADER = 100_000_000


class WeightsError(Exception):
    """They cannot be loaded; the text is the last line of the traceback."""


def write_weights(folder: Path, mib: float) -> Path:
    """Make a model of *mib* in *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    size = int(mib * 2**20)
    header = json.dumps(
        {"model.embed_tokens.weight": {"dtype": "F16", "shape": [size // 2], "data_offsets": [0, size]}}
    )
    path = folder / NAME
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header.encode())
        for _ in range(-(-size // _PIECE)):
            file.write(os.urandom(4096) * (_PIECE // 4096))
        file.truncate(8 + len(header) + size)
    return path


def shared_weights(mib: int) -> Path:
    """The folder of a model of *mib* that is made once a machine; nobody may change it."""
    _SHARED.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder = _SHARED / f"model-{mib}"
    with (_SHARED / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            making = _SHARED / "making-model"
            write_weights(making, mib)
            making.rename(folder)
    return folder


async def load_weights(folder: Path, *, cold: bool, pace: float | None = None) -> int:
    """
    Read the model in *folder*; how many bytes it has.

    Args:
        folder: Of the model.
        cold: Whether it comes from the disk rather than from the page cache.
        pace: MiB a second at which it comes, where it is sent over a network.

    Raises:
        WeightsError: it cannot be read.
    """
    path = folder / NAME
    try:
        return await asyncio.to_thread(_read, path, cold, pace)
    except FileNotFoundError:
        raise WeightsError(f"RuntimeError: Cannot find any model weights with `{folder}`") from None
    except OSError as error:
        raise WeightsError(f"OSError: [Errno {error.errno}] {error.strerror}: '{path}'") from error


def _read(path: Path, cold: bool, pace: float | None) -> int:
    with path.open("rb") as file:
        if cold:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        whole = os.fstat(file.fileno()).st_size
        first = file.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else None
        wrong = "safetensors_rust.SafetensorError: Error while deserializing header: "
        if length is None:
            raise WeightsError(wrong + "HeaderTooSmall")
        if length > _MAX_HEADER:
            raise WeightsError(wrong + "HeaderTooLarge")
        try:
            end = max(entry["data_offsets"][1] for entry in json.loads(file.read(length)).values())
        except (ValueError, KeyError, TypeError):
            raise WeightsError(wrong + "InvalidHeaderDeserialization") from None
        if 8 + length + end != whole:
            raise WeightsError(wrong + "MetadataIncompleteBuffer")
        began_s, read = time.monotonic(), 0
        while piece := file.read(_PIECE):
            read += len(piece)
            if pace is not None:
                time.sleep(max(began_s + read / 2**20 / pace - time.monotonic(), 0.0))
        return whole
