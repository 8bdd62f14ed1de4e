"""
Slack by incoming webhook: Block Kit inside an attachment, whose colour tells the state from across the room.

Success is status 200 with the body ``ok``. Text is escaped as Slack asks (&, <, >), which also keeps a label from
calling everybody in the channel.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec

from aiops import narrative
from aiops.clock import Clock
from aiops.document import Secret, doc
from aiops.errors import TransientSendError
from aiops.model import ChangeKind, Message, Notification, Severity
from aiops.notify.post import Poster, check_url
from aiops.notify.receiver import DEFAULT_SEVERITIES, check_receiver

# Block Kit's limits
_MAX_HEADER = 150
_MAX_TEXT = 3000
_MAX_BLOCKS = 50
_MAX_FIELDS = 10
_MAX_FIELD = 2000

_COLOURS = {
    ChangeKind.OPENED: "#d92d20",
    ChangeKind.UPDATED: "#d92d20",
    ChangeKind.RESOLVED: "#12a150",
    ChangeKind.TICKET: "#e0a100",
    ChangeKind.TEST: "#3b7ddd",
}


@dataclass(frozen=True, slots=True)
class Config:
    """A Slack channel."""

    name: str = field(metadata=doc("Name of the receiver, unique in the file."))
    url: Secret = field(metadata=doc("The incoming webhook: text, {file: PATH} or {env: NAME}. Never shown."))
    severities: tuple[Severity, ...] = field(
        default=DEFAULT_SEVERITIES, metadata=doc("Which messages it gets: page, ticket.")
    )

    def __post_init__(self) -> None:
        check_receiver(self.name, self.severities)
        check_url(self.url)


def build(config: Config, client: httpx.AsyncClient, clock: Clock) -> Slack:
    """The sender for *config*."""
    return Slack(Poster(client, config.url, clock))


@dataclass(frozen=True, slots=True)
class Slack:
    """Speaks to one incoming webhook."""

    poster: Poster

    async def send(self, notification: Notification) -> None:
        answer = await self.poster.post(payload(notification))
        self.poster.refuse(answer)
        if answer.text.strip() != "ok":
            # a proxy's or portal's page: Slack has not seen the message
            raise TransientSendError(f"{self.poster.place}: answered without ok{self.poster.quote(answer)}")


def payload(notification: Notification) -> bytes:
    """The body: the title for the notification on a phone, the rest in a coloured attachment."""
    message = notification.message
    attachment = {"color": _COLOURS[message.change], "fallback": escape(message.title), "blocks": _blocks(notification)}
    return msgspec.json.encode({"text": escape(message.title), "attachments": [attachment]})


def escape(text: str) -> str:
    """*text* as Slack reads it."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _blocks(notification: Notification) -> list[dict[str, Any]]:
    message = notification.message
    header = {"type": "header", "text": {"type": "plain_text", "text": _cut(message.title, _MAX_HEADER)}}
    body = [{"type": "section", "text": _text(paragraph)} for paragraph in message.paragraphs if paragraph]
    ends: list[dict[str, Any]] = []
    if message.fields:
        pairs = [_field(name, value) for name, value in message.fields[:_MAX_FIELDS]]
        ends.append({"type": "section", "fields": pairs})
    if links := _links(message):
        ends.append({"type": "section", "text": {"type": "mrkdwn", "text": links}})
    return [header, *body[: _MAX_BLOCKS - 1 - len(ends)], *ends]


def _text(text: str) -> dict[str, Any]:
    # verbatim: channel names and addresses in a label stay text
    return {"type": "mrkdwn", "text": _cut(escape(text), _MAX_TEXT), "verbatim": True}


def _field(name: str, value: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": _cut(f"*{escape(name)}*\n{escape(value)}", _MAX_FIELD), "verbatim": True}


def _cut(text: str, limit: int) -> str:
    """At most *limit* characters, never ending inside an escaped character."""
    if len(text) <= limit:
        return text
    kept = text[: limit - 1]
    ampersand = kept.rfind("&")
    if ampersand > limit - 7 and ";" not in kept[ampersand:]:
        kept = kept[:ampersand]
    return kept + "…"


def _links(message: Message) -> str:
    return "  ·  ".join(f"<{_link(url)}|{name}>" for name, url in narrative.links(message))


def _link(url: str) -> str:
    """*url* with what would end Slack's link spelled otherwise."""
    return escape(url.replace("|", "%7C").replace(">", "%3E").replace("<", "%3C"))
