r"""
Which lines may not be looked at at all.

Lines that carry request bodies are recognised here and dropped by the caller before anything else happens: a prompt is
personal data, and may hold any words, those of an error included. What an API or an engine calls a prompt or an answer is
known by name: as a key of JSON, however often it was quoted (`"messages": [`, `\"messages\": [`, `\x22messages\x22:[`),
as an argument in a repr (`text='`), after the words engines use. One RE2 alternation, so a hostile line costs time linear in
its length.

A prompt may run over several lines, and those after the first say nothing of what they are. They are told by the quote or
bracket that the first one leaves open.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import re2

from aiops.logs.sweep import Sweep

_QUOTE = r"(?:\\*[\"']|\\x22|\\u0022|%22|&quot;)"
_KEYS = (
    r"(?:messages|inputs?|input_text|text_input|input_ids|output_ids|token_ids|prompts?|prompt_token_ids|system_prompt"
    r"|output_text|generated_text|completion|content|reasoning_content|arguments|documents|image_url|input_audio)"
)
_ARGUMENTS = (
    r"(?:prompts?|prompt_text|system_prompt|messages|inputs?|input_text|text_input|input_ids|output_ids|\w*token_ids"
    r"|output_text|generated_text|content|text|input_value)"
)
_BODIES = (
    r"(?:GenerateReqInput|EmbeddingReqInput|ChatCompletion\w*|Completion(?:Request|Response|Output)|\w*RequestOutput"
    r"|EngineCoreRequest|NewRequestData|GenerateRequest|ResponsesRequest|ModelResponse|Choices)"
)
_PRIVATE = (
    _QUOTE + _KEYS + _QUOTE + r"\s*(?::|%3A)\s*(?:[\[({]|%5B|%7B|" + _QUOTE + r"|$)",
    _QUOTE + r"role" + _QUOTE + r"\s*:\s*" + _QUOTE + r"(?:user|assistant|system|tool|developer)\b",
    # "text" alone may be any logger's; beside these it is an answer's
    _QUOTE + r"text" + _QUOTE + r"\s*:\s*" + _QUOTE + r".*\b(?:meta_info|finish_reason|logprobs|sampling_params)",
    r"\b(?:meta_info|choices|sampling_params|type"
    + _QUOTE
    + r"\s*:\s*"
    + _QUOTE
    + r"text)\b.*"
    + _QUOTE
    + r"text"
    + _QUOTE,
    r"\b" + _ARGUMENTS + r"\s*=\s*\\*[\"'\[({]",
    r"\b(?:input_text|text_input|output_text|generated_text|input_value)\s*=",
    r"\bprompt=(?:[^0-9\s\"'\[({]|[0-9]+[^0-9\s,;)])",  # a number alone is a count
    r"\b(?:prompts?|prompt_text|inputs|messages|input_text|generated_text|output|formatted\w*|\w*token_ids):\s*(?:\\*[\"'\[({]|Some\()",
    r"\bprompt: \S",
    r"\b" + _BODIES + r"\(",
    r"\b(?:request body|req\.body|payload)\b\s*[=:({]|\bREQUEST_BODY\b|\bARGS:|\braw (?:request|response)\b",
    r"\b(?:received|finished|generate|add(?:ed|ing)?) request\b.*\b(?:prompt|text|input|output)\w*\b|\bgenerated response\b",
    r"\btext_generation_router.*\b(?:input|output): |\bprompt tokens? +\d+:|\bnext token: ",
    r"<\|(?:im_start|start_header_id|user|assistant|system)\|>|\[INST\]|<start_of_turn>",
)
_OPENING = re2.compile(rb"[=:]\s*\\*([\"'\[({])")
_MAX_FOLLOWING = 500
"""Lines taken for the rest of a prompt whose end is not seen."""
_MAX_OPEN = 256
_HEAD_BYTES = 12
_WRITER = re2.compile(rb"^(?:\([^()\n]{1,60}\bpid=\d+[^()\n]{0,40}\) ?|[\w.-]{1,60} *\| )")
"""What vLLM, Ray or docker compose put before every line, those within a prompt included."""
_SHAPE = bytes.maketrans(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", b"0" * 10 + b"a" * 52)


class _Rest:
    """What is still to come of a prompt that runs over several lines."""

    __slots__ = ("_depth", "_head", "_left", "_quote", "is_open")

    def __init__(self, line: bytes, opening: bytes, after: bytes) -> None:
        self._head = _head(line)
        self._quote = opening if opening in b"\"'" else b""
        self._depth = 1
        self._left = _MAX_FOLLOWING
        self.is_open = not self._ends_in(after)

    def takes(self, line: bytes) -> bool:
        """Whether *line* belongs to it; its end is remembered."""
        if self._left == 0 or (line and _head(line) == self._head):
            self.is_open = False
            return False
        self._left -= 1
        self.is_open = not self._ends_in(line)
        return True

    def _ends_in(self, text: bytes) -> bool:
        if self._quote:  # an apostrophe within a text is followed by a letter
            return text.rstrip().endswith(self._quote) or any(
                self._quote + end in text for end in (b",", b")", b"]", b"}")
            )
        self._depth += sum(text.count(bracket) for bracket in (b"[", b"{", b"("))
        self._depth -= sum(text.count(bracket) for bracket in (b"]", b"}", b")"))
        return self._depth <= 0


class Privacy:
    """Compiled patterns of request bodies. Works on UTF-8 bytes."""

    def __init__(self) -> None:
        union = "|".join(f"(?:{one})" for one in _PRIVATE)
        self._private = re2.compile(f"(?im){union}".encode())
        self._sweep = Sweep(f"(?i){union}".encode())
        self._rests: dict[Hashable, _Rest] = {}

    def is_private(self, line: bytes) -> bool:
        """Whether *line* carries what somebody asked or was answered."""
        return self._private.search(line) is not None

    def among(self, lines: Sequence[bytes]) -> list[int]:
        """
        Which of *lines* `is_private` holds for.

        Args:
            lines: Without line feeds.
        """
        return [number for number in self._sweep.candidates(lines) if self.is_private(lines[number])]

    def follow(self, lines: Sequence[bytes], sources: Sequence[Hashable]) -> set[int]:
        """
        Which of *lines* are private, those that go on with a prompt included, from call to call.

        Args:
            lines: Records of one or several lines, in the order in which they came.
            sources: The log of each.
        """
        # a record of several lines would be taken for several records
        found = set(self.among([b"" if b"\n" in line else line for line in lines]))
        found.update(n for n, line in enumerate(lines) if b"\n" in line and self.is_private(line))
        if found or self._rests:
            found.update(self._following(lines, sources, found))
        return found

    def _following(self, lines: Sequence[bytes], sources: Sequence[Hashable], found: set[int]) -> Iterator[int]:
        for number, (line, source) in enumerate(zip(lines, sources, strict=True)):
            if number in found:
                self._open(source, line)
                continue
            rest = self._rests.get(source)
            if rest is None:
                continue
            if rest.takes(line):
                yield number
            if not rest.is_open:
                del self._rests[source]

    def _open(self, source: Hashable, line: bytes) -> None:
        """Remember whether the private *line* ends within what was asked."""
        self._rests.pop(source, None)
        said = self._private.search(line)
        opening = said and _OPENING.search(line, said.start())
        if opening is None:
            return
        rest = _Rest(line, opening[1], line[opening.end() :])
        if rest.is_open:
            self._rests[source] = rest
            if len(self._rests) > _MAX_OPEN:
                del self._rests[next(iter(self._rests))]


def _head(line: bytes) -> bytes:
    """How *line* begins, letters and digits alike: "INFO 01-02 03" and "INFO 11-12 13" are heads of one log."""
    writer = _WRITER.search(line[:200])
    start = writer.end() if writer else 0
    return line[start : start + _HEAD_BYTES].translate(_SHAPE)
