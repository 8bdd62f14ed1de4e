"""How the other commands speak to a running daemon: HTTP on its own port, JSON, with the token where needed."""

from __future__ import annotations

import json
from collections.abc import Generator
from http.client import HTTPException
from typing import Any
from urllib import error, parse, request

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


def quoted(text: str) -> str:
    """*text* as one part of a path."""
    return parse.quote(text, safe="")


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


def post_json(settings: Settings, path: str, body: Any, timeout_s: float = 15.0) -> Any:
    """
    What the daemon answers to *body* posted on *path*, with the token of its state folder.

    Raises:
        DaemonDown: nothing answers there, or there is no token; nothing was changed.
        AiopsError: it refuses, or does not answer in time, or its token cannot be read.
    """
    headers = {"Content-Type": "application/json"}
    url = f"http://{settings.web.listen}{path}"
    get(settings, "/healthz")  # who has no token yet and no daemon either is told of the daemon
    headers["Authorization"] = f"Bearer {_token(settings)}"
    asked = request.Request(url, data=json.dumps(body).encode(), headers=headers)
    try:
        with request.build_opener(request.ProxyHandler({})).open(asked, timeout=timeout_s) as answer:
            return json.loads(answer.read())
    except error.HTTPError as refused:
        with refused:
            raise AiopsError(_reason(refused.read())) from refused
    except (error.URLError, TimeoutError, ValueError, OSError, HTTPException) as problem:
        raise AiopsError(f"the daemon on {settings.web.listen} does not answer as it should ({problem})") from problem


def post_lines(settings: Settings, path: str, silence_s: float = 30.0) -> Generator[bytes, None, None]:
    """
    The lines of what the daemon answers to a POST on *path*, as they come; the token of its state folder goes with it.

    Raises:
        DaemonDown: nothing answers, or nothing more came for *silence_s*, or the daemon went away in the middle.
        AiopsError: it refuses, or its token cannot be read.
    """
    url = f"http://{settings.web.listen}{path}"
    asked = request.Request(url, data=b"", headers={"Authorization": f"Bearer {_token(settings)}"})
    try:
        with request.build_opener(request.ProxyHandler({})).open(asked, timeout=silence_s) as answer:
            yield from answer
    except error.HTTPError as refused:
        with refused:
            raise AiopsError(f"the daemon refuses: {_reason(refused.read())}") from refused
    except (error.URLError, TimeoutError, ValueError, OSError, HTTPException) as problem:
        raise DaemonDown(f"the daemon on {settings.web.listen} does not answer, or no longer ({problem})") from problem


def _token(settings: Settings) -> str:
    path = settings.state.dir / "token"
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError as problem:
        raise DaemonDown(f"there is no {path}; is `aiops run` running with this state.dir?") from problem
    except (OSError, UnicodeDecodeError) as problem:
        raise AiopsError(f"{path} cannot be read ({problem}); run this as the daemon's user") from problem


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode("utf-8", "replace").strip()
