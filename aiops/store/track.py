"""
Times and values of one series, the newest as they are, the older ones packed.

Two arrays of doubles cost 16 bytes a point, 23 MB for two thousand series of an hour, on a node whose memory belongs to its
engines. But most series hardly change, and those that were collected together share their times. So whenever enough
points have gathered, the oldest `BLOCK` of them are packed: differences of the bit patterns, their bytes sorted by significance,
deflated. Nothing is rounded: what comes out is bit for bit what went in. Series that were collected together have the same
times, which are packed and kept once.

Most readers look at the last few minutes, which are not packed; the others pay a few microseconds a block.

Source of the idea: Pelkonen et al., Gorilla (VLDB 2015), which packs by bits; in Python the bytes and zlib are quicker.
"""

from __future__ import annotations

import functools
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from aiops.stats import Floats

BLOCK = 64
"""Points packed at once; five minutes at the usual cadence, and as many at least are never packed."""
POINT_BYTES = 16
_BLOCK_BYTES = 200
"""What a packed block costs beside what is in it."""
_MAX_SHARED = 256
"""Packed times remembered to be shared: those of a dozen collectors, as often as their series began apart."""
_DOUBLE_BYTES = 8
_RAW = -15
"""zlib's name for deflate without header and checksum."""
_ZERO = np.uint64(0)
_NOTHING = np.empty(0)


class Block(NamedTuple):
    """Some packed points."""

    first_s: float
    last_s: float
    times: bytes
    values: bytes | float
    """Packed, or the one value that all of them have."""
    shares: bool
    """Whether another block had packed the same times before; they are counted there."""

    @property
    def size_bytes(self) -> int:
        """What it adds to what is held."""
        values_bytes = len(self.values) if isinstance(self.values, bytes) else _DOUBLE_BYTES
        return _BLOCK_BYTES + values_bytes + (0 if self.shares else len(self.times))


class Packer:
    """Packs blocks; of times that were packed before it gives out the same bytes again."""

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}

    def block(self, times: array[float], values: array[float]) -> Block:
        """*times* and *values*, `BLOCK` of them, packed."""
        raw = times.tobytes()
        packed = self._known.get(raw)
        shares = packed is not None
        if packed is None:
            if len(self._known) >= _MAX_SHARED:
                self._known.clear()
            packed = self._known[raw] = pack(raw)
        return Block(times[0], times[-1], packed, pack_values(values), shares)


def pack(raw: bytes) -> bytes:
    """`BLOCK` doubles in fewer bytes."""
    steps = np.diff(np.frombuffer(raw, np.uint64), prepend=_ZERO)
    return zlib.compress(steps.view(np.uint8).reshape(BLOCK, 8).T.tobytes(), 1, _RAW)


def pack_values(numbers: array[float]) -> bytes | float:
    """As `pack`; the value itself if there is only one, as in most blocks."""
    raw = numbers.tobytes()
    return numbers[0] if raw == raw[:_DOUBLE_BYTES] * BLOCK else pack(raw)


def unpack(packed: Sequence[bytes]) -> Floats:
    """What `pack` was given, shape (len(packed), BLOCK)."""
    planes = np.frombuffer(b"".join([zlib.decompress(each, _RAW) for each in packed]), np.uint8).reshape(-1, 8, BLOCK)
    steps = np.ascontiguousarray(planes.transpose(0, 2, 1)).view(np.uint64)[:, :, 0]
    return steps.cumsum(axis=1, dtype=np.uint64).view(np.float64)


def unpack_values(packed: Sequence[bytes | float]) -> Floats:
    """What `pack_values` was given, likewise."""
    found = np.empty((len(packed), BLOCK))
    changing = {number: each for number, each in enumerate(packed) if isinstance(each, bytes)}
    if changing:
        found[list(changing)] = unpack(list(changing.values()))
    for number, each in enumerate(packed):
        if isinstance(each, float):
            found[number] = each
    return found


