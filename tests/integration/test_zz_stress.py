"""
The exported rules on a real Prometheus: fed with the same samples, the same alerts fire at the same times.

promtool's rule tests are Prometheus' own engine over an empty database. Each rule is run over the series of its shipped
tests, and over random series made of the values those tests use: plateaus, gaps, counters that restart (these only where a few percent that
`increase` extrapolates after a restart cannot make a whole event).
"""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from aiops.catalog import CATALOG, MetricKind
from aiops.document import plain
from aiops.model import AlertState, Labels
from aiops.offline.prometheus import rules_file
from aiops.offline.promql import condition
from aiops.offline.rule_tests import InputSeries, RuleTest, files_beside, history, load_rule_tests
from aiops.rulebook.alerts import AlertRule, load_alert_rules
from aiops.rulebook.places import rules_dirs, shipped_rules
from aiops.units import parse_duration_s
from tests.integration.conftest import require_program

pytestmark = [pytest.mark.external_service, pytest.mark.timeout(300)]

RULES = load_alert_rules(rules_dirs(None))
TESTS = load_rule_tests(files_beside([shipped_rules()]), RULES)
EXACT = [rule for rule in RULES if not condition(rule).approximate]
STEP_S = 5.0
RANDOM_RUNS = 14
_FAILED = re.compile(r'run!=\\"(\d+)\\".*time: (\S+),\n\s+exp: .*\n\s+got: (.*)')
_ALERT = re.compile(r"\{__name__=\"ALERTS\", ([^}]*)\}")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Run(NamedTuple):
    """Series for one rule."""

    series: tuple[InputSeries, ...]
    interval_s: float

    @property
    def steps(self) -> int:
        return int((max(len(each.values) for each in self.series) - 1) * self.interval_s / STEP_S) + 1


def designed(rule: AlertRule) -> list[Run]:
    """The series of the rule's shipped tests."""
    return [Run(test.series, test.interval_s) for test in TESTS if rule.alert in test.alerts]


OTHERS = """
- {alert: SilentTried, detector: absent, absent: {metric: {name: gen_ai_server_up}, down: 20s, silent: 40s, remember: 4m}, by: [instance]}
- {alert: LeastTried, detector: threshold, threshold: {metric: {name: gen_ai_server_up}, reduce: min, over: 45s, below: 0.5, clear: 0.9}, keep_firing_for: 20s}
- {alert: MostTried, detector: threshold, threshold: {metric: {name: gen_ai_server_up}, reduce: max, over: 45s, below: 0.5}, for: 10s}
- {alert: PeakTried, detector: threshold, threshold: {metric: {name: gen_ai_server_requests_waiting}, reduce: max, over: 45s, above: 3, clear: 2, max_age: 20s}}
- {alert: FallingTried, detector: threshold, threshold: {metric: {name: gen_ai_server_requests_waiting}, reduce: mean, over: 1m, below: 3, rising: true}, for: 15s}
- {alert: ShareTried, detector: threshold, threshold: {metric: {name: gen_ai_server_requests_waiting}, per: {name: gen_ai_server_requests_running}, above: 2, clear: 1}, for: 15s, by: [host_name]}
- {alert: StandsTried, detector: threshold, threshold: {metric: {name: gen_ai_server_generation_tokens_total}, reduce: increase, over: 30s, below: 1, also: [{metric: {name: gen_ai_server_requests_running}, above: 0}, {metric: {name: gen_ai_server_up}, below: 2}]}, for: 20s}
- {alert: TwoTotalsTried, detector: burn_rate, burn_rate: {bad: [{name: gen_ai_server_requests_rejected_total}, {name: gen_ai_server_preemptions_total}], total: [{name: gen_ai_server_requests_rejected_total}, {name: gen_ai_server_requests_finished_total}], objective: 90%, burn: 2, long: 3m, short: 30s, service_label: model}}
"""
"""What no shipped rule makes use of, and somebody's own may."""
_SERVER = '{host_name="n1", instance="a:8000", model="llama", server="vllm"}'
_INPUT = {
    "gen_ai_server_up": "1x40 0x3 1x3 0x40",
    "gen_ai_server_requests_waiting": "0x20 2x5 4x20 0+1x9",
    "gen_ai_server_requests_running": "0x20 1x20 2x20 4x20",
    "gen_ai_server_generation_tokens_total": "0+5x30 150x20 150+1x30",
    "gen_ai_server_requests_rejected_total": "0x20 0+3x20 60x20 60+9x20",
    "gen_ai_server_preemptions_total": "0x20 0+1x40",
    "gen_ai_server_requests_finished_total": "0+10x80",
}


