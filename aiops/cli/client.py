"""How the other commands speak to a running daemon: HTTP on its own port, JSON, with the token where needed."""

from __future__ import annotations

import json
from typing import Any
from urllib import error, request

from aiops.errors import AiopsError
from aiops.settings import Settings


class DaemonDown(AiopsError):
    """No daemon answers at the address in the settings."""


def get(settings: Settings, path: str, timeout_s: float = 5.0) -> tuple[int, str]:
    """
    Status and body of what the daemon answers on *path*.

    Raises:
        DaemonDown: nothing answers.
    """
    url = f"http://{settings.web.listen}{path}"
    try:
        # urllib spares the 0.2 s that importing httpx takes; this machine's daemon is never behind a proxy
        with request.build_opener(request.ProxyHandler({})).open(url, timeout=timeout_s) as answer:
            return answer.status, answer.read().decode("utf-8", "replace")
    except error.HTTPError as answer:
        with answer:
            return answer.code, answer.read().decode("utf-8", "replace")
    except (error.URLError, TimeoutError, ValueError, OSError) as problem:
        raise DaemonDown(
            f"no daemon answers on {settings.web.listen} ({problem}); is `aiops run` running?"
        ) from problem


def get_json(settings: Settings, path: str) -> Any:
    """
    What the daemon answers on *path*.

    Raises:
        DaemonDown: nothing answers, or not as the daemon would.
        AiopsError: it answers that there is no such thing.
    """
    status, body = get(settings, path)
    if status != 200:
        raise AiopsError(f"the daemon on {settings.web.listen} answers {status} to {path}")
    try:
        return json.loads(body)
    except ValueError as problem:
        raise DaemonDown(f"what answers on {settings.web.listen} is no daemon: {path} is no JSON") from problem