@functools.lru_cache(maxsize=_MAX_SHARED)
def unpack_times(packed: bytes) -> Floats:
    """Times of one block; hundreds of series have the same, and are often read one after another."""
    times: Floats = unpack([packed])[0]
    times.setflags(write=False)
    return times


class Span:
    """
    A range of time, and where it lies in times that several series have: those are put together once.

    Args:
        start_s: Its begin.
        end_s: Its end; both are included.
        keep: So many points of a series, the newest, are of interest.
    """

    def __init__(self, start_s: float, end_s: float, keep: int) -> None:
        self.start_s, self.end_s, self.keep = start_s, end_s, keep
        self._known: dict[object, tuple[Floats, int, int]] = {}

    def of(self, newest: bytes, blocks: Sequence[Block]) -> tuple[Floats, int, int]:
        """Times of *blocks* and the *newest*, which nobody can write to, and the first and the end that lie within."""
        key = (newest, *[block.times for block in blocks])
        found = self._known.get(key)
        if found is None:
            times = np.concatenate([*(unpack_times(block.times) for block in blocks), np.frombuffer(newest)])
            times.setflags(write=False)
            first, end = times.searchsorted(self.start_s), times.searchsorted(self.end_s, "right")
            found = self._known[key] = times, int(first), int(end)
        return found


