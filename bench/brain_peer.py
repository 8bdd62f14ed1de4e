"""
Groups the lines of a file with Brain, of the package logparser3; run by the Python of a venv that holds it.

``python brain_peer.py LINES RESULT``: one line a line in; out comes JSON with the CPU time, and group and template of each.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
import time
from pathlib import Path

from logparser.Brain import LogParser


def main() -> None:
    lines, result = Path(sys.argv[1]), Path(sys.argv[2])
    csv.field_size_limit(2**20)
    with tempfile.TemporaryDirectory() as out:
        parser = LogParser("lines", "<Content>", f"{lines.parent}/", f"{out}/", threshold=2, delimeter=[], rex=[])
        started_s = time.process_time()
        parser.parse(lines.name)
        cpu_s = time.process_time() - started_s
        with (Path(out) / f"{lines.name}_structured.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
    groups, templates = ([row[name] for row in rows] for name in ("EventId", "EventTemplate"))
    result.write_text(json.dumps({"cpu_s": cpu_s, "groups": groups, "templates": templates}))


if __name__ == "__main__":
    main()
