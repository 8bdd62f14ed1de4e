"""
``POST /api/v1/recording``: the tape as a stream, for whoever holds the token.

It is a POST although nothing is changed: it costs the daemon work for as long as it lasts, and a page that a browser
shows must not be able to begin it.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from aiops.export.intake import may_write, refuse, unauthorised
from aiops.export.tape import Tape, TapeBusy

MEDIA_TYPE = "application/x-ndjson"


class Recorder:
    """
    Serves *tape* to one reader at a time.

    Args:
        tape: What is read.
        token: Who may; an empty one means nobody.
    """

    def __init__(self, tape: Tape, token: str) -> None:
        self._tape = tape
        self._token = token.encode()

    async def record(self, request: Request) -> Response:
        """``POST /api/v1/recording``."""
        if not may_write(request, self._token):
            return unauthorised()
        try:
            return _Stream(self._tape)
        except TapeBusy as error:
            return refuse(409, str(error))


class _Stream(StreamingResponse):
    """The lines of one recording; however it ends, the tape is free again."""

    def __init__(self, tape: Tape) -> None:
        super().__init__(tape.take(), media_type=MEDIA_TYPE)
        self._tape = tape

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve (ASGI)."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._tape.release()
