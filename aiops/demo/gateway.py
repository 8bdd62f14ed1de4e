"""
The gateway: an HTTP reverse proxy that balances strictly round-robin and writes nginx's access log as JSON.

Strictly round-robin is the point: it keeps feeding a slow replica, as most default configurations do. Its policy (limits,
time-outs, kept connections) is posted to ``/admin/policy``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from prometheus_client import CollectorRegistry, Counter, generate_latest

from aiops.demo import stage, wire
from aiops.demo.policy import Bucket, Policy

_log = logging.getLogger("gateway")
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
    connect_s: float | None = None
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
            "uct": _seconds(entry.connect_s),
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
        upstreams: Host and port of each, in turn.
        log: The access log, line-buffered.
        policy: Limits and time-outs to begin with.
    """

    def __init__(self, upstreams: Sequence[tuple[str, int]], log: TextIO, policy: Policy | None = None) -> None:
        self._policy = policy or Policy()
        self._route(upstreams)
        self._bucket = Bucket()
        self._in_flight = 0
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
        if request.path == "/admin/policy" and request.method == "POST":
            await self._change(request.json())
            return wire.as_json({"ok": True})
        retry = request.headers.get(_RETRY_HEADER, "0")
        entry = Entry(request.path, int(retry) if retry.isdigit() else 0, time.monotonic())
        if not self._lets_in(entry.started_s):
            return self._refuse(entry, self._policy.refuses_with, "too many requests")
        self._in_flight += 1
        try:
            return await self._pass_on(request, entry)
        except BaseException:
            self._in_flight -= 1
            self._write(entry)
            raise

    async def close(self) -> None:
        """Close the kept connections; those in use are closed when they are given back."""
        for client in self._clients:
            client.keep = 0
            await client.close()

    async def _change(self, value: dict[str, Any]) -> None:
        if "upstreams" in value:
            await self.close()
            self._route([address_of(str(text)) for text in value.pop("upstreams")])
        self._policy = replace(self._policy, **value)
        for client in self._clients:
            client.keep = self._policy.keep

    def _route(self, upstreams: Sequence[tuple[str, int]]) -> None:
        self._clients = [wire.Client(port, self._policy.keep, host) for host, port in upstreams]
        self._turn = itertools.cycle(self._clients)

    def _lets_in(self, now_s: float) -> bool:
        policy = self._policy
        if policy.in_flight is not None and self._in_flight >= policy.in_flight:
            return False
        return policy.rate is None or self._bucket.takes(policy.rate, policy.burst, now_s)

    def _refuse(self, entry: Entry, status: int, reason: str) -> wire.Reply:
        entry.status, entry.complete = status, True
        self._write(entry)
        return wire.as_json({"error": f"{status}: {reason}"}, status)

    async def _pass_on(self, request: wire.Request, entry: Entry) -> wire.Reply:
        try:
            answer = await self._ask(request, entry)
        except OSError as error:
            status = 504 if isinstance(error, TimeoutError) else 502
            did = "connecting to" if entry.connect_s is None else "reading the answer's head from"
            _log.error("%s: %s while %s upstream %s", request.path, _told(error), did, entry.upstream)
            self._in_flight -= 1
            entry.upstream_status = str(status)
            return self._refuse(entry, status, "the upstream gave no answer")
        entry.header_s = time.monotonic() - entry.started_s
        entry.status, entry.upstream_status = answer.status, str(answer.status)
        content_type = answer.headers.get("content-type", "application/octet-stream")
        return wire.Reply(answer.status, content_type=content_type, stream=self._relay(answer, entry))

    async def _ask(self, request: wire.Request, entry: Entry) -> wire.Answer:
        message = (request.method, request.path, request.body, _passed_on(request))
        policy = self._policy
        for tries_left in reversed(range(policy.tries)):
            client = next(self._turn)
            entry.upstream, entry.connect_s = f"{client.host}:{client.port}", None
            try:
                async with asyncio.timeout(policy.connect_s):
                    connection = await client.connect()
            except OSError:
                if not tries_left:
                    raise
                continue
            entry.connect_s = time.monotonic() - entry.started_s
            async with asyncio.timeout(_least(policy.read_s, policy.total_s)):
                if connection.is_kept and policy.replaces_stale:
                    with contextlib.suppress(ConnectionError, wire.WireError):
                        return await client.ask(connection, *message)
                    connection = await client.open()
                return await client.ask(connection, *message)
        raise ConnectionError("no upstream")

    async def _relay(self, answer: wire.Answer, entry: Entry) -> AsyncIterator[bytes]:
        policy = self._policy
        pieces = answer.pieces()
        try:
            while True:
                left_s = None if policy.total_s is None else entry.started_s + policy.total_s - time.monotonic()
                async with asyncio.timeout(_least(policy.read_s, left_s)):
                    piece = await anext(pieces, None)
                if piece is None:
                    break
                yield piece
            entry.complete = True
        except OSError as error:
            _log.error("%s: %s while reading upstream %s", entry.uri, _told(error), entry.upstream)
            raise
        finally:
            if not entry.complete:
                await pieces.aclose()
                answer.close()
            self._in_flight -= 1
            entry.upstream_s = time.monotonic() - entry.started_s
            self._write(entry)

    def _write(self, entry: Entry) -> None:
        self._requests.labels(str(entry.status)).inc()
        text = line(entry, now_s=time.time(), ended_s=time.monotonic(), request_id=os.urandom(16).hex())
        self._log.write(text + "\n")


def _told(error: OSError) -> str:
    return "timed out" if isinstance(error, TimeoutError) and not str(error) else str(error) or type(error).__name__


def _least(*limits: float | None) -> float | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _passed_on(request: wire.Request) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in request.headers.items() if name in {"content-type", _RETRY_HEADER})


def address_of(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` or ``PORT``; without a host it is loopback."""
    host, _, port = text.rpartition(":")
    return host or wire.HOST, int(port)


@asynccontextmanager
async def gateway(
    upstreams: Sequence[tuple[str, int]], log: Path, port: int, host: str, policy: Policy
) -> AsyncIterator[dict[str, Any]]:
    """Serve."""
    with log.open("a", encoding="utf-8", buffering=1) as file:
        passing = Gateway(upstreams, file, policy)
        server = await wire.serve(passing.handle, port, host=host)
        try:
            yield {"port": wire.port_of(server)}
        finally:
            server.close()
            await passing.close()


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="aiops.demo.gateway", description="A round-robin gateway.")
    parser.add_argument("--upstream", type=address_of, action="append", required=True, metavar="[HOST:]PORT")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--host", default=wire.HOST, metavar="ADDRESS")
    parser.add_argument("--policy", type=json.loads, default={}, metavar="JSON", help="what differs from the usual one")
    args = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    policy = Policy(**args.policy)
    stage.perform(lambda: gateway(args.upstream, args.log, args.port, args.host, policy))


if __name__ == "__main__":
    main()
