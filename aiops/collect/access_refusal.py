"""
Why a gateway refused: what tells its own limit from an upstream that cannot be reached, or one that hangs up.

Envoy says it by response flags. Nginx says it between the lines: no upstream status means that nobody was asked (for a
limit of its own, or because a page for maintenance is shown), a group's name in place of an address that none was
alive, no connect time that none could be reached, a connect time without a header time that the connection broke before
an answer. Refusals are 429 and 5xx. What a log does not say has no reason.

Source: Envoy documentation, access logging, %RESPONSE_FLAGS%; nginx documentation, ngx_http_upstream_module and
ngx_http_limit_req_module, embedded variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from aiops.collect.access_values import last_of, number

_EARLY_S = 0.1
"""A connection broken within this time of a request's arrival was dead before it: an engine's first work takes longer."""
_TOO_MANY = 429
_MAX_FLAGS_CHARS = 256


class Refusal(StrEnum):
    """Why a request was refused, as the label ``reason`` of `http_server_refusals_total` tells it."""

    UPSTREAM = "upstream"
    """An upstream gave this answer."""
    RATE_LIMITED = "rate_limited"
    """The gateway's own limit of requests or connections."""
    UNEXPLAINED = "unexplained"
    """503 of the gateway, which asked nobody; the log does not say why: a limit of its own, or a 503 that is configured."""
    OVERFLOW = "overflow"
    """The gateway's circuit breaker or queue towards an upstream is full."""
    NO_HEALTHY_UPSTREAM = "no_healthy_upstream"
    CONNECT_FAILURE = "connect_failure"
    """No connection to the upstream, names that do not resolve and TLS included."""
    NO_ROUTE = "no_route"
    TIMEOUT = "timeout"
    """The upstream was reached and took too long."""
    RESET_EARLY = "reset_early"
    """The connection was there and broke at once: kept alive by one side only."""
    RESET = "reset"
    """The connection broke during the work."""
    UNANSWERED = "unanswered"
    """No whole answer from an upstream; the log does not say whether it was reached."""
    GATEWAY = "gateway"
    """The gateway's own answer for another reason."""


_BY_FLAG = {
    "UO": Refusal.OVERFLOW, "UpstreamOverflow": Refusal.OVERFLOW,
    "OM": Refusal.OVERFLOW, "OverloadManagerTerminated": Refusal.OVERFLOW,
    "UH": Refusal.NO_HEALTHY_UPSTREAM, "NoHealthyUpstream": Refusal.NO_HEALTHY_UPSTREAM,
    "RL": Refusal.RATE_LIMITED, "RateLimited": Refusal.RATE_LIMITED,
    "RLSE": Refusal.RATE_LIMITED, "RateLimitServiceError": Refusal.RATE_LIMITED,
    "NR": Refusal.NO_ROUTE, "NoRouteFound": Refusal.NO_ROUTE,
    "NC": Refusal.NO_ROUTE, "NoClusterFound": Refusal.NO_ROUTE,
    "UF": Refusal.CONNECT_FAILURE, "UpstreamConnectionFailure": Refusal.CONNECT_FAILURE,
    "DF": Refusal.CONNECT_FAILURE, "DnsResolutionFailed": Refusal.CONNECT_FAILURE,
    "UT": Refusal.TIMEOUT, "UpstreamRequestTimeout": Refusal.TIMEOUT,
    "SI": Refusal.TIMEOUT, "StreamIdleTimeout": Refusal.TIMEOUT,
    "DT": Refusal.TIMEOUT, "DurationTimeout": Refusal.TIMEOUT,
    "UMSDR": Refusal.TIMEOUT, "UpstreamMaxStreamDurationReached": Refusal.TIMEOUT,
    "UC": Refusal.RESET, "UpstreamConnectionTermination": Refusal.RESET,
    "UR": Refusal.RESET, "UpstreamRemoteReset": Refusal.RESET,
    "LR": Refusal.RESET, "LocalReset": Refusal.RESET,
    "UPE": Refusal.RESET, "UpstreamProtocolError": Refusal.RESET,
    "FI": Refusal.GATEWAY, "FaultInjected": Refusal.GATEWAY,
    "UAEX": Refusal.GATEWAY, "UnauthorizedExternalService": Refusal.GATEWAY,
}  # fmt: skip
"""Envoy's flags, short and long, in the order in which they count; others go beside an upstream's answer."""
_BY_STATUS = {
    429: Refusal.RATE_LIMITED,
    502: Refusal.UNANSWERED,
    503: Refusal.NO_HEALTHY_UPSTREAM,
    504: Refusal.TIMEOUT,
}
"""Statuses of Caddy's and Traefik's own errors."""
_UNASKED = {_TOO_MANY: Refusal.RATE_LIMITED, 503: Refusal.UNEXPLAINED}
"""Nginx's own answers to requests for which it asked nobody, where it logs no outcome of its limits."""
_NO_FLAGS: frozenset[str] = frozenset()


