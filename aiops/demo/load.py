"""
The demo's users: an open loop of completions with Poisson arrivals, seeded.

Open means that arrivals do not wait for answers, as users do not wait for one another; a closed loop would hide the
overload it causes. Some clients try once more after a 503, and say so in a header.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiops.demo import stage, wire

_TIMEOUT_S = 30.0
_RETRYING_SHARE = 0.3
_BACKOFF_S = (0.5, 1.5)
_BEGINNINGS = 24
_VOCABULARY = tuple(f"w{n}" for n in range(400))


@dataclass(frozen=True, slots=True)
class Shape:
    """What users ask for. Rates are requests a second, lengths are tokens."""

    rate: float = 13.0
    prompt: tuple[int, int] = (70, 170)
    output: tuple[int, int] = (36, 92)


@dataclass(slots=True)
class Rate:
    """Arrivals a second, which may be told to move to another level in a straight line."""

    normal: float
    factor: float = 1.0
    target: float = 1.0
    since_s: float = 0.0
    ramp_s: float = 0.0

    def move(self, factor: float, ramp_s: float, now_s: float) -> None:
        """Go to *factor* times the normal rate within *ramp_s*."""
        self.factor, self.target, self.since_s, self.ramp_s = self._now(now_s), factor, now_s, ramp_s

    def at(self, now_s: float) -> float:
        """Arrivals a second at *now_s*."""
        return self.normal * self._now(now_s)

    def _now(self, now_s: float) -> float:
        if self.ramp_s <= 0:
            return self.target
        share = min(max((now_s - self.since_s) / self.ramp_s, 0.0), 1.0)
        return self.factor + (self.target - self.factor) * share


class Load:
    """
    Sends requests to the gateway and counts what users get.

    Args:
        gateway: Its port.
        shape: What is asked for.
        seed: Of arrivals and lengths.
    """

    def __init__(self, gateway: int, shape: Shape, seed: int) -> None:
        self._client = wire.Client(gateway, keep=64)
        self._shape = shape
        self._rate = Rate(shape.rate)
        self._random = random.Random(seed)
        self._words = random.Random(seed + 1)
        self._beginnings = [self._words.choices(_VOCABULARY, k=32) for _ in range(_BEGINNINGS)]
        self._sent = 0
        self._retried = 0
        self._answers: Counter[str] = Counter()
        self._first_503_s: float | None = None
        self._flights: set[asyncio.Task[None]] = set()

    async def handle(self, request: wire.Request) -> wire.Reply:
        """Report, or change the rate."""
        if request.path == "/stats":
            return wire.as_json({
                "sent": self._sent, "retried": self._retried, "answers": dict(self._answers),
                "first_503": self._first_503_s, "in_flight": len(self._flights),
            })  # fmt: skip
        if request.path == "/admin/rate" and request.method == "POST":
            value = request.json()
            now_s = asyncio.get_running_loop().time()
            self._rate.move(float(value["factor"]), float(value.get("ramp_s", 0.0)), now_s)
            return wire.as_json({"ok": True})
        return wire.as_json({"error": "not found"}, 404)

    async def run(self) -> None:
        """Send requests at their times for ever; when late, catch up at once."""
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        try:
            while True:
                due_s += self._random.expovariate(self._rate.at(due_s))
                await asyncio.sleep(due_s - loop.time())
                flight = loop.create_task(self._user(*self._question()))
                self._flights.add(flight)
                flight.add_done_callback(self._flights.discard)
        finally:
            for flight in self._flights:
                flight.cancel()

    def _question(self) -> tuple[bytes, bool]:
        """A request's body, and whether its sender tries again after a 503."""
        length = self._random.randint(*self._shape.prompt)
        prompt = self._random.choice(self._beginnings) + self._words.choices(_VOCABULARY, k=length - 32)
        max_tokens = self._random.randint(*self._shape.output)
        body = {"prompt": " ".join(prompt), "max_tokens": max_tokens, "stream": True}
        return json.dumps(body).encode(), self._random.random() < _RETRYING_SHARE

    async def _user(self, body: bytes, retrying: bool) -> None:  # noqa: FBT001 - from _question
        if await self._ask(body, attempt=0) == 503 and retrying:
            await asyncio.sleep(random.uniform(*_BACKOFF_S))
            self._retried += 1
            await self._ask(body, attempt=1)

    async def _ask(self, body: bytes, attempt: int) -> int:
        self._sent += 1
        status = 0
        headers = (("content-type", "application/json"), *((("x-retry-attempt", "1"),) if attempt else ()))
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                answer = await self._client.send("POST", "/v1/completions", body, headers)
                status = answer.status
                if status == 503 and self._first_503_s is None:
                    self._first_503_s = time.time()
                async for _ in answer.pieces():
                    pass
        except TimeoutError:
            self._answers["timeout"] += 1
        except OSError:
            self._answers["broken"] += 1
        else:
            self._answers[str(status)] += 1
        return status


@asynccontextmanager
async def load(gateway: int, shape: Shape, seed: int) -> AsyncIterator[dict[str, Any]]:
    """Send requests and listen for changes of the rate."""
    users = Load(gateway, shape, seed)
    server = await wire.serve(users.handle)
    try:
        async with stage.background(users.run()):
            yield {"port": wire.port_of(server)}
    finally:
        server.close()


def main() -> None:
    """Send until told to stop."""
    parser = argparse.ArgumentParser(prog="aiops.demo.load", description="Open-loop users of the demo's gateway.")
    parser.add_argument("--gateway", type=int, required=True, metavar="PORT")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    stage.perform(lambda: load(args.gateway, Shape(), args.seed))


if __name__ == "__main__":
    main()
