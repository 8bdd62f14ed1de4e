"""The chat: takes webhooks, prints them as a person would see them, and keeps them for whoever asks."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiops.demo import stage, wire

_MOST = 500


class Chat:
    """Messages in order of arrival, the oldest forgotten first."""

    def __init__(self) -> None:
        self._messages: list[dict[str, Any]] = []
        self._bytes = 0

    async def handle(self, request: wire.Request) -> wire.Reply:
        """Take a message, or list them."""
        if request.path == "/messages":
            return wire.as_json({"messages": self._messages, "bytes": self._bytes})
        if request.method != "POST" or not (message := request.json()):
            return wire.as_json({"error": "expected a message"}, 400)
        self._bytes += len(request.body)
        self._messages = [*self._messages, {"at": time.time(), "message": message}][-_MOST:]
        print(as_chat(message), file=sys.stderr, flush=True)
        return wire.as_json({"ok": True})


def as_chat(message: dict[str, Any]) -> str:
    """A message as a chat shows it: title, sentences, a table of fields, the link."""
    lines = [str(message.get("title", "")), ""]
    paragraphs = message.get("paragraphs")
    lines += [str(p) for p in paragraphs] if isinstance(paragraphs, list) else [str(message.get("text", ""))]
    fields = [f for f in message.get("fields") or () if isinstance(f, dict)]
    if fields:
        width = max(len(str(f.get("name", ""))) for f in fields)
        lines += ["", *(f"{f.get('name', '')!s:<{width}}  {f.get('value', '')}" for f in fields)]
    if message.get("url"):
        lines += ["", str(message["url"])]
    return "\n".join("".join(c if c.isprintable() or c == "\n" else " " for c in line) for line in lines)


@asynccontextmanager
async def chat(port: int = 0) -> AsyncIterator[dict[str, Any]]:
    """Listen."""
    server = await wire.serve(Chat().handle, port)
    try:
        yield {"port": wire.port_of(server)}
    finally:
        server.close()


def main() -> None:
    """Listen until told to stop."""
    argparse.ArgumentParser(prog="aiops.demo.chat", description="A chat that takes webhooks.").parse_args()
    stage.perform(chat)


if __name__ == "__main__":
    main()
