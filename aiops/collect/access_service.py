"""
Everything counted for one service behind a gateway: answers, arrivals, refusals and how long things took.

Every label is bounded, whoever chooses its values: upstreams, routes, models and their combinations each have a number
beyond which the rest is "other"; an upstream or a model that was not heard of for an hour gives its place away. A request is a retry when its client says so, or when it bears the id of one that has
failed a moment ago; whoever passes one id along on several requests of a healthy service retries nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from aiops.collect.access_broken import Broken
from aiops.collect.access_entry import Entry
from aiops.collect.access_refusal import Refusal
from aiops.collect.access_route import OTHER, Routes
from aiops.collect.addresses import Addresses
from aiops.collect.requests_window import FORGET_S, Arrivals, Latencies, Piles, Totals
from aiops.model import HURTFUL, NOBODY, Labels, Outcome, Sample

_MAX_UPSTREAMS = 64
"""Upstreams told apart per service; the rest is called "other"."""
_MAX_MODELS = 16
_MAX_COMBINATIONS = 128
"""Of route, model and status, and of reason and upstream, per service."""
_MAX_FAILED_IDS = 4_096
_UNNAMED = "unknown"
"""Value of the label ``model`` where the log names none."""
_UP_S = 5.0
_ROOM_S = 60.0
"""Seconds between looks for a place that can be given away."""
_GOOD_BELOW = 400


class Names:
    """
    Names that others choose, so many at a time.

    Args:
        most: How many are told apart; the rest is called "other".
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._heard_s: dict[str, float] = {}
        self._looked_s = float("-inf")

    def of(self, name: str, at_s: float) -> str:
        """*name*, or "other" while there is no place for it."""
        if name in self._heard_s or len(self._heard_s) < self._most or self._gave_way(at_s):
            self._heard_s[name] = at_s
            return name
        return OTHER

    def _gave_way(self, at_s: float) -> bool:
        if 0.0 <= at_s - self._looked_s < _ROOM_S:
            return False
        self._looked_s = at_s
        self._heard_s = {name: heard_s for name, heard_s in self._heard_s.items() if at_s - heard_s <= FORGET_S}
        return len(self._heard_s) < self._most


