"""Kinds of log lines never seen before: present, absent, or unknown in a log that is still being learned."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aiops.correlate.lines import log_finding, template_finding
from aiops.model import (
    Event,
    EventKind,
    EvidenceState,
    Labels,
    LogSeverity,
    LogTemplate,
    NewsKind,
    Onset,
    TemplateNews,
)
from aiops.ports import MAX_TEMPLATES
from aiops.rulebook.causes import Scope, load_causes
from aiops.rulebook.clauses import LogTest, TemplateTest
from aiops.rulebook.places import shipped_rules
from aiops.rulebook.signatures import LogClass, load_signatures
from tests.unit.correlate.test_evidence import BAD_S, Node

PRESENT, ABSENT, UNKNOWN = EvidenceState.PRESENT, EvidenceState.ABSENT, EvidenceState.UNKNOWN
TEST = TemplateTest(within=60.0)
BORN_S = BAD_S - 20


def template(
    instance: str = "r1", *, born_s: float = BORN_S, kind: NewsKind | None = NewsKind.NEW, unsure: bool = False,
    severity: LogSeverity = LogSeverity.ERROR, count: int = 3,
) -> LogTemplate:  # fmt: skip
    news = None if kind is None else TemplateNews(kind, Onset(born_s - 1.0, born_s), 0.0)
    return LogTemplate(
        id="t1", template="it broke", count=count, log_class="benign", severity=severity, first_at_s=born_s,
        last_at_s=BAD_S, labels=Labels.of(source="a.log", instance=instance), news=news, unsure=unsure,
    )  # fmt: skip


def node(*templates: LogTemplate, watched_s: float = 400.0) -> Node:
    found = Node()
    found.templates = list(templates)
    times = {BAD_S - watched_s + 5.0 * step: 1.0 for step in range(int(watched_s / 5) + 1)}
    found.series.put("log_source_up", Labels.of(source="a.log", instance="r1"), times)
    return found


@pytest.mark.parametrize(
    ("found", "index", "state"),
    [
        (template(), 1, PRESENT),
        (template(), 0, UNKNOWN),  # nobody reads its log
        (template("r0"), 1, ABSENT),  # another replica's
        (template(kind=None), 1, ABSENT),  # seen before
        (template(kind=NewsKind.MORE), 1, ABSENT),  # seen before, less often
        (template(kind=None, unsure=True), 1, UNKNOWN),
        (template(born_s=BAD_S - 61), 1, ABSENT),  # longer ago than is asked
        (template(severity=LogSeverity.WARNING), 1, ABSENT),
        (template(severity=LogSeverity.CRITICAL), 1, PRESENT),
    ],
)
def test_a_new_kind_of_error_of_the_place_speaks(found: LogTemplate, index: int, state: EvidenceState):
    """New, bad, of this replica, and soon before."""
    assert template_finding(TEST, *node(found).at(Scope.INSTANCE, index)).state is state


def test_it_tells_how_many_lines_and_when_they_began():
    """Never the line itself: it may be somebody's prompt."""
    finding = template_finding(TEST, *node(template()).at(Scope.INSTANCE, 1))

    assert finding.onset == Onset(BORN_S - 1.0, BORN_S)
    assert (finding.words["count"], finding.words["who"]) == ("3", "r1")
    assert not any("broke" in word for word in finding.words.values())


def test_a_log_that_was_just_opened_cannot_tell_what_is_new():
    """The first minutes of a daemon."""
    assert template_finding(TEST, *node(watched_s=100.0).at(Scope.INSTANCE, 1)).state is UNKNOWN
    assert template_finding(TEST, *node(watched_s=200.0).at(Scope.INSTANCE, 1)).state is ABSENT


def test_lines_can_be_asked_for_in_number():
    """One line may be chance."""
    few = TemplateTest(within=60.0, at_least=4)

    assert template_finding(few, *node(template(count=3)).at(Scope.INSTANCE, 1)).state is ABSENT
    assert template_finding(few, *node(template(count=4)).at(Scope.INSTANCE, 1)).state is PRESENT


