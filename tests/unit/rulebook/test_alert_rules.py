from __future__ import annotations

import re
from pathlib import Path

import pytest

from aiops.catalog import CATALOG
from aiops.document import plain
from aiops.errors import ConfigError
from aiops.model import Severity
from aiops.rulebook.alerts import Layer, load_alert_rules, placeholders
from aiops.rulebook.places import rules_dirs, shipped_rules

GOOD = """\
- alert: GpuMemoryHigh
  layer: hardware
  severity: ticket
  detector: threshold
  threshold: {metric: {name: hw_gpu_memory_utilization_ratio}, above: 90%}
  for: 5m
  keep_firing_for: 1m
  by: [gpu]
  summary: "GPU {gpu} is {value} full"
  source: the threshold table
"""


def written(tmp_path: Path, text: str, name: str = "mine.yaml") -> Path:
    (tmp_path / "alerts").mkdir(exist_ok=True)
    (tmp_path / "alerts" / name).write_text(text)
    return tmp_path


def complaints(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_alert_rules([written(tmp_path, text)])
    return [f"{problem.line}: {problem.text}" for problem in caught.value.problems]


def test_a_rule_is_read_with_all_its_fields(tmp_path: Path):
    """The YAML names are part of what people write; they stay."""
    (rule,) = load_alert_rules([written(tmp_path, GOOD)])

    assert (rule.alert, rule.layer, rule.severity) == ("GpuMemoryHigh", Layer.HARDWARE, Severity.TICKET)
    assert (rule.for_s, rule.keep_firing_for_s, rule.by, rule.symptom) == (300.0, 60.0, ("gpu",), False)
    assert (rule.detector, rule.method.line, rule.place.line) == ("threshold", 5, 1)
    assert rule.words({"gpu": "3", "value": "95 %"}) == "GPU 3 is 95 % full"


def test_a_summary_with_a_value_missing_still_reads(tmp_path: Path):
    """A page must go out whatever is wrong with its words."""
    (rule,) = load_alert_rules([written(tmp_path, GOOD)])

    assert rule.words({"value": "95 %"}) == "GPU ? is 95 % full"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("alert: GpuMemoryHigh", "alert: gpu_memory_high", "1: gpu_memory_high.alert: expected an id in CamelCase"),
        ("alert: GpuMemoryHigh", "alert: GPU", "1: GPU.alert: expected an id in CamelCase such as"),
        ("alert: GpuMemoryHigh", "alert: 'Gpu Memory'", "1: Gpu Memory.alert: expected an id in CamelCase such as"),
        ("- alert: GpuMemoryHigh\n  layer", "- layer", "1: alert: missing"),
        ("layer: hardware", "layer: soft", "2: GpuMemoryHigh.layer: expected one of hardware, software, network"),
        ("severity: ticket", "severity: critical", "3: GpuMemoryHigh.severity: expected one of page, ticket, info"),
        ("  detector: threshold\n", "", "4: GpuMemoryHigh.threshold: unknown key"),
        ("threshold: {metric: {name: hw_gpu_memory_utilization_ratio}, above: 90%}", "symptom: false", "1: GpuMemoryHigh.threshold: missing; it holds the detector's settings"),
        ("for: 5m", "for: 5", "6: GpuMemoryHigh.for: expected a duration such as 15s, 5m or 1h30m, found '5'"),
        ("for: 5m", "fro: 5m", "6: GpuMemoryHigh.fro: unknown key; expected one of alert, by, detector, for,"),
        ("by: [gpu]", "by: gpu", "8: GpuMemoryHigh.by: expected a list, found 'gpu'"),
        ("{gpu}", "{gpu.__class__}", "9: GpuMemoryHigh.summary: expected plain names in braces, found 'gpu.__class__'"),
        ("{gpu}", "{0}", "9: GpuMemoryHigh.summary: expected plain names in braces, found '0'"),
        ("{value}", "{value:>9999999}", "9: GpuMemoryHigh.summary: expected plain names in braces, found 'value'"),
        ("{gpu}", "{gpu", "9: GpuMemoryHigh.summary: expected text with {names} in braces"),
        ("source: the threshold table\n", "", "1: GpuMemoryHigh.source: missing"),
    ],
)  # fmt: skip
def test_a_broken_rule_is_refused_with_its_line(tmp_path: Path, old: str, new: str, complaint: str):
    """A rule nobody can trust is worse than none."""
    assert old in GOOD

    found = complaints(tmp_path, GOOD.replace(old, new))

    assert any(line.startswith(complaint) for line in found), found


def test_all_broken_rules_of_all_files_are_told_at_once(tmp_path: Path):
    """One run of the check, one list to work through."""
    written(tmp_path, "- alert: One\n- [two]\n", "a.yaml")
    written(tmp_path, "alert: not a list\n", "b.yaml")
    written(tmp_path, "- alert: 'unclosed", "c.yaml")

    with pytest.raises(ConfigError) as caught:
        load_alert_rules([tmp_path])

    assert {Path(problem.path).name for problem in caught.value.problems} == {"a.yaml", "b.yaml", "c.yaml"}