class Track:
    """One series; not safe for several threads, its owner holds a lock."""

    __slots__ = ("_blocks", "_times", "_values", "size_bytes")

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._times = array("d")
        self._values = array("d")
        self.size_bytes = 0

    @property
    def newest_s(self) -> float:
        """Time of the newest point; there must be one."""
        return self._times[-1]

    @property
    def newest(self) -> float:
        """Value of the newest point."""
        return self._values[-1]

    def __bool__(self) -> bool:
        return bool(self._times)

    def __len__(self) -> int:
        return BLOCK * len(self._blocks) + len(self._times)

    # --- writing ----------------------------------------------------------------------------------------------------

    def append(self, at_s: float, value: float, keep: int, packer: Packer) -> None:
        """
        Add a point newer than all others.

        Args:
            at_s: Its time.
            value: Its value.
            keep: Points that are of interest; older ones may be forgotten.
            packer: The same for all series that may share their times.
        """
        times = self._times
        times.append(at_s)
        self._values.append(value)
        self.size_bytes += POINT_BYTES
        if len(times) >= 2 * BLOCK:
            self._pack(packer)
        if self._blocks:
            if len(self) - BLOCK >= keep:
                self.size_bytes -= self._blocks.pop(0).size_bytes
        elif len(times) >= keep + max(keep // 8, 1):  # in steps, because what is cut off moves the rest
            self._forget(len(times) - keep)

    def shorten(self) -> None:
        """Forget the oldest: a block if there is one, else a point."""
        if self._blocks:
            self.size_bytes -= self._blocks.pop(0).size_bytes
        elif self._times:
            self._forget(1)

    def replace(self, at_s: float, value: float) -> bool:
        """Put *value* at the time *at_s*; False if no point of that time is held."""
        times = self._times
        if at_s > times[-1]:
            return False
        if at_s >= times[0]:
            place = len(times) - 1 if times[-1] == at_s else bisect_left(times, at_s)
            if times[place] != at_s:
                return False
            self._values[place] = value
            return True
        return self._replace_packed(at_s, value)

    def cut(self, end_s: float) -> None:
        """Forget every point after *end_s*."""
        found = self.window(-inf, end_s, len(self))
        times, values = found or (_NOTHING, _NOTHING)
        self._blocks = []
        self._times, self._values = array("d", times.tobytes()), array("d", values.tobytes())
        self.size_bytes = POINT_BYTES * times.size

    def _pack(self, packer: Packer) -> None:
        block = packer.block(self._times[:BLOCK], self._values[:BLOCK])
        self._blocks.append(block)
        self.size_bytes += block.size_bytes
        self._forget(BLOCK)

    def _forget(self, count: int) -> None:
        del self._times[:count], self._values[:count]
        self.size_bytes -= POINT_BYTES * count

    def _replace_packed(self, at_s: float, value: float) -> bool:
        for number, block in enumerate(self._blocks):
            if block.first_s <= at_s <= block.last_s:
                times = unpack_times(block.times)
                place = int(np.searchsorted(times, at_s))
                if times[place] != at_s:
                    return False
                values = unpack_values([block.values])[0]
                values[place] = value
                changed = block._replace(values=pack_values(array("d", values.tobytes())))
                self._blocks[number] = changed
                self.size_bytes += changed.size_bytes - block.size_bytes
                return True
        return False

    # --- reading ----------------------------------------------------------------------------------------------------

    def copy(self) -> Track:
        """The same points, whatever is appended here later; packed ones are shared, since blocks never change."""
        other = Track()
        other._blocks = list(self._blocks)
        other._times, other._values, other.size_bytes = self._times[:], self._values[:], self.size_bytes
        return other

    def window(self, start_s: float, end_s: float, keep: int) -> tuple[Floats, Floats] | None:
        """Times and values within [*start_s*, *end_s*] of the newest *keep* points; None if there are none."""
        return read([self], start_s, end_s, keep)[0]

    def packed(self, start_s: float, end_s: float) -> list[Block]:
        """Blocks with points in [*start_s*, *end_s*]."""
        blocks = self._blocks
        if not blocks or blocks[-1].last_s < start_s:  # nearly always: the last few minutes are asked for
            return []
        return [block for block in blocks if block.last_s >= start_s and block.first_s <= end_s]

    def unpacked(self, start_s: float, end_s: float, keep: int) -> tuple[Floats, Floats] | None:
        """As `window`, where nothing packed lies within."""
        times, blocks = self._times, self._blocks
        hidden = 0 if blocks else min(max(0, len(times) - keep), len(times))
        first = bisect_left(times, start_s, hidden)
        end = bisect_right(times, end_s, first)
        return (_copy(times, first, end), _copy(self._values, first, end)) if first < end else None

    def joined(self, blocks: Sequence[Block], values: Floats, span: Span) -> tuple[Floats, Floats] | None:
        """
        *blocks* and what is not packed, in one piece, cut to a time range.

        Args:
            blocks: Some of this track's, in order, to the last; at least one.
            values: Theirs, shape (len(blocks), BLOCK).
            span: The range.
        """
        times, first, end = span.of(self._times.tobytes(), blocks)
        if blocks[0] is self._blocks[0]:
            first = max(first, len(self) - span.keep)
        if first >= end:
            return None
        numbers = np.concatenate([values.ravel(), np.frombuffer(self._values)])
        return times[first:end], numbers[first:end]

    def at(self, now_s: float) -> tuple[float, float] | None:
        """The newest point at or before *now_s*."""
        times = self._times
        place = len(times) - 1 if times[-1] <= now_s else bisect_right(times, now_s) - 1
        if place >= 0:
            return times[place], self._values[place]
        block = next((block for block in reversed(self._blocks) if block.first_s <= now_s), None)
        if block is None:
            return None
        packed_times = unpack_times(block.times)
        place = int(np.searchsorted(packed_times, now_s, "right")) - 1
        return float(packed_times[place]), float(unpack_values([block.values])[0, place])


def _copy(numbers: array[float], first: int, end: int) -> Floats:
    return np.frombuffer(numbers[first:end], dtype=np.float64)


def read(tracks: Sequence[Track], start_s: float, end_s: float, keep: int) -> list[tuple[Floats, Floats] | None]:
    """
    What `Track.window` says of each of *tracks*.

    Those of one metric were mostly collected together: their blocks are unpacked at once, and times that several have
    are put together once.
    """
    found: list[tuple[Floats, Floats] | None] = []
    packed = [track.packed(start_s, end_s) for track in tracks]
    values = unpack_values([block.values for blocks in packed for block in blocks])
    span = Span(start_s, end_s, keep)
    place = 0
    for track, blocks in zip(tracks, packed, strict=True):
        if blocks:
            found.append(track.joined(blocks, values[place : place + len(blocks)], span))
            place += len(blocks)
        else:
            found.append(track.unpacked(start_s, end_s, keep))
    return found
