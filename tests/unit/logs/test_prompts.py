"""How far a prompt reaches: never less far than it does, and where that is certain no further."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.logs.privacy import Privacy

HEAD = "INFO 01-02 03:04:05 [logger.py:41] "
PIECES = [
    "CANARY", "hello',", "'", '"', "it's", " :-) ", " :( ", ":')", "[", "]", "{", "}", "(", ")", "\\", "\\n", "\\'", '\\"', "\\\\", ", ",
    "\n", "\n\n", "', params: x", '", params=1', "é", "users'", "prompt: 'x', n=1", '{"role": "user"}', "messages=[1]", "\t",
    "\nERROR No space left on device", "\nINFO:     x", "\n2025-01-02 03:04:05 ERROR x", "\n[2025-01-02 03:04:05] x", "]}\n", "x = '", "\udcff",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
TROUBLE = "ERROR 11-12 13:14:15 [core.py:7] CUDA out of memory"


def follow(lines: list[str]) -> list[int]:
    texts = [line.encode("utf-8", "replace").strip() for line in lines]
    return sorted(Privacy().follow(texts, ["log"] * len(texts)))


@given(TEXTS, st.sampled_from(["'", '"', ""]))
def test_in_a_log_with_heads_all_of_a_raw_text_is_private_and_no_more(text: str, quote: str):
    """Whoever writes line feeds into a log writes quotes and brackets as they come; they mean nothing."""
    said = f"{HEAD}Received request 1: prompt: {quote}CANARY {text}{quote}, params: SamplingParams(n=1)".split("\n")

    found = follow([HEAD + "free", *said, TROUBLE, "free"])

    assert set(range(1, len(said))) <= set(found), "all but perhaps a blank last line"
    assert found[-1] <= len(said)


@pytest.mark.parametrize(
    "text",
    ["the users'\nCANARY", "hello',\nCANARY", "hello', he said\nCANARY", "smile :')\nCANARY", "(ha ')\nCANARY", "x')\nCANARY", "\nCANARY"],
)  # fmt: skip
def test_a_text_that_seems_to_end_on_its_line_does_not(text: str):
    """Each is what somebody may have written."""
    lines = f"{HEAD}prompt: '{text}".split("\n")

    assert follow([*lines, "CANARY", TROUBLE]) == list(range(len(lines) + 1))


@given(TEXTS)
@pytest.mark.parametrize(
    "form",
    [
        "Received request 1: prompt: {text!r}, params: SamplingParams(n=1, stop=[]), prompt_token_ids: [1, 2], lora_request: None.",
        "RequestOutput(request_id=1, prompt={text!r}, outputs=[CompletionOutput(index=0, text={text!r})])",
        "out={{'text': {text!r}, 'meta_info': {{'id': '1'}}}}",
        "ChatCompletionRequest(model='m', messages=[{{'role': 'user', 'content': {text!r}}}], n=1)",
        "1 validation error [type=string_type, input_value={text!r}, input_type=str]",
        "async_llm_engine.py:174] Received request 1: prompt: {text!r}, params: x.",
        '{{"level":"info","body":{body}}}',
        '{{"prompt": {string}, "n": 1}}',
        '{{"model": "m", "messages": [{{"role": "user", "content": {string}}}]}}',
        "body={body}",
    ],
)
def test_what_python_or_json_wrote_ends_where_they_end_it(form: str, text: str):
    """A traceback without a head may follow, and it is what people look for."""
    string = json.dumps(text)
    body = json.dumps(json.dumps({"messages": [{"role": "user", "content": text}]}))
    line = HEAD + form.format(text=text, string=string, body=body)

    assert follow([line, "RuntimeError: CUDA out of memory"]) == [0]
    assert follow([form.format(text=text, string=string, body=body), "RuntimeError: CUDA out of memory"]) == [0]


@given(TEXTS)
def test_json_over_several_lines_ends_at_its_bracket(text: str):
    """Brackets count outside of quotes only."""
    lines = ("body: " + json.dumps({"messages": [{"content": text}, [text]], "n": 1}, indent=2)).split("\n")
    end = lines.index("  ],")

    assert follow([*lines, "CUDA out of memory"]) == list(range(1, end + 1))


@given(TEXTS)
def test_a_prompt_that_was_cut_ends_at_the_next_head(text: str):
    """At 64 KiB; the line after it is another record, and may be the trouble."""
    for form in (
        "prompt: {text!r}",
        '{{"messages": [{{"content": {string}',
        "ChatCompletionRequest(messages=[{text!r}, {text!r}",
    ):
        line = HEAD + form.format(text="CANARY" + text, string=json.dumps("CANARY" + text)[:-1])

        assert follow([line[:-1], TROUBLE, "free"]) == [0]


def test_a_prompt_goes_on_after_lines_that_would_be_private_alone():
    """Somebody asks about a log of requests."""
    lines = [HEAD + "prompt: 'look at", "prompt: 'x', params: y", "CANARY", '"messages": [1],', "CANARY", TROUBLE]

    assert follow(lines) == [0, 1, 2, 3, 4]


def test_heads_are_remembered_where_a_body_begins_without_one():
    """A body may have lines of its own, and the next record ends it."""
    lines = [HEAD + "next:", *["free"] * 9, "prompt: 'CANARY", "CANARY', x", "CANARY", TROUBLE]

    assert follow(lines) == [10, 11, 12]


def test_without_quotes_a_text_reaches_to_the_next_head():
    """Nothing else tells its end."""
    assert follow([HEAD + "prompt: tell me", "CANARY", "", "CANARY", TROUBLE, "free"]) == [0, 1, 2, 3]
    assert follow([HEAD + "prompt: f(x='1')", "CANARY", TROUBLE]) == [0, 1]


@pytest.mark.parametrize("named", ["Prompt:", "Formatted prompt: ", "Generated text:", "user_input=tell me"])
def test_a_text_below_its_name_reaches_to_the_next_head(named: str):
    """As `logger.debug("Prompt:\\n%s", prompt)` writes it."""
    assert follow([HEAD + "free", HEAD + named, "CANARY", "it's 'CANARY'", TROUBLE, "free"]) == [1, 2, 3]


def test_in_a_log_without_heads_only_what_a_program_writes_ends_a_text():
    """Or a bound."""
    lines = ["prompt: 'tell", "hello',", "it's :-)", "\\', params: CANARY", "the users'", "last', params: x", "free"]

    assert follow(lines) == [0, 1, 2, 3, 4, 5]


def test_heads_of_another_form_end_nothing():
    """Pasted into a prompt is often a log of something else; indented, this one."""
    lines = [
        HEAD + "prompt: 'x",
        "ERROR:    CANARY",
        "2025-01-02 03:04:05 CANARY",
        "[2025-01-02 03:04:05] CANARY",
        TROUBLE,
    ]

    assert follow(lines) == [0, 1, 2, 3]


def test_each_form_that_a_log_was_seen_to_write_ends_a_prompt():
    """A server's own lines and those of its web framework stand in one log."""
    lines = ["INFO:     ready", HEAD + "prompt: 'x", "CANARY", "ERROR:    CUDA out of memory", "2025-01-02 03:04:05 x"]

    assert follow(lines) == [1, 2]


