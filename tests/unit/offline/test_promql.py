"""What the exported rules say; that they fire as ours do is for tests/integration/test_prometheus_rules.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from aiops.cli import main
from aiops.offline.prometheus import rules_file
from aiops.offline.promql import condition, duration
from aiops.rulebook.alerts import load_alert_rules
from aiops.rulebook.places import rules_dirs

RULES = {rule.alert: rule for rule in load_alert_rules(rules_dirs(None))}


def exported() -> dict[str, dict[str, object]]:
    text, _ = rules_file(list(RULES.values()))
    return {rule["alert"]: rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]}


def test_every_row_is_exported_with_its_waits_labels_and_words():
    """Two tables that differ in one number are worse than one."""
    found = exported()

    assert found.keys() == RULES.keys()
    row = found["GpuMemoryHigh"]
    assert row["expr"] == (
        "((last_over_time(hw_gpu_memory_utilization_ratio[1m])) > 0.9)"
        " or (((last_over_time(hw_gpu_memory_utilization_ratio[1m])) > 0.88)"
        ' and on (host_name, hw_id, gpu) ALERTS{alertname="GpuMemoryHigh", alertstate="firing"})'
    )
    assert (row["for"], row["keep_firing_for"]) == ("5m", "1m")
    assert row["labels"] == {"severity": "ticket", "layer": "hardware"}
    assert row["annotations"]["summary"] == (
        "GPU {{ $labels.gpu }} has {{ $value | humanizePercentage }} of its memory in use, above 90 %"
    )


def test_only_the_exact_test_of_symptoms_is_approximate_and_says_so(capsys: pytest.CaptureFixture[str]):
    """Whoever moves a page to Prometheus must know which one is another."""
    assert main(["rules", "export", "--format", "prometheus"]) == 0
    out, err = capsys.readouterr()

    named = {name for name, rule in RULES.items() if condition(rule).approximate}
    assert named == {name for name, rule in RULES.items() if rule.detector == "error_ratio"}
    assert err.startswith("aiops: approximate, ")
    assert all(name in err for name in named)
    assert out.count("# approximate: ") == len(named)


def test_labels_that_differ_in_one_value_are_asked_for_together():
    """Four counters, one selector."""
    assert (
        'http_server_requests_total{outcome=~"503|5xx|truncated|stalled"}[5m]'
        in condition(RULES["ErrorRatioHigh"]).expression
    )


def test_values_asked_for_together_are_taken_as_they_are(tmp_path: Path):
    """An upstream's address is no regular expression."""
    (tmp_path / "alerts").mkdir()
    (tmp_path / "alerts" / "mine.yaml").write_text(
        "- {alert: Mine, layer: software, severity: info, source: mine, summary: mine, detector: burn_rate, burn_rate: {\n"
        "   bad: [{name: http_server_requests_total, match: {upstream: 'a.b:1'}},\n"
        "         {name: http_server_requests_total, match: {upstream: 'c:2'}}],\n"
        "   total: [{name: http_server_requests_total}], objective: 95%, burn: 1}}\n"
    )
    (rule,) = load_alert_rules([tmp_path])

    assert r'{upstream=~"a\\.b:1|c:2"}' in condition(rule).expression


def test_a_rate_is_only_nearly_ours(tmp_path: Path):
    """`rate` extrapolates to the ends of the window."""
    (tmp_path / "alerts").mkdir()
    (tmp_path / "alerts" / "mine.yaml").write_text(
        "- {alert: Mine, layer: software, severity: info, source: mine, summary: mine, detector: threshold,\n"
        "   threshold: {metric: {name: gen_ai_server_preemptions_total}, reduce: rate, over: 1m, above: 0.2}}\n"
    )
    text, approximate = rules_file(load_alert_rules([tmp_path]))

    assert approximate == ("Mine",)
    assert "rate(gen_ai_server_preemptions_total[1m])" in text


@pytest.mark.parametrize(
    ("span_s", "text"), [(0.0, "0s"), (5.0, "5s"), (90.0, "1m30s"), (3 * 86_400.0, "3d"), (39.999, "39s999ms")]
)
def test_durations_are_prometheus_own(span_s: float, text: str):
    """It takes no fractions."""
    assert duration(span_s) == text
