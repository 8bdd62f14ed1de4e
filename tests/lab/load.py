"""The users of a house, from outside: start them, change what they ask, and see how they fare."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from aiops.demo.wire import Client
from aiops.errors import ChildError

if TYPE_CHECKING:
    from tests.lab.house import House


class Load:
    """The users. Use `start`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @classmethod
    async def start(cls, house: House) -> Load:
        """
        Let them come.

        Raises:
            ChildError: they did not start.
        """
        plan = house.plan
        arguments = [
            "--gateway", f"{house.gateway.host}:{house.gateway.port}", "--seed", str(plan.seed), "--rate", str(plan.rate),
            "--prompt", ",".join(map(str, plan.prompt)), "--output", ",".join(map(str, plan.output)), "--prefix", str(plan.prefix),
            "--streamed", str(plan.streamed),
        ]  # fmt: skip
        if plan.traffic:
            arguments += ["--traffic", plan.traffic]
        command = (sys.executable, "-m", "tests.lab.users", *arguments)
        process = await house.processes.actor_of("load", command)
        return cls(Client(int(process.ready["port"])))

    async def stats(self) -> dict[str, Any]:
        """
        What they got: ``answers`` by status (also ``broken``, ``timeout``, ``given_up``), ``sent`` and of these ``retried``,
        ``in_flight``, and ``bad_s``: when each answer came (epoch) that a user of a healthy house does not get, in order.
        """
        return await self._call("GET", "/stats")

    async def set_rate(self, factor: float, ramp_s: float = 0.0) -> None:
        """Let them come *factor* times as often as normally, within *ramp_s*."""
        await self._call("POST", "/admin/rate", factor=factor, ramp_s=ramp_s)

    async def set_shape(self, **shape: float | bool) -> None:
        """Let them ask otherwise; see `tests.lab.questions.Questions.reshape`."""
        await self._call("POST", "/admin/shape", **shape)

    async def set_tenant(self, tenant: str, kind: str, **how: float) -> None:
        """Let one of them misbehave; see `tests.lab.questions.Questions.misbehave`."""
        await self._call("POST", "/admin/tenant", tenant=tenant, kind=kind, **how)

    async def _call(self, method: str, path: str, **value: Any) -> dict[str, Any]:
        status, answer = await self._client.call(method, path, value)
        if status != 200:
            raise ChildError(f"the users answered {status} to {path}: {answer}")
        found: dict[str, Any] = answer
        return found
