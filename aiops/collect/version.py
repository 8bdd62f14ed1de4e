"""
Which version a server says it is, where that stands on an address of its own and not on the metrics page.

It changes only when the server restarts, so it is asked in the background after each start, and now and then for
servers that do not tell when they started.
"""

from __future__ import annotations

import asyncio

import httpx
import msgspec

from aiops.collect.fetch import fetch_page
from aiops.errors import SourceError

_AGAIN_S = 600.0
_MAX_BYTES = 64 * 2**10
_MAX_VERSION = 64


class _Answer(msgspec.Struct):
    version: str


class VersionWatch:
    """
    Knows one server's version.

    Args:
        http: For the question.
        url: Where a JSON object with a ``version`` is.
        deadline_s: Of one question.
    """

    def __init__(self, http: httpx.AsyncClient, url: str, deadline_s: float) -> None:
        self._http = http
        self._url = url
        self._deadline_s = deadline_s
        self._question: asyncio.Task[bytes] | None = None
        self._asked_s = float("-inf")
        self._started_s: float | None = None
        self._version = ""

    def version(self, started_s: float | None, now_s: float) -> str:
        """
        The version as far as known, empty if not; never waits.

        Args:
            started_s: When the server says it started; None if it does not say.
            now_s: Wall time.
        """
        if self._question is not None and self._question.done():
            question, self._question = self._question, None
            self._version = _read(question)
        restarted = started_s != self._started_s
        settled = bool(self._version) and started_s is not None
        overdue = not settled and not 0.0 <= now_s - self._asked_s < _AGAIN_S
        if self._question is None and (restarted or overdue):
            if restarted:
                self._version = ""  # the old answer is another program's
            self._started_s, self._asked_s = started_s, now_s
            page = fetch_page(self._http, self._url, deadline_s=self._deadline_s, limit_bytes=_MAX_BYTES)
            self._question = asyncio.create_task(page, name="version of a server")
        return self._version

    def close(self) -> None:
        """End what is under way."""
        if self._question is not None:
            self._question.cancel()


def _read(question: asyncio.Task[bytes]) -> str:
    try:
        return msgspec.json.decode(question.result(), type=_Answer).version[:_MAX_VERSION]
    except (SourceError, msgspec.DecodeError):
        return ""
