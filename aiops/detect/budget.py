"""
The error budget of every service: answers and failures of the last thirty days, kept by the minute and by the hour.

Memory holds minutes of the gateway's counters, but an objective speaks of a month. So what the counters add is booked
as it comes: six hours by the minute, thirty days by the hour, per service; 27 KB each. From these the burn rates over
the Workbook's windows and the budget left are written as series of their own, for rules, the page and /metrics to read.

A time nobody watched has no bucket: it is unknown, and unknown is not good. A burn rate needs half of its window
watched; the budget is a share of the failures allowed among the answers that were seen. The book survives restarts and
reloads (through checkpoints, once a minute and at a clean stop); after a kill at most a minute is missing. A clock set
back takes the buckets ahead of it with it.

Source: Beyer et al., The Site Reliability Workbook (2018), ch. 5, "Alerting on SLOs".
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import numpy as np
import structlog

from aiops.detect.buckets import Buckets
from aiops.detect.slo import OBJECTIVE
from aiops.model import UNNAMED_SERVICE, Labels, Sample
from aiops.ports import Checkpoints, SeriesReader, Window
from aiops.stats import steps

log = structlog.get_logger(__name__)

REQUESTS: Final = "http_server_requests_total"
FAILED: Final = frozenset({"503", "5xx", "truncated", "stalled"})
"""Outcomes that break the promise. A client over its limit (429), one that gave up (499) and one in error (4xx) do not."""
MINUTE_WINDOWS: Final = {"5m": 300.0, "30m": 1800.0, "1h": 3600.0, "6h": 21_600.0}
HOUR_WINDOWS: Final = {"3d": 259_200.0}
BUDGET_S: Final = 30 * 86_400.0

_MIN_ALLOWED = 10.0
"""Failures that the answers seen must allow before a share of them is told: of two allowed ones, three happen by chance."""
_EVERY_S = 15.0
_SAVE_EVERY_S = 60.0
_MAX_SERVICES = 16
"""A node serves a handful; each costs 27 KB and a checkpoint."""
_LOOK_BACK_S = 900.0
"""More than memory holds of a counter that is written every second."""
_FORGOTTEN_S = 3600.0
"""A service without an answer or a beat of its counters for this long says nothing about now."""
_MAX_SAVED_BYTES = 4 * 2**20


class _Account:
    """One service's book."""

    def __init__(self, service: str, host: str, objective: float) -> None:
        self.service = service
        self.objective = objective
        self.minutes = Buckets(60.0, 6 * 60 + 10)
        self.hours = Buckets(3600.0, 30 * 24 + 2)
        self.until_s = float("-inf")
        """What is stamped up to here was booked before the last start."""
        self.labels = Labels.of(host_name=host, service=service)
        self.windows = {name: self.labels.merge(window=name) for name in (*MINUTE_WINDOWS, *HOUR_WINDOWS)}

    def book(self, at_s: float, total: float, bad: float) -> None:
        self.minutes.add(at_s, total, bad)
        self.hours.add(at_s, total, bad)

    def not_ahead(self, now_s: float) -> None:
        self.until_s = min(self.until_s, now_s)
        self.minutes.forget_after(now_s)
        self.hours.forget_after(now_s)

    def samples(self, now_s: float) -> Iterator[Sample]:
        if now_s - self.minutes.last_s() > _FORGOTTEN_S:
            return
        allowed = 1.0 - self.objective
        yield Sample(OBJECTIVE, self.labels, now_s, self.objective)
        month = self.hours.window(BUDGET_S, now_s)
        if month.total * allowed >= _MIN_ALLOWED:
            left = 1.0 - month.bad / (month.total * allowed)
            yield Sample("slo_error_budget_remaining_ratio", self.labels, now_s, left)
        for buckets, windows in ((self.minutes, MINUTE_WINDOWS), (self.hours, HOUR_WINDOWS)):
            for name, over_s in windows.items():
                seen = buckets.window(over_s, now_s)
                if seen.total > 0 and buckets.share_seen(seen, over_s) >= 0.5:
                    labels = self.windows[name]
                    yield Sample("slo_burn_rate", labels, now_s, seen.bad / seen.total / allowed)
                    yield Sample("slo_failed_requests", labels, now_s, seen.bad)


