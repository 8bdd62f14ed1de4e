"""
Ranks the columns of cases with BARO, of the package fse-baro; run by the Python of a venv that holds it.

``python rca_baro.py CASES RESULT``: CASES is JSON, a list of {"csv", "times"}; out comes JSON: for each case and each
time the ranked columns and the CPU seconds they took. Reading the file is not counted.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

import pandas as pd
from baro.root_cause_analysis import robust_scorer

warnings.simplefilter("ignore")


def main() -> None:
    answers = []
    for case in json.loads(Path(sys.argv[1]).read_text()):
        data = pd.read_csv(case["csv"])
        rows = []
        for inject_time in case["times"]:
            started_s = time.process_time()
            ranks = robust_scorer(data, inject_time=inject_time)["ranks"]
            rows.append({"ranks": ranks, "cpu_s": time.process_time() - started_s})
        answers.append(rows)
    Path(sys.argv[2]).write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
