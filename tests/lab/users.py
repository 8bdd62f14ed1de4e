"""
The users of a house: Locust, as a library, with arrivals that do not wait for answers.

Locust's users are a closed loop: each waits for its answer, and so an overload slows the load down. Here one Locust user
starts a greenlet for each arrival of a Poisson process, whose rate follows a curve of demand; requests, their pool of
connections and the statistics are Locust's. A small HTTP port tells how users fare, and changes what they ask.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event
from gevent.pywsgi import WSGIServer
from locust import FastHttpUser, task
from locust.env import Environment

from aiops.demo.load import Rate
from aiops.demo.wire import HOST
from tests.lab.questions import Ask, Questions
from tests.lab.traffic import Curve, from_folder, made_up

_PATIENCE_S = 30.0
_IDLE_S = 0.5
"""How often a rate of nothing is looked at again."""
_AGAIN = frozenset({0, 429, 500, 502, 503, 504})
"""What makes a client try again, as the usual SDKs do; 0 is a connection that failed."""
_BAD_KEPT = 5000


class Tally:
    """What users got so far. A bad answer is one a user of a healthy house never gets."""

    def __init__(self) -> None:
        self.sent = self.retried = self.in_flight = 0
        self.answers: Counter[str] = Counter()
        self.bad_s: list[float] = []

    def count(self, answer: str, *, told: bool) -> None:
        """Count an *answer* of a client; *told* when it is one that was told to misbehave."""
        self.answers[answer] += 1
        bad = answer in {"429", "broken", "timeout"} or (answer.isdigit() and int(answer) >= 500)
        if (bad or (told and answer != "200")) and len(self.bad_s) < _BAD_KEPT:
            self.bad_s.append(round(time.time(), 3))

    def report(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "sent": self.sent, "retried": self.retried, "in_flight": self.in_flight, "answers": dict(self.answers),
            "bad_s": self.bad_s,
        }  # fmt: skip


class Crowd(FastHttpUser):
    """Everybody: the one user Locust knows, who starts an arrival after the other."""

    abstract = False
    concurrency = 2000
    network_timeout = connection_timeout = _PATIENCE_S
    questions: Questions
    tally: Tally
    rate: Rate
    curve: Curve
    seed = 0

    @task
    def arrive(self) -> None:
        """Send requests at their times for ever; when late, catch up at once."""
        rng = random.Random(self.seed)
        started_s = due_s = time.monotonic()
        work = rng.expovariate(1.0)
        while True:
            rate = self.rate.at(due_s) * self.curve.at(due_s - started_s) * self.questions.crowding
            if rate * _IDLE_S < work:  # the next arrival is beyond this piece of time
                work -= rate * _IDLE_S
                due_s += _IDLE_S
            else:
                due_s += work / rate
                work = rng.expovariate(1.0)
                gevent.spawn_later(max(due_s - time.monotonic(), 0.0), self.ask, self.questions.next())
            gevent.sleep(max(due_s - time.monotonic(), 0.0))

    def ask(self, ask: Ask) -> None:
        """One client's request, and its further tries."""
        self.tally.in_flight += 1
        try:
            for attempt in range(ask.tries):
                if attempt:
                    gevent.sleep(ask.backoff_s * 2 ** (attempt - 1))
                    self.tally.retried += 1
                if self.send(ask, attempt) not in _AGAIN:
                    break
        finally:
            self.tally.in_flight -= 1

    def send(self, ask: Ask, attempt: int) -> int:
        """One try; its status, 0 when there was none or it was not whole."""
        self.tally.sent += 1
        status, whole, began_s = 0, False, time.monotonic()
        headers = {**ask.headers, "x-stainless-retry-count": str(attempt)}
        if attempt:
            headers["x-retry-attempt"] = str(attempt)
        with gevent.Timeout(ask.patience_s, False):  # no exception
            status, whole = self.read(ask, headers)
        if whole:
            answer = str(status)
        elif time.monotonic() - began_s >= ask.patience_s:  # the client of Locust makes an error of a time-out
            answer = "timeout" if ask.patience_s >= _PATIENCE_S else "given_up"
        else:
            answer = "given_up" if ask.leaves_after else "broken"
        self.tally.count(answer, told=ask.told)
        return status if answer != "broken" else 0

    def read(self, ask: Ask, headers: dict[str, str]) -> tuple[int, bool]:
        """Send and read to the end, or as far as this client cares; the status, and whether the answer was whole."""
        with self.client.post(
            ask.path, name=ask.path, data=ask.body, headers=headers, stream=True, catch_response=True
        ) as response:
            whole = False
            if response.status_code:
                whole = _read(response._response, ask.leaves_after)
            if not whole:
                response.failure("not whole")
            return response.status_code, whole


