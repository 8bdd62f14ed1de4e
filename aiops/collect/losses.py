"""What of one log could not be used, by reason, as a counter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from aiops.model import Labels, Sample


class Losses:
    """
    What of one log could not be used, by reason, as a counter.

    Args:
        host: This node.
        source: The log.
    """

    def __init__(self, host: str, source: str) -> None:
        self.counts: Counter[str] = Counter()
        self._labels = Labels.of(host_name=host, source=source)
        self._told: Counter[str] = Counter()

    def samples(self, now_s: float) -> Iterator[Sample]:
        """Totals that changed, a zero a second earlier before each new one."""
        for reason, count in self.counts.items():
            if count == self._told[reason]:
                continue
            labels = self._labels.merge(reason=reason)
            if not self._told[reason]:
                yield Sample("log_lines_skipped_total", labels, now_s - 1.0, 0.0)
            self._told[reason] = count
            yield Sample("log_lines_skipped_total", labels, now_s, float(count))
