"""Log templates that are news, among the metrics that moved."""

from __future__ import annotations

from dataclasses import replace

from aiops.correlate.movers import MAX_MOVERS
from aiops.correlate.news import with_news
from aiops.model import Labels, LogSeverity, LogTemplate, Mover, NewsKind, Onset, SeriesRef, TemplateNews
from tests.fakes import FakeSeries

BAD_S = 1_000.0
METRIC = "log_template_records_total"
NEW = TemplateNews(NewsKind.NEW, Onset(989.0, 990.0), 0.0)
TEMPLATE = LogTemplate(
    id="abc", template="frobnicator <*> gave up", count=312, log_class="benign", severity=LogSeverity.ERROR,
    first_at_s=990.0, last_at_s=1_010.0, distinct=1, news=NEW,
)  # fmt: skip


def found(*templates: LogTemplate, movers: tuple[Mover, ...] = ()) -> tuple[Mover, ...]:
    return with_news(movers, templates, FakeSeries(), BAD_S, BAD_S + 10)


def test_what_one_line_alone_said_is_not_told():
    """These texts go into messages; below twenty wordings they may be somebody's."""
    (mover,) = found(TEMPLATE)

    assert mover.text == "312 log lines of one kind (error, template abc) within 20 s, never seen before"
    assert mover.onset == NEW.onset


def test_a_template_of_many_wordings_is_told():
    """Then its constant part is nobody's own."""
    (mover,) = found(replace(TEMPLATE, distinct=20))

    assert "“frobnicator <*> gave up”" in mover.text


def test_the_lexicon_stands_for_a_line_it_knows():
    """However few wordings."""
    (mover,) = found(replace(TEMPLATE, title="CUDA out of memory", log_class="vram_exhaustion", count=1))

    assert mover.text == "1 log line “CUDA out of memory”, never seen before"


def test_a_jump_says_by_how_much():
    """Twelve times as often is worth a look; three lines more are not."""
    jump = replace(TEMPLATE, news=TemplateNews(NewsKind.MORE, Onset(989.0, 1_000.0), 12.4))

    assert found(jump)[0].text.endswith("within 20 s, 12 times as often as before")
    assert found(replace(jump, count=10, news=TemplateNews(NewsKind.MORE, Onset(989.0, 1_000.0), 3.0))) == ()


def test_a_template_that_is_no_news_is_no_finding():
    """It is on the page among the log lines of that time."""
    assert found(replace(TEMPLATE, news=None)) == ()


def test_a_few_new_lines_of_routine_are_no_finding_but_one_of_trouble_is():
    """An hourly job speaks for the first time an hour after the start."""
    routine = replace(TEMPLATE, count=2, severity=LogSeverity.INFO)

    assert found(routine) == ()
    assert len(found(replace(routine, severity=LogSeverity.CRITICAL))) == 1
    assert len(found(replace(routine, log_class="dns"))) == 1


def test_metrics_are_not_crowded_out():
    """A fault writes many kinds of lines."""
    metric = Mover(SeriesRef("system_cpu_utilization_ratio", Labels()), 8.0, None, "cpu")
    many = [replace(TEMPLATE, id=str(i)) for i in range(20)]

    movers = found(*many, movers=(metric,) * MAX_MOVERS)
    assert len(movers) == MAX_MOVERS
    assert sum(mover.series.metric == METRIC for mover in movers) == 3


def test_what_moved_further_and_earlier_stands_first():
    """Both kinds by the same measure."""
    metric = Mover(SeriesRef("system_cpu_utilization_ratio", Labels()), 500.0, Onset(970.0, 980.0), "cpu")
    late = replace(TEMPLATE, count=16, news=TemplateNews(NewsKind.NEW, Onset(1_004.0, 1_005.0), 0.0))

    assert found(late, movers=(metric,))[0].text == "cpu"
    weak = replace(metric, score=6.5, onset=Onset(1_004.0, 1_005.0))
    assert found(TEMPLATE, movers=(weak,))[0].series.metric == METRIC


def test_its_series_is_the_one_that_can_be_drawn():
    """Charts look a series up by its labels."""
    labels = Labels.of(host_name="n1", source="a.log", template_id="abc", log_class="benign", severity="error")
    series = FakeSeries()
    series.put(METRIC, labels, {999.0: 0.0, 1_000.0: 5.0})

    (mover,) = with_news((), [TEMPLATE], series, BAD_S, BAD_S + 10)
    assert mover.series == SeriesRef(METRIC, labels)
    assert found(TEMPLATE)[0].series.labels.get("template_id") == "abc"
