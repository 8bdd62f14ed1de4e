"""Pages and code say the same."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from aiops import settings
from aiops.catalog import CATALOG
from aiops.collect.engines import dialects, gateways
from aiops.collect.plugins import decode_plugins
from aiops.offline.rule_tests import failures, files_beside, load_rule_tests
from aiops.rulebook.alerts import load_alert_rules
from aiops.rulebook.causes import load_causes
from aiops.rulebook.places import shipped_rules
from aiops.rulebook.signatures import LogClass

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def generate() -> Iterator[ModuleType]:
    """docs/generate.py, which is no package's module."""
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs"))  # as for whoever runs it; its other half lies beside it
        spec.loader.exec_module(module)
        yield module


def test_generated_pages_are_up_to_date(generate: ModuleType):
    """A page that lies about a threshold is worse than none."""
    assert generate.outdated() == [], "run `make docs`"


def test_check_names_what_is_out_of_date(generate: ModuleType, tmp_path: Path):
    """Whoever changed a rule must be told which page to look at."""
    (tmp_path / "docs").mkdir()
    for name, make in generate.PAGES.items():
        (tmp_path / name).write_text(make(), encoding="utf-8")
    assert generate.outdated(tmp_path) == []
    (tmp_path / "docs" / "causes.md").write_text("old", encoding="utf-8")
    (tmp_path / "aiops.example.yaml").unlink()
    assert generate.outdated(tmp_path) == ["aiops.example.yaml", "docs/causes.md"]


def test_every_cause_clause_and_class_is_on_the_page(generate: ModuleType):
    """A reviewer of causes reads the page, not thirty files."""
    page = generate.causes_page()
    for rule in load_causes([shipped_rules()]):
        assert f'<a id="{rule.cause}"></a>\n## {rule.title}\n' in page
        assert rule.advice in page
        assert all(f"`{clause.id}`" in page for clause in rule.evidence)
    assert all(f"| `{each}` |" in page for each in LogClass)


def test_every_metric_and_alert_is_on_its_page(generate: ModuleType):
    """Dashboards are written from these pages."""
    metrics, alerts = generate.metrics_page(), generate.alerts_page()
    assert all(f"| `{name}` |" in metrics for name in CATALOG)
    assert "| `aiops_notifications_total` | counter |" in metrics
    for rule in load_alert_rules([shipped_rules()]):
        assert f"| `{rule.alert}`" in alerts


def test_no_table_is_broken_by_a_pipe(generate: ModuleType):
    """Label alternatives are written with a pipe, which ends a Markdown cell."""
    for name, make in generate.PAGES.items():
        columns = 0
        for line in make().splitlines() if name.endswith(".md") else ():
            cells = line.replace("\\|", "").count("|")
            columns = (columns or cells) if line.startswith(("| ", "|-")) else 0
            assert cells == columns or not columns, (name, line)


def test_the_rule_and_its_tests_on_the_page_hold(tmp_path: Path):
    """People copy them."""
    page = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    rule, tests = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    for folder, text in (("alerts", rule), ("tests", tests)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "page.yaml").write_text(text, encoding="utf-8")
    rules = load_alert_rules([tmp_path])

    written = load_rule_tests(files_beside([tmp_path]), rules)
    assert len(written) == 2
    assert list(failures(written, rules)) == []


def test_the_example_file_is_a_settings_file():
    """People start from it: it must load as it is, and mean the defaults."""
    loaded = settings.load(ROOT / "aiops.example.yaml")
    assert loaded.web == settings.Settings().web
    assert loaded.state.retention == settings.Settings().state.retention
    assert {plugin.name: plugin.config for plugin in decode_plugins(loaded.collect)} == {
        plugin.name: plugin.config for plugin in decode_plugins({})
    }


def test_what_the_readme_names_exists():
    """A first command that fails is the last one."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ("docs/causes.md", "docs/settings.md", "docs/metrics.md", "aiops.example.yaml"):
        if name in readme:
            assert (ROOT / name).exists(), name


def test_every_engine_and_every_metric_it_tells_is_on_the_page(generate: ModuleType):
    """Whoever sees "unknown" in an incident looks there for what the engine does not show."""
    page = generate.engines_page()
    for dialect in (*dialects().known, *gateways().known):
        section = page.split(f"\n## {dialect.title}\n")[1].split("\n## ")[0]
        told = {row.source.metric for row in dialect.rows if not row.source.metric.startswith("db_client")}
        assert all(f"| `{metric}` |" in section for metric in told)


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))],
    ids=lambda path: path.name,
)
def test_every_link_to_a_page_of_ours_leads_somewhere(page: Path):
    """A page that was renumbered leaves readers with nothing."""
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
