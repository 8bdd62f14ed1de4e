"""
Many lines to templates at once, for offline commands and child processes.

The stream's way, and its result, for a fraction of the interpreter's work. Lines that differ in digits only are masked
alike, so each such form is masked once, by the Rust engine over all new forms of a batch; and a masked text seen before
is not searched for while the leaf of its cluster is as it was. What drain3 would answer line by line comes out, as long
as the templates are fewer than are kept: which of them give way is decided by when one was last searched for.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from aiops.logs.cluster import Cluster, Clusters
from aiops.logs.lexicon import Lexicon
from aiops.logs.mask import PASSES, Masker, for_rust, head
from aiops.model import LogSeverity

_DIGITS = bytes.maketrans(b"0123456789", b"0000000000")
_PASSES = [(for_rust(pattern), masked) for pattern, masked in PASSES]
_MAX_FORMS = 100_000
"""Forms remembered from batch to batch; some 150 bytes each."""
_FEW = 400
"""So few are masked one by one: Rust's engine compiles the pattern for each batch, in as much time as they take."""


class _Text:
    """Lines that are masked alike, and where that led when the leaf had this stamp."""

    __slots__ = ("cluster", "masked", "severity", "stamp")

    def __init__(self, masked: str, severity: LogSeverity, cluster: Cluster) -> None:
        self.masked = masked
        self.severity = severity
        self.cluster = cluster
        self.stamp = cluster.leaf.stamp


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
        self._forms: dict[int, _Text] = {}

    def assign(self, lines: Sequence[str]) -> list[Cluster]:
        """The cluster of each line, in order."""
        texts = [head(line.encode("utf-8", "replace")) for line in lines]
        keys = _keys(texts)
        forms = self._forms
        if len(forms) > _MAX_FORMS:
            forms.clear()
            self._texts.clear()
        new = {key: number for number, key in enumerate(keys) if key not in forms}
        masked = dict(zip(new, self._mask([texts[number] for number in new.values()]), strict=True))
        clusters = []
        for number, key in enumerate(keys):
            text = forms.get(key)
            if text is None:
                text = forms[key] = self._text(masked[key], self._severity(texts[number]))
            cluster = text.cluster
            if text.stamp != cluster.leaf.stamp:
                cluster = text.cluster = self._clusters.assign(text.masked, text.severity)
                text.stamp = cluster.leaf.stamp
            clusters.append(cluster)
        return clusters

    def _text(self, masked: str, severity: LogSeverity) -> _Text:
        text = self._texts.get((severity, masked))
        if text is None:
            cluster = self._clusters.assign(masked, severity)
            text = self._texts[severity, masked] = _Text(masked, severity, cluster)
        return text

    def _mask(self, texts: list[bytes]) -> list[str]:
        if len(texts) <= _FEW:
            return [self._masker.mask(text).decode() for text in texts]
        column = pl.Series([text.decode() for text in texts])
        for pattern, masked in _PASSES:
            column = column.str.replace_all(pattern, masked)
        return column.to_list()


def _keys(texts: list[bytes]) -> list[int]:
    """The same number for lines that differ in digits only."""
    forms = b"\n".join(texts).translate(_DIGITS).split(b"\n")
    if len(forms) != len(texts):  # records of several lines, or none at all
        forms = [text.translate(_DIGITS) for text in texts]
    return [hash(form) for form in forms]