def test_a_prompt_that_seems_to_be_over_ends_at_any_time_of_day():
    """Two programs may write one log, and most lines that look whole are."""
    assert follow([HEAD + "prompt='CANARY'", "CANARY", "[2025-01-02 03:04:05] CUDA out of memory"]) == [0, 1]
    assert follow(['::1 - - [02/Jan/2025:03:04:05 +0000] "GET /x?prompt=CANARY HTTP/1.1" 503 9', "free"]) == [0]


def test_a_record_that_waited_while_its_prompt_ended_is_private():
    """A traceback within a prompt waits for its end, which never comes; meanwhile the log goes on."""
    free = [("free", 0)] * 20
    records = [
        (HEAD + "prompt: 'x", 0),
        ("more", 0),
        (TROUBLE, 0),
        *free,
        ("Traceback\n  CANARY", 22),
        ("Traceback\n  free", 1),
    ]
    texts = [text.encode() for text, _ in records]

    found = Privacy().follow(texts, ["log"] * len(texts), [passed for _, passed in records])

    assert found == {0, 1, 23}


def test_a_log_that_changes_its_heads_is_not_lost_for_good():
    """After a restart with another logger."""
    found = follow([HEAD + "prompt: 'x", *["[2025-01-02 03:04:05] y"] * 6_000])

    assert found == list(range(5_001))


@pytest.mark.parametrize(
    "text", ["'" * 60_000, "'," * 30_000, "\\" * 60_000, "(" * 60_000, "''" * 30_000, "['a'], " * 9_000, '\\"' * 30_000]
)
@pytest.mark.parametrize("form", ["{}", HEAD + "prompt: '{}', n=1", "prompt: '{}', n=1", "messages=[{}"])
def test_hostile_prompts_cost_linear_time(form: str, text: str):
    """A prompt may hold anything."""
    lines = ["messages=[", form.format(text), form.format(text)]
    started_s = time.thread_time()
    follow(lines)

    assert time.thread_time() - started_s < 0.5
