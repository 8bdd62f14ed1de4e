"""
An allow-list parser of the Prometheus text format.

A vLLM page has a thousand lines of which we want thirty. A full parser takes 18 ms for it, and the daemon reads several
such pages every second while an incident is open. So a line is cut at the first brace and dropped unless the name
before it is wanted; only then are labels and value read, and labels seen before come from a cache.

The page is hostile input: lines that are not understood are counted and skipped, long ones not looked at, and a page
with more lines or wanted readings than any honest server has is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from aiops.errors import SourceMalformed

_MAX_LINES = 100_000
_MAX_LINE_BYTES = 16 * 2**10
_MAX_READINGS = 20_000
_MAX_CACHED = 4_096
_MAX_CACHED_BYTES = 1_024
_MAX_LABELS = 64

_LABEL = re.compile(rb'[ \t]*([a-zA-Z_][a-zA-Z0-9_.]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*(,|$)')
_BLOCK = re.compile(rb'\{((?:[^"}]++|"(?:[^"\\]|\\.)*+")*+)\}')
_ESCAPE = re.compile(r"\\(.)")
_UNESCAPED = {"n": "\n", "\\": "\\", '"': '"'}


class Reading(NamedTuple):
    """One line of a page."""

    labels: Mapping[str, str]
    value: float
    text: bytes
    """The labels as written: the same series has the same text every time."""


@dataclass(frozen=True, slots=True)
class Page:
    """What was wanted and found."""

    readings: Mapping[str, list[Reading]]
    """Per name, in page order; only names that have at least one finite value."""
    skipped: int
    """Lines of wanted names that could not be understood."""


class Parser:
    """
    Reads pages of one kind of server.

    Args:
        wanted: Names to read, as they stand on the page: with ``_total``, ``_bucket``, ``_sum`` or ``_count``.
    """

    def __init__(self, wanted: Collection[str]) -> None:
        self._wanted = {name.encode(): name for name in wanted}
        self._labels: dict[bytes, Mapping[str, str] | None] = {}

    def parse(self, page: bytes) -> Page:
        """
        The wanted readings of *page*; values that are no finite number are left out.

        Raises:
            SourceMalformed: more lines or wanted readings than an honest page has.
        """
        if page.count(b"\n") > _MAX_LINES:
            raise SourceMalformed(f"a page of more than {_MAX_LINES} lines")
        wanted = self._wanted
        readings: dict[str, list[Reading]] = {}
        taken = skipped = 0
        for line in page.split(b"\n"):
            head, brace, _ = line.partition(b"{")
            if head not in wanted:
                if brace or line[:1] == b"#":
                    continue
                head = line.partition(b" ")[0]
                if head not in wanted:
                    continue
            reading = self._reading(head, line)
            if reading is None:
                skipped += 1
            elif math.isfinite(reading.value):
                readings.setdefault(wanted[head], []).append(reading)
                taken += 1
                if taken > _MAX_READINGS:
                    raise SourceMalformed(f"more than {_MAX_READINGS} readings")
        return Page(readings, skipped)

    def _reading(self, head: bytes, line: bytes) -> Reading | None:
        """Labels and value of *line*; None when it is broken."""
        if len(line) > _MAX_LINE_BYTES:
            return None
        labels: Mapping[str, str] | None = {}
        text, rest = b"", line[len(head) :]
        if rest[:1] == b"{":
            text, rest = _cut_labels(rest)
            labels = self._labels_of(text)
        fields = rest.split(maxsplit=1)
        if labels is None or not fields or b"_" in fields[0]:  # Python reads 1_000, the format does not know it
            return None
        try:
            return Reading(labels, float(fields[0]), text)
        except ValueError:
            return None

    def _labels_of(self, text: bytes) -> Mapping[str, str] | None:
        if text in self._labels:
            return self._labels[text]
        labels = _parse_labels(text)
        if len(text) <= _MAX_CACHED_BYTES:
            if len(self._labels) >= _MAX_CACHED:
                self._labels.clear()
            self._labels[text] = labels
        return labels


def _cut_labels(rest: bytes) -> tuple[bytes, bytes]:
    """What stands inside the braces at the start of *rest*, and what follows; values may hold braces themselves."""
    end = rest.find(b"}")
    if end >= 0 and b"\\" not in rest[:end] and not rest.count(b'"', 0, end) % 2:
        return rest[1:end], rest[end + 1 :]
    block = _BLOCK.match(rest)
    return (block[1], rest[block.end() :]) if block else (b"{", b"")  # a brace is no label list


def _parse_labels(text: bytes) -> Mapping[str, str] | None:
    """Name-value pairs of *text*; None when it is no list of them."""
    labels: dict[str, str] = {}
    at = 0
    while at < len(text):
        found = _LABEL.match(text, at)
        if found is None or len(labels) >= _MAX_LABELS:
            return None
        value = found[2].decode("utf-8", "replace")
        labels[found[1].decode("ascii")] = _ESCAPE.sub(_unescape, value) if "\\" in value else value
        at = found.end()
    return labels


def _unescape(escape: re.Match[str]) -> str:
    return _UNESCAPED.get(escape[1], escape[0])
