"""An explanation for people: services first, then the series that speak for them, then what the log says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from aiops.model import EvidenceState
from aiops.offline.explain import Explanation, RankedSeries
from aiops.offline.log_causes import LogCause, place_of
from aiops.offline.table import Look, cut, printable
from aiops.units import format_duration

_MAX_SERVICES = 10
_MAX_SERIES = 15
_MIN_NAME_CELLS = 12
_NUMBERS_CELLS = 44
_BOLD, _DIM = "\033[1m", "\033[2m"


def as_table(answer: Explanation, causes: Sequence[LogCause], look: Look, *, with_log: bool) -> str:
    """
    Everything a person needs to judge the ranking.

    Args:
        answer: What moved.
        causes: What the log speaks for.
        look: Where it is shown.
        with_log: Whether a log was given.
    """
    lines = [*_head(answer), "", *_services(answer, look), "", *_series(answer, look)]
    if with_log:
        lines += ["", *_causes(causes, look)]
    if answer.notes:
        lines += ["", *(f"Note: {printable(note)}" for note in answer.notes)]
    return "\n".join(lines)


def _head(answer: Explanation) -> Iterator[str]:
    how = "found in the data" if answer.found else "given"
    yield f"Alert at {_moment(answer.at_s)}, {how}; normal is {_moment(answer.normal[0])} to {_moment(answer.normal[1])}."


def _moment(at_s: float) -> str:
    try:
        return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{at_s:.0f}"


def _services(answer: Explanation, look: Look) -> Iterator[str]:
    shown = answer.services[:_MAX_SERVICES]
    width = _width([name for name, _ in shown], look, 26)
    yield look.paint(_DIM, f"{'':>3}  {'service':<{width}}  {'score':>8}  by")
    for place, (name, score) in enumerate(shown, 1):
        best = [each.name.partition("_")[2] or each.name for each in answer.series if each.service == name][:3]
        by = printable(", ".join(best)) or "too few readings"
        text = f"{place:>3}  {_padded(name, width)}  {_score(score):>8}  "
        yield look.paint(_BOLD if place == 1 else "", text) + cut(by, max(look.cells - len(text), _MIN_NAME_CELLS))
    if hidden := len(answer.services) - len(shown):
        yield look.paint(_DIM, f"     … {hidden} more; --json lists all")


def _series(answer: Explanation, look: Look) -> Iterator[str]:
    shown = answer.series[:_MAX_SERIES]
    width = _width([each.name for each in shown], look, _NUMBERS_CELLS)
    yield look.paint(_DIM, f"{'':>3}  {'series':<{width}}  {'score':>8}  {'normal':>10}  {'then':>10}  moved")
    for place, each in enumerate(shown, 1):
        numbers = f"{_score(each.score):>8}  {each.normal:>10.4g}  {each.then:>10.4g}"
        yield f"{place:>3}  {_padded(each.name, width)}  {numbers}  {_when(each, answer.at_s)}"
    if hidden := len(answer.series) - len(shown):
        yield look.paint(_DIM, f"     … {hidden:,} more; --json lists all")


def _when(each: RankedSeries, at_s: float) -> str:
    if each.onset_s is None:
        return "–"
    away_s = each.onset_s - at_s
    if away_s == 0:
        return "with it"
    return f"{format_duration(abs(away_s))} {'before' if away_s < 0 else 'after'}"


def _causes(causes: Sequence[LogCause], look: Look) -> Iterator[str]:
    if not causes:
        yield "Causes: no line of the log speaks for a cause."
        return
    yield look.paint(_DIM, "causes the log speaks for; one kind of evidence is not enough to name a root")
    for cause in causes:
        yield f"{cause.probability:>5.0%}  {cause.rule.title}, {place_of(cause.rule)}"
        for each in cause.evidence:
            if each.state is not EvidenceState.UNKNOWN:
                yield f"       {each.state.value}: {printable(each.text)}"
        unknown = sum(each.state is EvidenceState.UNKNOWN for each in cause.evidence)
        yield look.paint(_DIM, f"       {unknown} of {len(cause.evidence)} clauses cannot be tested on a log")


def _width(names: Sequence[str], look: Look, beside: int) -> int:
    return max(min(max((len(name) for name in names), default=0), look.cells - beside), _MIN_NAME_CELLS)


def _padded(name: str, width: int) -> str:
    return f"{cut(printable(name), width):<{width}}"


def _score(score: float) -> str:
    return f"{score:.3g}" if score < 1000 else f"{score:.0f}"
