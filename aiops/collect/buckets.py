"""Quantiles in a histogram's own buckets, over what was added to it between two readings."""

from __future__ import annotations

import math
from collections.abc import Sequence

Counts = Sequence[float]


def increase(before: Counts, after: Counts) -> Counts:
    """Growth of each cumulative bucket; all of *after* if the server has restarted in between."""
    grown = [new - old for old, new in zip(before, after, strict=True)]
    return after if min(grown, default=0.0) < 0.0 else grown


def quantile(share: float, edges: Sequence[float], counts: Counts) -> float | None:
    """
    The *share* quantile of a histogram, interpolated linearly within a bucket.

    Args:
        share: Above 0, up to 1.
        edges: Upper edges, ascending; the last one should be infinity.
        counts: Cumulative, one for each edge.

    Returns:
        None if nothing was counted; the highest finite edge if the quantile lies above it.

    Source:
        Prometheus' histogram_quantile.
    """
    total = max(counts, default=0.0)
    if total <= 0.0:
        return None
    lower_edge = lower_count = 0.0
    for edge, cumulative in zip(edges, counts, strict=True):
        count = max(cumulative, lower_count)  # buckets written one after another may disagree by a request
        if count >= share * total:
            if math.isinf(edge) or count == lower_count:
                return lower_edge
            start = min(lower_edge, edge)
            return min(start + (edge - start) * (share * total - lower_count) / (count - lower_count), edge)
        lower_edge, lower_count = edge, count
    return lower_edge


def gap(edges: Sequence[float], limit: float, tolerance: float = 0.1) -> tuple[float, float] | None:
    """
    The bucket in which a quantile near *limit* could only be guessed.

    Returns:
        Its edges; None when an edge lies within *tolerance* (a share) of the limit, or there is no bucket around it.
    """
    finite = [edge for edge in edges if math.isfinite(edge)]
    if not finite or min(abs(edge - limit) for edge in finite) <= tolerance * limit:
        return None
    below = max((edge for edge in finite if edge < limit), default=0.0)
    above = min((edge for edge in finite if edge > limit), default=math.inf)
    return below, above
