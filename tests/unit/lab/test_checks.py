"""Checks no cause file knows: they let everything through until what they ask is really wrong."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.lab.checks import SHARDS, Adapter, Flags, Quota, Refused, Tickets, spoil_adapter

PROMPTS = [f"w{n} and more" for n in range(400)]


class Answer:
    def __init__(self, body: bytes) -> None:
        self._body = body

    async def read(self) -> bytes:
        return self._body


class FakeClient:
    """Gives the same answer to whatever is asked."""

    def __init__(self, body: bytes = b"", value: object = None) -> None:
        self._body, self._value = body, value

    async def send(self, method, path):
        return Answer(self._body)

    async def call(self, method, path):
        return 200, self._value


def refusals(check) -> list[Refused]:
    async def ask() -> list[Refused]:
        found = []
        for prompt in PROMPTS:
            try:
                await check(prompt)
            except Refused as refused:
                found.append(refused)
        return found

    return asyncio.run(ask())


def test_a_whole_adapter_serves_every_prompt(tmp_path: Path):
    assert refusals(Adapter(tmp_path / "adapter").check) == []


def test_only_prompts_of_spoilt_shards_are_refused_and_only_from_then_on(tmp_path: Path):
    adapter = Adapter(tmp_path / "adapter")
    before = refusals(adapter.check)

    spoil_adapter(tmp_path / "adapter", list(range(SHARDS // 4)))
    found = refusals(adapter.check)

    assert before == []
    assert 0.15 * len(PROMPTS) < len(found) < 0.35 * len(PROMPTS)
    assert {refused.status for refused in found} == {500}


@pytest.mark.parametrize(
    ("body", "share"),
    [
        (b"<html>sign in</html>", 1.0),
        (b'{"chat": {}}', 1.0),
        (b"[]", 1.0),
        (
            b'{"chat": {' + b",".join(b'"s%d": %s' % (n, b"true" if n else b'"${ROLLOUT}"') for n in range(10)) + b"}}",
            0.1,
        ),
        (b'{"chat": {' + b",".join(b'"s%d": true' % n for n in range(10)) + b"}}", 0.0),
    ],
)
def test_segments_are_closed_where_the_flag_service_says_nothing_sensible(body: bytes, share: float):
    found = refusals(Flags(FakeClient(body)).check)

    assert len(found) / len(PROMPTS) == pytest.approx(share, abs=0.06)


@pytest.mark.parametrize(
    ("off_s", "refused"), [(0.0, False), (-60.0, False), (-3600.0, True), (3.0, False), (900.0, True)]
)
def test_tickets_are_refused_when_their_time_is_not_ours(off_s: float, refused: bool):
    from_s = time.time() + off_s
    tickets = Tickets(FakeClient(value={"from_s": from_s, "to_s": from_s + 300.0}))

    assert len(refusals(tickets.check)) == (len(PROMPTS) if refused else 0)


def test_a_spent_quota_refuses_the_rest_of_the_day():
    left = 50

    async def query(statement: str):
        nonlocal left
        left -= 1
        return (left,) if left >= 0 else None

    assert len(refusals(Quota(query).check)) == len(PROMPTS) - 50
