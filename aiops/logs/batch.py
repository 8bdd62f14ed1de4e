"""
Many lines to templates at once, for offline commands and child processes.

The stream's way, and its result, for a fraction of the interpreter's work. Lines that differ in digits only are masked
alike, but for digits that masks leave ("ssh2"), so each such form is masked once, by the Rust engine over all new forms
of a batch; and a masked text seen before is not searched for while the leaf of its cluster is as it was. What drain3 would answer line by line comes out, as long
as the templates are fewer than are kept: which of them give way is decided by when one was last searched for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

import polars as pl

from aiops.logs.cluster import Cluster, Clusters
from aiops.logs.lexicon import Lexicon
from aiops.logs.mask import PASSES, Masker, for_rust, head
from aiops.model import LogSeverity

_ZEROS = bytes.maketrans(b"0123456789", b"0000000000")
_OTHERS = bytes(byte for byte in range(256) if byte not in b"0123456789")
_PASSES = [(for_rust(pattern), masked) for pattern, masked in PASSES]
_DIGIT = re.compile("[0-9]")
_MAX_TEXTS = 100_000
"""Texts, and ways to them, remembered from batch to batch; 150 to 300 bytes each."""
_FEW = 600
"""So few are masked one by one: Rust's engine begins each batch with what takes as long as these."""


class _Text:
    """Lines that are masked alike, and where that led when the leaf had this stamp."""

    __slots__ = ("cluster", "masked", "severity", "stamp")

    def __init__(self, masked: str, severity: LogSeverity, cluster: Cluster) -> None:
        self.masked = masked
        self.severity = severity
        self.cluster = cluster
        self.stamp = cluster.leaf.stamp


class _Form:
    """Lines that differ in digits only, some of which masking leaves: each choice of those is a text of its own."""

    __slots__ = ("left", "pieces", "severity", "texts")

    def __init__(self, masked: str, left: tuple[int, ...], severity: LogSeverity) -> None:
        self.left = left
        self.pieces = _DIGIT.split(masked)
        self.severity = severity
        self.texts: dict[bytes, _Text] = {}

    def digits(self, line: bytes) -> bytes:
        """Those of *line* that masking leaves."""
        all_digits = line.translate(None, _OTHERS)
        return bytes([all_digits[number] for number in self.left])

    def masked(self, digits: bytes) -> str:
        """How lines with these *digits* are masked."""
        return "".join(chain.from_iterable(zip(self.pieces, (*digits.decode(), ""), strict=True)))


class Batch:
    """
    Clusters lines, batch after batch.

    Args:
        max_clusters: Templates kept per severity.
    """

    def __init__(self, *, max_clusters: int) -> None:
        self._clusters = Clusters(max_clusters)
        self._masker = Masker()
        self._severity = Lexicon(()).severity
        self._texts: dict[tuple[LogSeverity, str], _Text] = {}
        self._forms: dict[int, _Text | _Form] = {}
        self._ways = 0

    def assign(self, lines: Sequence[str]) -> list[Cluster]:
        """The cluster of each line, in order."""
        texts = [head(line.encode("utf-8", "replace")) for line in lines]
        keys = _keys(texts)
        if self._ways > _MAX_TEXTS:
            self._forget()
        known = self._forms
        new = {key: number for number, key in enumerate(keys) if key not in known}
        masked = dict(zip(new, self._mask([texts[number] for number in new.values()]), strict=True))
        clusters = []
        for number, key in enumerate(keys):
            found = known.get(key)
            if found is None:
                found = known[key] = self._meet(texts[number], masked[key])
            text = self._choose(found, texts[number]) if isinstance(found, _Form) else found
            cluster = text.cluster
            if text.stamp != cluster.leaf.stamp:
                cluster = text.cluster = self._clusters.assign(text.masked, text.severity)
                text.stamp = cluster.leaf.stamp
            clusters.append(cluster)
        return clusters

    def _meet(self, line: bytes, masked: str) -> _Text | _Form:
        self._ways += 1
        severity = self._severity(line)
        if _DIGIT.search(masked) is None:
            return self._text(masked, severity)
        return _Form(masked, self._masker.left(line), severity)

    def _choose(self, form: _Form, line: bytes) -> _Text:
        digits = form.digits(line)
        text = form.texts.get(digits)
        if text is None:
            self._ways += 1
            text = form.texts[digits] = self._text(form.masked(digits), form.severity)
        return text

    def _text(self, masked: str, severity: LogSeverity) -> _Text:
        text = self._texts.get((severity, masked))
        if text is None:
            cluster = self._clusters.assign(masked, severity)
            text = self._texts[severity, masked] = _Text(masked, severity, cluster)
        return text

    def _forget(self) -> None:
        self._forms.clear()
        self._texts.clear()
        self._ways = 0

    def _mask(self, texts: list[bytes]) -> list[str]:
        if len(texts) <= _FEW:
            return [self._masker.mask(text).decode() for text in texts]
        column = pl.Series([text.decode() for text in texts])
        for pattern, masked in _PASSES:
            column = column.str.replace_all(pattern, masked)
        return column.to_list()


def _keys(texts: list[bytes]) -> list[int]:
    """The same number for lines that differ in digits only."""
    forms = b"\n".join(texts).translate(_ZEROS).split(b"\n")
    if len(forms) != len(texts):  # records of several lines, or none at all
        forms = [text.translate(_ZEROS) for text in texts]
    return [hash(form) for form in forms]