def others(folder: Path) -> list[tuple[AlertRule, RuleTest]]:
    """Rules of our own making, each with a test that gives names and values to draw from."""
    for name in ("alerts", "tests"):
        (folder / name).mkdir(parents=True)
    head = "layer: software, severity: info, source: a test of the export, summary: tried, "
    (folder / "alerts" / "tried.yaml").write_text(OTHERS.replace("- {", "- {" + head))
    rules = load_alert_rules([folder])
    lines = [f"    '{metric}{_SERVER}': {values}" for metric, values in _INPUT.items()]
    lines = ["- test: drawn from", "  input:", *lines, "  never: [" + ", ".join(rule.alert for rule in rules) + "]"]
    (folder / "tests" / "tried.yaml").write_text("\n".join(lines))
    (test,) = load_rule_tests(files_beside([folder]), rules)
    return [(rule, test) for rule in rules]


def drawn(rule: AlertRule, tests: Sequence[RuleTest], rng: random.Random) -> Run:
    """Random series with the names and labels of the shipped tests, made of the values that these use."""
    chosen = rng.choice(tests)
    steps = int(max(len(each.values) for each in chosen.series) * 1.5)
    pools: dict[str, set[float]] = {}
    for each in (series for test in tests for series in test.series):
        known = [value for value in each.values if value is not None]
        if CATALOG[each.metric].kind is MetricKind.COUNTER:
            known = [float(round(after - before)) for before, after in pairwise(known)] + [0.0]
        pools.setdefault(each.metric, set()).update(known)
    series = [
        InputSeries(
            each.metric,
            labels,
            _values(each.metric, sorted(pools[each.metric]), steps, rng, restarts=_may_restart(rule)),
        )
        for each in chosen.series
        for labels in _with_twin(each.labels)
    ]
    return Run(tuple(series), chosen.interval_s)


def _with_twin(labels: Labels) -> list[Labels]:
    """The labels, and those of a neighbour on the same host."""
    for name in ("gpu", "instance", "device", "upstream", "source", "service", "mountpoint"):
        if labels.get(name):
            return [labels, labels.merge(**{name: "twin"})]
    return [labels]


def _may_restart(rule: AlertRule) -> bool:
    """Whether a counter's restart leaves the same count on both sides."""
    limit = plain(rule.method).get("above", 0)
    return not isinstance(limit, int) or limit <= 10


def _values(
    metric: str, pool: Sequence[float], steps: int, rng: random.Random, *, restarts: bool
) -> tuple[float | None, ...]:
    values: list[float | None] = []
    total = 0.0
    counter = CATALOG[metric].kind is MetricKind.COUNTER
    while len(values) < steps:
        level, length = rng.choice(pool), rng.choice((1, 2, 3, 10, 20, 60, 100))
        if rng.random() < 0.1:
            values += [None] * rng.choice((1, 3, 20))
        if counter and restarts and rng.random() < 0.05:
            total = 0.0
        for _ in range(length):
            total += max(level, 0.0)
            values.append(total if counter else level)
    return tuple(values[:steps])


def ours(rule: AlertRule, run: Run) -> list[frozenset[Labels]]:
    """What fires after each of our evaluations."""
    found = history(rule, run.series, run.interval_s, (run.steps - 1) * STEP_S, STEP_S)
    return [
        frozenset(labels for labels, alert in standing.items() if alert.state is AlertState.FIRING)
        for standing in found.steps
    ]


