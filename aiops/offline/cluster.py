"""
The daemon's way of a log line, for files: what is private is set aside, the rest gets a template and a meaning.

Every line read gets an answer, in order. Lines with request bodies are answered with an id of their own before anything
else looks at them, and lines that are too old are left out with a dash.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import Protocol

import numpy as np

from aiops.logs.lexicon import Lexicon
from aiops.logs.privacy import Privacy
from aiops.offline.since import Since
from aiops.offline.tally import PRIVATE, Cluster, Ints, Tally

LEFT_OUT = "-"
"""Stands in place of an id for a line that was too old."""


class Grouping(Protocol):
    """Finds the template of each line."""

    def assign(self, lines: Sequence[str]) -> Sequence[Cluster]:
        """The cluster of each of *lines*, in order."""
        ...


class Clustering:
    """
    Takes lines batch by batch and counts them by template.

    Args:
        grouping: Lines to templates.
        lexicon: Lines to meanings.
        privacy: Lines nobody may look at.
        since: Lines that are recent enough; None when all are.
        tally: Where they are counted.
    """

    def __init__(
        self, grouping: Grouping, lexicon: Lexicon, privacy: Privacy, since: Since | None, tally: Tally
    ) -> None:
        self._grouping = grouping
        self._lexicon = lexicon
        self._privacy = privacy
        self._since = since
        self._tally = tally
        self.lines = 0
        """Lines seen, those left out among them."""

    def take(self, lines: list[str]) -> list[str]:
        """
        Count *lines*, which follow those of the last call.

        Returns:
            The id of each line's template.
        """
        at = np.arange(self.lines + 1, self.lines + len(lines) + 1)
        self.lines += len(lines)
        if self._since is None:
            return self._count(lines, at)
        keeps = self._since.keeps(lines)
        ids = iter(self._count(list(compress(lines, keeps)), at[np.array(keeps)]))
        return [next(ids) if kept else LEFT_OUT for kept in keeps]

    def _count(self, lines: list[str], at: Ints) -> list[str]:
        texts = [line.encode("utf-8", "replace").rstrip() for line in lines]
        private = self._privacy.follow(texts, [""] * len(texts))  # what is indented has no head
        texts = [text.lstrip() for text in texts]
        for place in private:  # nobody sees them from here on
            lines[place], texts[place] = "", b""
        clusters: list[Cluster] = list(self._grouping.assign(lines))
        for place in private:
            clusters[place] = PRIVATE
        hits = {
            place: (hit.signature.log_class, hit.signature.severity)
            for place, hit in self._lexicon.among(texts).items()
        }
        return self._tally.add(clusters, hits, at)
