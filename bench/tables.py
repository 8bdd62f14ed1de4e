"""
Writes docs/performance.md, and the lab's tables in docs/quality.md, from bench/results/*.json.

``python bench/tables.py`` writes them; ``--check`` writes nothing and fails when they are out of date. What a section
says stands in `tables_daemon`, `tables_logs` and `tables_lab`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from sheet import measured
from tables_calm import calm
from tables_daemon import evaluation, exposition, footprint, hung_sources, incident_cost, soak, time_to_page
from tables_lab import lab, ranked
from tables_logs import flood, logs

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parent.parent / "docs"
PAGE, QUALITY = DOCS / "performance.md", DOCS / "quality.md"
BLOCKS = {
    "lab": (lab, "bench/lab.py RUNS"),
    "rca_lab": (ranked, "bench/rca_lab.py RUNS --baro PYTHON"),
    "false_pages": (calm, "bench/false_pages.py FOLDER"),
}
"""Of docs/quality.md, each between two comments with its name."""

SECTIONS = {
    "time_to_page": time_to_page,
    "footprint": footprint,
    "incident_cost": incident_cost,
    "evaluation": evaluation,
    "hung_sources": hung_sources,
    "soak_1x": soak,
    "soak_100x": soak,
    "exposition": exposition,
    "logs": logs,
    "flood": flood,
}

COMMANDS = {
    "footprint": "bench/footprint.py PAGES",
    "soak_1x": "bench/soak.py PAGES --seconds 3600",
    "soak_100x": "bench/soak.py PAGES --speed 100 --seconds 864",
}
"""Of those whose command is more than the name."""


def page() -> str:
    lines = [
        "# Performance",
        "",
        "<!-- Written by bench/tables.py from bench/results. Measure again, then run it. -->",
        "",
    ]
    for name, section in SECTIONS.items():
        path = RESULTS / f"{name}.json"
        if path.exists():
            lines += section(json.loads(path.read_text()))
        else:
            command = COMMANDS.get(name, f"bench/{name}.py")
            lines += [f"## {name}", "", f"Not measured yet: `python {command}`", ""]
    return "\n".join(lines).rstrip() + "\n"


def quality(text: str) -> str:
    """docs/quality.md as *text*, with the tables as they are now."""
    for name, (section, command) in BLOCKS.items():
        begin, end = f"<!-- {name}: written by bench/tables.py -->\n", f"<!-- {name} ends -->"
        before, _, rest = text.partition(begin)
        path = RESULTS / f"{name}.json"
        lines = [f"Not measured yet: `python {command}`", ""]
        if path.exists():
            result = json.loads(path.read_text())
            lines = [*section(result), *measured(result)]
        text = f"{before}{begin}\n" + "\n".join(lines) + f"\n{end}{rest.partition(end)[2]}"
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description="Write what the docs hold of the results.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when it is out of date")
    args = parser.parse_args()
    texts = {PAGE: page(), QUALITY: quality(QUALITY.read_text())}
    if args.check:
        return 0 if all(path.exists() and path.read_text() == text for path, text in texts.items()) else 1
    for path, text in texts.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
