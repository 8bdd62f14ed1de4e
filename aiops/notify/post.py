"""
One POST to a receiver, shared by all senders.

A webhook's URL is a password: it appears in no error and no log. The receiver may be sick, slow, a captive portal or
somebody else's server: redirects are refused, the answer is read up to a bound, and whatever happens ends as a
`TransientSendError`, a `PermanentSendError` or an `Answer`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlsplit

import httpx

from aiops.clock import Clock
from aiops.document import FieldError, Secret
from aiops.errors import PermanentSendError, TransientSendError

DEADLINE_S = 10.0
"""From the first packet to the last byte; slower than this is no answer."""
MAX_ANSWER_BYTES = 16 * 1024
MAX_RETRY_AFTER_S = 3600.0
"""However long a receiver asks us to wait, a page is tried again after an hour."""
_QUOTED = 200
_SHORTEST_SECRET = 6
"""Parts of a URL shorter than this ("v2", "hook") are no secret, and would blot out half of an error."""
_LATER = frozenset({408, 425, 429})
"""Client errors that the same request may not meet again: time-out, too early, too many."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever its status."""

    status: int
    text: str
    """The body, cut at `MAX_ANSWER_BYTES`."""
    retry_after_s: float | None = None


def check_url(url: Secret, field: str = "url") -> None:
    """
    Refuse what is no web address.

    Raises:
        FieldError: it is none; the text does not repeat it.
    """
    try:
        parts = urlsplit(url.reveal())
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        httpx.URL(url.reveal())
    except (ValueError, httpx.InvalidURL):
        sound = False
    if not sound:
        raise FieldError(field, "expected a URL that begins with https:// or http://")


class Poster:
    """
    POSTs to one URL.

    Args:
        client: Shared by all senders.
        url: Where to, secret in whole.
        clock: For a Retry-After that is a date.
        secrets: Other values that must not be repeated in errors.
    """

    def __init__(self, client: httpx.AsyncClient, url: Secret, clock: Clock, *secrets: Secret) -> None:
        self._client = client
        self._url = url
        self._clock = clock
        self._hidden = _parts(url.reveal()) | {secret.reveal() for secret in secrets if secret}
        # httpx logs every URL it asks, and this one is a password
        logging.getLogger("httpx").setLevel(logging.WARNING)

    @property
    def place(self) -> str:
        """The URL as far as it may be shown: scheme, host and port."""
        parts = urlsplit(self._url.reveal())
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}/…"

    async def post(self, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """
        Send *body* as JSON and read what comes back.

        Raises:
            TransientSendError: no answer, or none in time.
            PermanentSendError: there is nothing that could be asked at this URL.
        """
        try:
            async with (
                asyncio.timeout(DEADLINE_S),
                self._client.stream(
                    "POST",
                    self._url.reveal(),
                    content=body,
                    headers={
                        "Content-Type": "application/json; charset=utf-8",
                        "Accept-Encoding": "identity",  # a compressed answer could unpack into anything
                        "User-Agent": "aiops",
                        **(headers or {}),
                    },
                    timeout=DEADLINE_S,
                    follow_redirects=False,
                ) as response,
            ):
                text = await _bounded(response)
        # "from None": the library's errors may hold the URL
        except (TimeoutError, httpx.TimeoutException):
            raise TransientSendError(f"{self.place}: no answer within {DEADLINE_S:g} s") from None
        except (httpx.UnsupportedProtocol, httpx.InvalidURL):
            raise PermanentSendError(f"{self.place}: no URL that can be asked") from None
        except httpx.ConnectError:
            raise TransientSendError(f"{self.place}: connection refused or host unreachable") from None
        except httpx.HTTPError as error:
            raise TransientSendError(f"{self.place}: connection broken ({type(error).__name__})") from None
        return Answer(response.status_code, text, self._retry_after_s(response))

    def refuse(self, answer: Answer) -> None:
        """
        Pass answers with a 2xx status, raise for all others.

        Raises:
            TransientSendError: 408, 425, 429 and 5xx.
            PermanentSendError: everything else, redirects included.
        """
        if 200 <= answer.status < 300:
            return
        text = f"{self.place}: status {answer.status}{self.quote(answer)}"
        if answer.status in _LATER or answer.status >= 500:
            raise TransientSendError(text, answer.retry_after_s)
        raise PermanentSendError(text)

    def quote(self, answer: Answer) -> str:
        """The beginning of an answer's body for an error, one printable line, secrets hidden; empty when it is empty."""
        line = " ".join("".join(char if char.isprintable() else " " for char in answer.text).split())
        for secret in sorted(self._hidden, key=len, reverse=True):
            line = line.replace(secret, "***")
        return f", {line[:_QUOTED]!r}" if line else ""

    def _retry_after_s(self, response: httpx.Response) -> float | None:
        """Seconds that Retry-After asks for; a date counts from the receiver's own clock where it tells."""
        asked = response.headers.get("retry-after", "").strip()
        if asked.isascii() and asked.isdigit():
            return min(float(asked[:9]), MAX_RETRY_AFTER_S)
        until_s = _date_s(asked)
        if until_s is None:
            return None
        now_s = _date_s(response.headers.get("date", ""))
        return min(max(0.0, until_s - (self._clock.now_s() if now_s is None else now_s)), MAX_RETRY_AFTER_S)


async def _bounded(response: httpx.Response) -> str:
    """The body as text, up to the bound; the rest stays unread and the connection is closed."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.aiter_raw():
        chunks.append(chunk)
        size += len(chunk)
        if size >= MAX_ANSWER_BYTES:
            break
    return b"".join(chunks)[:MAX_ANSWER_BYTES].decode("utf-8", "replace")


def _date_s(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, OverflowError, TypeError):
        return None


def _parts(url: str) -> set[str]:
    """What of a URL must not be repeated: user, password, path parts and query values that look like tokens."""
    parts = urlsplit(url)
    pieces = [*parts.path.split("/"), *(pair.partition("=")[2] for pair in parts.query.split("&"))]
    pieces += [parts.username or "", parts.password or "", parts.query, parts.fragment]
    spelled = {*pieces, *(unquote(piece) for piece in pieces)}
    return {piece for piece in spelled if len(piece) >= _SHORTEST_SECRET}
