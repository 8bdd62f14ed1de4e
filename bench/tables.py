"""
Writes docs/performance.md from bench/results/*.json.

``python bench/tables.py`` writes it; ``--check`` writes nothing and fails when it is out of date. What a section says
stands in `tables_daemon` and `tables_logs`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tables_daemon import exposition, footprint, hung_sources, incident_cost, soak, time_to_page
from tables_logs import flood, logs

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs" / "performance.md"

SECTIONS = {
    "time_to_page": time_to_page,
    "footprint": footprint,
    "incident_cost": incident_cost,
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


def main() -> int:
    parser = argparse.ArgumentParser(description="Write docs/performance.md from the results.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when it is out of date")
    args = parser.parse_args()
    text = page()
    if args.check:
        return 0 if PAGE.exists() and PAGE.read_text() == text else 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
