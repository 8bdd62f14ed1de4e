"""
Where what people say of answers waits for the next evaluation.

An open incident lives in the correlator, and whatever is said of it must not be overwritten by what that saves next. So
a word waits here until an evaluation takes it in, saves the incident and counts it; whoever spoke hears when that is
on the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from aiops.errors import RequestError
from aiops.model import Incident, Spoken

MAX_WAITING = 100


class Docket:
    """Words that wait for the next evaluation; implements `ports.Docket`. Lives on the loop."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Spoken, asyncio.Future[Incident | None]]] = []
        self._heard: list[tuple[Spoken, asyncio.Future[Incident | None]]] = []

    def offer(self, spoken: Spoken) -> asyncio.Future[Incident | None]:
        """
        Put up *spoken*.

        Returns:
            The incident with it, once that is saved; None if it is no longer what it was when the word was spoken.

        Raises:
            RequestError: too many wait already.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise RequestError("too many words wait to be saved; try again later")
        future: asyncio.Future[Incident | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((spoken, future))
        return future

    def take(self) -> Sequence[Spoken]:
        self._heard, self._waiting = [*self._heard, *self._waiting], []
        return [spoken for spoken, future in self._heard if not future.cancelled()]

    def settle(self, incidents: Iterable[Incident], *, saved: bool) -> None:
        held = {incident.id: incident for incident in incidents}
        heard, self._heard = self._heard, []
        for spoken, future in heard:
            if future.done():
                continue
            if spoken.incident.id not in held:
                future.set_result(None)
            elif saved:
                future.set_result(held[spoken.incident.id])
            else:
                future.set_exception(TimeoutError())
