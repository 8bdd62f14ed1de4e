from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.logs.privacy import Privacy

PRIVACY = Privacy()


@pytest.mark.parametrize(
    "line",
    [
        "INFO: Received request cmpl-1: prompt: 'CANARY', params: SamplingParams(n=1)",
        "DEBUG prompt='CANARY'",
        "prompt_token_ids=[1, 2, 3]",
        '{"model": "m", "messages": [{"role": "user", "content": "CANARY"}]}',
        "{'role': 'user', 'content': 'CANARY'}",
        '{"inputs": "CANARY", "parameters": {}}',
        '{"prompt": "CANARY", "max_tokens": 16}',
        "Receive: obj=GenerateReqInput(rid='1', text='CANARY')",
        "Finish: obj=GenerateReqInput(rid='1'), out={'text': 'CANARY'}",
        "input_text = CANARY",
        "request body: CANARY".replace("body: ", "body="),
        "ChatCompletionRequest(messages=[CANARY])",
        "Adding request 7 with prompt CANARY",
    ],
)
def test_lines_with_request_bodies_are_private(line: str):
    """Prompts are personal data; they are dropped before anything is stored."""
    assert PRIVACY.is_private(line.encode())


@pytest.mark.parametrize(
    "line",
    [
        "Avg prompt throughput: 1.0 tokens/s, Avg generation throughput: 2.0 tokens/s",
        "CUDA out of memory. Tried to allocate 20.00 MiB.",
        "The decoder prompt (length 40000) is longer than the maximum model length of 32768",
        "prompt_tokens=12 completion_tokens=3",
        "Scheduler: 3 messages in queue",
        'request: "POST /v1/chat/completions HTTP/1.1", upstream timed out',
    ],
)
def test_lines_about_requests_are_not_private(line: str):
    """What says why users suffer must not be dropped with what they said."""
    assert not PRIVACY.is_private(line.encode())


@pytest.mark.parametrize("line", ["prompt " * 9_000, "received request " * 4_000, "a" * 65_536, '{"role"' * 9_000])
def test_hostile_lines_cost_linear_time(line: str):
    """Every line is asked; one that makes the question slow would stop the daemon."""
    raw = line.encode()
    started_s = time.thread_time()
    PRIVACY.is_private(raw)

    assert time.thread_time() - started_s < 0.5


PIECES = ["prompt", ": x", "=", "'a'", "[", " ", "\t", "\r", "request body", "received request", "text", "é", "", "x"]


@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=6).map("".join), max_size=12))
def test_asking_about_many_lines_at_once_gives_the_same_answer(lines: list[str]):
    """A match that begins in one line and ends in the next must neither accuse the first nor hide the second."""
    texts = [line.encode() for line in lines]
    assert PRIVACY.among(texts) == [number for number, text in enumerate(texts) if PRIVACY.is_private(text)]
