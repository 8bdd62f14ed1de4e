"""
Totals of several lines of a page, without steps where lines come, go, or move from one total to another.

A page shows the counters of each replica, rank or cluster, and one total is made of them. When a replica is gone its line
is, too: the sum falls, which looks like a restart, and then everything that the others ever counted looks like news.
So what a line had counted when it was seen last stays in the total, and what it had counted before it was put into
another total does not count there. Only when a line itself falls was the server restarted, and all begins anew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from aiops.catalog import CATALOG, MetricKind
from aiops.collect.engines import Combine
from aiops.collect.page_plan import Cell, Plan
from aiops.model import Labels

_MAX_GONE = 4_096
_Key = tuple[str, Labels]
_Lines = dict[object, float]
"""What each line of a total had counted."""


class SteadyTotals:
    """Watches the totals of one page."""

    def __init__(self) -> None:
        self._plan: Plan | None = None
        self._values: Sequence[float] = ()
        self._added: dict[_Key, float] = {}
        """To the sum of the lines there are; of most totals nothing."""
        self._sums: dict[_Key, float] = {}
        self._gone: dict[tuple[str, object], tuple[Labels, float]] = {}
        """Lines that are not on the page any more: in which total they were, and what they had counted. They may come back."""

    def see(self, plan: Plan, values: Sequence[float]) -> None:
        """
        Look at a page before its totals are told.

        Args:
            plan: The page's; the same object for as long as it is laid out alike.
            values: Of the page.
        """
        if self._plan is not None and plan is not self._plan:
            self._added = self._carried(_lines(self._plan, self._values), _lines(plan, values))
            self._sums.clear()
        self._plan, self._values = plan, values

    def steady(self, cell: Cell, total: float) -> float:
        """*total*, the sum of the lines of *cell*, as it is to be told."""
        if not self._added:
            return total
        key = (cell.metric, cell.labels)
        added = self._added.get(key)
        if added is None:
            return total
        if total < self._sums.get(key, 0.0):  # restarted
            del self._added[key]
            return total
        self._sums[key] = total
        whole = max(total + added, 0.0)
        return whole if math.isfinite(whole) else total

    def _carried(self, before: dict[_Key, _Lines], now: dict[_Key, _Lines]) -> dict[_Key, float]:
        """What is to be added to each total from now on."""
        was = {(metric, line): value for (metric, _), lines in before.items() for line, value in lines.items()}
        carried: dict[_Key, float] = {}
        for key, lines in now.items():
            metric, known = key[0], before.get(key, {})
            if any(value < was.get((metric, line), value) for line, value in lines.items()):
                continue
            gone = sum(value for line, value in known.items() if line not in lines)
            come = sum(
                counted
                for line in lines.keys() - known
                if (counted := was.get((metric, line), self._left(key, line, whole=key not in before))) <= lines[line]
            )  # a line that shows less has begun anew
            added = self._added.get(key, 0.0) + gone - come
            if added and math.isfinite(added):
                carried[key] = added
        self._remember(before, {(metric, line) for (metric, _), lines in now.items() for line in lines})
        return carried

    def _left(self, key: _Key, line: object, *, whole: bool) -> float:
        """What a line that was gone had counted; nothing if all of its total was gone with it, which then goes on."""
        labels, value = self._gone.get((key[0], line), (None, 0.0))
        return 0.0 if whole and labels == key[1] else value

    def _remember(self, before: dict[_Key, _Lines], here: set[tuple[str, object]]) -> None:
        """Keep what lines had counted that are not *here* any more."""
        for (metric, labels), lines in before.items():
            self._gone.update({(metric, line): (labels, value) for line, value in lines.items()})
        for line in here & self._gone.keys():
            del self._gone[line]
        if len(self._gone) > _MAX_GONE:
            self._gone.clear()


def _lines(plan: Plan, values: Sequence[float]) -> dict[_Key, _Lines]:
    """The lines of every total that is a sum of counters."""
    return {
        (cell.metric, cell.labels): {
            line: max(known)
            for line, places in cell.groups.items()
            if (known := [values[place] for place in places if math.isfinite(values[place])])
        }
        for cell in plan.cells
        if cell.combine is Combine.SUM and CATALOG[cell.metric].kind is MetricKind.COUNTER
    }
