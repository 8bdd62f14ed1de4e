"""
Which lines may not be looked at at all.

Lines that carry request bodies are recognised here and dropped by the caller before anything else happens: a prompt is
personal data, and may hold any words, those of an error included. One RE2 alternation, so a hostile line costs time
linear in its length.
"""

from __future__ import annotations

from collections.abc import Sequence

import re2

from aiops.logs.sweep import Sweep

_PRIVATE = (
    r"(?i)\bprompt(?:_token_ids|_text|s)?[\"']?\s*[=:]\s*[\"'\[({]",
    r"(?i)\bprompt(?:_token_ids)?=",
    r"(?i)\bprompt: \S",
    r"(?i)[\"'](?:messages|input_text|input_ids|inputs|text_input|token_ids)[\"']\s*:",
    r"(?i)\b(?:input_text|input_ids|text_input|output_text|generated_text|messages)\s*=",
    r"(?i)\b(?:received|finished|generate|add(?:ed|ing)?) request\b.*\b(?:prompt|text|input|output)\w*\b",
    r"(?i)[\"'](?:content|text)[\"']\s*:\s*[\"'].*[\"']role[\"']|[\"']role[\"']\s*:\s*[\"'](?:user|assistant|system)[\"']",
    r"(?i)\b(?:request body|req\.body|payload|GenerateReqInput|ChatCompletionRequest|CompletionRequest)\b\s*[=:({]",
)


class Privacy:
    """Compiled patterns of request bodies. Works on UTF-8 bytes."""

    def __init__(self) -> None:
        union = "|".join(f"(?:{one})" for one in _PRIVATE).encode()
        self._private = re2.compile(union)
        self._sweep = Sweep(union)

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
