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
        # vLLM
        "INFO: Received request cmpl-1: prompt: 'CANARY', params: SamplingParams(n=1)",
        "INFO 01-02 03:04:05 [logger.py:41] Received request cmpl-1: prompt: 'CANARY', params: SamplingParams(n=1), prompt_token_ids: [1]",
        "INFO Generated response cmpl-1: output: 'CANARY', output_token_ids: [1, 2], finish_reason: stop",
        "RequestOutput(request_id=1, prompt='CANARY', outputs=[CompletionOutput(index=0, text='CANARY')])",
        'outputs=[CompletionOutput(index=0, text="it\'s CANARY", token_ids=[1])',
        "ERROR [dump_input.py:72] Dumping scheduler output: SchedulerOutput(scheduled_new_reqs=[NewRequestData(prompt_token_ids=[1])])",
        "DEBUG prompt='CANARY'",
        "prompt_token_ids=[1, 2, 3]",
        "ERROR new_token_ids=[[9906, 11]]",
        # SGLang
        "Receive: obj=GenerateReqInput(rid='1', text='CANARY')",
        "Finish: obj=GenerateReqInput(rid='1'), out={'text': 'CANARY'}",
        "[2025-01-02 03:04:05] Finish: out={'text': 'CANARY', 'meta_info': {'id': '1'}}",
        "{'meta_info': {'id': '1'}, 'text': 'CANARY'}",
        # TGI, Triton, llama.cpp, Ollama
        "DEBUG generate{parameters=x}: text_generation_router::server: router/src/server.rs:1: Output: CANARY",
        'compat_generate{req=GenerateRequest { inputs: "CANARY" }}',
        '{"inputs":[{"name":"text_input","datatype":"BYTES","data":["CANARY"]}]}',
        "slot update_slots: id 0 | task 1 | prompt token   7:  1234 'CANARY'",
        "slot process_toke: id 0 | task 1 | n_decoded = 1, next token: 1234 ' CANARY'",
        "main: prompt: 'CANARY'",
        'level=DEBUG source=routes.go:1 msg="chat request" images=0 prompt="<|im_start|>user CANARY"',
        "formatted: '<|start_header_id|>user CANARY'",
        "[INST] CANARY [/INST]",
        # bodies in JSON, however often quoted
        '{"model": "m", "messages": [{"role": "user", "content": "CANARY"}]}',
        "{'role': 'user', 'content': 'CANARY'}",
        '{"inputs": "CANARY", "parameters": {}}',
        '{"prompt": "CANARY", "max_tokens": 16}',
        '{"input": ["CANARY"], "model": "e"}',
        '{"choices":[{"index":0,"text":"CANARY"}]}',
        '{"type": "text", "text": "CANARY"}',
        '{"delta":{"content":"CANARY"}}',
        '{"log":"{\\"messages\\": [{\\"role\\": \\"user\\"}]}"}',
        '"POST /v1/completions HTTP/1.1" 503 "{\\x22prompt\\x22:\\x22CANARY\\x22}"',
        "body=%7B%22messages%22:%5B",
        '  "content": "CANARY",',
        '"tool_calls": [{"function": {"arguments": "{\\"city\\": \\"CANARY\\"}"}}]',
        '{"messages": [{"role": "user", "parts": [{"text": "CANARY"}]}]}',
        '{"contents": [{"parts": [{"text": "CANARY"}]}]}',
        '{"texts": ["CANARY"]}',
        # applications, by names of their own
        '{"level":"info","user_prompt":"CANARY"}',
        '{"level":"info","systemPrompt":"CANARY"}',
        '{"level":"info","userInput": "CANARY"}',
        '{"question": "CANARY", "answer": "CANARY"}',
        '{"chat_history": ["CANARY"], "message": "CANARY"}',
        '{"model": "m", "instructions": "CANARY"}',
        "user_message='CANARY'",
        "user_query=CANARY and more",
        "final_prompt: CANARY",
        "Generated text: CANARY",
        "Embedding texts: ['CANARY']",
        "delta_text='CANARY'",
        "completion: 'CANARY'",
        "Function(arguments={'city': 'CANARY'})",
        'Message { role: User, content: Some("CANARY") }',
        "&{Prompt:CANARY MaxTokens:1}",
        "<prompt>CANARY</prompt>",
        "  content: CANARY",
        # proxies
        "Request to litellm: litellm.acompletion(model='m', messages=[{'role': 'user', 'content': 'CANARY'}])",
        "curl -X POST http://e/v1 -d '{'model': 'm', 'messages': [{'role': 'user'}]}'",
        "RAW RESPONSE: CANARY",
        "ModelResponse(id='1', choices=[Choices(message=Message(content='CANARY', role='assistant'))])",
        "request body=CANARY",
        '[data "Matched Data: CANARY found within ARGS:json.messages.array_0"]',
        "GET /generate?prompt=CANARY HTTP/1.1",
        "GET /generate?prompt=3+CANARY HTTP/1.1",
        # errors that quote what was sent
        "Input should be a valid string [type=string_type, input_value='CANARY', input_type=str]",
        "{'type': 'missing', 'loc': ('body', 'model'), 'msg': 'Field required', 'input': {'prompt': 'CANARY'}}",
        "ValueError: bad request ChatCompletionRequest(messages=[CANARY])",
        "Traceback (most recent call last):\n  File \"a.py\"\nValueError: prompt='CANARY' CUDA out of memory",
        "input_text = CANARY",
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
        "slot print_timing: id 0 | task 1 | prompt eval time = 12.00 ms / 100 tokens",
        'msg="loading cache slot" id=0 cache=0 prompt=5 used=0 remaining=5',
        "INFO 01-02 03:04:05 [async_llm.py:300] Added request cmpl-1.",
        "a client request body is buffered to a temporary file /var/cache/nginx/1",
        "Input prompt (40000 tokens) is too long and exceeds limit of 32768",
        "content-type: application/json, content_length=120",
        "W messages: 7 dropped",
        '{"level":"error","msg":"upstream timed out","text":"x"}',
        '{"num_prompts": 5, "prompt_tokens_details": {"cached_tokens": 3}}',
        '{"level":"error","message":"upstream timed out","user_agent":"curl"}',
        "unrecognized arguments: ['--foo']",
        "content: ",
        "password prompt timed out after 30 s",
        "raw_request_timeout=5 input: 3 tensors, output: 2 tensors",
        "print_info: EOS token = 2 '<|im_end|>'",
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


