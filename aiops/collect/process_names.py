"""
Which command lines are inference servers, and what their processes are called.

A command is known by the program that runs, not by words anywhere in the line: an editor with vllm.py open, or a
container runtime with "vllm" in an image's name, serves nothing. Of an interpreter the program is the script or
module. Engines rename their workers (``VLLM::Worker_TP0``), and then the title is all there is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Engine:
    """An inference server's kind."""

    name: str
    port: int
    """Where it listens unless told otherwise."""


_ENGINES = (
    # how the program's name begins, the word that must follow it, the engine
    ("vllm", "serve", Engine("vllm", 8000)),
    ("vllm.entrypoints", "", Engine("vllm", 8000)),
    ("vllm::", "", Engine("vllm", 8000)),
    ("sglang", "serve", Engine("sglang", 30000)),
    ("sglang.launch_server", "", Engine("sglang", 30000)),
    ("sglang::", "", Engine("sglang", 30000)),
    ("tritonserver", "", Engine("triton", 8000)),
    ("trtllm-serve", "", Engine("trtllm", 8000)),
    ("text-generation", "", Engine("tgi", 3000)),
    ("llama-server", "", Engine("llama.cpp", 8080)),
    ("llama_cpp.server", "", Engine("llama.cpp", 8000)),
    ("raylet", "", Engine("ray", 8000)),
    ("ray::", "", Engine("ray", 8000)),
)
_EXACT = {"vllm", "sglang"}
"""Programs of many commands, of which one serves; what only begins like them is another program."""
OTHER = Engine("server", 0)
"""What listens on a port that the settings name."""
_INTERPRETER = re.compile(r"(?:python|pypy)[\d.]*t?")
_PORT_OPTIONS = ("--port", "--http-port", "-p")
_ROLES = (
    ("resource_tracker", ""),  # multiprocessing's janitor: of no interest
    ("enginecore", "engine"),
    ("engine_core", "engine"),
    ("detokenizer", "detokenizer"),
    ("scheduler", "engine"),  # SGLang's holds the model as well
    ("worker", "worker"),
    ("text-generation-server", "worker"),
    ("triton_python_backend_stub", "worker"),
    ("ray::", "worker"),
    ("router", "router"),
)
"""What a command line holds, and the role it tells; the first that fits."""
_MAX_SEARCHED = 512


def program(command: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The program that runs, without its folder, and its arguments; of an interpreter, the script or module."""
    if not command:
        return "", ()
    name, rest = _base(command[0]), command[1:]
    if not _INTERPRETER.fullmatch(name):
        return name, rest
    for place, word in enumerate(rest):
        if word == "-m":
            return "".join(rest[place + 1 : place + 2]), rest[place + 2 :]
        if word == "-c":
            return name, rest[place:]
        if not word.startswith("-"):
            return _base(word), rest[place + 1 :]
    return name, rest


def engine_of(command: Sequence[str]) -> Engine | None:
    """The engine that *command* runs; None if it is none."""
    name, arguments = program(command)
    name = name.lower()
    for start, next_word, engine in _ENGINES:
        fits = name == start if start in _EXACT else name.startswith(start)
        if fits and (not next_word or next_word in arguments[:1]):
            return engine
    return None


def role_of(command: Sequence[str], *, first: bool) -> str:
    """
    What a process of a server does: server, router, engine, worker, detokenizer or child; empty if of no interest.

    Args:
        command: Its command line.
        first: Whether it is the one that was started, and not a child of it.
    """
    if first:
        return "server"
    text = " ".join(command)[:_MAX_SEARCHED].lower()
    return next((role for word, role in _ROLES if word in text), "child")


def port_option(command: Sequence[str]) -> int | None:
    """The port a command line asks for."""
    for place, word in enumerate(command):
        option, equals, value = word.partition("=")
        if option in _PORT_OPTIONS:
            text = value if equals else "".join(command[place + 1 : place + 2])
            if text.isdecimal() and 0 < int(text[:6]) < 2**16:
                return int(text)
    return None


def _base(path: str) -> str:
    return path.rpartition("/")[2]
