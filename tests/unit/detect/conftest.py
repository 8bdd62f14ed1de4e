from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from aiops.detect import build_detectors
from aiops.ports import Detector
from aiops.rulebook.alerts import AlertRule, load_alert_rules

HEAD = "- alert: Tried\n  layer: software\n  severity: page\n  source: a test\n"


@pytest.fixture
def rule(tmp_path: Path) -> Callable[[str], AlertRule]:
    """A rule from the lines that a test is about."""

    def read(lines: str) -> AlertRule:
        (tmp_path / "alerts").mkdir(exist_ok=True)
        text = textwrap.indent(textwrap.dedent(lines), "  ")
        if "summary:" not in text:
            text += '  summary: "{value} past {limit}"\n'
        (tmp_path / "alerts" / "tried.yaml").write_text(HEAD + text)
        (found,) = load_alert_rules([tmp_path])
        return found

    return read


@pytest.fixture
def detector(rule: Callable[[str], AlertRule]) -> Callable[[str], Detector]:
    """The detector of such a rule."""

    def build(lines: str) -> Detector:
        urgent, steady = build_detectors([rule(lines)])
        return (urgent + steady)[0]

    return build
