"""
Physical lines of files, compressed files and standard input, in batches of bounded size.

A physical line ends at a line feed and nowhere else: carriage returns, form feeds and the line separators of Unicode
are what a line holds, not where it ends, or answers would no longer stand beside their lines. Nothing read is held
longer than its batch: a file may be larger than memory, its lines may have no end, and a compressed one may unpack to
anything. What cannot be read is named and skipped, as grep does; the other files still are.
"""

from __future__ import annotations

import contextlib
import glob
import gzip
import os
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from io import FileIO
from pathlib import Path

MAX_LINE_BYTES = 65_536
"""A longer line is read to here; the rest of it is passed over."""
_BLOCK_BYTES = 1 << 20
_MAX_BATCH_BYTES = 16 << 20
"""Lines of the largest size would otherwise make a batch of a gigabyte."""

STDIN = "-"


class LineCutter:
    """Blocks of bytes to whole lines; the unfinished last one waits for the next block."""

    def __init__(self) -> None:
        self._rest = b""
        self.oversize = 0
        """Lines that were longer than `MAX_LINE_BYTES`."""

    def feed(self, block: bytes) -> list[str]:
        """The lines that *block* finishes, without their ends."""
        end = block.rfind(b"\n")
        if end < 0:
            # the one byte too many tells later that the line was cut
            self._rest = (self._rest + block)[: MAX_LINE_BYTES + 1]
            return []
        whole = self._rest + block[:end]
        self._rest = block[end + 1 :][: MAX_LINE_BYTES + 1]
        # decoding never swallows a line feed: no sequence continues with one
        lines = whole.decode("utf-8", "replace").split("\n")
        longest_bytes = 4 * len(max(lines, key=len))
        return [self._cut(line) for line in whole.split(b"\n")] if longest_bytes > MAX_LINE_BYTES else lines

    def end(self) -> list[str]:
        """The last line, if nothing ended it."""
        rest, self._rest = self._rest, b""
        return [self._cut(rest)] if rest else []

    def _cut(self, line: bytes) -> str:
        self.oversize += len(line) > MAX_LINE_BYTES
        return line[:MAX_LINE_BYTES].decode("utf-8", "replace")


class LineReader:
    """
    Lines of several inputs, one after the other.

    Args:
        names: Paths, patterns such as ``/var/log/*.gz``, or ``-`` for standard input. A file whose name ends in
            ``.gz`` is uncompressed while it is read.
        complain: Told, in one line, about each input that cannot be read.
        stdin: File descriptor of standard input.
    """

    def __init__(self, names: Sequence[str], complain: Callable[[str], None], stdin: int = 0) -> None:
        self._complain = complain
        self._stdin = stdin
        self._cutter = LineCutter()
        self._raw: FileIO | None = None
        self._done_bytes = 0
        self.failed = False
        """Whether something could not be read."""
        self._paths = [path for name in names for path in self._expand(name)]
        sizes = [self._size_bytes(path) for path in self._paths]
        self.total_bytes = None if None in sizes else sum(size or 0 for size in sizes)
        """All inputs as they lie on disk; None where that cannot be known, as for a pipe."""

    @property
    def oversize(self) -> int:
        """Lines that were cut because they were too long."""
        return self._cutter.oversize

    @property
    def read_bytes(self) -> int:
        """How far reading has come, in bytes as they lie on disk; meaningful where `total_bytes` is known."""
        return self._done_bytes + (self._raw.tell() if self._raw is not None else 0)

    def reads(self, path: Path) -> bool:
        """Whether *path* is one of the inputs, by whatever name: a pattern's find, a link, what standard input is."""
        with contextlib.suppress(OSError):
            wanted = path.stat()
            for name in self._paths:
                with contextlib.suppress(OSError):
                    if os.path.samestat(wanted, os.fstat(self._stdin) if name == STDIN else Path(name).stat()):
                        return True
        return False

    def batches(self, size: int) -> Iterator[list[str]]:
        """
        All lines, in order.

        Args:
            size: Lines in a batch. It holds fewer at the end, and where lines are very long.
        """
        pending: list[str] = []
        pending_bytes = 0
        for lines, read_bytes in self._pieces():
            pending += lines
            pending_bytes += read_bytes
            while len(pending) >= size or (pending and pending_bytes >= _MAX_BATCH_BYTES):
                yield pending[:size]
                del pending[:size]
                pending_bytes = 0
        if pending:
            yield pending

    def as_they_come(self, size: int) -> Iterator[list[str]]:
        """All lines, in order, as soon as they are read: at most *size* at once."""
        for lines, _ in self._pieces():
            for start in range(0, len(lines), size):
                yield lines[start : start + size]

    # --- inputs -----------------------------------------------------------------------------------------------------

    def _expand(self, name: str) -> list[str]:
        # a file may be called "a[1].log": what exists is meant
        if name == STDIN or os.path.lexists(name) or not glob.has_magic(name):
            return [name]
        paths = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
        found = [path for path in paths if not Path(path).is_dir()]
        if not found:
            self._fail(name, "no file matches this pattern")
        return found

    def _size_bytes(self, path: str) -> int | None:
        try:
            status = os.fstat(self._stdin) if path == STDIN else Path(path).stat()
        except OSError:
            return 0
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def _pieces(self) -> Iterator[tuple[list[str], int]]:
        """Lines, and how many bytes were read for them."""
        for path in self._paths:
            try:
                with ExitStack() as stack:
                    read = self._open(path, stack)
                    while block := read(_BLOCK_BYTES):
                        yield self._cutter.feed(block), len(block)
            except EOFError:
                self._fail(path, "the compressed data ends too early; what came before it was read")
            except (OSError, zlib.error) as error:
                self._fail(path, getattr(error, "strerror", None) or str(error))
            if last := self._cutter.end():  # what was read of a damaged file counts
                yield last, 0

    def _open(self, path: str, stack: ExitStack) -> Callable[[int], bytes]:
        """A function that reads at most so many bytes, as soon as there are some; none at the end."""
        raw = FileIO(self._stdin, closefd=False) if path == STDIN else FileIO(path)
        stack.callback(self._close, raw)
        if raw.seekable():
            self._raw = raw
        return gzip.GzipFile(fileobj=raw, mode="rb").read1 if path.endswith(".gz") else raw.read

    def _close(self, raw: FileIO) -> None:
        if self._raw is not None:
            self._done_bytes += raw.tell()
            self._raw = None
        raw.close()

    def _fail(self, name: str, reason: str) -> None:
        self.failed = True
        self._complain(f"{'standard input' if name == STDIN else name}: {reason}")