def test_only_lines_of_the_signature_that_is_asked_for():
    """Of all that is new in a log, what the lexicon calls by that title."""
    test = TemplateTest(within=60.0, title="A service refuses connections")
    refused = replace(template(), title="A service refuses connections")

    assert template_finding(test, *node(refused).at(Scope.INSTANCE, 1)).state is PRESENT
    assert template_finding(test, *node(template()).at(Scope.INSTANCE, 1)).state is ABSENT


@pytest.mark.parametrize(
    ("last_s", "index", "state"),
    [
        (BAD_S + 1, 1, PRESENT),
        (BAD_S - 61, 1, ABSENT),  # it ended in order longer ago than is asked
        (BAD_S, 2, UNKNOWN),  # nobody reads that log
    ],
)
def test_lines_of_a_signature_count_though_they_are_no_news(last_s: float, index: int, state: EvidenceState):
    """A server that ends for the second time today says what it said before."""
    title = "A server ends because it was told to"
    test = TemplateTest(within=60.0, title=title, known=True)
    told = replace(template(kind=None, born_s=BAD_S - 250), title=title, last_at_s=last_s)

    assert template_finding(test, *node(told).at(Scope.INSTANCE, index)).state is state


@pytest.mark.parametrize(("other", "state"), [("engine_dead", ABSENT), ("benign", PRESENT)])
def test_lines_of_a_signature_may_not_count_beside_those_of_a_class(other: str, state: EvidenceState):
    """A server that shuts down because its engine died was told so by nobody."""
    title = "A server ends because it was told to"
    test = TemplateTest(within=60.0, title=title, known=True, without=LogClass.ENGINE_DEAD)
    beside = replace(template(), id="t2", log_class=other)

    held = node(replace(template(), title=title), beside)
    assert template_finding(test, *held.at(Scope.INSTANCE, 1)).state is state


def test_lines_that_came_too_late_are_not_the_reason():
    """What a restarted server says is no reason why its forerunner ended."""
    held = node()
    counted = {BAD_S - 60 + step: float(step >= 75) for step in range(120)}
    held.series.put("log_records_total", Labels.of(source="a.log", instance="r1", log_class="vram_exhaustion"), counted)

    early = LogTest(LogClass.VRAM_EXHAUSTION, within=60.0, until=10.0)
    assert log_finding(early, *held.at(Scope.INSTANCE, 1)).state is ABSENT
    assert log_finding(replace(early, until=0.0), *held.at(Scope.INSTANCE, 1)).state is PRESENT


def test_titles_that_causes_ask_for_stand_in_the_lexicon():
    """A title that is spelled otherwise would never be found."""
    known = {signature.title for signature in load_signatures([shipped_rules()])}
    asked = {
        title
        for rule in load_causes([shipped_rules()])
        for clause in rule.evidence
        if clause.template
        for title in clause.template.titles
    }

    assert asked <= known


@pytest.mark.parametrize(
    ("watched_s", "lines", "state"),
    [
        (400.0, {10: 1}, PRESENT),  # known for long: one line is more than none
        (50.0, {2: 3}, PRESENT),  # known for less than a minute, and silent until now
        (50.0, {2: 2}, UNKNOWN),  # two lines may be everyday life
        (50.0, {30: 1, 2: 3}, UNKNOWN),  # not silent
        (35.0, {2: 3}, UNKNOWN),  # not known for long enough
    ],
)
def test_a_kind_of_line_that_never_came_needs_no_long_history(
    watched_s: float, lines: dict[int, int], state: EvidenceState
):
    """A log that was followed for half a minute and silent in this is enough to tell that many lines are unusual."""
    held = node(watched_s=watched_s)
    total, counted = 0.0, {}
    for ahead in range(int(watched_s), -1, -1):
        total += lines.get(ahead, 0)
        counted[BAD_S - ahead] = total
    held.series.put("log_records_total", Labels.of(source="a.log", instance="r1", log_class="tls_cert"), counted)
    test = LogTest(LogClass.TLS_CERT, within=60.0, jump=3.0)

    assert log_finding(test, *held.at(Scope.SERVICE, 0)).state is state


