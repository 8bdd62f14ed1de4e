# ruff: noqa: INP001 - a script beside the pages it writes, not a package
"""
Writes the pages that must agree with the code: causes, alerts, metrics, settings, and the example settings file.

``python docs/generate.py`` writes them; ``--check`` writes nothing and fails, with the names, when one is out of date.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clause_words import clause_row
from prometheus_client import CollectorRegistry

from aiops import plan
from aiops.catalog import CATALOG
from aiops.collect import engines
from aiops.document import plain
from aiops.rulebook import priors
from aiops.rulebook.alerts import AlertRule, load_alert_rules
from aiops.rulebook.causes import CauseRule, load_causes
from aiops.rulebook.places import shipped_rules
from aiops.rulebook.signatures import LogClass, load_signatures
from aiops.selfstat import SelfStat
from aiops.units import format_duration, format_quantity

ROOT = Path(__file__).parent.parent
_NOTICE = "<!-- Written by docs/generate.py from {source}. Edit that, then run `make docs`. -->"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines of a Markdown table."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"


# --- causes ---------------------------------------------------------------------------------------------------------


def causes_page() -> str:
    """docs/causes.md."""
    causes = load_causes([shipped_rules()])
    lines = [
        "# Causes",
        "",
        _NOTICE.format(source="rules/causes/ and rules/logs/"),
        "",
        "What the daemon can name as the cause of an incident. **On call?** Each cause begins with what happens and how you",
        "check it by hand, and with what to do. The table below that is what the daemon looks at; the page of an incident",
        "shows the same rows with what was found.",
        "",
        *_overview(causes),
        "",
        "## How an answer comes about",
        "",
        "A cause starts from its *prior*, the share of past incidents it explains. Each clause of evidence multiplies the",
        "odds by its factor: one when it is present, the other when it was tested and is absent; what cannot be tested",
        "multiplies by 1. Clauses of one *family* share one vote, the strongest. A **specific** clause shows this cause and",
        "hardly any other; a cause needs one, and two families whose vote is 1.5 or more, to be named. A **necessary** clause",
        "that was tested and is absent rules the cause out. *Trigger* and *fault* are roots. A *state* is how they hurt: it is",
        "named only when no trigger or fault that leads to it is present, and when no term of the load rose before it that its",
        "own clauses do not *stand for*.",
        "",
        'Times count from the first bad answer: "since 30 s before" is what was seen from then until now. *Load* over',
        "*capacity* is taken apart into arrivals (first attempts a second), work (uncached tokens a request), pace (seconds a",
        "token) and capacity (ready replicas): the term that holds at least 60 % of the rise is where the root is looked for.",
        "Classes of log lines stand [at the end](#log-classes).",
        "",
        *_about_priors(),
    ]
    for rule in causes:
        lines += ["", *_cause(rule)]
    lines += ["", *_log_classes(causes)]
    return "\n".join(lines) + "\n"


def _overview(causes: Sequence[CauseRule]) -> Iterator[str]:
    titles = {rule.cause: rule.title for rule in causes}
    rows = (
        (
            f"[{rule.title}](#{rule.cause})",
            rule.level.value,
            _scope(rule),
            format_quantity(rule.prior, "ratio"),
            " to ".join(format_quantity(round(each, 3), "ratio") for each in priors.bounds(rule.prior)),
            ", ".join(titles[cause] for cause in rule.leads_to) or "–",
        )
        for rule in causes
    )
    yield from table(("cause", "level", "looked for on each", "prior", "it can move to", "leads to"), rows)


def _about_priors() -> Iterator[str]:
    weight, most = f"{priors.WEIGHT:.0f}", format_quantity(priors.MAX_SHOWN, "ratio")
    yield "The priors above are the files': estimates. `aiops incidents confirm ID` and `aiops incidents reject ID` (with"
    yield f"`--cause` when somebody knows what it was) count on top of them. A file's prior is worth {weight} incidents, so that"
    yield "one word at most doubles that of the rarest cause, and the node's own count weighs as much as the file after as"
    yield f"many: with *k* incidents of a cause among *n* of which it is known, its prior is ({weight} × prior + k) / ({weight} + n)."
    yield f"The odds of a prior move by a factor of {priors.MOST:.0f} at most. A rejected answer of which nobody says what it was"
    yield "counts against what was named, and for nothing else. The last word on an incident counts."
    yield "`aiops incidents causes` shows where the priors of a node stand."
    yield ""
    yield f"No probability above {most} is shown until {priors.CONFIRMED_BEFORE} answers were confirmed, and from then on none above"
    yield f"(confirmed + 1) / (confirmed + rejected + 2) where that is more than {most}: the daemon does not claim to be surer"
    yield "than it has been right."


def _cause(rule: CauseRule) -> Iterator[str]:
    explains = "any symptom" if "any" in rule.explains else ", ".join(rule.explains)
    # an anchor of its own: people and runbooks link to the id, which outlives the title
    yield f'<a id="{rule.cause}"></a>'
    yield f"## {rule.title}"
    yield ""
    if rule.about:
        yield from (rule.about, "")
    yield f"**What to do.** {rule.advice}" + (f" Runbook: <{rule.runbook_url}>" if rule.runbook_url else "")
    yield ""
    yield (
        f"`{rule.cause}`: a {rule.level.value} of one {_scope(rule)}. Explains {explains}; its traces may start "
        f"{format_duration(rule.lead)} before the first failure."
    )
    yield ""
    yield from table(
        ("evidence", "present when", "family", "present", "absent", "source"), map(clause_row, rule.evidence)
    )


def _scope(rule: CauseRule) -> str:
    names = {"gpu": "GPU", "process": "process on a GPU", "instance": "replica", "link": "network link"}
    name = names.get(rule.scope.value, rule.scope.value)
    return f"{name}, or of the one replica that nearly all bad answers come from" if rule.narrows else name


def _log_classes(causes: Iterable[CauseRule]) -> Iterator[str]:
    cited: dict[str, list[str]] = {}
    for rule in causes:
        for clause in rule.evidence:
            if clause.log is not None:
                cited.setdefault(clause.log.log_class.value, []).append(f"[{rule.title}](#{rule.cause})")
    said: dict[str, list[str]] = {}
    for signature in load_signatures([shipped_rules()]):
        said.setdefault(signature.log_class.value, []).append(signature.title)
    yield "## Log classes"
    yield ""
    yield "Every log line gets one of these classes, by the signatures in rules/logs/; a closed list that causes cite."
    yield ""
    yield from table(
        ("class", "what such lines say", "cited by"),
        (
            (f"`{name}`", "; ".join(dict.fromkeys(said.get(name, ()))) or "–", ", ".join(cited.get(name, ())) or "–")
            for name in (each.value for each in LogClass)
        ),
    )


# --- alerts ---------------------------------------------------------------------------------------------------------


def alerts_page() -> str:
    """docs/alerts.md."""
    rules = load_alert_rules([shipped_rules()])
    lines = [
        "# The threshold table",
        "",
        _NOTICE.format(source="rules/alerts/"),
        "",
        "What fires, and what it asks of a person: `page` wakes somebody, `ticket` is one quiet chat message with all",
        "such rows in it, `info` is on the page only. **Symptoms** are what users feel: they open an incident. While one",
        "is open, the other rows are evidence inside it and send nothing of their own.",
    ]
    for layer in dict.fromkeys(rule.layer for rule in rules):
        rows = (_alert(rule) for rule in rules if rule.layer is layer)
        lines += ["", f"## {layer.value.capitalize()}", ""]
        lines += table(("alert", "severity", "condition", "holds for", "fires on for", "says", "source"), rows)
    return "\n".join(lines) + "\n"


def _alert(rule: AlertRule) -> tuple[str, ...]:
    kind = "symptom, lingers" if rule.lingers else "symptom"
    name = f"`{rule.alert}`" + (f" (**{kind}**)" if rule.symptom else "")
    spans = (format_duration(span) if span else "–" for span in (rule.for_s, rule.keep_firing_for_s))
    return (
        name,
        rule.severity.value,
        f"{rule.detector}: {_written(plain(rule.method))}",
        *spans,
        rule.summary,
        rule.source,
    )


def _written(block: Any) -> str:
    """A detector's settings on one line, as a person would read them out."""
    if isinstance(block, dict):
        return ", ".join(_written(v) if name == "name" else f"{name} {_written(v)}" for name, v in block.items())
    if isinstance(block, list):
        return " or ".join(_written(value) for value in block)
    return f"`{block}`"


