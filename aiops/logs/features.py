"""
A line as a bag of hashed features, for the linear text model of `guess`.

Numbers, ids and addresses say nothing about what a line means, so only words count: each word, each pair of
neighbours, and the pieces of four letters in it, since "preempted" and "preempting" mean the same. Features are hashed
to a fixed number of columns, so the model needs no vocabulary and stays small.
"""

from __future__ import annotations

from collections.abc import Iterator
from zlib import crc32

import re2

COLUMNS = 8_192
"""A power of two; more gained nothing in cross-validation."""
_MAX_LINE_BYTES = 600
_MAX_WORDS = 60
_PIECE = 4

_WORD = re2.compile(rb"[A-Z]?[a-z]+|[A-Z]+")
_NUMBERS = re2.compile(rb"\b(?:0[xX])?[0-9a-fA-F]*[0-9][0-9a-fA-F]*\b|[0-9]+")


def columns(line: bytes) -> list[int]:
    """The columns that *line* fills, each once, ascending."""
    return sorted({crc32(feature) % COLUMNS for feature in _features(line)})


def _features(line: bytes) -> Iterator[bytes]:
    text = _NUMBERS.sub(b"0", line[:_MAX_LINE_BYTES])
    before = b"^"
    for word in [word.lower() for word in _WORD.findall(text)[:_MAX_WORDS]]:
        yield word
        yield before + b" " + word
        before = word
        padded = b"<" + word + b">"
        for start in range(len(padded) - _PIECE):
            yield b"#" + padded[start : start + _PIECE + 1]
