# ruff: noqa: INP001 - half of a script beside the pages it writes, not a package
"""A clause of a cause file in words, for docs/causes.md."""

from __future__ import annotations

from aiops.rulebook.causes import Clause
from aiops.rulebook.clauses import (
    Against,
    EventTest,
    HoldingTest,
    Limit,
    LoadTest,
    LogTest,
    MetricTest,
    PaceTest,
    TemplateTest,
)
from aiops.rulebook.reduce import Reduce
from aiops.units import format_duration, format_quantity


def clause_row(clause: Clause) -> tuple[str, ...]:
    """Its row in the table of its cause."""
    needed = "necessary" + (f" unless {' or '.join(f'`{name}`' for name in clause.unless)}" if clause.unless else "")
    marks = [name for name, given in (("specific", clause.specific), (needed, clause.necessary)) if given]
    name = f"`{clause.id}`" + (f" (**{', '.join(marks)}**)" if marks else "")
    if clause.stands_for:
        name += f", stands for {' and '.join(clause.stands_for)}"
    test = ("not: " if clause.negated else "") + _test(clause)
    return (name, test, clause.family, f"×{clause.odds.present:g}", f"×{clause.odds.absent:g}", clause.source)


def _test(clause: Clause) -> str:
    test = clause.test
    if isinstance(test, MetricTest):
        return _metric_test(test)
    if isinstance(test, LogTest):
        times = "a line" if test.at_least == 1 else f"{test.at_least} lines"
        whose = " (also of logs that are no replica's)" if test.of_host else ""
        whose = " (of logs that are no replica's)" if test.of_gateway else whose
        jump = f"{whose}, {test.jump:g} times as many as before" if test.jump else whose
        until = f", until {format_duration(test.until)} after" if test.until else ""
        return f"{times} of class `{test.log_class}` since {format_duration(test.within)} before{until}{jump}"
    if isinstance(test, TemplateTest):
        times = "a line" if test.at_least == 1 else f"{test.at_least} lines"
        if test.known:
            alone = f", and none of class `{test.without}`" if test.without else ""
            whose = " (also of logs that are no replica's)" if test.of_host else ""
            titles = "” or “".join(test.title.split("|"))
            return f"{times} of “{titles}” since {format_duration(test.within)} before{whose}{alone}"
        kind = f"of “{test.title}”" if test.title else "of a kind"
        return f"{times} {kind} never seen before ({test.severity.value} or worse) since {format_duration(test.within)} before"
    if isinstance(test, EventTest):
        actions = " or ".join(test.action) or "any action"
        within = f" since {format_duration(test.within)} before" if test.within else ""
        return f"{test.kind.value} event: {actions}{within}"
    if isinstance(test, LoadTest):
        return f"share of {test.term.value} in the rise of load at least {format_quantity(test.share, 'ratio')}"
    if isinstance(test, HoldingTest):
        return f"at least {format_quantity(test.share, 'ratio')} of the refused were refused below what was held or run before"
    return _pace_test(test)


def _pace_test(test: PaceTest) -> str:
    against = {"change": "its own before the change", "baseline": "its own before", "peers": "that of its peers"}
    if test.against is Against.CLOCK:
        return f"seconds a token over {test.above:g} times its own before as measured, and level at equal clock"
    return f"seconds a token over {test.above:g} times {against[test.against.value]}, at equal clock and batch"


def _metric_test(test: MetricTest) -> str:
    how = {Reduce.LAST: "", Reduce.INCREASE: "increase of ", Reduce.RATE: "rate of "}.get(
        test.reduce, f"{test.reduce.value} of "
    )
    if test.past_round:
        held = f"{_limit(test.past_round, test.unit)} past a round time-out (1, 2, 5, 10 … s)"
    elif test.rise:
        held = f"{_limit(test.rise, test.unit)} more than before"
    elif test.ratio_to_baseline:
        least = f" (at least {format_quantity(test.floor, test.unit)})" if test.floor is not None else ""
        held = f"{_limit(test.ratio_to_baseline, 'times')} its level before{least}"
    elif test.ratio_to_peers:
        held = f"{_limit(test.ratio_to_peers, 'times')} the median of its peers"
    elif test.trend:
        held = f"grows steadily by {_limit(test.trend, 'ratio')} at level traffic"
    elif test.joined:
        held = f"{_limit(test.joined, 'series')} began, beyond those that ended"
    elif test.share:
        held = f"{_limit(test.share, 'ratio')} of the whole"
    else:
        held = _limit(test.limit, test.unit)
    until = f", until {format_duration(test.until)} after" if test.until else ""
    return f"{how}{_measured(test)} {held}, since {format_duration(test.over)} before{until}"


def _measured(test: MetricTest) -> str:
    labels = ", ".join(f"{name}={value}" for name, value in test.match.items())
    what = f"`{test.name}`" + (f" {{{labels}}}" if labels else "")
    if test.divide_by:
        what += f" over `{test.divide_by}`"
    if test.out_of is not None:
        what += f" as a share of `{test.out_of.name}` of the same upstream"
    if test.up_to is not None:
        what += f" (readings up to {format_quantity(test.up_to, test.unit)})"
    if test.minus:
        over = f" over `{test.minus.divide_by}`" if test.minus.divide_by else ""
        what += f" less `{test.minus.name}`{over}"
    return f"1 less {what}" if test.rest else what


def _limit(limit: Limit, unit: str) -> str:
    side = "above" if limit.above is not None else "below"
    return f"{side} {limit.value:g} times" if unit == "times" else f"{side} {format_quantity(limit.value, unit)}"