class Service:
    """Everything counted for one service."""

    def __init__(self, host: str, name: str, addresses: Addresses) -> None:
        self.name = name
        self._addresses = addresses
        self.labels = Labels.of(host_name=host, service=name)
        self.requests = Totals("http_server_requests_total")
        self.arrivals = Arrivals("http_server_arrival_rate", self.labels)
        self.retries = Arrivals("http_server_retry_rate", self.labels)
        self.refusals = Totals("http_server_refusals_total")
        self.routes = Totals("http_server_route_requests_total")
        self.first_byte = Latencies(
            "http_server_time_to_first_byte_seconds", "http_server_route_time_to_first_byte_seconds"
        )
        self.duration = Latencies("http_server_request_duration_seconds", "http_server_route_duration_seconds")
        self.piles = Piles(self.labels)
        self.up: bool | None = None
        self.up_said_s = float("-inf")
        self._knows_retries = False
        self._failed_ids: dict[int, None] = {}
        """Hashes of ids of requests that failed, the latest last."""
        self._outcomes: dict[tuple[str, bool | None, str], Labels] = {}
        self._upstreams: dict[str, Labels] = {}
        self.named: set[str] = set()
        """Upstreams the log names, as labels spell them."""
        self._upstream_names = Names(_MAX_UPSTREAMS)
        self._paths = Routes()
        self._models = Names(_MAX_MODELS)
        self._route_labels: dict[str, Labels] = {}
        self._answers: dict[tuple[str, str, int], Labels] = {}
        self._refused: dict[tuple[Refusal, Labels], Labels] = {}
        self._fresh_s = float("-inf")
        """Since when combinations are counted."""

    def take(self, entry: Entry, at_s: float, outcome: str) -> None:
        """
        Count *entry*.

        Args:
            entry: The request.
            at_s: When it ended.
            outcome: How.
        """
        self.watch(at_s)
        if not abs(at_s - self._fresh_s) < FORGET_S:
            self._fresh_s = at_s
            self._forget_combinations()
        upstream = self._upstream(entry.upstream, at_s)
        route, model = self._paths.of(entry.path, entry.status)
        self.requests.add(self._outcome(outcome, entry.by_upstream, upstream), at_s)
        model = entry.model or model
        self.routes.add(self._answer(route, self._models.of(model, at_s) if model else "", entry.status), at_s)
        again = self._is_retry(entry, outcome)
        (self.retries if again else self.arrivals).add(at_s - (entry.duration_s or 0.0))
        if entry.refusal is not None:
            self.refusals.add(self._refusal(entry.refusal, upstream), at_s)
        if outcome in HURTFUL and entry.duration_s is not None and entry.refusal is not Refusal.NO_HEALTHY_UPSTREAM:
            self.piles.add(outcome, at_s, entry.duration_s)
        if outcome != Outcome.OK:
            return
        by_route = self._route(route)
        if entry.first_byte_s is not None:
            self.first_byte.add(upstream, by_route, entry.first_byte_s)
        if entry.duration_s is not None:
            self.duration.add(upstream, by_route, entry.duration_s)

    def arrived(self, entry: Entry, ended_s: float) -> None:
        """Count only that *entry* came: how it ended counted before."""
        self.arrivals.add(ended_s - (entry.duration_s or 0.0))

    def asks(self, upstream: str) -> bool:
        """Whether its log names *upstream*, or no upstream at all: an error log may be shared with others' sites."""
        return upstream in self._upstreams or self._upstreams.keys() <= {NOBODY}

    def take_broken(self, broken: Broken, at_s: float) -> None:
        """Count an answer that broke off and that no access log tells of; when it arrived nobody knows."""
        upstream = self._upstream(broken.upstream, at_s)
        self.requests.add(self._outcome(Outcome.TRUNCATED, True, upstream), at_s)
        self.refusals.add(self._refusal(broken.refusal, upstream), at_s)

    def watch(self, start_s: float) -> None:
        """Arrivals from *start_s* on are all seen."""
        self.arrivals.watch(start_s)
        self.retries.watch(start_s)

    def lose(self) -> None:
        """Arrivals are not all seen."""
        self.arrivals.lose()
        self.retries.lose()

    def samples(self, now_s: float, *, whole: bool, up: bool | None) -> Iterator[Sample]:
        """
        Everything new.

        Args:
            now_s: Wall time.
            whole: All logs of this service can be read.
            up: What its users feel is seen; None while that is not known.
        """
        if whole:
            self.watch(now_s)
        else:
            self.lose()
        yield from self.requests.samples(now_s)
        yield from self.arrivals.samples(now_s)
        if self._knows_retries:
            yield from self.retries.samples(now_s)
        for counted in (self.refusals, self.routes, self.first_byte, self.duration, self.piles):
            yield from counted.samples(now_s)
        if up is not None and (up != self.up or not 0.0 <= now_s - self.up_said_s < _UP_S):
            self.up, self.up_said_s = up, now_s
            yield Sample("http_server_log_up", self.labels, now_s, float(up))

    def _forget_combinations(self) -> None:
        """Make room for new ones, once an hour: the totals of those that are not seen again end by themselves."""
        for known in (self._outcomes, self._upstreams, self._answers, self._refused):
            known.clear()
        self.named.clear()

    def _upstream(self, name: str, at_s: float) -> Labels:
        if name != NOBODY:  # that always has its place
            name = self._upstream_names.of(name, at_s)
        labels = self._upstreams.get(name)
        if labels is None:
            spelled = name if name in {NOBODY, OTHER} else self._addresses.instance(name)
            labels = self._upstreams[name] = self.labels.merge(upstream=spelled)
            self.named.add(spelled)
        return labels

    def _outcome(self, outcome: str, by_upstream: bool | None, upstream: Labels) -> Labels:  # noqa: FBT001 (three values)
        key = (outcome, by_upstream, upstream.get("upstream"))
        labels = self._outcomes.get(key)
        if labels is None:
            answered_by = {True: "upstream", False: "gateway", None: "unknown"}[by_upstream]
            labels = self._outcomes[key] = upstream.merge(outcome=outcome, answered_by=answered_by)
        return labels

    def _route(self, route: str) -> Labels:
        labels = self._route_labels.get(route)
        if labels is None:
            labels = self._route_labels[route] = self.labels.merge(route=route)
        return labels

    def _answer(self, route: str, model: str, status: int) -> Labels:
        labels = self._answers.get((route, model, status))
        if labels is None:
            if len(self._answers) < _MAX_COMBINATIONS:
                labels = self.labels.merge(route=route, model=model or _UNNAMED, status=str(status))
                self._answers[route, model, status] = labels
            else:
                labels = self.labels.merge(route=OTHER, model=OTHER, status=f"{status // 100}xx")
        return labels

    def _refusal(self, reason: Refusal, upstream: Labels) -> Labels:
        labels = self._refused.get((reason, upstream))
        if labels is None:
            if len(self._refused) < _MAX_COMBINATIONS:
                labels = self._refused[reason, upstream] = upstream.merge(reason=reason.value)
            else:
                labels = upstream.merge(reason=reason.value, upstream=OTHER)
        return labels

    def _is_retry(self, entry: Entry, outcome: str) -> bool:
        again = bool(entry.retry)
        if entry.request_id:
            key = hash(entry.request_id)
            again = again or key in self._failed_ids
            if outcome in HURTFUL:
                self._failed_ids[key] = None
                if len(self._failed_ids) > _MAX_FAILED_IDS:
                    del self._failed_ids[next(iter(self._failed_ids))]
        if again or entry.retry is not None:
            self._knows_retries = True
        return again


def outcome_of(entry: Entry, stall_s: float) -> Outcome:
    """What sort of end *entry*'s request came to."""
    status = entry.status
    if status in {429, 499, 503}:
        return Outcome(str(status))
    if status >= 500:
        return Outcome.SERVER_ERROR
    if status >= _GOOD_BELOW:
        return Outcome.CLIENT_ERROR
    if entry.completed is False:
        return Outcome.TRUNCATED
    return Outcome.STALLED if (entry.duration_s or 0.0) > stall_s else Outcome.OK