# --- metrics --------------------------------------------------------------------------------------------------------


def metrics_page() -> str:
    """docs/metrics.md."""
    registry = SelfStat(CollectorRegistry()).registry
    own = sorted(registry.collect(), key=lambda family: family.name)
    lines = [
        "# Metrics",
        "",
        _NOTICE.format(source="aiops/catalog.py and aiops/selfstat.py"),
        "",
        "What `/metrics` serves. Names are OpenTelemetry's in Prometheus spelling where it has one. A reading that could",
        "not be taken is absent, never 0.",
        "",
        "## What is observed",
        "",
        *table(
            ("metric", "kind", "unit", "labels", "means", "source"),
            (
                (f"`{m.name}`", m.kind.value, m.unit, ", ".join(m.labels), m.help, m.source)
                for m in CATALOG.values()
            ),
        ),
        "",
        "## What the daemon says of itself",
        "",
        *table(
            ("metric", "kind", "means"),
            ((f"`{f.name}{'_total' if f.type == 'counter' else ''}`", f.type, f.documentation) for f in own),
        ),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


# --- settings -------------------------------------------------------------------------------------------------------


def example_file() -> str:
    """aiops.example.yaml."""
    return plan.example_settings()


def settings_page() -> str:
    """docs/settings.md."""
    lines = [
        "# Settings",
        "",
        _NOTICE.format(source="aiops/settings.py and the Config of every plug-in"),
        "",
        "`aiops run` needs no settings file. With `-c FILE` it reads YAML in which every key is optional; what is not",
        "there keeps its default. `aiops check -c FILE` says what is wrong with a file, with line and expectation, and",
        "starts nothing. SIGHUP reads it again; a file with a mistake changes nothing.",
        "",
        "- Durations are written with a unit: `15s`, `5m`, `1h30m`, `7d`.",
        "- Sizes: `512MiB`, `20GB`. Ratios: `80%` or `0.8`.",
        "- Secrets (URLs of receivers, keys) are text, `{file: PATH}` or `{env: NAME}`, and are never shown.",
        "",
        "Every key with its meaning and default, as in aiops.example.yaml:",
        "",
        "```yaml",
        example_file().rstrip("\n"),
        "```",
    ]
    return "\n".join(lines) + "\n"


# --- engines --------------------------------------------------------------------------------------------------------


def engines_page() -> str:
    """docs/engines.md."""
    lines = [
        "# Inference servers and gateways",
        "",
        _NOTICE.format(source="aiops/collect/engines.yaml"),
        "",
        "What the page of each program tells. A metric that is not in a table is not on the page, and what needs it is",
        "*unknown* there. Several names in a cell are put together; of the spellings of several versions the newest is shown.",
        "Times are converted to seconds; several engines or ranks on one page become one series.",
        "",
        "A P99 is interpolated in the server's own buckets. vLLM and trtllm-serve have an edge at 0.5 s; SGLang counts up to 0.4",
        "and up to 0.6 s, so a P99 time to first token near 0.5 s is a guess there, and the daemon says so when it starts.",
        "",
    ]
    for dialects, prefix in ((engines.dialects(), "gen_ai_server_"), (engines.gateways(), "http_gateway_")):
        for dialect in dialects.known:
            lines += [
                f"## {dialect.title}",
                "",
                *_remarks(dialect),
                *table(("metric", "on the page"), _read(dialect, prefix)),
                "",
            ]
    return "\n".join(lines).rstrip() + "\n"


def _remarks(dialect: engines.Dialect) -> Iterator[str]:
    if dialect.health is not None:
        ports = "".join(f" on port {to}, for a page on {of}" for of, to in dialect.health.ports.items())
        yield f"Health path: `{dialect.health.path}`{ports}."
        yield ""
    if dialect.blind:
        yield f"Blind spot: {dialect.blind}."
        yield ""


def _read(dialect: engines.Dialect, prefix: str) -> Iterator[tuple[str, str]]:
    """Each metric with the names it stands under, shortest spelling of the prefix."""
    found: dict[str, list[str]] = {}
    own = {row.source.metric for row in dialect.rows if not row.spare}
    for row in dialect.rows:
        if not row.source.metric.startswith(prefix) or (row.spare and row.source.metric in own):
            continue
        name = next((name for name in row.names if name.startswith(dialect.prefixes)), row.names[0]).removesuffix(
            "_bucket"
        )
        where = ",".join(f"{label}={'/'.join(values)}" for label, values in row.source.where.items())
        fixed = ", ".join(f"{label} {value}" for label, value in row.source.fixed.items() if value)
        over = f" over `{row.over[0]}`" if row.over else ""
        of = f" (label {row.source.value_of})" if row.source.value_of else ""
        text = f"`{name}{'{' + where + '}' if where else ''}`{of}{over}{': ' + fixed if fixed else ''}"
        found.setdefault(row.source.metric, []).append(text)
    for metric, names in found.items():
        yield f"`{metric}`", ", ".join(names)


PAGES: Mapping[str, Callable[[], str]] = {
    "aiops.example.yaml": example_file,
    "docs/alerts.md": alerts_page,
    "docs/causes.md": causes_page,
    "docs/engines.md": engines_page,
    "docs/metrics.md": metrics_page,
    "docs/settings.md": settings_page,
}
"""File, from the root of the project, to what makes its text."""


def outdated(root: Path = ROOT) -> list[str]:
    """Files that do not hold what the code says."""

    def text(path: Path) -> str:
        return path.read_text(encoding="utf-8") if path.exists() else ""

    return [name for name, make in PAGES.items() if text(root / name) != make()]


def main(arguments: Sequence[str]) -> int:
    """Write, or with ``--check`` only compare; exit status 1 when something is out of date."""
    parser = argparse.ArgumentParser(description="Write the pages that must agree with the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is out of date")
    stale = outdated()
    if parser.parse_args(arguments).check:
        for name in stale:
            sys.stderr.write(f"{name}: out of date; run `make docs`\n")
        return 1 if stale else 0
    for name in stale:
        (ROOT / name).write_text(PAGES[name](), encoding="utf-8")
        sys.stdout.write(f"{name}: written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
