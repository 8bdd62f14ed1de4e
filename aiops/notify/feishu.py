"""
Feishu and Lark by custom bot: an interactive card, signed when the bot asks for it.

Errors come with status 200 and a ``code``: those of the bot's own settings (signature, keyword, address) cannot be
helped by trying again, all others can. A bot takes 5 messages a second, 100 a minute, 20 KB each; we keep to that
ourselves, since a limited bot drops messages.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec

from aiops import narrative
from aiops.clock import Clock
from aiops.document import Secret, doc
from aiops.errors import PermanentSendError, TransientSendError
from aiops.model import ChangeKind, Message, Notification, Severity
from aiops.notify.pace import Pace
from aiops.notify.post import Answer, Poster, check_url
from aiops.notify.receiver import DEFAULT_SEVERITIES, check_receiver

MAX_BYTES = 20_000
# far beyond any honest message, so that cutting one to size stays cheap
_MAX_TEXT = 2_000
_MAX_TITLE = 200
_MAX_PARAGRAPHS = 20
_MAX_FIELDS = 10
_HOPELESS = frozenset(
    {
        9499,  # bad request: the card is not what Feishu takes
        19001,  # the token in the URL is not a bot's
        19002,  # a field is missing
        19021,  # signature wrong, or clocks an hour apart
        19022,  # our address is not on the bot's list
        19024,  # none of the bot's keywords is in the text
    }
)
_LIMITED = 11232
_REST_S = 5.0
"""How long to wait when a bot is limited and does not say."""
_LONGEST_WAIT_S = 1.0
"""A wait for our own pace that is longer goes back to the outbox."""
_COLOURS = {
    ChangeKind.OPENED: "red",
    ChangeKind.UPDATED: "red",
    ChangeKind.RESOLVED: "green",
    ChangeKind.TICKET: "yellow",
    ChangeKind.TEST: "blue",
}


@dataclass(frozen=True, slots=True)
class Config:
    """A Feishu or Lark group."""

    name: str = field(metadata=doc("Name of the receiver, unique in the file."))
    url: Secret = field(metadata=doc("The custom bot's webhook: text, {file: PATH} or {env: NAME}. Never shown."))
    severities: tuple[Severity, ...] = field(
        default=DEFAULT_SEVERITIES, metadata=doc("Which messages it gets: page, ticket.")
    )
    secret: Secret = field(
        default_factory=lambda: Secret(""), metadata=doc("The bot's signing key; empty when it has none.")
    )

    def __post_init__(self) -> None:
        check_receiver(self.name, self.severities)
        check_url(self.url)


def build(config: Config, client: httpx.AsyncClient, clock: Clock) -> Feishu:
    """The sender for *config*."""
    return Feishu(config, Poster(client, config.url, clock, config.secret), clock, Pace((5, 1.0), (100, 60.0)))


@dataclass(frozen=True, slots=True)
class Feishu:
    """Speaks to one bot."""

    config: Config
    poster: Poster
    clock: Clock
    pace: Pace

    async def send(self, notification: Notification) -> None:
        await self._keep_pace()
        at_s = int(self.clock.now_s()) if self.config.secret else None
        answer = await self.poster.post(payload(notification, self.config.secret, at_s))
        self._judge(answer)

    async def _keep_pace(self) -> None:
        loop = asyncio.get_running_loop()
        while (wait_s := self.pace.wait_s(loop.time())) > 0:
            if wait_s > _LONGEST_WAIT_S:
                raise TransientSendError(f"{self.poster.place}: as many messages as a bot takes in a minute", wait_s)
            await asyncio.sleep(wait_s)
        self.pace.took(loop.time())

    def _judge(self, answer: Answer) -> None:
        """The code in the body counts before the status."""
        code = _code(answer)
        if code == 0 and 200 <= answer.status < 300:
            return
        text = f"{self.poster.place}: code {code}{self.poster.quote(answer)}"
        if code == _LIMITED:
            raise TransientSendError(text, answer.retry_after_s or _REST_S)
        if code in _HOPELESS:
            raise PermanentSendError(text)
        self.poster.refuse(answer)
        raise TransientSendError(text)


def _code(answer: Answer) -> int | None:
    """The answer's own code; None where there is none, as on a proxy's page."""
    try:
        body = msgspec.json.decode(answer.text.encode())
    except (msgspec.DecodeError, RecursionError):
        return None
    if not isinstance(body, dict):
        return None
    code = body.get("code", body.get("StatusCode"))  # older bots answer with StatusCode
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def payload(notification: Notification, secret: Secret, at_s: int | None) -> bytes:
    """The body: a card, cut to the size a bot takes, signed when *at_s* is given."""
    message = notification.message
    signed = {} if at_s is None else {"timestamp": str(at_s), "sign": sign(secret, at_s)}
    paragraphs = [paragraph[:_MAX_TEXT] for paragraph in message.paragraphs[:_MAX_PARAGRAPHS]]
    while True:
        body = msgspec.json.encode({**signed, "msg_type": "interactive", "card": _card(message, paragraphs)})
        if len(body) <= MAX_BYTES or not paragraphs:
            return body
        paragraphs.pop()


def sign(secret: Secret, at_s: int) -> str:
    """The bot's signature: the key is time and secret, the text is empty."""
    key = f"{at_s}\n{secret.reveal()}".encode()
    return base64.b64encode(hmac.new(key, b"", hashlib.sha256).digest()).decode("ascii")


def _card(message: Message, paragraphs: list[str]) -> dict[str, Any]:
    # plain text throughout: markdown would let a label mention everybody in the group
    title = message.title[:_MAX_TITLE]
    elements: list[dict[str, Any]] = [{"tag": "div", "text": _text(paragraph)} for paragraph in paragraphs]
    if message.fields:
        pairs = [
            {"is_short": True, "text": _text(f"{name}: {value}"[:_MAX_TITLE])}
            for name, value in message.fields[:_MAX_FIELDS]
        ]
        elements.append({"tag": "div", "fields": pairs})
    if buttons := _buttons(message):
        elements.append({"tag": "action", "actions": buttons})
    return {
        "config": {"wide_screen_mode": True},
        "header": {"template": _COLOURS[message.change], "title": _text(title)},
        "elements": elements or [{"tag": "div", "text": _text(title)}],
    }


def _text(text: str) -> dict[str, str]:
    return {"tag": "plain_text", "content": text}


def _buttons(message: Message) -> list[dict[str, Any]]:
    return [
        {"tag": "button", "text": _text(name), "url": url, "type": "default" if index else "primary"}
        for index, (name, url) in enumerate(narrative.links(message))
    ]
