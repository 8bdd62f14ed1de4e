"""What the stage asks of the daemon, over HTTP as anybody would: is it ready, take this change, what of that incident."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiops.demo.wire import HOST, Client
from aiops.errors import ChildError

_LOOK_S = 0.1


class DaemonClient:
    """
    A daemon's API.

    Args:
        client: Speaks to its page; whoever made it closes it.
        state: Its state folder, which holds the token.
    """

    def __init__(self, client: Client, state: Path) -> None:
        self.url = f"http://{HOST}:{client.port}"
        self._client, self._state = client, state

    async def ready(self, most_s: float, check_alive: Callable[[], None]) -> bool:
        """Whether it gets ready within *most_s*; *check_alive* raises when there is nothing to wait for."""
        deadline = asyncio.get_running_loop().time() + most_s
        while asyncio.get_running_loop().time() < deadline:
            check_alive()
            with contextlib.suppress(OSError):
                status, _ = await self._client.call("GET", "/readyz")
                if status == 200:
                    return True
            await asyncio.sleep(_LOOK_S)
        return False

    async def announce(self, action: str, message: str, **labels: str) -> None:
        """
        Tell it of a change, as a deployer does.

        Raises:
            ChildError: it was not taken.
        """
        token = (self._state / "token").read_text(encoding="ascii").strip()
        event = {"kind": "change", "action": action, "message": message, "labels": labels}
        status, answer = await self._client.call(
            "POST", "/api/v1/events", event, (("authorization", f"Bearer {token}"),)
        )
        if status >= 300:
            raise ChildError(f"the daemon answered {status} to a change event: {answer}")

    async def get(self, path: str) -> dict[str, Any]:
        """What its API says at *path*; empty if it says nothing of the kind."""
        status, answer = await self._client.call("GET", f"/api/v1/{path}")
        return answer if status == 200 and isinstance(answer, dict) else {}