def test_an_id_may_stand_only_once_in_all_folders(tmp_path: Path):
    """History refers to it; two meanings would mix."""
    (tmp_path / "mine").mkdir()
    written(tmp_path / "mine", "\n" + GOOD.replace("GpuMemoryHigh", "HostCpuHigh"))

    with pytest.raises(
        ConfigError, match=r"mine\.yaml:2: HostCpuHigh: a rule of this name stands at .*hardware\.yaml:\d+"
    ):
        load_alert_rules(rules_dirs(tmp_path / "mine"))


def test_rules_of_ones_own_are_added_to_the_shipped_ones(tmp_path: Path):
    """Nobody should have to copy the whole table to add a row."""
    written(tmp_path, GOOD.replace("GpuMemoryHigh", "MyOwnRow"))

    ids = {rule.alert for rule in load_alert_rules(rules_dirs(tmp_path))}

    assert {"MyOwnRow", "GpuMemoryHigh"} <= ids


def test_a_folder_without_alerts_adds_nothing(tmp_path: Path):
    """It may hold causes only."""
    assert load_alert_rules([tmp_path]) == ()


def test_shipped_rules_are_found_in_a_wheel_and_in_a_checkout(tmp_path: Path):
    """The wheel carries them inside the package."""
    package = tmp_path / "aiops"
    (tmp_path / "rules" / "alerts").mkdir(parents=True)
    assert shipped_rules(package) == tmp_path / "rules"

    (package / "rules" / "alerts").mkdir(parents=True)
    assert shipped_rules(package) == package / "rules"


def test_missing_folders_are_said_so(tmp_path: Path):
    """A broken installation, and a typo in rules.dir."""
    with pytest.raises(ConfigError, match="shipped rules are missing"):
        shipped_rules(tmp_path / "aiops")
    with pytest.raises(ConfigError, match=r"rules\.dir: expected a folder"):
        rules_dirs(tmp_path / "nowhere")


# --- the shipped rules ---

SHIPPED = load_alert_rules(rules_dirs(None))


@pytest.mark.parametrize("rule", SHIPPED, ids=lambda rule: rule.alert)
def test_every_shipped_rule_says_where_its_numbers_come_from(rule):
    """A threshold nobody can trace is one nobody dares to change."""
    assert len(rule.source) > 10
    watched = plain(rule.method).get("metric", {}).get("name")
    says_something = watched is None or CATALOG[watched].unit != "bool" or rule.detector == "absent"
    assert placeholders(rule.summary) & {"value", "share", "detail"} or not says_something


def test_symptoms_wake_people_and_hardware_does_not():
    """A busy card is no fault; refused users are."""
    by_id = {rule.alert: rule for rule in SHIPPED}

    for alert in ("ServiceUnavailable", "ServerErrors", "AnswersTruncated", "AnswersStalled", "RequestsRejected"):
        assert (by_id[alert].severity, by_id[alert].symptom) == (Severity.PAGE, True)
    for alert in ("TooManyRequests", "ClientsGaveUp", "TimeToFirstTokenHigh", "EngineStalled", "InferenceServerDown"):
        assert (by_id[alert].severity, by_id[alert].symptom) == (Severity.TICKET, True)
    assert [rule.alert for rule in SHIPPED if rule.severity is Severity.PAGE and not rule.symptom] == []


def test_what_looks_back_over_minutes_keeps_no_incident_open():
    """Users feel nothing any more, and a window of an hour still burns; a replica that is down may stay down for days."""
    lingering = {rule.alert for rule in SHIPPED if rule.lingers}

    assert lingering == {"ErrorBudgetBurnsHour", "ErrorBudgetBurnsSixHours", "InferenceServerDown", "SuccessRateLow"}
    assert all(rule.symptom for rule in SHIPPED if rule.lingers)


def test_only_what_is_counted_answer_by_answer_is_evaluated_every_second():
    """Pages are read every few seconds, and a rule costs the same however little it has to look at."""
    urgent = {rule.detector for rule in SHIPPED if rule.urgent}

    assert urgent == {"error_ratio", "burn_rate"}
    assert not next(rule for rule in SHIPPED if rule.alert == "ErrorRatioHigh").urgent, "no symptom"


def test_only_symptoms_name_an_outcome_the_gateway_knows():
    """A misspelt outcome would never match a series."""
    known = set(re.findall(r"outcome: ([\w, ]+);", CATALOG["http_server_requests_total"].help)[0].split(", "))
    text = (shipped_rules() / "alerts" / "symptoms.yaml").read_text()

    assert set(re.findall(r"outcome: (\w+)}", text)) == known - {"ok", "4xx"}
