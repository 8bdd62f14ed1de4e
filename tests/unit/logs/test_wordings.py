"""Lines known by name: gathered from public issues, and those the text model learns from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from aiops.logs.classify import Classifier
from aiops.logs.guess import Guesser
from aiops.rulebook.signatures import load_signatures

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def shipped() -> Classifier:
    return Classifier(load_signatures([ROOT / "rules"]), Guesser.load())


def held_out() -> Iterator[tuple[str, str]]:
    """Lines gathered from public issues after the signatures were written; what they missed of them was then mended."""
    for line in (ROOT / "tests" / "cases" / "logs" / "held_out.jsonl").read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        yield case["class"], case["line"]


def learned() -> Iterator[tuple[str, str]]:
    """Lines beside the lexicon's samples."""
    lines = yaml.safe_load((ROOT / "bench" / "guess_lines.yaml").read_text(encoding="utf-8"))
    for log_class, families in lines.items():
        for family in families.values():
            yield from ((log_class, line) for line in family)


@pytest.mark.parametrize("cases", [held_out, learned])
def test_every_known_wording_keeps_its_class(shipped: Classifier, cases):
    """A new pattern must not take lines from another class, nor call an ordinary line trouble."""
    known = [(log_class, line) for log_class, line in cases()]
    answers = shipped.classify([line for _, line in known])

    wrong = [
        (log_class, answer.log_class.value, line)
        for (log_class, line), answer in zip(known, answers, strict=True)
        if answer.log_class != log_class
    ]
    assert wrong == []
    assert len(known) > 150


def test_a_prompt_of_several_lines_is_benign(shipped: Classifier):
    """What somebody pasted is no evidence of anything, and is not looked at."""
    answers = shipped.classify(
        ["prompt: 'why this?", "CUDA out of memory", "no space left on device', n=1", "no space left on device"]
    )

    assert [answer.log_class.value for answer in answers] == ["benign", "benign", "benign", "disk_full"]