def test_what_a_line_tells_of_may_have_lasted():
    """A probe has failed three times, ten seconds apart, before somebody is told."""
    held = node()
    counted = {BAD_S - 60 + step: float(step >= 70) for step in range(80)}
    held.series.put("log_records_total", Labels.of(source="a.log", instance="r1", log_class="probe_failure"), counted)
    test = LogTest(LogClass.PROBE_FAILURE, within=60.0, told_after=30.0)

    finding = log_finding(test, *held.at(Scope.SERVICE, 0))

    assert finding.onset == Onset(BAD_S + 9.0 - 30.0, BAD_S + 10.0)


@pytest.mark.parametrize(
    ("source", "instance", "lines", "state"),
    [
        ("/var/log/nginx/error.log", "", 3.0, PRESENT),
        ("/var/log/nginx/error.log", "", 0.0, ABSENT),
        ("/var/log/containers/ingress-nginx-controller-x.log", "", 0.0, ABSENT),
        ("/var/log/nginx/access.log", "", 0.0, UNKNOWN),  # not where it writes down what it refuses
        ("/var/log/gateway.err", "", 0.0, UNKNOWN),  # nobody knows what it would say
        ("/var/log/gateway.err", "", 3.0, PRESENT),
        ("/usr/local/kong/logs/error.log", "", 0.0, ABSENT),
        ("/var/log/mysql/error.log", "", 0.0, UNKNOWN),
        ("/var/log/vllm/error.log", "r0", 3.0, UNKNOWN),  # a replica's
    ],
)
def test_a_gateways_log_speaks_by_its_silence_only_if_it_would_say_it(
    source: str, instance: str, lines: float, state: EvidenceState
):
    """Nginx writes down each refusal by a limit; of other programs that is not known."""
    found = Node()
    found.gauge("log_source_up", 1.0, source=source, instance=instance)
    found.counter("log_records_total", lines, source=source, instance=instance, log_class="rate_limit_queue_full")
    test = LogTest(LogClass.RATE_LIMIT_QUEUE_FULL, 60.0, of_gateway=True)

    assert log_finding(test, *found.at(Scope.SERVICE, 0)).state is state


TOLD = TemplateTest(within=60.0, title="A server ends because it was told to", known=True)


@pytest.mark.parametrize(
    ("ended", "state"),
    [
        ([], UNKNOWN),
        ([("r1", BAD_S - 10)], PRESENT),
        ([("r0", BAD_S - 10)], UNKNOWN),  # another one's
        ([("r1", BAD_S - 50)], UNKNOWN),  # before any log said so
    ],
)
def test_what_several_logs_say_is_said_by_whom_it_fits(ended: list[tuple[str, float]], state: EvidenceState):
    """Two replicas that were ever told to end say it in the same words, and a kind of line has the labels all its logs share."""
    shared = replace(template(""), title=TOLD.title, labels=Labels.of(host_name="node"))
    held = node(shared)
    held.events = [
        Event(EventKind.PROCESS, "exit", at_s, Labels.of(instance=name, process="server")) for name, at_s in ended
    ]

    assert template_finding(TOLD, *held.at(Scope.INSTANCE, 1)).state is state


def test_a_hosts_own_log_counts_where_it_is_asked_for():
    """The kubelet's log is no replica's."""
    kubelet = replace(template(""), title="A health probe failed", labels=Labels.of(source="kubelet.log"))
    test = TemplateTest(within=60.0, title="A health probe has a server ended|A health probe failed", known=True)

    assert template_finding(test, *node(kubelet).at(Scope.INSTANCE, 1)).state is UNKNOWN
    found = template_finding(replace(test, of_host=True, told_after=30.0), *node(kubelet).at(Scope.INSTANCE, 1))
    assert (found.state, found.onset) == (PRESENT, Onset(BORN_S - 30.0, BORN_S))


def test_where_kinds_of_lines_may_have_been_left_out_silence_says_nothing():
    """An answer holds so many kinds of lines and no more, harmless ones last."""
    many = [replace(template(), id=f"t{number}") for number in range(MAX_TEMPLATES)]

    assert template_finding(TOLD, *node(*many[:-1]).at(Scope.INSTANCE, 1)).state is ABSENT
    assert template_finding(TOLD, *node(*many).at(Scope.INSTANCE, 1)).state is UNKNOWN
