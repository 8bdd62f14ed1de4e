"""Futures that somebody stopped waiting for."""

from __future__ import annotations

import asyncio
from typing import Any


def look_away(future: asyncio.Future[Any]) -> None:
    """Look at the outcome of a *future* that nobody waits for any more, so that asyncio does not complain of it."""
    future.add_done_callback(_retrieve)


def _retrieve(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
