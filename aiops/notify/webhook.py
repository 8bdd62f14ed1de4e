"""
A message as plain JSON, for whatever people wire it to.

Every POST carries ``Idempotency-Key``, the same on every retry. With a secret, ``X-Aiops-Signature`` is
``t=<seconds>,v1=<hex>``: HMAC-SHA256 over ``<seconds>.<body>``, so that neither body nor time can be changed.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

import httpx
import msgspec

from aiops.clock import Clock
from aiops.document import Secret, doc
from aiops.model import Notification, Severity
from aiops.notify.post import Poster, check_url
from aiops.notify.receiver import DEFAULT_SEVERITIES, check_receiver


@dataclass(frozen=True, slots=True)
class Config:
    """A URL that takes JSON."""

    name: str = field(metadata=doc("Name of the receiver, unique in the file."))
    url: Secret = field(metadata=doc("Where to POST: text, {file: PATH} or {env: NAME}. Never shown."))
    severities: tuple[Severity, ...] = field(
        default=DEFAULT_SEVERITIES, metadata=doc("Which messages it gets: page, ticket.")
    )
    secret: Secret = field(
        default_factory=lambda: Secret(""), metadata=doc("Key that signs the body; empty for no signature.")
    )
    token: Secret = field(
        default_factory=lambda: Secret(""), metadata=doc("Sent as Authorization: Bearer; empty for none.")
    )

    def __post_init__(self) -> None:
        check_receiver(self.name, self.severities)
        check_url(self.url)
        if not self.token.reveal().isascii() or not self.token.reveal().isprintable():
            raise ValueError("token: expected printable ASCII text")


def build(config: Config, client: httpx.AsyncClient, clock: Clock) -> Webhook:
    """The sender for *config*."""
    return Webhook(config, Poster(client, config.url, clock, config.secret, config.token), clock)


@dataclass(frozen=True, slots=True)
class Webhook:
    """Sends the neutral message as it is."""

    config: Config
    poster: Poster
    clock: Clock

    async def send(self, notification: Notification) -> None:
        body = payload(notification)
        headers = {"Idempotency-Key": notification.key.encode("ascii", "replace").decode("ascii")}
        if self.config.token:
            headers["Authorization"] = f"Bearer {self.config.token.reveal()}"
        if self.config.secret:
            headers["X-Aiops-Signature"] = signature(self.config.secret, int(self.clock.now_s()), body)
        self.poster.refuse(await self.poster.post(body, headers))


def payload(notification: Notification) -> bytes:
    """The body; its fields stay once published."""
    message = notification.message
    return msgspec.json.encode(
        {
            "version": "1",
            "key": notification.key,
            "change": message.change.value,
            "severity": message.severity.value,
            "receiver": notification.receiver,
            "created_at": notification.created_at_s,
            "title": message.title,
            "text": "\n\n".join((message.title, *message.paragraphs)),
            "paragraphs": message.paragraphs,
            "fields": [{"name": name, "value": value} for name, value in message.fields],
            "url": message.url,
            "runbook_url": message.runbook_url,
            "incident": dict(message.facts),
        }
    )


def signature(secret: Secret, at_s: int, body: bytes) -> str:
    """Value of ``X-Aiops-Signature``."""
    signed = hmac.new(secret.reveal().encode(), b"%d." % at_s + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={signed}"
