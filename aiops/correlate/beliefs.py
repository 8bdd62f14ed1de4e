"""The causes with their priors as they stand on this node: the files' own, and what people have said since."""

from __future__ import annotations

from collections.abc import Sequence

from aiops.model import Judgement, Tally
from aiops.rulebook.causes import CauseRule
from aiops.rulebook.priors import most_shown, with_priors


class Beliefs:
    """
    Causes as diagnoses use them; changes when a person says that an answer was right or wrong.

    Args:
        files: All causes, as the files have them.
        tally: What people have said so far.
    """

    def __init__(self, files: Sequence[CauseRule], tally: Tally) -> None:
        self.files = tuple(files)
        self.titles = {rule.cause: rule.title for rule in self.files}
        self._take(tally)

    def count(self, before: Judgement | None, now: Judgement) -> None:
        """A person's word *now*, in place of *before*."""
        self._take(self.tally.changed(before, now))

    def _take(self, tally: Tally) -> None:
        self.tally = tally
        self.causes = with_priors(self.files, tally)
        self.most_shown = most_shown(tally)
