"""
Templates on disk, so that they keep their ids and are not taken for new after a restart.

One small file of our own: a line that says what it is, its version, the length and checksum of what follows; then JSON.
It is written beside its place, synced and renamed, so that there is always a whole one. JSON is only data: whatever
somebody puts into the file, reading it runs nothing. A file that is not what it says, or of a later version, is set
aside under another name and templates are learned anew: a lost memory is no reason not to watch.

What one line alone said is not in it: of a template with a single wording behind it only the id is written, which a
line that comes again leads to by itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog

from aiops.model import LogSeverity

log = structlog.get_logger(__name__)

_MAGIC = b"aiops-templates"
_VERSION = b"1"
_MAX_BYTES = 64 * 2**20
"""Ten thousand templates are two megabytes; a file beyond this is not ours."""


@dataclass(frozen=True, slots=True)
class SavedTrace:
    """What is kept of a template's lines."""

    id: str
    cluster: str
    """Id of its cluster."""
    born_at_s: float
    last_at_s: float
    total: int
    wordings: tuple[int, ...] | None
    """Hashes of different lines, as `traces.wording_of` makes them; None for twenty or more."""


@dataclass(frozen=True, slots=True)
class Saved:
    """Everything that is kept."""

    clusters: tuple[tuple[LogSeverity, str, str], ...] = ()
    """As `cluster.Clusters.rows` gives them."""
    traces: tuple[SavedTrace, ...] = ()
    """The least recently met first."""
    sources: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Lines, and kinds seen once, of each log."""


class Snapshot:
    """
    The file.

    Args:
        path: Where it is, usually ``state.dir/templates``; its folder exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Saved | None:
        """
        What was written last; None if there is nothing.

        Raises:
            OSError: the file is there and cannot be read.
            ValueError: it is damaged, foreign or of a later version. It has been set aside.
        """
        try:
            with self._path.open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        try:
            return _decode(content)
        except ValueError:
            self._path.replace(self._path.with_name(self._path.name + ".damaged"))
            raise

    def write(self, saved: Saved) -> None:
        """
        Replace the file.

        Raises:
            OSError: the disk refused; the old file is as it was.
        """
        part = self._path.with_name(self._path.name + ".part")
        try:
            with open(part, "wb", opener=_private) as file:
                file.write(_encode(saved))
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)  # what was written of it takes the room the disk has not got
            raise
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _encode(saved: Saved) -> bytes:
    body = msgspec.json.encode(saved)
    return b" ".join((_MAGIC, _VERSION, str(len(body)).encode(), _checksum(body))) + b"\n" + body


def _decode(content: bytes) -> Saved:
    head, feed, body = content.partition(b"\n")
    words = head.split(b" ")
    if not feed or words[0] != _MAGIC:
        raise ValueError("no snapshot of templates" if content else "empty")
    if words[1:2] != [_VERSION]:
        raise ValueError(f"of version {b' '.join(words[1:2])[:20]!r}, expected {_VERSION!r}")
    if words[2:] != [str(len(body)).encode(), _checksum(body)]:
        raise ValueError("cut off or changed")
    return msgspec.json.decode(body, type=Saved)


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).hexdigest().encode()
