"""
Unit tests of alert rules: series in, alerts out, as YAML in ``tests/*.yaml`` beside the rules.

A test writes input series in Prometheus' shorthand and says which alerts it expects to be pending or firing at which
times, with all their labels and, where given, their words; or which must not fire as long as the input lasts. What runs is what the daemon runs: rings, detectors and
alert book, at the daemon's cadence. An alert that a test does not name is not evaluated in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry

from aiops.detect import build_detectors
from aiops.detect.alerts import AlertBook
from aiops.document import Duration, FieldError, Node, decode, doc, load
from aiops.errors import ConfigError, Problem
from aiops.model import Alert, AlertState, Labels, Sample
from aiops.offline.series_shorthand import series_of, values_of
from aiops.rulebook.alerts import AlertRule
from aiops.selfstat import SelfStat
from aiops.store.rings import Rings
from aiops.units import format_duration

START_S = 1_700_006_400.0
"""Time 0 of every test: a midnight, so that minutes and hours begin where a reader expects them."""
URGENT_STEP_S, STEADY_STEP_S = 1.0, 5.0
"""How often the daemon evaluates what it counts answer by answer, and everything else."""
_MAX_SPAN_S = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Expected:
    """One alert that a test expects."""

    labels: dict[str, str] = field(default_factory=dict, metadata=doc("All its labels."))
    summary: str | None = field(default=None, metadata=doc("Its words; not given: any."))


@dataclass(frozen=True, slots=True)
class Expectation:
    """What one alert rule has to show at one time."""

    at: Duration = field(metadata=doc("Time since the first value."))
    alert: str = field(metadata=doc("Id of the rule."))
    firing: tuple[Expected, ...] = field(default=(), metadata=doc("All alerts of the rule that fire then."))
    pending: tuple[Expected, ...] = field(default=(), metadata=doc("All alerts of the rule that wait for `for` then."))


@dataclass(frozen=True, slots=True)
class Written:
    """A test as written."""

    test: str = field(metadata=doc("What it shows, as a sentence."))
    input: dict[str, Node] = field(metadata=doc("Series to their values in shorthand."))
    expect: tuple[Node, ...] = field(default=(), metadata=doc("What must be seen, and when."))
    never: tuple[Node, ...] = field(default=(), metadata=doc("Ids of rules that must not fire, whatever the time."))
    interval: Duration = field(default=5.0, metadata=doc("Time between two values."))

    def __post_init__(self) -> None:
        if self.interval < 0.1:
            raise FieldError("interval", "expected 100ms or more")
        if not self.expect and not self.never:
            raise ValueError("expected something in expect or never")


@dataclass(frozen=True, slots=True)
class InputSeries:
    """A series with its values, one interval apart; None where there is none."""

    metric: str
    labels: Labels
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class RuleTest:
    """A test, checked."""

    name: str
    interval_s: float
    series: tuple[InputSeries, ...]
    expected: tuple[tuple[Node, Expectation], ...]
    """With the place of each, for complaints."""
    never: Mapping[str, Node]

    @property
    def alerts(self) -> tuple[str, ...]:
        """Ids of the rules it is about."""
        return tuple(dict.fromkeys((*(expectation.alert for _, expectation in self.expected), *self.never)))

    def span_s(self) -> float:
        """Until the last expectation and the last value."""
        values = max((len(each.values) for each in self.series), default=1)
        return max([(values - 1) * self.interval_s, *(expectation.at for _, expectation in self.expected)])


def files_beside(folders: Iterable[Path]) -> list[Path]:
    """The files of tests beside the rules in *folders*."""
    return [path for folder in folders for path in sorted((folder / "tests").glob("*.yaml"))]


def load_rule_tests(files: Iterable[Path], rules: Sequence[AlertRule]) -> tuple[RuleTest, ...]:
    """
    The tests in *files*.

    Raises:
        ConfigError: everything wrong in any of them; naming a rule that *rules* lacks is wrong too.
    """
    problems: list[Problem] = []
    tests: list[RuleTest] = []
    known = {rule.alert for rule in rules}
    for path in files:
        try:
            root = load(path)
            if root is None:
                raise ConfigError(Problem(str(path), 1, "expected a list of tests, found nothing"))
            nodes = root.elements()
        except ConfigError as error:
            problems.extend(error.problems)
            continue
        for node in nodes:
            try:
                tests.append(_rule_test(node, known))
            except ConfigError as error:
                problems.extend(error.problems)
    if problems:
        raise ConfigError(*problems)
    return tuple(tests)


def _rule_test(node: Node, known: set[str]) -> RuleTest:
    written = decode(node, Written)
    problems: list[Problem] = []
    series: list[InputSeries] = []
    expected: list[tuple[Node, Expectation]] = []
    for text, value in written.input.items():
        try:
            series.append(InputSeries(*series_of(text), tuple(values_of(decode(value, str, f"input.{text}")))))
        except ValueError as error:
            problems.append(value.problem(f"input.{text}: {error}"))
        except ConfigError as error:
            problems.extend(error.problems)
    for place in written.expect:
        try:
            expectation = decode(place, Expectation, "expect")
        except ConfigError as error:
            problems.extend(error.problems)
            continue
        if expectation.alert not in known:
            problems.append(place.problem(f"expect.alert: there is no rule {expectation.alert!r}"))
        elif expectation.at > _MAX_SPAN_S:
            problems.append(place.problem(f"expect.at: expected at most {format_duration(_MAX_SPAN_S)}"))
        else:
            expected.append((place, expectation))
    never = {str(place.yaml.value): place for place in written.never}
    problems += [
        place.problem(f"never: there is no rule {name!r}") for name, place in never.items() if name not in known
    ]
    if problems:
        raise ConfigError(*problems)
    return RuleTest(written.test, written.interval, tuple(series), tuple(expected), never)


def failures(tests: Iterable[RuleTest], rules: Iterable[AlertRule]) -> Iterator[Problem]:
    """What is not as expected, with file and line."""
    by_name = {rule.alert: rule for rule in rules}
    for test in tests:
        for alert in test.alerts:
            wanted = sorted(((e.at, n, e) for n, e in test.expected if e.alert == alert), key=lambda each: each[0])
            timeline = history(by_name[alert], test.series, test.interval_s, test.span_s())
            for at_s, place, expectation in wanted:
                yield from _differences(test, place, expectation, timeline.at(at_s))
            if alert in test.never:
                yield from _fired_once(test, alert, timeline)


@dataclass(frozen=True, slots=True)
class History:
    """What a rule showed after each evaluation."""

    step_s: float
    steps: tuple[Mapping[Labels, Alert], ...]
    """Pending and firing alerts after evaluation number i, at ``i * step_s``."""

    def at(self, at_s: float) -> Mapping[Labels, Alert]:
        """Alerts after the last evaluation at or before *at_s*."""
        return self.steps[int(at_s / self.step_s + 1e-9)]


def history(
    rule: AlertRule, series: Sequence[InputSeries], interval_s: float, span_s: float, step_s: float | None = None
) -> History:
    """
    What *rule* makes of *series*, evaluation by evaluation.

    Args:
        rule: The rule.
        series: Its input; the first value stands at time 0.
        interval_s: Time between two values.
        span_s: How long to go on.
        step_s: Time between two evaluations; not given: as the daemon does.
    """
    urgent, steady = build_detectors([rule])
    (detector,) = (*urgent, *steady)
    step_s = step_s or (URGENT_STEP_S if urgent else STEADY_STEP_S)
    rings, book = Rings(SelfStat(CollectorRegistry())), AlertBook([rule])
    fed = 0
    standing: dict[Labels, Alert] = {}
    steps: list[Mapping[Labels, Alert]] = []
    for number in range(int(span_s / step_s + 1e-9) + 1):
        now_s = START_S + number * step_s
        due = int(number * step_s / interval_s + 1e-9) + 1
        rings.extend(
            Sample(each.metric, each.labels, START_S + i * interval_s, value)
            for i in range(fed, due)
            for each in series
            if i < len(each.values) and (value := each.values[i]) is not None
        )
        fed = due
        for alert in (*book.step(detector.evaluate(rings, now_s), now_s), *book.firing()):
            standing[alert.labels] = alert
        standing = {labels: alert for labels, alert in standing.items() if alert.state is not AlertState.RESOLVED}
        steps.append(dict(standing))
    return History(step_s, tuple(steps))


def _differences(
    test: RuleTest, place: Node, expectation: Expectation, found: Mapping[Labels, Alert]
) -> Iterator[Problem]:
    for state, expected in ((AlertState.FIRING, expectation.firing), (AlertState.PENDING, expectation.pending)):
        wanted = {Labels.from_mapping(each.labels): each for each in expected}
        there = {labels: alert for labels, alert in found.items() if alert.state is state}
        where = f"{test.name}: {expectation.alert} at {format_duration(expectation.at)}"
        if wanted.keys() != there.keys():
            yield place.problem(f"{where}: expected {state.value} {_listed(wanted)}, found {_listed(there)}")
            continue
        for labels, each in wanted.items():
            if each.summary is not None and each.summary != there[labels].summary:
                yield place.problem(f"{where}: expected the words {each.summary!r}, found {there[labels].summary!r}")


def _fired_once(test: RuleTest, alert: str, timeline: History) -> Iterator[Problem]:
    for number, standing in enumerate(timeline.steps):
        firing = [labels for labels, each in standing.items() if each.state is AlertState.FIRING]
        if firing:
            at = format_duration(number * timeline.step_s)
            yield test.never[alert].problem(f"{test.name}: {alert} must never fire, but at {at}: {_listed(firing)}")
            return


def _listed(labels: Iterable[Labels]) -> str:
    return "; ".join(sorted(f"{{{each}}}" for each in labels)) or "nothing"


def coverage(tests: Iterable[RuleTest]) -> tuple[set[str], set[str]]:
    """Ids of the rules that some test expects to fire, and of those that some test expects never to."""
    held = tuple(tests)
    fired = {each.alert for test in held for _, each in test.expected if each.firing}
    return fired, {alert for test in held for alert in test.never}
