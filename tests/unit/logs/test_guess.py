from __future__ import annotations

import base64
import json
import sys
from importlib import resources, util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from aiops.errors import AiopsError
from aiops.logs.features import COLUMNS, columns
from aiops.logs.guess import FILE, FORMAT, Guesser
from aiops.model import LogSeverity
from aiops.rulebook.signatures import LogClass

ROOT = Path(__file__).parents[3]
GUESSER = Guesser.load()


@pytest.fixture(scope="module")
def trainer() -> ModuleType:
    spec = util.spec_from_file_location("train_guess", ROOT / "bench" / "train_guess.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules["train_guess"] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def text(**other: object) -> str:
    """A model of two classes that calls everything with a word of failure a matter of names."""
    plain: dict[str, object] = {
        "format": FORMAT, "classes": ["benign", "dns"], "severities": ["info", "error"], "threshold": 0.6, "step": 1.0,
        "bias": [0.0, 1.0], "weights": base64.b64encode(bytes(COLUMNS * 2)).decode(),
    }  # fmt: skip
    return json.dumps({**plain, **other})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("error error error " * 9, LogClass.BENIGN),
        ("could not look up the name of engine-a: resolver timed out", LogClass.DNS),
        ("all is well, 3 requests served", LogClass.BENIGN),
        ("", LogClass.BENIGN),
        ("x" * 100_000, LogClass.BENIGN),
        ("\x00\udcff error " * 100, LogClass.BENIGN),
    ],
)
def test_unseen_wordings_are_guessed_and_odd_lines_are_left_alone(line: str, expected: LogClass):
    """No signature has these words; most of them stand in some sample all the same."""
    (guess,) = GUESSER.guess([line])

    assert guess.log_class is expected
    assert 0.0 <= guess.probability <= 1.0


def test_a_line_without_a_word_of_failure_is_benign():
    """ "Loaded TLS certificate" speaks of certificates, and nothing is wrong with them."""
    failing, fine = Guesser.from_json(text()).guess(["the lookup of a name failed", "the lookup of a name is done"])

    assert (failing.log_class, failing.severity) == (LogClass.DNS, LogSeverity.ERROR)
    assert failing.probability == pytest.approx(0.731)
    assert (fine.log_class, fine.probability) == (LogClass.BENIGN, pytest.approx(0.269))


def test_what_is_not_sure_enough_is_benign():
    """A false flag is worse than a miss."""
    (guess,) = Guesser.from_json(text(threshold=0.8)).guess(["the lookup of a name failed"])

    assert guess.log_class is LogClass.BENIGN


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "[]",
        "{}",
        text(format="another"),
        text(classes=["benign", "weather"]),
        text(weights="AAAA"),
        text(weights="no base64!"),
    ],
)
def test_a_damaged_model_is_refused(broken: str):
    """It is plain data: reading it fails or gives numbers, and runs nothing."""
    with pytest.raises((ValueError, KeyError, TypeError)):
        Guesser.from_json(broken)


def test_a_damaged_file_is_told_as_one_of_our_errors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The command says what is wrong instead of a traceback."""
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)

    with pytest.raises(AiopsError, match=FILE):
        Guesser.load()


def test_numbers_are_no_features_and_cases_are_alike():
    """A model that learned addresses and times would know only the log it was trained on."""
    assert columns(b"Timeout 7f3a after 30 s") == columns(b"timeout 12 after 999999 s")
    assert columns(b"out of memory") != columns(b"memory of out")
    assert columns(b"") == columns(b"1 2 3")


def test_the_shipped_model_is_what_training_gives(trainer: ModuleType):
    """Anybody can make it again, and a changed sample without a new model is noticed."""
    shipped = json.loads(resources.files("aiops.logs").joinpath(FILE).read_text(encoding="ascii"))
    found = trainer.examples()
    truth = np.array([example.log_class for example in found])
    fresh = trainer.content(found, trainer.matrix(found), truth, shipped["threshold"])

    assert shipped["inputs_sha256"] == fresh["inputs_sha256"], "run bench/train_guess.py"
    assert shipped["classes"] == fresh["classes"]
    steps = [np.frombuffer(base64.b64decode(one["weights"]), np.int8).astype(int) for one in (shipped, fresh)]
    # another processor may round the last digit otherwise
    assert np.abs(steps[0] - steps[1]).max() <= 1


def test_the_shipped_file_is_small():
    """It travels in the wheel and is read at each start of the command."""
    assert len(resources.files("aiops.logs").joinpath(FILE).read_bytes()) < 300_000
