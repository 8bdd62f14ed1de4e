r"""
Which lines may not be looked at at all.

Lines that carry request bodies are recognised here and dropped by the caller before anything else happens: a prompt is
personal data, and may hold any words, those of an error included. What an API or an engine calls a prompt or an answer is
known by name: as a key of JSON, however often it was quoted (`"messages": [`, `\"messages\": [`, `\x22messages\x22:[`),
as an argument in a repr (`text='`), after the words engines use. One RE2 alternation, so a hostile line costs time linear in
its length.

A prompt may run over several lines, and those after the first say nothing of what they are: `prompts` tells how far it goes.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from typing import TypeVar

import re2

from aiops.heads import head_form
from aiops.logs.prompts import Prompt
from aiops.logs.sweep import Sweep

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

_QUOTE = r"(?:\\*[\"']|\\x22|\\u0022|%22|&quot;)"
_SPOKEN = (
    r"(?:\w*prompts?(?:_?text)?|(?:user|human|chat|input|output|generated|decoded|delta|new)_?(?:messages?|inputs?|query|question|texts?"
    r"|content|history)|text_input|questions?|answer|input_ids|output_ids)"
)
"""Names that applications of their own give to what is asked and answered, as well as engines."""
_KEYS = (
    r"(?:" + _SPOKEN + r"|messages|inputs?|token_ids|prompt_token_ids|completion|contents?|texts|reasoning(?:_content)?"
    r"|instructions?|transcript(?:ion)?|arguments|documents|image_url|input_audio)"
)
_ARGUMENTS = r"(?:" + _SPOKEN + r"|messages|inputs?|\w*token_ids|content|texts?|sentences|input_value)"
_BEFORE_COLONS = (
    r"(?:prompts?|inputs|messages|\w+_text|texts|sentences|content|completion|output|formatted\w*|\w*token_ids)"
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
    r"\b(?:text_input|input_value|(?:user|input|output|generated)_(?:text|input|query|message|question))\s*=",
    r"\b(?:\w+_)?prompt=(?:[^0-9\s\"'\[({]|[0-9]+[^0-9\s,;)])",  # a number alone is a count
    r"\b" + _BEFORE_COLONS + r":\s*(?:\\*[\"'\[({]|Some\()",
    r"\barguments\s*[=:]\s*\\*[\"']?\{|<prompts?>|\{(?:Role:\w+ )?(?:Prompt|Content):\S|^ *content: \S",
    r"\b(?:\w+_)?prompt: \S|\bgenerated text: \S|\b(?:prompt|generated text):\s*$",
    r"\b" + _BODIES + r"\(",
    r"\b(?:request body|req\.body|payload)\b\s*[=:({]|\bREQUEST_BODY\b|\bARGS:|\braw (?:request|response)\b",
    r"\b(?:received|finished|generate|add(?:ed|ing)?) request\b.*\b(?:prompt|text|input|output)\w*\b|\bgenerated response\b",
    r"\btext_generation_router.*\b(?:input|output): |\bprompt tokens? +\d+:|\bnext token: ",
    r"<\|(?:im_start|start_header_id|user|assistant|system)\|>|\[INST\]|<start_of_turn>",
)
_MAX_OPEN = 256
_MAX_BACK = 16
"""Records looked back at for the heads of a log."""
_MAX_PASSED = 80
"""No record waits longer (`collect.multiline`)."""
_MAX_WAITING = 8
"""Records that may wait at a time, each of which may let the others pass."""
_MAX_FORMS = 4
"""Of heads of one log."""


class Privacy:
    """Compiled patterns of request bodies. Works on UTF-8 bytes."""

    def __init__(self) -> None:
        union = "|".join(f"(?:{one})" for one in _PRIVATE)
        self._private = re2.compile(f"(?im){union}".encode())
        self._sweep = Sweep(f"(?i){union}".encode())
        self._open: dict[Hashable, Prompt] = {}
        """Of each log, the prompt that is not over."""
        self._ended: dict[Hashable, int] = {}
        """Of each log, the records since a prompt ended, as long as some may come that waited meanwhile."""
        self._forms: dict[Hashable, dict[bytes, None]] = {}
        """How logs in which prompts were open begin their records."""

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

    def follow(
        self, lines: Sequence[bytes], sources: Sequence[Hashable], passed_by: Sequence[int] | None = None
    ) -> set[int]:
        """
        Which of *lines* are private, those that go on with a prompt included, from call to call.

        Args:
            lines: Records of one or several lines, in the order in which they came.
            sources: The log of each.
            passed_by: How many lines of its log each let pass while it waited for its own; none if not told.
        """
        # a record of several lines would be taken for several records
        found = set(self.among([b"" if b"\n" in line else line for line in lines]))
        found.update(n for n, line in enumerate(lines) if b"\n" in line and self.is_private(line))
        if found or self._open or self._ended:
            found.update(self._following(lines, sources, found, passed_by or [0] * len(lines)))
        return found

    def _following(
        self, lines: Sequence[bytes], sources: Sequence[Hashable], found: set[int], passed_by: Sequence[int]
    ) -> Iterator[int]:
        inside: set[int] = set()
        for number, (line, source) in enumerate(zip(lines, sources, strict=True)):
            if self._ended and self._comes_from_within(source, line, passed_by[number]):
                inside.add(number)
                yield number
                continue
            prompt = self._open.get(source)
            if prompt is not None:
                # a line within a prompt opens none, whatever it holds
                if prompt.takes(line, head_form(line)):
                    inside.add(number)
                    yield number
                if prompt.is_open:
                    continue
                del self._open[source]
                _put(self._ended, source, 0, most=_MAX_OPEN)
            if number in found:
                self._begin(lines, sources, number, inside)

    def _comes_from_within(self, source: Hashable, line: bytes, passed_by: int) -> bool:
        """Whether *line* was written before the last prompt of its log ended, which is the case of some that waited."""
        since = self._ended.get(source)
        if since is None:
            return False
        if passed_by and not head_form(line) and passed_by + _MAX_WAITING >= since:
            return True
        if since >= _MAX_PASSED:
            del self._ended[source]
        else:
            self._ended[source] = since + 1
        return False

    def _begin(self, lines: Sequence[bytes], sources: Sequence[Hashable], number: int, inside: set[int]) -> None:
        """Remember whether the private line of that *number* ends within what was asked."""
        line, source = lines[number], sources[number]
        said, own = self._private.search(line), head_form(line)
        if said is None or own.startswith(b" ["):  # an access log, which escapes line feeds
            return
        forms: Collection[bytes] = {own}
        if not own:
            forms = self._learned(lines, sources, number, inside)
        prompt = Prompt(line, said.start(), forms)
        if prompt.is_open and own:
            forms = {own, *self._learned(lines, sources, number, inside)}
            prompt = Prompt(line, said.start(), forms)
        if prompt.is_open:
            _put(self._open, source, prompt, most=_MAX_OPEN)

    def _learned(
        self, lines: Sequence[bytes], sources: Sequence[Hashable], number: int, inside: set[int]
    ) -> Collection[bytes]:
        """How the log of that line begins its records, as far as that was seen outside of prompts."""
        source = sources[number]
        forms = self._forms.get(source, {})
        for earlier in range(max(0, number - _MAX_BACK), number):
            if sources[earlier] == source and earlier not in inside and (form := head_form(lines[earlier])):
                _put(forms, form, None, most=_MAX_FORMS)
        if forms:
            _put(self._forms, source, forms, most=_MAX_OPEN)
        return tuple(forms)


def _put(kept: dict[K, T], key: K, value: T, *, most: int) -> None:
    """Keep *value* under *key*, and of all keys the newest."""
    kept.pop(key, None)
    kept[key] = value
    if len(kept) > most:
        del kept[next(iter(kept))]