class ErrorBudget:
    """
    The books of all services; implements `ports.Ledger`.

    Args:
        host: This node's name.
        objective: Promised share of good answers.
        services: Services that promise something else.
        checkpoints: Where the books are kept over a restart.
    """

    def __init__(self, host: str, objective: float, services: Mapping[str, float], checkpoints: Checkpoints) -> None:
        self._host = host
        self._objective = objective
        self._promised = services
        self._checkpoints = checkpoints
        self._accounts: list[_Account | None] = [self._restored(slot) for slot in range(_MAX_SERVICES)]
        self._known: dict[Labels, tuple[float, float]] = {}
        """Time and total of the newest sample booked, per counter."""
        self._read_s = self._saved_s = float("-inf")
        self._full = False

    def samples(self, series: SeriesReader, now_s: float) -> Iterable[Sample]:
        if 0.0 <= now_s - self._read_s < _EVERY_S:
            return ()
        self._not_ahead(now_s)
        start_s = max(self._read_s - 60.0, now_s - _LOOK_BACK_S)
        unread = {
            s.labels.get("service") for s in series.latest("http_server_log_up", now_s, None, 60.0) if not s.value
        }
        for window in series.window(REQUESTS, start_s, now_s):
            self._take(window, now_s, unread)
        self._read_s = now_s
        if not 0.0 <= now_s - self._saved_s < _SAVE_EVERY_S:
            self._saved_s = now_s
            self.remember()
        return [sample for account in self._held() for sample in account.samples(now_s)]

    def remember(self) -> None:
        """Put the books where they survive a restart."""
        for slot, account in enumerate(self._accounts):
            if account is not None:
                self._checkpoints.put(f"slo/{slot}", _written(account, self._read_s))

    def _held(self) -> Iterator[_Account]:
        return (account for account in self._accounts if account is not None)

    def _not_ahead(self, now_s: float) -> None:
        """Take back what lies ahead of *now_s*; counters that were silent for long are forgotten."""
        for account in self._held():
            account.not_ahead(now_s)
        self._read_s = min(self._read_s, now_s)
        self._known = {
            labels: (min(at_s, now_s), total)
            for labels, (at_s, total) in self._known.items()
            if at_s >= now_s - _FORGOTTEN_S
        }

    def _take(self, window: Window, now_s: float, unread: set[str]) -> None:
        """Book what one counter added since the last time."""
        labels = window.labels
        service = labels.get("service") or UNNAMED_SERVICE
        account = self._account(service, now_s)
        if account is None:
            return
        known = self._known.get(labels)
        fresh = window.at_s > (account.until_s if known is None else known[0])
        times, totals = window.at_s[fresh].tolist(), window.values[fresh]
        if not times:
            return
        self._known[labels] = (times[-1], float(totals[-1]))
        # before the first sample of a counter that is new stands what was booked before a restart, if anything
        earlier = window.values[~fresh]
        before = known[1] if known is not None else earlier[-1] if earlier.size else totals[0]
        by_minute: dict[int, float] = {}
        for at_s, count in zip(times, steps(np.concatenate(([before], totals))).tolist(), strict=True):
            minute = math.ceil(at_s / 60.0)
            by_minute[minute] = by_minute.get(minute, 0.0) + count
        share = 1.0 if labels.get("outcome") in FAILED else 0.0
        for minute, count in by_minute.items():
            if count > 0 or service not in unread:
                account.book(minute * 60.0, count, count * share)

    def _account(self, service: str, now_s: float) -> _Account | None:
        """The book of *service*, begun if need be; None when there is no room for one."""
        free = None
        for slot, account in enumerate(self._accounts):
            if account is not None and account.service == service:
                return account
            if account is None or account.hours.last_s() < now_s - BUDGET_S:
                free = slot if free is None else free
        if free is None:
            if not self._full:
                self._full = True
                log.warning("too many services; no error budget is kept for new ones", kept=_MAX_SERVICES)
            return None
        begun = self._accounts[free] = _Account(service, self._host, self._promised.get(service, self._objective))
        return begun

    def _restored(self, slot: int) -> _Account | None:
        saved = self._checkpoints.get(f"slo/{slot}")
        if not saved:
            return None
        try:
            text = zlib.decompressobj().decompress(saved, _MAX_SAVED_BYTES)
            document = json.loads(text)
            service = str(document["service"])
            account = _Account(service, self._host, self._promised.get(service, self._objective))
            account.minutes.restore(document["minutes"])
            account.hours.restore(document["hours"])
            account.until_s = float(document["until_s"])
        except (zlib.error, ValueError, KeyError, TypeError, RecursionError) as error:
            log.warning("an error budget cannot be read back; it begins anew", slot=slot, error=str(error))
            return None
        return account


def _written(account: _Account, until_s: float) -> bytes:
    document = {
        "service": account.service,
        "until_s": until_s,
        "minutes": account.minutes.rows(),
        "hours": account.hours.rows(),
    }
    return zlib.compress(json.dumps(document, separators=(",", ":")).encode(), 1)
