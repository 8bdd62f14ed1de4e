"""A command line tells a server from everything that only talks about one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.collect.process_names import engine_of, port_option, program, role_of


@pytest.mark.parametrize(
    ("line", "engine"),
    [
        ("/usr/bin/python3 /usr/local/bin/vllm serve meta/model --port 8001", "vllm"),
        ("python -m vllm.entrypoints.openai.api_server --model x", "vllm"),
        ("python3.12 -u -m sglang.launch_server --model-path x", "sglang"),
        ("VLLM::EngineCore", "vllm"),
        ("sglang::scheduler_TP0", "sglang"),
        ("/opt/tritonserver/bin/tritonserver --model-repository=/models", "triton"),
        ("/usr/bin/python3 /usr/local/bin/trtllm-serve x", "trtllm"),
        ("text-generation-launcher --model-id x", "tgi"),
        ("./llama-server -m x.gguf", "llama.cpp"),
        ("ray::ServeReplica:app:Model", "ray"),
        ("/x/ray/core/src/ray/raylet/raylet --port=1", "ray"),
    ],
)
def test_every_engine_is_known_by_its_program(line, engine):
    """However it is started: console script, module, binary, or by the title it gives itself."""
    found = engine_of(line.split())
    assert found is not None
    assert found.name == engine


@pytest.mark.parametrize(
    "line",
    [
        "vim vllm serve",
        "grep -r vllm serve",
        "tail -f /var/log/vllm.log",
        "bash -c vllm serve x",
        "docker run vllm/vllm-openai --model x",
        "python3 -c import vllm",
        "/usr/bin/python3 /usr/local/bin/vllm bench serve",
        "vllm-router serve",
        "python -m vllm.benchmarks.throughput",
        "python3",
        "python3 -m",
        "",
    ],
)
def test_what_only_mentions_a_server_is_none(line):
    """An editor or a benchmark that ends is no crash of a server."""
    assert engine_of(line.split()) is None


def test_the_port_is_read_in_every_spelling():
    """A server that still loads its weights listens nowhere, and must have its name already."""
    assert port_option(["vllm", "serve", "x", "--port", "8001"]) == 8001
    assert port_option(["--port=8002"]) == 8002
    assert port_option(["tritonserver", "--http-port", "8003"]) == 8003
    assert [port_option(line.split()) for line in ("--port", "--port x", "--port 0", "--port 99999", "serve")] == [
        None
    ] * 5


def test_children_are_named_by_what_they_do():
    """A full engine core and a full tokenizer are two causes."""
    lines = ("VLLM::EngineCore", "VLLM::Worker_TP3", "sglang::scheduler_TP0", "sglang::detokenizer", "python3 -c x",
             "python3 -c from multiprocessing.resource_tracker import main;main(3)")  # fmt: skip
    assert [role_of(line.split(" "), first=False) for line in lines] == [
        "engine", "worker", "engine", "detokenizer", "child", "",
    ]  # fmt: skip


@given(st.lists(st.text(max_size=12), max_size=6))
def test_any_command_line_is_survived(words):
    """Titles are whatever a program wrote over its arguments."""
    engine_of(words)
    port_option(words)
    assert isinstance(program(words)[0], str)
    assert len(role_of(words, first=False)) <= 12
