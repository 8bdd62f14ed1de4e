"""What users ask: tenants with keys and prompts that begin alike, a few odd requests, and what a tenant is told to do wrong."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, replace
from itertools import count

_VOCABULARY = tuple(f"w{n}" for n in range(400))
_RETRYING_SHARE = 0.3
_ODD_SHARE = 0.002
"""Of everyday requests: somebody hangs up, or sends what cannot be answered."""
_PATIENCE_S = 30.0
PATH = "/v1/completions"
TENANTS = ("acme", "birch", "cobalt", "delta", "elm", "fjord")
_WEIGHTS = (8, 5, 3, 2, 1, 1)
_BEGINNINGS = 4
"""System prompts of a tenant; of long ones, as agents have them, one."""
_LONG = 100


@dataclass(frozen=True, slots=True)
class Ask:
    """One client's request."""

    path: str
    body: bytes
    headers: dict[str, str]
    tries: int
    backoff_s: float
    patience_s: float = _PATIENCE_S
    leaves_after: int = 0
    """Pieces of the answer after which the client has enough; 0: it reads all."""
    told: bool = False
    """Whether this client was told to give up early: then an answer it does not wait for counts as a bad one."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What is asked for. Lengths are tokens."""

    prompt: tuple[int, int]
    output: tuple[int, int]
    prefix: int
    """Tokens of a system prompt."""
    shared: float = 1.0
    """Share of prompts that begin with a system prompt of their tenant."""
    stamped: bool = False
    """Whether prompts begin with a time."""


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """
    What one tenant's clients do: ``impatient`` (want a whole answer at once, and soon), ``leaving`` (stop after some
    pieces), ``invalid`` (what cannot be answered), ``flood`` (nothing but often).
    """

    tenant: str
    kind: str
    times: float
    """As many requests as everybody else's together, times this."""
    patience_s: float


class Questions:
    """
    Draws requests.

    Args:
        seed: Of everything drawn.
        prompt: Shortest and longest prompt.
        output: Shortest and longest answer asked for.
        prefix: Length of system prompts.
        streamed: Share that asks for the answer as it comes.
    """

    def __init__(
        self, seed: int, *, prompt: tuple[int, int], output: tuple[int, int], prefix: int = 32, streamed: float = 1.0
    ) -> None:
        self._streamed = streamed
        self._random = random.Random(seed)
        self._normal = self._shape = Shape(prompt, output, prefix)
        self._ids = count()
        self._bad: Misbehaviour | None = None
        self._beginnings = self._system_prompts()

    @property
    def crowding(self) -> float:
        """Factor on arrivals that a tenant's misbehaviour makes."""
        return 1.0 + (self._bad.times if self._bad else 0.0)

    def reshape(
        self, *, prompt: float = 1.0, output: float = 1.0, shared: float | None = None, stamped: bool | None = None
    ) -> None:  # fmt: skip
        """
        Ask otherwise from now on: *prompt* and *output* are factors on the normal lengths; what is not given is as it was.

        Raises:
            ValueError: lengths would not be above 0.
        """
        if not (prompt > 0 and output > 0):
            raise ValueError("factors must be above 0")
        self._shape = replace(
            self._shape,
            prompt=_times(self._normal.prompt, prompt), output=_times(self._normal.output, output),
            shared=self._shape.shared if shared is None else shared,
            stamped=self._shape.stamped if stamped is None else stamped,
        )  # fmt: skip

    def misbehave(self, *, tenant: str, kind: str, times: float = 1.0, patience_s: float = 0.5) -> None:
        """
        Let *tenant* do *kind* in addition to what everybody does; ``none`` ends it.

        Raises:
            ValueError: no such tenant or kind.
        """
        if tenant not in TENANTS or kind not in {"impatient", "leaving", "invalid", "flood", "none"}:
            raise ValueError(f"no tenant {tenant} or no kind {kind}")
        self._bad = None if kind == "none" else Misbehaviour(tenant, kind, times, patience_s)

    def next(self) -> Ask:
        """The next request."""
        bad = self._bad
        if bad is not None and self._random.random() < bad.times / (1.0 + bad.times):
            return self._spoilt(self._ask(bad.tenant), bad.kind, bad.patience_s)
        ask = self._ask(self._random.choices(TENANTS, _WEIGHTS)[0])
        if self._random.random() < _ODD_SHARE:
            return self._spoilt(ask, self._random.choice(("leaving", "invalid")), 1.0)
        return ask

    def _ask(self, tenant: str) -> Ask:
        low, high = self._shape.output
        body = {
            "model": "demo-7b", "prompt": self._prompt(tenant), "max_tokens": self._random.randint(low, high),
            "stream": self._streamed >= 1.0 or self._random.random() < self._streamed, "user": tenant,
        }  # fmt: skip
        headers = {"content-type": "application/json", "authorization": f"Bearer sk-lab-{tenant}"}
        tries = 2 if self._random.random() < _RETRYING_SHARE else 1
        return Ask(PATH, json.dumps(body).encode(), headers, tries, self._random.uniform(0.5, 1.5))

    def _prompt(self, tenant: str) -> str:
        shape, choices = self._shape, self._random.choices
        length = self._random.randint(*shape.prompt)
        beginning = (
            self._random.choice(self._beginnings[tenant])
            if self._random.random() < shape.shared
            else choices(_VOCABULARY, k=shape.prefix)
        )
        words = (beginning + choices(_VOCABULARY, k=max(length - len(beginning), 0)))[:length]
        if shape.stamped:
            words[0] = f"t{next(self._ids):08d}"  # as long as before
        return " ".join(words)

    def _spoilt(self, ask: Ask, kind: str, patience_s: float) -> Ask:
        if kind == "impatient":
            return replace(_changed(ask, stream=False), patience_s=patience_s, tries=1, told=True)
        if kind == "leaving":
            return replace(ask, leaves_after=self._random.randint(1, 3), tries=1)
        if kind == "invalid":
            return replace(_changed(ask, max_tokens=-1), tries=1)
        return replace(ask, tries=1)

    def _system_prompts(self) -> dict[str, list[list[str]]]:
        length = self._shape.prefix
        number = 1 if length > _LONG else _BEGINNINGS
        return {tenant: [self._random.choices(_VOCABULARY, k=length) for _ in range(number)] for tenant in TENANTS}


def _changed(ask: Ask, **what: int | bool) -> Ask:
    return replace(ask, body=json.dumps({**json.loads(ask.body), **what}).encode())


def _times(lengths: tuple[int, int], factor: float) -> tuple[int, int]:
    low, high = (max(round(length * factor), 1) for length in lengths)
    return low, high