def _read(answer: Any, leaves_after: int) -> bool:
    """Read the pieces of an *answer*, the first few only if asked; whether it came to its end."""
    pieces = 0
    try:
        while answer.read(256):
            pieces += 1
            if leaves_after and pieces >= leaves_after:
                break
    except Exception:  # whatever the parser and the socket think of a connection that breaks off
        return False
    finally:
        answer.release()
    return bool(answer.message_complete)


class Control:
    """The port that tells and changes."""

    def __init__(self, tally: Tally, rate: Rate, questions: Questions, curve: Curve) -> None:
        self._tally, self._rate, self._questions, self._curve = tally, rate, questions, curve

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        """Answer one request, as WSGI asks."""
        path = environ["PATH_INFO"]
        try:
            answer = self._answer(path, json.loads(environ["wsgi.input"].read() or b"{}"))
        except (KeyError, TypeError, ValueError) as error:
            answer = {"error": repr(error)}
        body = json.dumps(answer).encode()
        status = "400 Bad Request" if "error" in answer else "200 OK"
        start_response(status, [("content-type", "application/json"), ("content-length", str(len(body)))])
        return [body]

    def _answer(self, path: str, value: dict[str, Any]) -> dict[str, Any]:
        if path == "/stats":
            return {**self._tally.report(), "curve": self._curve.name}
        if path == "/admin/rate":
            self._rate.move(float(value["factor"]), float(value.get("ramp_s", 0.0)), time.monotonic())
        elif path == "/admin/shape":
            self._questions.reshape(**value)
        elif path == "/admin/tenant":
            self._questions.misbehave(**value)
        else:
            raise ValueError(f"no {path}")
        return {"ok": True}


def main() -> None:
    """Send until told to stop."""
    args = _arguments()
    rng = random.Random(args.seed)
    curve = from_folder(args.traffic, rng) if args.traffic else made_up(rng)
    Crowd.questions = Questions(
        rng.getrandbits(32), prompt=args.prompt, output=args.output, prefix=args.prefix, streamed=args.streamed
    )
    Crowd.tally, Crowd.rate, Crowd.curve, Crowd.seed = Tally(), Rate(args.rate), curve, rng.getrandbits(32)
    Crowd.host = f"http://{args.gateway}"
    control = Control(Crowd.tally, Crowd.rate, Crowd.questions, curve)
    server = WSGIServer((HOST, 0), control, log=None)
    server.start()
    runner = Environment(user_classes=[Crowd]).create_local_runner()
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stop.set)
    runner.start(1, spawn_rate=1)
    print(json.dumps({"port": server.server_port}), flush=True)
    stop.wait()
    runner.quit()
    server.stop()


def _pair(text: str) -> tuple[int, int]:
    low, high = (int(word) for word in text.split(","))
    if not 1 <= low <= high:
        raise argparse.ArgumentTypeError("two lengths, the smaller first")
    return low, high


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.lab.users", description="Open-loop users of a gateway, with Locust.")
    parser.add_argument("--gateway", required=True, metavar="HOST:PORT")
    parser.add_argument("--rate", type=float, default=12.0, help="requests a second at the normal level")
    parser.add_argument("--prompt", type=_pair, default=(70, 170), metavar="LOW,HIGH", help="tokens of a prompt")
    parser.add_argument("--prefix", type=int, default=32, help="tokens of a system prompt")
    parser.add_argument("--output", type=_pair, default=(30, 90), metavar="LOW,HIGH", help="tokens of an answer")
    parser.add_argument(
        "--streamed", type=float, default=1.0, metavar="SHARE", help="of answers asked for as they come"
    )
    parser.add_argument("--traffic", type=Path, default=None, metavar="FOLDER", help="of CSV files with rates")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if not math.isfinite(args.rate) or args.rate <= 0:
        parser.error("the rate must be above 0")
    return args


if __name__ == "__main__":
    main()
