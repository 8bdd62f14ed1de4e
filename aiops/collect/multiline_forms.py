"""
What records of several lines look like: Python, Java, Node, Go, Rust, CUDA.

A grammar is told the lines of a record one after the other, without their common prefix, and says of each whether it still
belongs. Blank lines never come here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import re2

_TRACEBACK = "Traceback (most recent call last)"
_GROUP = "+ Exception Group Traceback"
_CHAINS = ("During handling of the above exception", "The above exception was the direct cause")
_REPORT = (
    "CUDA kernel errors might be", "For debugging consider passing CUDA_LAUNCH_BLOCKING", "Compile with `TORCH_USE_CUDA_DSA`",
    "Device-side assert", "Search for `cuda", "Exception raised from", "frame #", "CUDA error", "what():", "terminate called",
)  # fmt: skip
"""Beginnings of lines that PyTorch writes about an error of CUDA's; none of them is indented."""
_LEVELS = frozenset({"DEBUG", "TRACE", "INFO", "NOTICE", "WARN", "WARNING", "ERROR", "CRITICAL", "FATAL"})
_MAX_NAME_CHARS = 200
_NAME_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.$()[]")
_BLANKS = (" ", "\t")
_MAX_PREFIX_CHARS = 400
_PREFIX = re2.compile(
    rb"(?:[\w.-]{1,64} +\| )?"  # docker compose: name |
    rb"(?:\([\w ,=.:/-]{1,80}\) ?)?"  # vLLM and Ray: (EngineCore_0 pid=12)
    rb"(?:\[rank\d{1,4}\]: ?)?"  # torchrun
    rb"(?:(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d (?:\[[^\]]{1,80}\] |[\w./]{1,60}:\d{1,5}\] )?)?"  # vLLM
    rb"(?:\[\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[^\]]{0,40}\] )?"  # SGLang
    rb"(?:\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)? )?"
)
_CLOCK = re2.compile(rb"\d\d:\d\d:\d\d")


class Grammar(Protocol):
    """Of one record that is open."""

    marker: str
    """Where this stands in the first line, a prefix may end."""
    looks_whole: bool
    """Whether nothing needs to follow."""

    def takes(self, body: str) -> bool:
        """Whether the next line belongs to the record."""
        ...

    def is_new(self, body: str) -> bool:
        """Whether a line under the same prefix begins another record."""
        ...


class _Form:
    """A record that may end after any line; made from its first one."""

    marker = ""
    looks_whole = True

    def __init__(self, line: str) -> None:
        pass


class _Python(_Form):
    """A traceback, with those it is chained to; or an exception group."""

    marker = _TRACEBACK

    def __init__(self, line: str) -> None:
        self._is_group = self.looks_whole = _GROUP in line
        self._is_chained = False

    def takes(self, body: str) -> bool:
        if body.startswith(_BLANKS):
            return True
        if self._is_group:
            return False
        if not self.looks_whole:  # the exception itself is yet to come
            self.looks_whole = _is_named(body)
            return self.looks_whole
        if body.startswith(_CHAINS):
            self._is_chained = True
            return True
        if self._is_chained and body.startswith(_TRACEBACK):
            self._is_chained = self.looks_whole = False
            return True
        return body.startswith(_REPORT)

    def is_new(self, body: str) -> bool:
        return _TRACEBACK in body


class _Stack(_Form):
    """Frames that begin with "at", after a line that names an exception: Java, Node."""

    def __init__(self, line: str) -> None:
        self._in_object = False

    def takes(self, body: str) -> bool:
        if body.startswith("Caused by: "):
            return True
        if self._in_object:  # what Node shows of an error's fields
            self._in_object = body != "}"
            return body.startswith(_BLANKS) or body == "}"
        if not body.startswith(_BLANKS):
            return False
        text = body.lstrip()
        self._in_object = text.endswith("{")
        return text.startswith(("at ", "... ", "Caused by: ", "Suppressed: ", "[CIRCULAR REFERENCE"))

    def is_new(self, body: str) -> bool:
        return True


class _Cuda(_Form):
    """What PyTorch says after "CUDA error", and where in C++ it came from."""

    marker = "CUDA error"

    def takes(self, body: str) -> bool:
        return body.startswith((*_BLANKS, *_REPORT))

    def is_new(self, body: str) -> bool:
        return "CUDA error" in body


