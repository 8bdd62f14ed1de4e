"""Cause files: everything a person can get wrong is said with file and line, before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiops.errors import ConfigError
from aiops.rulebook.causes import load_causes, reachable, unfed_classes
from aiops.rulebook.places import shipped_rules

GOOD = """\
cause: {name}
title: A cause
level: fault
explains: [any]
scope: service
lead: 5m
prior: 10%
leads_to: []
evidence:
  - id: one
    family: load
    odds: {{present: 10, absent: 0.1}}
    specific: true
    source: a book
    text: {{present: "yes {{share}}", absent: "no"}}
    load: {{term: arrivals}}
  - id: two
    family: log
    odds: {{present: 3, absent: 0.5}}
    source: a book
    text: {{present: "{{count}} lines", absent: "no"}}
    log: {{class: vram_exhaustion, in: 5m}}
advice: do something
"""


def write(folder: Path, name: str = "some_cause", *replacements: tuple[str, str]) -> Path:
    text = GOOD.format(name=name)
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    (folder / "causes").mkdir(exist_ok=True)
    path = folder / "causes" / f"{name}.yaml"
    path.write_text(text)
    return path


def complaint(folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_causes([folder])
    return str(caught.value)


def test_shipped_causes_are_sound():
    """They are what the product knows."""
    causes = {rule.cause for rule in load_causes([shipped_rules()])}

    assert causes >= {
        "vram_exhaustion", "traffic_burst", "deploy_regression", "slow_node", "connection_pool_exhaustion",
    }  # fmt: skip
    assert len(causes) >= 35, "the whole table of the design"


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("class: vram_exhaustion", "class: out_of_luck", 22, "out_of_luck"),
        ("    log: {class: vram_exhaustion, in: 5m}", "    metric: {name: no_such, over: 1m, above: 1}", 22, "unknown metric no_such"),
        ("log: {class: vram_exhaustion, in: 5m}", "metric: {name: hw_gpu_up, match: {color: red}, over: 1m, above: 1}", 22, "has no label color"),
        ("log: {class: vram_exhaustion, in: 5m}", "metric: {name: hw_gpu_up, over: 1m}", 22, "exactly one of above/below"),
        ("log: {class: vram_exhaustion, in: 5m}", "metric: {name: hw_gpu_up, over: 1m, above: 1, share: {above: 50%}}", 22, "exactly one of above/below"),
        ("log: {class: vram_exhaustion, in: 5m}", "metric: {name: hw_gpu_up, over: 1m, share: {above: 1, below: 2}}", 22, "either above or below"),
        ("log: {class: vram_exhaustion, in: 5m}", "metric: {name: hw_gpu_up, over: 1m, above: 1, trend: {above: 5%}}", 22, "exactly one of above/below"),
        ("log: {class: vram_exhaustion, in: 5m}", "metric: {name: hw_gpu_up, over: 1m, reduce: increase, above: 1}", 22, "increase is for counters"),
        ("log: {class: vram_exhaustion, in: 5m}", "metric: {name: hw_gpu_up, over: 1m, above: 1, divide_by: no_such}", 22, "unknown metric no_such"),
        ("log: {class: vram_exhaustion, in: 5m}", "metric: {name: hw_gpu_up, over: 1m, above: 1, watched_by: {name: no_such}}", 22, "unknown metric no_such"),
        ("log: {class: vram_exhaustion, in: 5m}", "metric: {name: hw_gpu_up, over: 1m, above: 1, watched_by: {name: hw_gpu_up, match: {color: red}}}", 22, "has no label color"),
        ("log: {class: vram_exhaustion, in: 5m}", "metric: {name: http_server_time_to_first_byte_seconds, over: 1m, rise: {above: 1}, minus: {name: no_such}}", 22, "unknown metric no_such"),
        ("log: {class: vram_exhaustion, in: 5m}", "metric: {name: http_server_time_to_first_byte_seconds, over: 1m, rise: {above: 1}, minus: {name: hw_gpu_up}}", 22, "in another unit"),
        ("log: {class: vram_exhaustion, in: 5m}", "metric: {name: http_server_requests_total, over: 1m, rise: {above: 1}, minus: {name: http_server_requests_total}}", 22, "is for readings"),
        ("log: {class: vram_exhaustion, in: 5m}", "metric: {name: hw_gpu_up, over: 1m, past_round: {below: 1}}", 22, "expected a metric in seconds"),
        ("log: {class: vram_exhaustion, in: 5m}", "metric: {name: hw_gpu_up, over: 1m, above: 1, rise: {above: 1}}", 22, "exactly one of above/below"),
        ("log: {class: vram_exhaustion, in: 5m}", "metric: {name: hw_gpu_up, over: 1m, above: 1, out_of: {name: hw_gpu_up}}", 22, "is for the increase"),
        ("log: {class: vram_exhaustion, in: 5m}", "metric: {name: hw_gpu_up, over: 1m, ratio_to_baseline: {below: 1}, floor: 1}", 22, "is for a rise"),
        ("in: 5m}", "in: 5m, jump: 0.5}", 22, "more than 1"),
        ("log: {class: vram_exhaustion, in: 5m}", "event: {kind: change, in: long}", 22, "expected a duration"),
        ("log: {class: vram_exhaustion, in: 5m}", "template: {in: 10m}", 22, "expected up to 5m"),
        ("log: {class: vram_exhaustion, in: 5m}", "template: {in: 5m, severity: awful}", 22, "awful"),
        ("log: {class: vram_exhaustion, in: 5m}", "template: {in: 5m, at_least: 0}", 22, "1 or more"),
        ("in: 5m}", "in: five}", 22, "expected a duration"),
        ("in: 5m}", "in: 5m, at_least: 0}", 22, "1 or more"),
        ("log: {class", "pace: {against: peers, above: 0.9}\n    log: {class", 22, "more than 1"),
        ("    log: {class: vram_exhaustion, in: 5m}\n", "", 17, "exactly one of metric, log, template, event, load, pace"),
        ("    log: {class", "    load: {term: work}\n    log: {class", 17, "exactly one of metric, log, template, event, load, pace"),
        ("odds: {present: 10, absent: 0.1}", "odds: {present: 10, absent: 1.1}", 12, "no probabilities can produce"),
        ("odds: {present: 10, absent: 0.1}", "odds: {present: 1, absent: 1}", 12, "no probabilities can produce"),
        ("odds: {present: 10, absent: 0.1}", "odds: {present: 10, absent: 0}", 12, "no probabilities can produce"),
        ("{count} lines", "{cuont} lines", 21, "unknown placeholder {cuont}"),
        ("{count} lines", "{count lines", 21, "braces"),
        ("family: log", "family: load", 10, "two families"),
        ("    specific: true\n", "", 10, "one specific clause"),
        ("id: two", "id: one", 17, "id one stands twice; it is given in line 10"),
        ("id: two", "id: two\n    happened: true", 18, "happened: expected necessary beside it"),
        ("id: two", "id: two\n    unless: [two]", 10, "unless names other clauses"),
        ("id: two", "id: two\n    necessary: true\n    unless: [three]", 10, "unless names other clauses"),
        ("id: two", "id: two\n    necessary: true\n    unless: [two]", 10, "unless names other clauses"),
        ("id: two", "id: Two", 17, "snake_case"),
        ("prior: 10%", "prior: 100%", 7, "between 0 and 1"),
        ("explains: [any]", "explains: []", 4, "at least one"),
        ("scope: service", "scope: planet", 5, "one of gpu, process, instance, model, service, link, host"),
        ("scope: service", "scope: link", 5, "needs a clause on a metric with label device"),
        ("scope: service", "scope: process", 5, "needs a clause on a metric with label pid"),
        ("scope: service", "scope: model", 5, "with label instance or model or upstream"),
        ("advice: do something", "advise: do something", 23, "unknown key"),
        ("leads_to: []", "leads_to: [some_cause, nowhere]", 8, "no cause nowhere"),
        ("leads_to: []", "leads_to: [some_cause]", 8, "some_cause leads back to some_cause"),
        ("cause: some_cause", "cause: other_cause", 1, "as the file is named"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(tmp_path, old, new, line, words):
    """A cause file is edited at night, during an incident; the message must lead straight to the mistake."""
    path = write(tmp_path, "some_cause", (old, new))

    told = complaint(tmp_path)

    assert told.startswith(f"{path}:{line}: ")
    assert words in told


def test_a_cause_given_twice_is_refused(tmp_path):
    """A user's file does not silently replace a shipped one."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tmp_path / name)
    with pytest.raises(ConfigError, match="also stands in"):
        load_causes([tmp_path / "a", tmp_path / "b"])