def theirs(rule: AlertRule, runs: Sequence[Run], folder: Path) -> list[list[frozenset[Labels]]]:
    """What fires after each evaluation of a real Prometheus, for each of *runs*."""
    (folder / "rules.yml").write_text(rules_file([rule])[0])
    tests = [_test(number, run) for number, run in enumerate(runs)]
    file = {"rule_files": ["rules.yml"], "evaluation_interval": "5s", "tests": tests}
    (folder / "test.yml").write_text(json.dumps(file))  # JSON is YAML
    command = [require_program("promtool"), "test", "rules", "test.yml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode in {0, 1}, done.stderr
    fired = [[frozenset[Labels]()] * run.steps for run in runs]
    kept = condition(rule).labels
    for number, time, got in _FAILED.findall(done.stdout + done.stderr):
        step = int(parse_duration_s(time) / STEP_S)
        fired[int(number)][step] = frozenset(
            Labels.from_mapping({n: v for n, v in _LABEL.findall(labels) if n in kept})
            for labels in _ALERT.findall(got)
        )
    assert done.returncode == 0 or any(any(run) for run in fired), done.stdout + done.stderr
    return fired


def _test(number: int, run: Run) -> dict[str, object]:
    """A test of promtool that expects nothing at any step, so that it tells whatever it finds."""
    # no alert has the label "run": the matcher changes nothing and tells whose finding it is
    firing = f'ALERTS{{alertstate="firing", run!="{number}"}}'
    return {
        "interval": f"{run.interval_s:g}s",
        "input_series": [
            {
                "series": f"{each.metric}{{{', '.join(f'{n}={json.dumps(v)}' for n, v in each.labels.pairs)}}}",
                "values": " ".join("_" if value is None else repr(value) for value in each.values),
            }
            for each in run.series
        ],
        "promql_expr_test": [
            {"expr": firing, "eval_time": f"{step * STEP_S:g}s", "exp_samples": []} for step in range(run.steps)
        ],
    }


def apart(mine: Sequence[frozenset[Labels]], other: Sequence[frozenset[Labels]]) -> list[str]:
    """Where two histories differ by more than one evaluation."""
    found = []
    for labels in frozenset[Labels]().union(*mine, *other):
        a, b = [labels in step for step in mine], [labels in step for step in other]
        found += [
            f"{labels} at {step * STEP_S:g} s: ours {a[step]}, theirs {b[step]}"
            for step in range(len(a))
            if a[step] != b[step] and b[step] not in a[max(step - 1, 0) : step + 2]
        ]
    return found


def test_promtool_takes_the_exported_file(tmp_path: Path):
    """Syntax, names, durations, templates."""
    (tmp_path / "rules.yml").write_text(rules_file(RULES)[0])
    done = subprocess.run(
        [require_program("promtool"), "check", "rules", str(tmp_path / "rules.yml")],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert f"{len(RULES)} rules found" in done.stdout


@pytest.mark.parametrize("rule", EXACT, ids=lambda rule: rule.alert)
def test_the_same_samples_fire_the_same_alert_at_the_same_time(rule: AlertRule, tmp_path: Path):
    """A team that moves a row to its Prometheus must not be woken at other times."""
    rng = random.Random(rule.alert + "3")
    tests = [test for test in TESTS if rule.alert in test.alerts]
    runs = [*designed(rule), *(drawn(rule, tests, rng) for _ in range(RANDOM_RUNS))]

    fired = theirs(rule, runs, tmp_path)

    assert any(any(each) for each in fired[: len(tests)]), "the shipped test does not fire on Prometheus"
    for run, other in zip(runs, fired, strict=True):
        assert apart(ours(rule, run), other) == []


def test_words_that_no_shipped_rule_uses_are_exported_as_faithfully(tmp_path: Path):
    """A user's own rows are exported too."""
    rng = random.Random(7)
    for rule, test in others(tmp_path / "rules"):
        folder = tmp_path / rule.alert
        folder.mkdir()
        runs = [drawn(rule, [test], rng) for _ in range(4 * RANDOM_RUNS)]
        fired = theirs(rule, runs, folder)

        assert any(any(each) for each in fired), f"{rule.alert} never fires"
        assert [apart(ours(rule, run), other) for run, other in zip(runs, fired, strict=True)] == [[]] * len(runs), rule
