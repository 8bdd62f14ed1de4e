from __future__ import annotations

import json

import pytest

from aiops.logs.classify import Answer
from aiops.model import LogSeverity
from aiops.offline.classify import as_json, as_text
from aiops.rulebook.signatures import LogClass

XID = Answer(LogClass.GPU_HW, LogSeverity.CRITICAL, guess=False, probability=1.0, values={"xid": "79", "gpu": "3"})
MAYBE = Answer(LogClass.DNS, LogSeverity.ERROR, guess=True, probability=0.83)
FINE = Answer(LogClass.BENIGN, LogSeverity.INFO, guess=True, probability=0.97)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (XID, "gpu_hw\tcritical\txid=79, gpu=3"),
        (MAYBE, "dns\terror\tguess, 83%"),
        (FINE, "benign\tinfo\t"),
        (
            Answer(LogClass.DNS, LogSeverity.ERROR, guess=False, probability=1.0, values={"a": "b\n\tc"}),
            "dns\terror\ta=b  c",
        ),
    ],
)
def test_an_answer_is_one_line_of_three_columns(answer: Answer, expected: str):
    """``cut`` and ``awk`` read this; a value taken from a log must not add a column or a line."""
    assert as_text(answer) == expected


@pytest.mark.parametrize("answer", [XID, MAYBE, FINE])
def test_an_answer_is_one_json_object(answer: Answer):
    """The keys are a contract."""
    text = as_json(7, answer)
    assert "\n" not in text
    assert json.loads(text) == {
        "line": 7,
        "class": answer.log_class,
        "severity": answer.severity,
        "guess": answer.guess,
        "probability": answer.probability,
        "values": answer.values,
    }


def test_a_value_cannot_break_the_json():
    """Values are words of strangers."""
    values = {"device": 'nvme"0\n\\\u2028\x00'}
    text = as_json(1, Answer(LogClass.DISK_FULL, LogSeverity.ERROR, guess=False, probability=1.0, values=values))
    assert json.loads(text)["values"] == values
    assert text.isascii()
    assert "\n" not in text
