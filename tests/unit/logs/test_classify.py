from __future__ import annotations

from collections.abc import Sequence

from aiops.logs.classify import Classifier
from aiops.logs.guess import Guess
from aiops.model import LogSeverity
from aiops.rulebook.places import rules_dirs
from aiops.rulebook.signatures import LogClass, load_signatures

SIGNATURES = load_signatures(rules_dirs(None))


class Parrot:
    """Guesses that whatever speaks of a wall is DNS."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def guess(self, lines: Sequence[str]) -> list[Guess]:
        self.asked += lines
        return [
            Guess(LogClass.DNS, LogSeverity.ERROR, 0.8)
            if "wall" in line
            else Guess(LogClass.BENIGN, LogSeverity.INFO, 0.9)
            for line in lines
        ]


def test_a_signature_comes_before_a_guess():
    """What a person reviewed outweighs what a model thinks."""
    parrot = Parrot()
    (answer,) = Classifier(SIGNATURES, parrot).classify(["wall: RuntimeError: CUDA error: out of memory, GPU 3"])
    assert (answer.log_class, answer.guess, answer.probability) == (LogClass.VRAM_EXHAUSTION, False, 1.0)
    assert answer.values["gpu"] == "3"
    assert parrot.asked == []


def test_a_guess_says_that_it_is_one_and_how_sure():
    """Nobody should be woken by a guess without knowing it."""
    known, unknown = Classifier(SIGNATURES, Parrot()).classify(["hit a wall 7", "ERROR hm"])
    assert (known.log_class, known.severity, known.guess, known.probability) == (
        LogClass.DNS, LogSeverity.ERROR, True, 0.8,
    )  # fmt: skip
    assert (unknown.log_class, unknown.severity, unknown.guess) == (LogClass.BENIGN, LogSeverity.ERROR, True)


def test_lines_that_differ_in_digits_are_guessed_once():
    """A log of a million lines has a thousand kinds."""
    parrot = Parrot()
    classifier = Classifier(SIGNATURES, parrot)
    first = classifier.classify([f"wall {number}" for number in range(10, 90)])
    assert first + classifier.classify(["  wall 99\r"]) == first[:1] * 81
    assert parrot.asked == ["wall 10"]


def test_blank_and_private_lines_are_benign_and_nobody_is_asked():
    """A prompt may say "wall"."""
    parrot = Parrot()
    answers = Classifier(SIGNATURES, parrot).classify(["", " \t\r", "prompt='wall, CUDA out of memory'", "\0"])
    assert [answer.log_class for answer in answers] == [LogClass.BENIGN] * 4
    assert [answer.guess for answer in answers] == [False, False, False, True]
    assert parrot.asked == ["\0"]


def test_each_answer_stands_at_the_place_of_its_line():
    """Lines are looked at together; what one says must not be answered to its neighbour."""
    kinds = {
        "": "benign",
        "fine": "benign",
        "wall": "dns",
        "CUDA out of memory": "vram_exhaustion",
        "prompt='x'": "benign",
    }
    lines = [line for one in kinds for other in kinds for line in (one, other)]
    answers = Classifier(SIGNATURES, Parrot()).classify(lines)
    assert [answer.log_class for answer in answers] == [kinds[line] for line in lines]
    assert Classifier(SIGNATURES, Parrot()).classify([]) == []
