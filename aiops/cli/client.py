"""How the other commands speak to a running daemon: HTTP on its own port, JSON, with the token where needed."""

from __future__ import annotations

import json
from typing import Any
from urllib import error, request

from aiops.errors import AiopsError
from aiops.settings import Settings


class DaemonDown(AiopsError):
    """No daemon answers at the address in the settings."""


def get_json(settings: Settings, path: str, timeout_s: float = 5.0) -> Any:
    """
    What the daemon answers on *path*.

    Raises:
        DaemonDown: nothing answers, or not as the daemon would.
        AiopsError: it answers that there is no such thing.
    """
    url = f"http://{settings.web.listen}{path}"
    try:
        # urllib spares the 0.2 s that importing httpx takes; this machine's daemon is never behind a proxy
        with request.build_opener(request.ProxyHandler({})).open(url, timeout=timeout_s) as answer:
            return json.loads(answer.read())
    except error.HTTPError as problem:
        raise AiopsError(f"the daemon on {settings.web.listen} answers {problem.code} to {path}") from problem
    except (error.URLError, TimeoutError, ValueError, OSError) as problem:
        raise DaemonDown(
            f"no daemon answers on {settings.web.listen} ({problem}); is `aiops run` running?"
        ) from problem
