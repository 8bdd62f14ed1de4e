"""A chat that speaks real HTTP on a free loopback port, records what it gets and answers as told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Request:
    """One POST as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes
    at_s: float = 0.0
    """When it was read to its end, wall time."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What to say."""

    status: int = 200
    body: bytes = b"ok"
    headers: dict[str, str] = field(default_factory=dict)
    wait: threading.Event | None = None
    """Say it only when this is set."""
    hang_up: bool = False
    """Close the connection without a word."""


class ChatServer:
    """
    The server.

    Args:
        answer: What to say to everything, unless `script` holds something.
    """

    def __init__(self, answer: Answer = Answer()) -> None:
        self.answer = answer
        self.script: list[Answer] = []
        self.requests: list[Request] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def keys(self) -> list[str]:
        """Idempotency keys, in the order they came."""
        return [request.headers.get("idempotency-key", "") for request in self.requests]

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)

    def _take(self, request: Request) -> Answer:
        self.requests.append(request)
        return self.script.pop(0) if self.script else self.answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        take: Callable[[Request], Answer] = self._take

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = take(Request(self.path, headers, body, time.time()))
                if answer.wait is not None:
                    answer.wait.wait(20.0)
                self.close_connection = True
                if answer.hang_up:
                    return
                lines = [f"HTTP/1.1 {answer.status} Scripted", "Connection: close"]
                lines += [f"{name}: {value}" for name, value in answer.headers.items()]
                if answer.status >= 200 and answer.status not in {204, 304}:
                    lines.append(f"Content-Length: {len(answer.body)}")
                head = "\r\n".join(lines).encode() + b"\r\n\r\n"
                with suppress(OSError):  # a client need not wait
                    self.wfile.write(head + (answer.body if answer.status not in {204, 304} else b""))

            def log_message(self, *args: Any) -> None:
                pass

        return Handler


@contextmanager
def chat_server(answer: Answer = Answer()) -> Iterator[ChatServer]:
    """A running server."""
    server = ChatServer(answer)
    server.start()
    try:
        yield server
    finally:
        server.stop()
