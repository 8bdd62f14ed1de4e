"""
Whether a template is news: never seen before, or seen far more often than it used to be.

**Never seen before** means something only where new things are rare. How likely the next line of a source is to be of a
kind never seen is estimated from how many kinds were seen exactly once (Good 1953): a source that still says something
new in every tenth line is being learned, one that said the same forty things in its last thousand lines has been.

**Far more often** is told by counts per ten seconds. Of all stretches that reach to the end of the window, the one that
stands out most begins the jump. It has to beat chance (the exact conditional test of two Poisson rates), and, because
logs come in bursts, every earlier stretch of the same length too.
"""

from __future__ import annotations

import numpy as np

from aiops.logs.traces import BUCKET_S, Counted
from aiops.model import NewsKind, Onset, TemplateNews
from aiops.stats import Floats, binomial_tail

MAX_SURPRISE = 0.02
"""A log that says something new more often than in every fiftieth line is still being learned."""
_MIN_MORE = 10
"""Lines of a jump."""
_MIN_RATIO = 3.0
_BEATS_BEFORE = 2.0
"""A jump has more than so many times the lines of any earlier stretch of its length."""
_MAX_CHANCE = 1e-6
"""For two hundred templates with some thirty stretches each, less than one in a hundred incidents shows a jump by chance;
what logs do beside chance is what the stretches before are for."""
_MIN_PAST_S = 30.0
_LONGEST_S = 3_600.0


def news_of(trace: Counted, start_s: float, end_s: float) -> TemplateNews | None:
    """What is new about a template in [start_s, end_s]; None if nothing is."""
    new = new_of(trace, start_s)
    if new is not None or trace.watched_since_s is None:
        return new
    return _jump(trace, start_s, end_s, trace.watched_since_s)


def new_of(trace: Counted, start_s: float) -> TemplateNews | None:
    """Whether a template is new since *start_s*."""
    if trace.born_at_s < start_s or trace.surprise is None or trace.surprise > MAX_SURPRISE:
        return None
    return TemplateNews(NewsKind.NEW, Onset(trace.born_at_s - 1.0, trace.born_at_s), 0.0)


def is_unsure(trace: Counted, start_s: float) -> bool:
    """Whether a template began since *start_s* in a log that is still being learned."""
    return trace.born_at_s >= start_s and (trace.surprise is None or trace.surprise > MAX_SURPRISE)


def _jump(trace: Counted, start_s: float, end_s: float, watched_since_s: float) -> TemplateNews | None:
    counts, first = _dense(trace, end_s, watched_since_s)
    begins = np.arange(max(int(start_s // BUCKET_S) - first, round(_MIN_PAST_S / BUCKET_S)), counts.size)
    if begins.size == 0:
        return None
    total = counts.cumsum()
    before, after = total[begins - 1], total[-1] - total[begins - 1]
    length = counts.size - begins - 1 + max(end_s % BUCKET_S / BUCKET_S, 0.1)  # the last ten seconds are not over
    usual = (before + 0.5) / begins  # lines in ten seconds; half a line stands for what was not seen yet
    ratio = after / (usual * length)
    candidates = np.flatnonzero((after >= _MIN_MORE) & (ratio >= _MIN_RATIO))
    if candidates.size == 0:
        return None
    # how unlikely, up to a constant: the log-likelihood ratio of two Poisson rates against one
    gain = after[candidates] * np.log(ratio[candidates]) - (after[candidates] - usual[candidates] * length[candidates])
    best = int(candidates[np.argmax(gain)])
    lines, past, share = int(after[best]), int(before[best]), float(length[best] / (length[best] + begins[best]))
    if binomial_tail(lines, lines + past, share) > _MAX_CHANCE:
        return None
    if lines <= _BEATS_BEFORE * _most(counts[: begins[best]], counts.size - int(begins[best])):
        return None
    began_s = float(first + begins[best]) * BUCKET_S
    onset = Onset(began_s - 1.0, began_s + BUCKET_S)
    if began_s <= trace.born_at_s < began_s + BUCKET_S:
        onset = Onset(trace.born_at_s - 1.0, trace.born_at_s)
    return TemplateNews(NewsKind.MORE, onset, round(float(ratio[best]), 1))


def _dense(trace: Counted, end_s: float, watched_since_s: float) -> tuple[Floats, int]:
    """Lines in every ten seconds up to *end_s*, and the number of the first ten seconds."""
    last = int(end_s // BUCKET_S)
    since_s = max(watched_since_s, end_s - _LONGEST_S)
    buckets = np.array(trace.buckets, dtype=np.int64)
    first = min(max(int(since_s // BUCKET_S), trace.forgotten) + 1, last)  # the first one was not watched whole
    shown = (buckets >= first) & (buckets <= last)
    counts = np.zeros(last - first + 1)
    counts[buckets[shown] - first] = np.array(trace.counts, dtype=np.float64)[shown]
    return counts, first


def _most(past: Floats, length: int) -> float:
    """The most lines in any stretch of *length* in *past*."""
    if past.size <= length:
        return float(past.sum())
    total = np.concatenate(([0.0], past.cumsum()))
    return float((total[length:] - total[:-length]).max())
