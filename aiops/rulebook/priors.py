"""
Priors recounted: what incidents that people confirmed or rejected say of how often each cause is at work on this node.

A cause file's prior is an estimate. It enters as a beta distribution worth `WEIGHT` incidents around that estimate,
and what people said is counted on top of it (Beta-binomial): the recounted prior is the mean of what comes out.

How sure an answer may sound hangs on the same count. Until 30 incidents were confirmed nothing is shown above 90 %;
from then on nothing above the share of answers that people found right (rule of succession), if that is more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from aiops.model import Tally
from aiops.rulebook.causes import CauseRule

WEIGHT = 50.0
"""
Incidents a file's prior is worth. At 50, one person's word at most doubles the prior of the rarest cause that is shipped
(2 %), so that nobody's slip decides the next incident; and after 50 judged incidents the node counts as much as the file.
"""
MOST = 4.0
"""A prior's odds move by at most this factor either way: evidence must go on deciding."""
MAX_SHOWN = 0.9
"""Probability above which nothing is shown until `CONFIRMED_BEFORE` incidents were confirmed."""
CONFIRMED_BEFORE = 30


def recounted(prior: float, was: int, of: int) -> float:
    """
    A cause's prior on this node.

    Args:
        prior: The file's, in (0, 1).
        was: Incidents it was the cause of.
        of: Incidents of which it is known whether it was.
    """
    if not of:
        return prior
    mean = (WEIGHT * prior + was) / (WEIGHT + of)
    lowest, highest = bounds(prior)
    return min(max(mean, lowest), highest)


def bounds(prior: float) -> tuple[float, float]:
    """Between what a file's *prior* can move."""
    odds = prior / (1.0 - prior)
    return odds / MOST / (1.0 + odds / MOST), odds * MOST / (1.0 + odds * MOST)


def with_priors(causes: Iterable[CauseRule], tally: Tally) -> tuple[CauseRule, ...]:
    """*causes* with the priors that *tally* gives them; those nobody said anything of stay as they are."""
    return tuple(replace(rule, prior=recounted(rule.prior, *tally.counted(rule.cause))) for rule in causes)


def most_shown(tally: Tally) -> float:
    """The highest probability that may be shown."""
    if tally.confirmed < CONFIRMED_BEFORE:
        return MAX_SHOWN
    return max(MAX_SHOWN, (tally.confirmed + 1) / (tally.confirmed + tally.rejected + 2))
