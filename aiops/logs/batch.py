"""
Many lines to templates at once, for offline commands and child processes.

The stream's way, and its result, for a thousandth of the interpreter's work: lines that differ in digits only are
masked alike, so each such form is masked once, by the Rust engine over all new forms of a batch; and a form seen before
needs no search while the leaf of its cluster is as it was. What drain3 would answer line by line is what comes out.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from aiops.logs.cluster import Cluster, Clusters
from aiops.logs.lexicon import Lexicon
from aiops.logs.mask import RUST_PATTERN, Masker
from aiops.model import LogSeverity

_DIGITS = bytes.maketrans(b"0123456789", b"0000000000")
_MAX_FORMS = 100_000
"""Forms remembered from batch to batch; some 300 bytes each."""
_FEW = 64
"""So few lines are masked one by one: the Rust engine compiles its pattern anew for each batch."""


class _Form:
    """Lines that differ in digits only: how they are masked, and where that led when the leaf was last looked at."""

    __slots__ = ("changes", "cluster", "masked", "severity")

    def __init__(self, masked: str, severity: LogSeverity, cluster: Cluster) -> None:
        self.masked = masked
        self.severity = severity
        self.cluster = cluster
        self.changes = cluster.leaf.changes


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
        self._forms: dict[int, _Form] = {}

    def assign(self, lines: Sequence[str]) -> list[Cluster]:
        """The cluster of each line, in order."""
        texts = [line.encode("utf-8", "replace") for line in lines]
        keys = _keys(texts)
        forms = self._forms
        if len(forms) > _MAX_FORMS:
            forms.clear()
        new = {key: number for number, key in enumerate(keys) if key not in forms}
        masked = dict(zip(new, self._mask([texts[number] for number in new.values()]), strict=True))
        clusters = []
        for number, key in enumerate(keys):
            form = forms.get(key)
            if form is None:
                severity = self._severity(texts[number])
                form = forms[key] = _Form(masked[key], severity, self._clusters.assign(masked[key], severity))
            elif form.changes != form.cluster.leaf.changes:
                form.cluster = self._clusters.assign(form.masked, form.severity)
                form.changes = form.cluster.leaf.changes
            clusters.append(form.cluster)
        return clusters

    def _mask(self, texts: list[bytes]) -> list[str]:
        if len(texts) <= _FEW:
            return [self._masker.mask(text).decode() for text in texts]
        return pl.Series([text.decode() for text in texts]).str.replace_all(RUST_PATTERN, "<*>").to_list()


def _keys(texts: list[bytes]) -> list[int]:
    """The same number for lines that differ in digits only."""
    forms = b"\n".join(texts).translate(_DIGITS).split(b"\n")
    if len(forms) != len(texts):  # records of several lines
        forms = [text.translate(_DIGITS) for text in texts]
    return [hash(form) for form in forms]
