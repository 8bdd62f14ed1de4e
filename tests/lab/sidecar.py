"""A small service beside the model servers: rollout flags and tickets. What it answers can be changed while it runs."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiops.demo import stage, wire

_SEGMENTS = 10
_TICKET_S = 300.0


class Sidecar:
    """Its answers."""

    def __init__(self) -> None:
        self._nonsense = ""
        self._share = 1.0
        self._clock_off_s = 0.0

    async def handle(self, request: wire.Request) -> wire.Reply:
        """Answer, or change."""
        if request.path == "/flags":
            return wire.Reply(200, self._flags())
        if request.path == "/ticket":
            now_s = time.time() + self._clock_off_s
            return wire.as_json({"from_s": now_s, "to_s": now_s + _TICKET_S})
        if request.path == "/admin/set" and request.method == "POST":
            value = request.json()
            self._nonsense = str(value.get("nonsense", self._nonsense))
            self._share = float(value.get("share", self._share))
            self._clock_off_s = float(value.get("clock_off_s", self._clock_off_s))
            return wire.as_json({"ok": True})
        return wire.as_json({"error": "not found"}, 404)

    def _flags(self) -> bytes:
        spoilt = round(_SEGMENTS * self._share) if self._nonsense else 0
        table: dict[str, Any] = {f"s{n}": True for n in range(spoilt, _SEGMENTS)}
        if self._nonsense == "text":
            return b"<html><body>flag console: sign in</body></html>"
        if self._nonsense == "strings":
            table |= {f"s{n}": "${ROLLOUT}" for n in range(spoilt)}
        return json.dumps({"chat": table}).encode()


@asynccontextmanager
async def sidecar(port: int) -> AsyncIterator[dict[str, Any]]:
    """Serve on the loopback *port*."""
    server = await wire.serve(Sidecar().handle, port)
    try:
        yield {"port": wire.port_of(server)}
    finally:
        server.close()


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="tests.lab.sidecar", description="Flags and tickets.")
    parser.add_argument("--port", type=int, required=True)
    args = parser.parse_args()
    stage.perform(lambda: sidecar(args.port))


if __name__ == "__main__":
    main()
