"""
Log templates that are news, as findings beside the metrics that moved.

A line never seen before, or seen far more often than before, may be the only trace of a cause nobody wrote down. What
is told of it fits to be sent: the lexicon's title, or the template where twenty different lines stand behind it, and
else only that there is such a line; its text may be somebody's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from aiops.correlate.findings import clean, factor
from aiops.correlate.movers import MAX_MOVERS, weight
from aiops.model import Labels, LogSeverity, LogTemplate, Mover, NewsKind, SeriesRef, TemplateNews
from aiops.ports import SeriesReader
from aiops.units import format_duration

_METRIC = "log_template_records_total"
_MIN_SCORE = 6.0
"""As for metrics; nine lines never seen before."""
_MAX_SCORE = 1000.0
_MAX_NEWS = 3
"""A fault writes many kinds of lines; the metrics must not be crowded out."""
_MIN_DISTINCT = 20
_BAD = frozenset({LogSeverity.ERROR, LogSeverity.CRITICAL})


def with_news(
    movers: Sequence[Mover], templates: Sequence[LogTemplate], series: SeriesReader, first_bad_s: float, now_s: float
) -> tuple[Mover, ...]:
    """*movers* with the log templates that stand out most among them, best first."""
    found: list[Mover] = []
    for template in templates:
        news = template.news
        score = _score(template, news) if news is not None else 0.0
        if news is not None and score >= _MIN_SCORE:
            ref = SeriesRef(_METRIC, _labels(template, series, first_bad_s, now_s))
            found.append(Mover(ref, round(score, 1), news.onset, _text(template, news)))

    def rank(mover: Mover) -> float:
        return -weight(mover.score, mover.onset, first_bad_s)

    told = sorted(found, key=rank)[:_MAX_NEWS]
    return tuple(sorted([*movers[: MAX_MOVERS - len(told)], *told], key=rank))


def _score(template: LogTemplate, news: TemplateNews) -> float:
    """
    Standard deviations by which the count left what was to be expected.

    Source:
        Anscombe, The transformation of Poisson, binomial and negative-binomial data, Biometrika 35 (1948).
    """
    usual = template.count / news.ratio if news.kind is NewsKind.MORE else 0.0
    score = min(2.0 * (math.sqrt(template.count) - math.sqrt(usual)), _MAX_SCORE)
    # one line that was never seen is enough if it speaks of trouble
    trouble = template.log_class != "benign" or template.severity in _BAD
    return max(score, _MIN_SCORE) if trouble and news.kind is NewsKind.NEW else score


def _labels(template: LogTemplate, series: SeriesReader, first_bad_s: float, now_s: float) -> Labels:
    """Of the template's series, the first if it has several; what is known of it if it has none."""
    window = next(series.window(_METRIC, first_bad_s, now_s, {"template_id": template.id}), None)
    if window is not None:
        return window.labels
    return Labels.of(template_id=template.id, log_class=template.log_class, severity=template.severity.value)


def _text(template: LogTemplate, news: TemplateNews) -> str:
    lines = f"{template.count:,} log line{'s' * (template.count != 1)}"
    lasted_s = template.last_at_s - template.first_at_s
    spread = f" within {format_duration(lasted_s)}" if lasted_s >= 1.0 and template.count > 1 else ""
    how = "never seen before" if news.kind is NewsKind.NEW else f"{factor(news.ratio)} as often as before"
    return f"{lines} {_named(template)}{spread}, {how}"


def _named(template: LogTemplate) -> str:
    if template.title:
        return f"“{clean(template.title)}”"
    if template.distinct >= _MIN_DISTINCT:
        return f"“{clean(template.template)}”"
    return f"of one kind ({template.severity.value}, template {template.id})"
