"""
The gateway: an HTTP reverse proxy that balances strictly round-robin and writes nginx's access log as JSON.

Strictly round-robin is the point: it keeps feeding a slow replica, as most default configurations do.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from prometheus_client import CollectorRegistry, Counter, generate_latest

from aiops.demo import stage, wire

_RETRY_HEADER = "x-retry-attempt"


@dataclass(slots=True)
class Entry:
    """One request on its way into the access log."""

    uri: str
    retry: int
    started_s: float
    """Of a clock that never goes back."""
    upstream: str = ""
    upstream_status: str = ""
    header_s: float | None = None
    upstream_s: float | None = None
    status: int = 499
    """Until something was answered, the client left."""
    complete: bool = False


def line(entry: Entry, *, now_s: float, ended_s: float, request_id: str) -> str:
    """The entry as nginx's log_format would write it at wall time *now_s*."""
    return json.dumps(
        {
            "t": round(now_s, 3),
            "st": entry.status,
            "rt": round(ended_s - entry.started_s, 3),
            "uht": _seconds(entry.header_s),
            "urt": _seconds(entry.upstream_s),
            "ust": entry.upstream_status,
            "ua": entry.upstream,
            "rid": request_id,
            "uri": entry.uri,
            "retry": entry.retry,
            "rc": "OK" if entry.complete else "",
        },
        separators=(",", ":"),
    )


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


class Gateway:
    """
    Passes requests on.

    Args:
        upstreams: Loopback ports, in turn.
        log: The access log, line-buffered.
    """

    def __init__(self, upstreams: list[int], log: TextIO) -> None:
        self._clients = [wire.Client(port) for port in upstreams]
        self._turn = itertools.cycle(self._clients)
        self._log = log
        self._registry = CollectorRegistry()
        self._requests = Counter("gateway_requests", "Answers by status code.", ["code"], registry=self._registry)
        for code in ("200", "503"):  # a series that appears with its first event shows no increase to Prometheus
            self._requests.labels(code)

    async def handle(self, request: wire.Request) -> wire.Reply:
        """Pass *request* on and its answer back."""
        if request.path == "/healthz":
            return wire.Reply(200, b"ok\n", "text/plain")
        if request.path == "/metrics":
            return wire.Reply(200, generate_latest(self._registry), "text/plain; version=0.0.4; charset=utf-8")
        retry = request.headers.get(_RETRY_HEADER, "0")
        entry = Entry(request.path, int(retry) if retry.isdigit() else 0, time.monotonic())
        client = next(self._turn)
        entry.upstream = f"{wire.HOST}:{client.port}"
        try:
            answer = await client.send(request.method, request.path, request.body, _passed_on(request))
        except OSError:
            entry.status, entry.upstream_status, entry.complete = 502, "502", True
            self._write(entry)
            return wire.as_json({"error": "502 Bad Gateway: upstream unreachable"}, 502)
        except BaseException:
            self._write(entry)
            raise
        entry.header_s = time.monotonic() - entry.started_s
        entry.status, entry.upstream_status = answer.status, str(answer.status)
        content_type = answer.headers.get("content-type", "application/octet-stream")
        return wire.Reply(answer.status, content_type=content_type, stream=self._relay(answer, entry))

    async def _relay(self, answer: wire.Answer, entry: Entry) -> AsyncIterator[bytes]:
        try:
            async for piece in answer.pieces():
                yield piece
            entry.complete = True
        finally:
            if not entry.complete:
                answer.close()
            entry.upstream_s = time.monotonic() - entry.started_s
            self._write(entry)

    def _write(self, entry: Entry) -> None:
        self._requests.labels(str(entry.status)).inc()
        text = line(entry, now_s=time.time(), ended_s=time.monotonic(), request_id=os.urandom(16).hex())
        self._log.write(text + "\n")


def _passed_on(request: wire.Request) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in request.headers.items() if name in {"content-type", _RETRY_HEADER})


@asynccontextmanager
async def gateway(upstreams: list[int], log: Path) -> AsyncIterator[dict[str, Any]]:
    """Serve on a free loopback port."""
    with log.open("a", encoding="utf-8", buffering=1) as file:
        server = await wire.serve(Gateway(upstreams, file).handle)
        try:
            yield {"port": wire.port_of(server)}
        finally:
            server.close()


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="aiops.demo.gateway", description="A round-robin gateway.")
    parser.add_argument("--upstream", type=int, action="append", required=True, metavar="PORT")
    parser.add_argument("--log", type=Path, required=True)
    args = parser.parse_args()
    stage.perform(lambda: gateway(args.upstream, args.log))


if __name__ == "__main__":
    main()
