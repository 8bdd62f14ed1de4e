"""
How a log begins its records: a time, a severity, a key, in the form that this log uses.

A line with such a head opens a record; one without may be the inside of another: of a traceback, or of a prompt, which may
hold anything, other programs' logs included. So a head counts only in the form of the log it stands in. What container
runtimes, vLLM's processes, Ray and docker compose put before every line, those within a record too, is no head.
"""

from __future__ import annotations

from functools import lru_cache

import re2

_COLOUR = r"(?:\x1b\[[0-9;]{0,12}m)*"
_CRI = r"\d{4}-\d\d-\d\dT[0-9:.Z+-]{8,30} std(?:out|err) [FP] "
_DOCKER = b'{"log":"'
_WRITER = r"(?:\([^()\n]{1,60}\bpid=\d+[^()\n]{0,40}\) ?|[\w.-]{1,60} *\| |\[rank\d{1,4}\]: ?)"
_SEVERITY = r"(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERR|ERROR|CRIT|CRITICAL|FATAL)"
_DATE = r"(?:\d{2,4}[-/]\d\d(?:[-/]\d{2,4})?|\d\d/[A-Z][a-z]{2}/\d{4}|(?:[A-Z][a-z]{2} )?[A-Z][a-z]{2} +\d{1,2})"
_STAMP = r"(?:" + _DATE + r"[T :])?\d\d:\d\d:\d\d"
_HEAD = _COLOUR + "(?:" + "|".join((
    r"(?:" + _SEVERITY + _COLOUR + r"(?:: {1,8}| {1,8}))?[\[(<]?" + _STAMP,
    r"[IWEF]\d{4} \d\d:\d\d:\d\d",  # glog
    r"\[ *\d{1,9}\.\d{6}\]",  # the kernel
    r"\d{10}(?:\.\d{1,9})? ",
    r"\[?" + _SEVERITY + _COLOUR + r"(?:\]|: {0,8}| {1,8}\[?)",
    r'\{ ?"[\w.@-]{1,40}" ?:',
    r"(?:time|ts|t|timestamp|level|lvl|severity)=",
    r"[0-9a-fA-F.:]{3,45} \S{1,64} \S{1,64} \[" + _STAMP,  # access logs
)) + ")"  # fmt: skip
# no groups: with them RE2 takes thirty times as long
_OPENS = re2.compile(_HEAD.encode())
_UNWRAPS = re2.compile(f"(?:{_CRI})?(?:{_WRITER})*".encode())
_SOMEWHERE = re2.compile(f"(?m)^(?:{_CRI}|{_DOCKER.decode()})?(?:{_WRITER})*{_HEAD}".encode())
_ESCAPES = re2.compile(rb"\x1b\[[0-9;]*m")
_RUNS = re2.compile(rb"aa+|00+|  +")
_SHAPE = bytes.maketrans(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", b"0" * 10 + b"a" * 52)
_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_CACHED = 512
HEAD_BYTES = 512
"""No head reaches further."""
_LEARNED_AT_ONCE = 32
_LEARNED_LINES = 4_096
"""What was seen longer ago counts half."""
_MIN_LINES = 8
_MIN_SHARE = 1 / 8
"""Of a log's lines, with heads, or its heads are those of what is quoted in it."""
_MIN_FORM_SHARE = 1 / 6
"""Of the lines with heads; programs write one form, or two."""
_MAX_CANDIDATES = 300


def head_form(line: bytes) -> bytes:
    """The form of the head of *line*: of digits and words only that they are there; empty if it has none."""
    start = len(_DOCKER) if line.startswith(_DOCKER) else 0
    if line[:1] in b"([" or line[10:11] == b"T" or b"|" in line[:64]:
        start = _UNWRAPS.match(line, start).end()
    found = _OPENS.match(line, start)
    return _form(line[start : found.end()]) if found else b""


@lru_cache(_CACHED)
def _shape(head: bytes) -> bytes:
    """*head*, whose digits are noughts."""
    if head.startswith(b"{") or head.endswith(b"="):
        return head.replace(b" ", b"")
    if b" [" in head and not head.endswith(b"["):  # an address, and two names
        return head[head.rindex(b" [") :].translate(_SHAPE)
    shape = _ESCAPES.sub(b"", head).translate(_SHAPE)
    short: bytes = _RUNS.sub(lambda run: run[0][:1], shape)
    return short.replace(b"[ ", b"[")


def _form(head: bytes) -> bytes:
    return _shape(head.translate(_DIGITS))


class Heads:
    """Learns from the lines of one log how it begins its records."""

    def __init__(self) -> None:
        self.forms: frozenset[bytes] = frozenset()
        """The forms of its heads; none where most lines have none, or nothing is known yet."""
        self._lines = 0
        self._seen: dict[bytes, int] = {}

    def learn(self, block: bytes, *, calm: bool) -> None:
        """
        Look at some lines of *block*.

        Args:
            block: Whole lines of the log.
            calm: Nothing depends on it now: of a log that is known no more is learned.
        """
        if calm and self._lines >= _LEARNED_LINES // 16:
            return
        step = max(1, len(block) // _LEARNED_AT_ONCE)
        end = 0
        for place in range(0, len(block), step):
            if place < end:
                continue
            start = block.rfind(b"\n", 0, place) + 1
            end = block.find(b"\n", place) + 1 or len(block)
            self._lines += 1
            if form := head_form(block[start : min(end, start + HEAD_BYTES)]):
                self._seen[form] = self._seen.get(form, 0) + 1
        if self._lines > _LEARNED_LINES:
            self._lines //= 2
            self._seen = {form: count // 2 for form, count in self._seen.items() if count > 1}
        self._decide()

    def opens(self, line: bytes) -> bool:
        """Whether *line* opens a record, as this log writes its records."""
        return bool(self.forms) and head_form(line) in self.forms

    def first(self, block: bytes) -> int:
        """Where in *block* the first line begins that opens a record; its length if none does."""
        place, candidates = 0, _MAX_CANDIDATES if self.forms else 0
        while candidates and (found := _SOMEWHERE.search(block, place)) is not None:
            start: int = found.start()
            place = block.find(b"\n", found.start()) + 1
            if self.opens(block[start : min(place or len(block), start + HEAD_BYTES)]):
                return start
            candidates -= 1
            if place == 0:
                break
        return len(block)

    def _decide(self) -> None:
        headed = sum(self._seen.values())
        if self._lines < _MIN_LINES or headed < _MIN_SHARE * self._lines:
            self.forms = frozenset()
        else:
            self.forms = frozenset(form for form, count in self._seen.items() if count >= _MIN_FORM_SHARE * headed)
