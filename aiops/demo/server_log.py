"""A model server's log file, in the form vLLM's has."""

from __future__ import annotations

import time
from pathlib import Path


class ServerLog:
    """
    Appends lines to *path*; each reaches the file at once.

    Args:
        path: The file, made if missing.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def info(self, place: str, text: str) -> None:
        """All is well."""
        self._line("INFO", place, text)

    def warning(self, place: str, text: str) -> None:
        """Something was refused."""
        self._line("WARNING", place, text)

    def error(self, place: str, text: str) -> None:
        """Something failed."""
        self._line("ERROR", place, text)

    def close(self) -> None:
        """End."""
        self._file.close()

    def _line(self, level: str, place: str, text: str) -> None:
        self._file.write(f"{level} {time.strftime('%m-%d %H:%M:%S')} [{place}] {text}\n")