def test_all_files_are_read_before_complaining(tmp_path):
    """One round of corrections, not one per file."""
    write(tmp_path, "first_cause", ("scope: service", "scope: planet"))
    write(tmp_path, "second_cause", ("level: fault", "level: bad"))

    told = complaint(tmp_path)

    assert "first_cause.yaml:5" in told
    assert "second_cause.yaml:3" in told


def test_an_empty_file_is_refused(tmp_path):
    """Nothing in a cause file is a forgotten cause, not a harmless one."""
    (tmp_path / "causes").mkdir()
    (tmp_path / "causes" / "void.yaml").write_text("# nothing\n")

    assert "void.yaml:1: expected a cause" in complaint(tmp_path)


def test_what_a_cause_leads_to_is_followed_nearest_first(tmp_path):
    """The chain that is shown."""
    write(tmp_path, "aa", ("leads_to: []", "leads_to: [bb]"))
    write(tmp_path, "bb", ("leads_to: []", "leads_to: [cc]"))
    write(tmp_path, "cc")

    assert reachable(load_causes([tmp_path]))["aa"] == ("bb", "cc")


def test_causes_that_lead_round_in_a_circle_are_refused_each_with_its_line(tmp_path):
    """Of three that bring one another about none would be the root."""
    paths = [
        write(tmp_path, name, ("leads_to: []", f"leads_to: [{following}]"))
        for name, following in (("aa", "bb"), ("bb", "cc"), ("cc", "aa"))
    ]
    write(tmp_path, "dd", ("leads_to: []", "leads_to: [aa]"))

    told = complaint(tmp_path)

    assert [f"{path}:8: leads_to: " in told for path in paths] == [True] * 3
    assert "dd.yaml" not in told


@pytest.mark.parametrize("rule", load_causes([shipped_rules()]), ids=lambda rule: rule.cause)
def test_a_shipped_cause_explains_itself_to_whoever_is_on_call(rule):
    """What happens, how a person checks it, what to do, and where more is written."""
    assert "To check: " in rule.about
    assert rule.advice
    assert rule.runbook_url.startswith("https://")


def test_every_log_class_feeds_a_cause():
    """Lines that are recognised and then looked at by nobody cost time and explain nothing."""
    assert unfed_classes([shipped_rules()], load_causes([shipped_rules()])) == ()


def test_a_log_class_that_feeds_no_cause_is_said_with_its_line(tmp_path):
    """Whoever teaches it a line wants it to count."""
    write(tmp_path, "some_cause")
    (tmp_path / "logs").mkdir()
    path = tmp_path / "logs" / "mine.yaml"
    path.write_text("signatures:\n  - class: vram_exhaustion\n  - class: benign\n  - title: x\n    class: dns\n")

    told = unfed_classes([tmp_path], load_causes([tmp_path]))

    assert [str(problem) for problem in told] == [f"{path}:5: class: dns feeds no cause"]