class _Assertions(_Form):
    """One device-side assertion, told by each thread of the GPU that failed it."""

    def takes(self, body: str) -> bool:
        return _is_assertion(body)

    def is_new(self, body: str) -> bool:
        return True


class _Go(_Form):
    """A panic or fatal error with its goroutines."""

    marker = "panic: "

    def takes(self, body: str) -> bool:
        if body.startswith(
            ("\t", "goroutine ", "created by ", "[signal ", "exit status ", "panic: ", "runtime", "...")
        ):
            return True
        name, bracket, rest = body.partition("(")
        if bracket and rest.endswith((")", "...)")) and name and " " not in name:
            return True
        name, blank, rest = body.partition(" ")  # registers
        return bool(blank) and len(name) <= 6 and rest.lstrip().startswith("0x")

    def is_new(self, body: str) -> bool:
        return "panic: " in body


class _Rust(_Form):
    """A panic: where, what, and perhaps the way there."""

    marker = "thread '"

    def __init__(self, line: str) -> None:
        self.looks_whole = not line.endswith(":")

    def takes(self, body: str) -> bool:
        if not self.looks_whole:  # what was said stands on a line of its own
            self.looks_whole = True
            return True
        return body.startswith((*_BLANKS, "note: ", "stack backtrace:"))

    def is_new(self, body: str) -> bool:
        return "panicked at" in body


class _Fault(_Form):
    """What Python's fault handler writes when the process is killed by a signal."""

    marker = "Fatal Python error"

    def takes(self, body: str) -> bool:
        beginnings = ("Current thread ", "Thread 0x", "Python runtime state", "Extension modules", "<no Python frame>")
        return body.startswith((*_BLANKS, *beginnings))

    def is_new(self, body: str) -> bool:
        return "Fatal Python error" in body


_STARTS: tuple[tuple[str, Callable[[str], Grammar]], ...] = (
    (_TRACEBACK, _Python),
    ("CUDA error", _Cuda),
    ("panicked at", _Rust),
    ("panic: ", _Go),
    ("Fatal Python error", _Fault),
    ("terminate called", _Cuda),
    ("Exception", _Stack),
    ("Error", _Stack),
    ("Throwable", _Stack),
)


def begins(line: str) -> Grammar | None:
    """The grammar of the record that *line* may begin, or go on with if its beginning was missed; None for a plain line."""
    if line[:1] in _BLANKS:
        text = line.lstrip()
        if text.startswith('File "'):
            return _Python(line)
        if text.startswith("at "):
            return _Stack(line)
    elif line.startswith(("goroutine ", "fatal error: ")):
        return _Go(line)
    # parts of the marks below, which nearly no line has; asked one by one, since a loop costs three times as much
    if not (
        "rror" in line or "anic" in line or "xception" in line or "recent call" in line
        or "Throwable" in line or "terminate called" in line or "Assertion `" in line
    ):  # fmt: skip
        return None
    for mark, grammar in _STARTS:
        if mark in line:
            return grammar(line)
    return _Assertions(line) if "Assertion `" in line and _is_assertion(line) else None


def prefix_of(line: str, grammar: Grammar) -> tuple[str, ...]:
    """What may stand before each line of the record that *line* begins, longest first; never nothing."""
    found = _PREFIX.match(line[:_MAX_PREFIX_CHARS].encode("utf-8", "replace"))
    known = found.group(0).decode() if found else ""
    place = line.find(grammar.marker) if grammar.marker else -1
    before = line[: max(place, 0)].removesuffix("  + Exception Group ")
    return tuple(sorted({prefix for prefix in (known, before) if prefix.strip()}, key=len, reverse=True))


def tells_time(prefix: str) -> bool:
    """Whether *prefix* holds a time of day."""
    return _CLOCK.search(prefix.encode("utf-8", "replace")) is not None


def _is_named(body: str) -> bool:
    """Whether *body* is a dotted name, alone or before a colon, as the last line of a traceback is."""
    name = body.partition(":")[0]
    return (
        0 < len(name) <= _MAX_NAME_CHARS
        and name not in _LEVELS
        and _NAME_CHARS.issuperset(name)
        and not name[0].isdigit()
    )


def _is_assertion(body: str) -> bool:
    return "block: [" in body and "thread: [" in body and "Assertion `" in body