OPENING = [
    "INFO 01-02 03:04:05 [logger.py:1] Received request 1: prompt: 'first line",
    "INFO 01-02 03:04:05 [app.py:1] messages=[",
    'time=1 level=DEBUG msg="x" prompt="first line',
]


@pytest.mark.parametrize("opening", OPENING)
def test_lines_that_go_on_with_a_prompt_are_private(opening: str):
    """They say nothing of what they are; pasted into a prompt is often a log of something else."""
    lines = [opening, "CANARY", "", "ERROR 2025-01-02 CUDA out of memory", opening[:30] + "next", "free again"]

    assert follow(lines) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("opening", "last"),
    [
        ("Received request 1: prompt: 'first line", "it's the last', params: SamplingParams(n=1)"),
        ('"messages": [', "]}"),
        ("inputs=(", "1), 2)"),
    ],
)
def test_a_prompt_ends_where_its_quote_or_bracket_is_closed(opening: str, last: str):
    """What comes after it may be the error people look for."""
    assert follow([opening, "CANARY", last, "CUDA out of memory"]) == [0, 1, 2]


@pytest.mark.parametrize(
    "line", ["prompt: 'all of it', n=1", '{"messages": [{"role": "user"}]}', "prompt: CANARY", "RAW RESPONSE: x"]
)
def test_a_prompt_that_ends_on_its_line_takes_no_other_line(line: str):
    """Most do: engines write line feeds as two characters."""
    assert follow([line, "CUDA out of memory"]) == [0]


def test_logs_are_told_apart_and_remembered_from_call_to_call():
    """Records of many logs come mixed, a few at a time."""
    privacy = Privacy()

    first = privacy.follow([b"prompt: 'a", b"prompt: 'b'", b"free"], ["one", "two", "three"])
    second = privacy.follow([b"CANARY", b"free", b"end', n=1", b"free"], ["one", "two", "one", "one"])

    assert (first, second) == ({0, 1}, {0, 2})


def test_a_prompt_without_an_end_does_not_take_everything():
    """A line cut in the middle leaves its quote open for ever."""
    found = follow(["prompt: 'a", *["x"] * 2_000])

    assert found == list(range(501))


def test_open_prompts_of_many_logs_are_bounded():
    """Sources come and go."""
    privacy = Privacy()
    privacy.follow([b"prompt: 'a"] * 1_000, list(range(1_000)))

    assert len(privacy._open) == 256


def follow(lines: list[str]) -> list[int]:
    return sorted(Privacy().follow([line.encode() for line in lines], ["log"] * len(lines)))


@pytest.mark.parametrize(
    "writer", ["(APIServer pid=12) ", "(EngineCore_0 pid=7)", "gateway-1  | ", "(raylet, pid=9, ip=10.0.0.1) "]
)
def test_what_a_program_puts_before_every_line_ends_no_prompt(writer: str):
    """vLLM's processes, Ray and docker compose sign each line, those within a prompt too."""
    lines = [
        f'{writer}prompt="Dear doctor',
        f"{writer}my CANARY is this",
        f'{writer}and that", params=1',
        f"{writer}ready",
    ]

    found = Privacy().follow([line.encode() for line in lines], ["a"] * len(lines))

    assert found == {0, 1, 2}
