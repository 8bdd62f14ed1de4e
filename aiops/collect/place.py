"""
Where reading of a log stood, and how to know the same file again under any name.

An inode number is given to another file as soon as its own is gone, a name says nothing after a rotation, and the first
bytes alone may be a banner that every file begins with. So a place remembers the first bytes and the last ones before
it: a file that holds both where they were is the same one, or a copy of it, compressed or not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

from aiops.ports import Checkpoints

HEAD_BYTES = 256
GUARD_BYTES = 64
"""So many bytes before a place are part of its identity."""

Read = Callable[[int, int], bytes]
"""Reads from an offset so many bytes, fewer where there are no more."""


@dataclass(frozen=True, slots=True)
class Place:
    """A file and an offset in it."""

    key: tuple[int, int]
    """Device and inode; a hint only."""
    head_bytes: int
    head: str
    guard_bytes: int
    guard: str
    offset: int
    """In bytes, unpacked ones where the file is packed."""
    at_s: float

    @classmethod
    def of(cls, key: tuple[int, int], read: Read, offset: int, at_s: float) -> Place:
        """The place *offset* of the file that *read* reads."""
        head = read(0, HEAD_BYTES)
        guard = read(max(0, offset - GUARD_BYTES), min(offset, GUARD_BYTES))
        return cls(key, len(head), _digest(head), len(guard), _digest(guard), offset, at_s)

    @classmethod
    def from_memory(cls, key: tuple[int, int], head: bytes, offset: int, at_s: float) -> Place:
        """The place *offset* of a file that cannot be read just now."""
        return cls(key, len(head), _digest(head), 0, _digest(b""), offset, at_s)

    def is_in(self, read: Read) -> bool:
        """Whether the file that *read* reads is this one, as far as it can be told; a file once empty may be any."""
        return (self.head_bytes == 0 or self.begins(read)) and self.leads_to(read)

    def begins(self, read: Read) -> bool:
        """Whether a file begins as this one does; an empty beginning says nothing."""
        return self.head_bytes > 0 and _digest(read(0, self.head_bytes)) == self.head

    def leads_to(self, read: Read) -> bool:
        """Whether what stands before the offset is what stood there."""
        return _digest(read(self.offset - self.guard_bytes, self.guard_bytes)) == self.guard

    def dump(self) -> bytes:
        """As bytes, for `load`."""
        return json.dumps(
            [*self.key, self.head_bytes, self.head, self.guard_bytes, self.guard, self.offset, self.at_s]
        ).encode()

    @classmethod
    def load(cls, raw: bytes | None) -> Place | None:
        """The place in *raw*; None without one, or from one that another version wrote."""
        try:
            device, inode, head_bytes, head, guard_bytes, guard, offset, at_s = json.loads(raw or b"null")
            place = cls(
                (int(device), int(inode)),
                int(head_bytes),
                str(head),
                int(guard_bytes),
                str(guard),
                int(offset),
                float(at_s),
            )
        except (ValueError, TypeError, OverflowError, RecursionError):
            return None
        sound = 0 <= place.head_bytes <= HEAD_BYTES and 0 <= place.guard_bytes <= min(GUARD_BYTES, place.offset)
        return place if sound else None


class Shelf:
    """
    Many checkpoints in one, with a bound: files come and go, and what is left of the gone must not pile up.

    Args:
        checkpoints: Where they are kept, all under one name.
        name: That name.
        most: Kept at most; those put longest ago go first.
    """

    def __init__(self, checkpoints: Checkpoints, name: str, most: int) -> None:
        self._checkpoints = checkpoints
        self._name = name
        self._most = most
        self._held: dict[str, str] | None = None
        self._changed = False

    def get(self, name: str) -> bytes | None:
        """The last value put under *name*, or None."""
        held = self._load().get(name)
        return None if held is None else held.encode()

    def put(self, name: str, value: bytes) -> None:
        """Remember *value*, which is text, under *name*; kept with the next `keep`."""
        held = self._load()
        held.pop(name, None)
        held[name] = value.decode()
        while len(held) > self._most:
            del held[next(iter(held))]
        self._changed = True

    def keep(self) -> None:
        """Hand everything put since the last call on."""
        if self._changed:
            self._checkpoints.put(self._name, json.dumps(self._load()).encode())
            self._changed = False

    def _load(self) -> dict[str, str]:
        if self._held is None:
            try:
                found = json.loads(self._checkpoints.get(self._name) or b"{}")
                self._held = {str(name): str(value) for name, value in found.items()}
            except (ValueError, AttributeError, RecursionError):
                self._held = {}
        return self._held


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