def envoy_flags(value: Any) -> frozenset[str]:
    """Response flags as a set; empty for none."""
    if not isinstance(value, str) or value in {"", "-"}:
        return _NO_FLAGS
    return frozenset(value[:_MAX_FLAGS_CHARS].split(","))


def refused_by_flags(flags: frozenset[str]) -> bool:
    """Whether *flags* say that Envoy answered itself."""
    return not flags.isdisjoint(_BY_FLAG)


def refusal_of(
    status: int,
    by_upstream: bool | None,  # noqa: FBT001 (three values, and every call names what it passes)
    values: Mapping[str, Any],
    flags: frozenset[str] | None,
    duration_s: float | None,
) -> Refusal | None:
    """
    Why a request was refused; None if it was not, or the log does not say.

    Args:
        status: Of the answer.
        by_upstream: Whether an upstream gave it.
        values: Reading to what the line says.
        flags: Envoy's; None for another gateway.
        duration_s: Of the request.
    """
    if (status != _TOO_MANY and status < 500) or by_upstream is None:
        return None
    if "refusal" in values:
        known: Refusal = values["refusal"]
        return known
    if by_upstream:
        return Refusal.UPSTREAM
    if flags is not None:
        found = next((reason for flag, reason in _BY_FLAG.items() if flag in flags), Refusal.GATEWAY)
        return at_once(duration_s) if found is Refusal.RESET else found
    if "by_upstream" in values:
        return _BY_STATUS.get(status, Refusal.GATEWAY)
    return _by_nginx(status, values, duration_s)


def _by_nginx(status: int, values: Mapping[str, Any], duration_s: float | None) -> Refusal:
    shown = last_of(values.get("upstream_status"))
    upstream = last_of(values.get("upstream"))
    if _is_blank(shown) and _is_blank(upstream):
        limits = [values[name] for name in ("limit_req", "limit_conn") if name in values]
        if limits:
            rejected = any(str(limit).startswith("REJECTED") for limit in limits)
            return Refusal.RATE_LIMITED if rejected else Refusal.GATEWAY
        return _UNASKED.get(status, Refusal.GATEWAY)
    if "upstream" in values and ":" not in str(upstream):
        return Refusal.NO_HEALTHY_UPSTREAM
    # the upstream's own status: error_page may have made another of it
    shown_status = number(shown) or status
    if shown_status not in {502, 504}:
        return Refusal.GATEWAY
    if "connect" in values and _is_blank(last_of(values["connect"])):
        return Refusal.CONNECT_FAILURE
    if shown_status == 504:
        return Refusal.TIMEOUT
    return at_once(duration_s) if "connect" in values else Refusal.UNANSWERED


def at_once(duration_s: float | None) -> Refusal:
    """Which kind of reset it was, by how long the request took."""
    return Refusal.RESET_EARLY if duration_s is not None and duration_s < _EARLY_S else Refusal.RESET


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value in {"", "-"})
