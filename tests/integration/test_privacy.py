"""
Nothing that people asked leaves the daemon, or stays with it.

Engines and gateways write prompts into the logs it follows, in every form known; each form carries a word of its own. Then
memory runs out, an incident opens and a message is sent. None of the words is in a state file, metric, page, message or recording, nor
in what the daemon says itself.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chat_server import ChatServer, chat_server
from tests.integration.daemon import Daemon, fetch, wait_for, webhook
from tests.integration.gateway_log import GatewayLog, line
from tests.integration.record_command import Recorder

pytestmark = pytest.mark.timeout(180)

CALM_S = 12.0
STAMP = "01-02 03:04:05"
LONG = "ipsum dolor " * 4_000
OVERLONG = "ipsum dolor " * 6_000
FLOOD_PROMPTS = 8_000
LINES = ("log_lines_read_total", "log_lines_skipped_total")
VLLM = (
    "INFO {t} [logger.py:41] Received request cmpl-{n}: prompt: '{c} hello', params: SamplingParams(n=1), prompt_token_ids: [1, 2]",
    "INFO {t} [logger.py:41] Received request cmpl-{n}: prompt: '{c} CUDA out of memory, killed process 7', params: SamplingParams()",
    'INFO {t} [logger.py:41] Received request chatcmpl-{n}: prompt: "<|im_start|>user\\nit\'s {c}<|im_end|>", params: x',
    "INFO {t} [logger.py:80] Generated response chatcmpl-{n}: output: '{c}', output_token_ids: [9], finish_reason: stop",
    "DEBUG {t} [core.py:9] RequestOutput(request_id={n}, prompt='{c}', outputs=[CompletionOutput(index=0, text='{c}')])",
    'DEBUG {t} [core.py:9] outputs=[CompletionOutput(index=0, text="{c}", token_ids=[1])',
    "ERROR {t} [dump_input.py:72] SchedulerOutput(scheduled_new_reqs=[NewRequestData(req_id={n}, prompt_token_ids=[7], x={c})])",
    "INFO {t} [logger.py:41] Received request cmpl-{n}: prompt: '{long}{c}', params: x",
    "INFO {t} [logger.py:41] Received request cmpl-{n}: prompt: 'first\n{c} second\n\nERROR No space left on device {c}\nlast', params: x",
    "ERROR {t} [serving.py:7] Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n    g(prompt='{c}')\nValueError: bad prompt='{c}'",
    "ERROR {t} [serving.py:7] 1 validation error: Input should be a valid string [type=string_type, input_value='{c}', input_type=str]",
    "INFO {t} [api.py:3] Received request cmpl-{n}: prompt: 'Ünïcode {c} 你好 \udcff', params: x",
    'CRITICAL {t} [engine.py:3] failed on {{"messages": [{{"role": "user", "content": "{c}"}}]}}',
    "INFO {t} [logger.py:41] Received request cmpl-{n}: prompt: 'she said 'hello', and :-)\n{c} :( it's\n{c}\n(]{{ the users'\n{c} hello',\n{c}', params: x",
    'INFO {t} [logger.py:41] Received request cmpl-{n}: prompt: "smile :)\n{c}")\n]}}\n{c} "quoted", x\n  INFO {t} [core.py:1] {c}\n{c}", params: x',
    "INFO {t} [logger.py:41] Received request cmpl-{n}: prompt: 'look at\\nINFO {t} [core.py:1] {c} \\'hello\\', :-( ]}}\\n{c}', params: x",
    "INFO {t} [logger.py:41] prompt: without quotes\n{c}\n2025-01-02 03:04:05 ERROR {c}\n\nprompt='x', n=1\n{c}",
    "INFO {t} [logger.py:41] Request:\n{{\n  'messages': [\n    {{'role': 'user',\n     'content': 'hello, it\\'s :-) {c}'\n              '{c} ]'}}\n  ]\n}}",
    "INFO {t} [logger.py:41] Received request cmpl-{n}: prompt: '{c} it's {overlong}{c}', params: x",
)
SGLANG = (
    "[2025-01-02 03:04:05] Receive: obj=GenerateReqInput(rid='{n}', text='{c}', sampling_params={{}})",
    "[2025-01-02 03:04:05] Finish: obj=GenerateReqInput(rid='{n}'), out={{'text': '{c}', 'meta_info': {{}}}}",
    "[2025-01-02 03:04:05] out={{'text': ' {c}', 'meta_info': {{'finish_reason': 'stop'}}}}",
    "[2025-01-02 03:04:05] ChatCompletionRequest(model='m', messages=[ChatCompletionMessageUserParam(content='{c}')])",
    "[2025-01-02 03:04:05] input_ids=[1, 2] {c}",
)
GATEWAY = (
    '2025/01/02 03:04:05 [error] 7#7: *{n} upstream timed out (110: Connection timed out), client: 192.0.2.1, server: _, request: "GET /v1/search?q={u}&n=1 HTTP/1.1", upstream: "http://127.0.0.1:8001/v1/search?q={u}&n=1", host: "e"',
    '2025/01/02 03:04:05 [error] 7#7: *{n} no live upstreams, request: "GET /ask?text={u}%20{u} HTTP/1.1"',
    '192.0.2.1 - - [02/Jan/2025:03:04:05 +0000] "POST /v1/completions HTTP/1.1" 503 9 "{{\\x22prompt\\x22:\\x22{c}\\x22}}"',
    '192.0.2.1 - - [02/Jan/2025:03:04:05 +0000] "GET /generate?prompt={u} HTTP/1.1" 503 9 "-"',
    "Request to litellm: litellm.acompletion(model='m', messages=[{{'role': 'user', 'content': '{c}'}}])",
    'curl -X POST http://e/v1 -d \'{{"prompt": "{c}"}}\'',
    '{{"level":"debug","body":"{{\\"messages\\": [{{\\"role\\": \\"user\\", \\"content\\": \\"{c}\\"}}]}}"}}',
    '"messages": [\n  {{\n    "role": "user",\n    "content": "{c}"\n  }}\n]',
)
ERRORS = (
    "ERROR {t} [core.py:1] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate {n}.00 MiB. GPU 0 has a total capacity of 79.00 GiB of which 1.00 MiB is free.",
    "ERROR {t} [async_llm.py:1] EngineCore encountered a fatal error {n}.",
)


def planted(forms: tuple[str, ...], log: str, n: int, number: int = 0) -> Iterator[tuple[str, str]]:
    """Word and text of each form."""
    for form, text in enumerate(forms):
        word = f"canary{log}{'abcdefghijklmnopqrstuvwxyz'[form]}"
        other = f"w{'xyz' * (number % 30)}"  # so that twenty distinct lines and more stand behind a template
        yield word, text.format(t=STAMP, n=n, c=f"{word} {other}", u=f"{word}+{other}", long=LONG, overlong=OVERLONG)


def flooded(log: str) -> Iterator[str]:
    """More than is read in three rounds: prompts over several lines, each with a word in each."""
    for number in range(FLOOD_PROMPTS):
        text = "{c} it's\nhello', :-)\nERROR No space left on device {c}\n2025-01-02 03:04:05 ERROR {c}\n{c}".format(
            c=f"canary{log}"
        )
        yield f"INFO {STAMP} [logger.py:41] Received request cmpl-{number}: prompt: '{text}', params: x"
        yield from [f"INFO {STAMP} [async_llm.py:3] Added request cmpl-{number}."] * 4


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    with chat_server() as server:
        yield server


def test_no_word_of_a_prompt_is_kept_or_sent(tmp_path: Path, chat: ChatServer):
    """A prompt in a template, a page or a chat is a leak of personal data that nobody can take back."""
    access, logs = (
        tmp_path / "access.log",
        {name: tmp_path / f"{name}.log" for name in ("vllm", "sglang", "gateway", "flood")},
    )
    for path in logs.values():
        path.touch()
    daemon = Daemon(
        tmp_path / "daemon",
        collect={
            "access_log": {"paths": [str(access)], "service": "chat", "format": "json"},
            "log_tail": {"files": [{"path": str(path)} for path in logs.values()]},
        },
        receivers=[webhook(chat.url)],
    )
    gateway = GatewayLog(access)
    words: set[str] = set()
    try:
        daemon.start()
        recorder = Recorder(daemon, tmp_path / "recording")
        time.sleep(CALM_S)
        gateway.bad = True
        for round_ in range(40):
            for forms, name in ((VLLM, "vllm"), (SGLANG, "sglang"), (GATEWAY, "gateway")):
                with logs[name].open("a", encoding="utf-8", errors="surrogateescape") as file:
                    for word, text in planted(forms, name, 100 + round_, round_):
                        words.add(word)
                        file.write(text + "\n")
                    file.writelines(text.format(t=STAMP, n=round_) + "\n" for text in ERRORS)
            words.add("canaryaccess")
            with access.open("a") as file:
                file.write(line(503, path=f"/v1/completions?q=canaryaccess{'x' * round_}"))
            time.sleep(0.2)
        words.add("canaryflood")
        with logs["flood"].open("a") as file:
            file.write("\n".join(flooded("flood")) + "\n")
        wait_for(lambda: chat.requests and daemon.incidents(), 60.0, "an incident is told")
        wait_for(lambda: "CUDA out of memory" in json.dumps(daemon.incidents()[0]), 30.0, "and the memory is named")
        whole = sum(text.count("\n") + 1 for text in flooded("flood"))
        wait_for(lambda: lines_of(daemon, "flood.log") == whole, 30.0, "every line of the flood is read or skipped")
        held = dict(shown(daemon))
        status, said = recorder.end()
        assert status == 0, said
        assert daemon.stop() == 0
    finally:
        gateway.stop()
        daemon.close()
    for path in daemon.state.rglob("*"):
        if path.is_file():
            held[str(path.relative_to(tmp_path))] = path.read_bytes()
    for path in (tmp_path / "recording").iterdir():
        content = path.read_bytes()
        held[f"recording/{path.name}"] = gzip.decompress(content) if path.suffix == ".gz" else content
    held["log"] = daemon.log.read_bytes()
    for number, request in enumerate(chat.requests):
        held[f"message {number}"] = request.body

    assert len(words) == len(VLLM) + len(SGLANG) + len(GATEWAY) + 2
    found = {(word, place) for place, text in held.items() for word in words if word.encode() in text}
    assert found == set()
    assert any("state" in place for place in held)
    assert b"vram_exhaustion" in held["recording/logs.jsonl.gz"]
    # the words were there to be found: what stood beside them was read and counted
    assert b"CUDA out of memory" in held["message 0"] + held["/api/v1/incidents"]
    assert total(held["/metrics"], "dropped") > 500
    seen = [counted(held["/metrics"], name, "flood.log") for name in LINES]
    assert min(seen) > 1_000
    # what follows a prompt, cut or whole, is seen: the trouble after each of them, in three logs
    for name in ("vllm.log", "sglang.log", "gateway.log"):
        assert counted(held["/metrics"], "log_records_total", name, "vram_exhaustion") == 40, name


def shown(daemon: Daemon) -> Iterator[tuple[str, bytes]]:
    """What the daemon answers to whoever asks."""
    incident = daemon.incidents()[0]["id"]
    for path in ("/", f"/incidents/{incident}", "/metrics", "/api/v1/incidents", f"/api/v1/incidents/{incident}", "/api/v1/alerts", "/api/v1/status"):  # fmt: skip
        status, body = fetch(daemon.url + path)
        assert status == 200, path
        yield path, body


def lines_of(daemon: Daemon, log: str) -> int:
    """How many lines of *log* were read or counted as skipped."""
    page = fetch(daemon.url + "/metrics")[1]
    return sum(counted(page, name, log) for name in LINES)


def counted(page: bytes, name: str, *parts: str) -> int:
    """The sum of those series of *name* that hold all of *parts*."""
    lines = [
        line for line in page.decode().splitlines() if line.startswith(f"{name}{{") and all(p in line for p in parts)
    ]
    return sum(int(float(line.rpartition(" ")[2])) for line in lines)


def total(page: bytes, fate: str) -> float:
    """Log lines that met *fate*."""
    lines = [line for line in page.decode().splitlines() if line.startswith("aiops_log_lines") and f'"{fate}"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines)
