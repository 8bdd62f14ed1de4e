"""
Train the text model of aiops/logs/guess.py: from the lexicon's samples and bench/guess_lines.yaml to guess.json.

Fixed seed, quantised weights; the file carries the hash of what it was trained from, which a test compares.
Cross-validation leaves out whole signatures and whole families of lines, because a new wording of an unknown program is
what the model is for; the threshold is the lowest at which no benign line is called trouble that no signature knows, for
about those the model is asked.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from aiops.logs import features, guess
from aiops.logs.lexicon import Lexicon
from aiops.rulebook.signatures import LogClass, load_signatures

ROOT = Path(__file__).parents[1]
LINES = ROOT / "bench" / "guess_lines.yaml"
OUT = ROOT / "aiops" / "logs" / guess.FILE
SEED = 7
FOLDS = 10
LEAST_THRESHOLD = 0.6
"""Above that of any benign line left out, for the next program's lines are unlike all of them."""
BENIGN_WEIGHT = 3.0
"""A false flag is worse than a miss."""
TOLERANCE = 1e-3
"""Of the fit; a tenth of it took ten times as long and answered no better in cross-validation."""


@dataclass(frozen=True, slots=True)
class Example:
    line: str
    log_class: str
    severity: str
    group: str


def examples() -> list[Example]:
    """Every sample of the lexicon and every line beside it."""
    found = [
        Example(sample, signature.log_class.value, signature.severity.value, f"s{number}")
        for number, signature in enumerate(load_signatures([ROOT / "rules"]))
        for sample in signature.samples
    ]
    usual = severities(found)
    for log_class, families in yaml.safe_load(LINES.read_text(encoding="utf-8")).items():
        for family, lines in families.items():
            found.extend(
                Example(line, LogClass(log_class).value, usual[log_class], f"{log_class}/{family}") for line in lines
            )
    return found


def severities(found: list[Example]) -> dict[str, str]:
    """The severity most signatures of a class have."""
    counts: dict[str, Counter[str]] = {}
    for example in found:
        counts.setdefault(example.log_class, Counter())[example.severity] += 1
    return {log_class: counter.most_common(1)[0][0] for log_class, counter in counts.items()}


def inputs_sha256(found: list[Example]) -> str:
    text = json.dumps([[e.line, e.log_class, e.severity, e.group] for e in found])
    return hashlib.sha256(text.encode()).hexdigest()


def matrix(found: list[Example]) -> csr_matrix:
    filled = [features.columns(example.line.encode()) for example in found]
    ends = np.cumsum([0, *map(len, filled)])
    data = np.concatenate([np.full(len(row), 1 / np.sqrt(max(1, len(row)))) for row in filled])
    return csr_matrix(
        (data, np.concatenate([np.array(row, int) for row in filled]), ends), (len(found), features.COLUMNS)
    )


def model(truth: np.ndarray) -> LogisticRegression:
    weights = {name: BENIGN_WEIGHT if name == "benign" else 1.0 for name in set(truth)}
    return LogisticRegression(C=10.0, tol=TOLERANCE, max_iter=2_000, random_state=SEED, class_weight=weights)


def left_out(rows: csr_matrix, found: list[Example]) -> tuple[np.ndarray, np.ndarray]:
    """Class and probability of every example, by models that have not seen its group."""
    truth = np.array([example.log_class for example in found])
    said = np.empty(len(found), dtype=truth.dtype)
    sure = np.zeros(len(found))
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SEED)
    for train, test in splitter.split(rows, truth, [example.group for example in found]):
        each = model(truth[train]).fit(rows[train], truth[train])
        probabilities = each.predict_proba(rows[test])
        said[test] = each.classes_[probabilities.argmax(axis=1)]
        sure[test] = probabilities.max(axis=1)
    return said, sure


def train(found: list[Example]) -> dict[str, object]:
    """The file's content."""
    rows = matrix(found)
    truth = np.array([example.log_class for example in found])
    said, sure = left_out(rows, found)
    lexicon = Lexicon(load_signatures([ROOT / "rules"]))
    lines = [example.line.encode() for example in found]
    flagged = (said != "benign") & np.array([guess.FAILURE.search(line) is not None for line in lines])
    benign = (truth == "benign") & np.array([lexicon.classify(line) is None for line in lines])
    threshold = round(max(LEAST_THRESHOLD, float(sure[benign & flagged].max(initial=0.0)) + 0.01), 2)
    flagged &= sure >= threshold
    trouble = truth != "benign"
    print(
        f"{len(found)} lines; of {len({e.group for e in found})} groups left out in turn: trouble {trouble.sum()}, "
        f"recall {np.mean((said == truth)[trouble] & flagged[trouble]):.3f}, "
        f"wrong class {np.mean((said != truth)[trouble] & flagged[trouble]):.3f}; "
        f"benign {benign.sum()}, flagged {flagged[benign].sum()}; threshold {threshold}",
        file=sys.stderr,
    )
    return content(found, rows, truth, threshold)


def content(found: list[Example], rows: csr_matrix, truth: np.ndarray, threshold: float) -> dict[str, object]:
    """The file's content, from all examples."""
    whole = model(truth).fit(rows, truth)
    step = float(np.abs(whole.coef_).max() / 127)
    usual = severities(found)
    return {
        "format": guess.FORMAT,
        "inputs_sha256": inputs_sha256(found),
        "classes": list(whole.classes_),
        "severities": [usual[name] for name in whole.classes_],
        "threshold": threshold,
        "step": round(step, 8),
        "bias": [round(float(bias), 4) for bias in whole.intercept_],
        "weights": base64.b64encode(np.rint(whole.coef_.T / step).astype(np.int8).tobytes()).decode(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Train the text model; writes aiops/logs/guess.json.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the file's inputs changed since")
    args = parser.parse_args()
    found = examples()
    if args.check:
        fresh = json.loads(OUT.read_text())["inputs_sha256"] == inputs_sha256(found)
        print("fresh" if fresh else f"{OUT.name} was trained from other lines; run {Path(__file__).name}")
        return 0 if fresh else 1
    OUT.write_text(json.dumps(train(found), indent=0) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
