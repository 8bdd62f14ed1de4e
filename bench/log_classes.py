"""
How well lines get their log class: ``python bench/log_classes.py FOLDER``.

FOLDER holds ``failure_lines.jsonl`` (objects with "line" and "category") and, beside it, ``loghub/*.log``: ordinary logs
of other programs, in which little should be found. The cases of tests/cases/logs are counted by round. Signatures
alone, then with guesses; the cost of a line, warm, and the memory of the lexicon. Writes bench/results/log_classes.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import machine

from aiops.logs.classify import Classifier
from aiops.logs.guess import Guesser
from aiops.logs.lexicon import Lexicon
from aiops.logs.privacy import Privacy
from aiops.rulebook.signatures import load_signatures

ROOT = Path(__file__).parents[1]
ROUNDS = 5


def rss_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def us_a_line(work, lines: list[bytes]) -> float:
    """The best of some rounds, CPU time of this thread."""
    costs = []
    for _ in range(ROUNDS):
        started_s = time.thread_time()
        work(lines)
        costs.append((time.thread_time() - started_s) / len(lines) * 1e6)
    return round(min(costs), 2)


def scored(classifier: Classifier, cases: Iterable[tuple[str, str]]) -> dict:
    """Recall by signatures and with guesses; benign lines flagged; each line that got another class."""
    known = list(cases)
    answers = classifier.classify([line for _, line in known])
    by = defaultdict(Counter)
    wrong = []
    for (truth, line), answer in zip(known, answers, strict=True):
        said = answer.log_class.value
        by[truth]["lines"] += 1
        by[truth]["signature"] += said == truth and not answer.guess
        by[truth]["either"] += said == truth
        if said != truth:
            wrong.append(f"{truth} -> {said}{' (guess)' if answer.guess else ''}: {line[:160]}")
    trouble = [counts for truth, counts in by.items() if truth != "benign"]
    total = sum(counts["lines"] for counts in trouble)
    for line in wrong:
        print(line)
    return {
        "trouble_lines": total,
        "recall_by_signatures": round(sum(counts["signature"] for counts in trouble) / max(1, total), 4),
        "recall_with_guesses": round(sum(counts["either"] for counts in trouble) / max(1, total), 4),
        "benign_lines": by["benign"]["lines"],
        "benign_flagged": by["benign"]["lines"] - by["benign"]["either"],
    }


def objects(path: Path, key: str) -> Iterable[tuple[dict, str, str]]:
    for text in path.read_text(encoding="utf-8").splitlines():
        case = json.loads(text)
        yield case, case[key], case["line"]


def ordinary(classifier: Classifier, folder: Path) -> tuple[dict, list[bytes]]:
    """What is found in logs of other programs, by class."""
    lines = [
        line
        for path in sorted(folder.glob("*.log"))
        for line in path.read_bytes().decode(errors="replace").split("\n")
        if line
    ]
    found = {True: Counter(), False: Counter()}
    for answer in classifier.classify(lines):
        if answer.log_class != "benign":
            found[answer.guess][answer.log_class.value] += 1
    result = {"lines": len(lines), "by_signature": dict(found[False]), "by_guess": dict(found[True])}
    return result, [line.encode("utf-8", "replace") for line in lines]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    signatures = load_signatures([ROOT / "rules"])
    before_mb = rss_mb()
    lexicon = Lexicon(signatures)
    memory_mb = rss_mb() - before_mb
    classifier = Classifier(signatures, Guesser.load())
    result = {
        "signatures": len(signatures),
        "patterns": sum(len(signature.patterns) for signature in signatures),
        "given": scored(classifier, [case[1:] for case in objects(folder / "failure_lines.jsonl", "category")]),
    }
    cases = list(objects(ROOT / "tests" / "cases" / "logs" / "held_out.jsonl", "class"))
    result["rounds"] = {
        str(number): scored(classifier, [case[1:] for case in cases if case[0]["round"] == number])
        for number in sorted({case[0]["round"] for case in cases})
    }
    result["ordinary"], lines = ordinary(classifier, folder / "loghub")
    privacy = Privacy()
    result["cost"] = {
        "classify_us_a_line": us_a_line(lambda some: [lexicon.classify(line) for line in some], lines),
        "classify_together_us_a_line": us_a_line(lexicon.among, lines),
        "privacy_us_a_line": us_a_line(lambda some: [privacy.is_private(line) for line in some], lines),
        "privacy_together_us_a_line": us_a_line(lambda some: privacy.follow(some, [""] * len(some)), lines),
        "lexicon_mb": round(rss_mb() - before_mb if memory_mb < 0 else memory_mb, 1),
    }
    sys.argv[1:] = ["FOLDER"]  # where the data lay is nobody's business
    print(machine.write("log_classes", result).read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
