"""Lines to measure with: labelled sets, a long mixture made from them, many templates, and hostile ones."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

_NUMBERS = re.compile(r"[0-9a-fA-F]*[0-9][0-9a-fA-F]*")
_FREE_BEFORE, _FREE_AFTER = " =_([#", " ,)];"


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Lines without their head, with what they are instances of."""

    name: str
    contents: list[str]
    groups: list[str]
    templates: list[str]


def labelled(folder: Path) -> list[LabelledSet]:
    """The sets in *folder*: NAME.csv with the columns content, event_id, template."""
    sets = []
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        sets.append(
            LabelledSet(path.stem, *([row[name] for row in rows] for name in ("content", "event_id", "template")))
        )
    return sets


def mixed(folder: Path, count: int, seed: int) -> list[str]:
    """
    *count* lines of all the sets' .log files, in random order.

    Each line is repeated with other numbers, for real traffic does not repeat verbatim: digits become other digits, ids
    of six and more hexadecimal digits are drawn anew, and of numbers that stand free every third one gets a digit more
    or less. Words stay as they are.
    """
    random = Random(seed)
    originals = [
        line for path in sorted(folder.glob("*.log")) for line in path.read_text(errors="replace").split("\n") if line
    ]
    lines = [_varied(originals[number % len(originals)], random) for number in range(count)]
    random.shuffle(lines)
    return lines


def _varied(line: str, random: Random) -> str:
    def other(found: re.Match[str]) -> str:
        text = found[0]
        if not text.isdigit():
            if len(text) < 6:
                return "".join(random.choice("0123456789") if char.isdigit() else char for char in text)
            return "".join(random.choice("0123456789abcdef") for _ in text)
        length = len(text)
        free = (
            line[found.start() - 1 : found.start()] in _FREE_BEFORE
            and line[found.end() : found.end() + 1] in _FREE_AFTER
        )
        if free and random.random() < 1 / 3:
            length = max(1, length + random.choice((-1, 1)))
        return "".join(random.choice("0123456789") for _ in range(length))

    return _NUMBERS.sub(other, line)


def many_templates(count: int, templates: int, seed: int) -> list[str]:
    """*count* lines of *templates* kinds, evenly over four severities: 6 to 14 words, every fifth one a number."""
    random = Random(seed)
    words = ["".join(random.choice("ghijklmnopqrstuvwxyz") for _ in range(random.randint(3, 10))) for _ in range(2_000)]
    kinds = []
    for number in range(templates):
        severity = ("INFO", "WARNING", "ERROR", "CRITICAL")[number % 4]
        body = [("{}" if random.random() < 0.2 else random.choice(words)) for _ in range(random.randint(6, 14))]
        kinds.append(" ".join((severity, random.choice(words), *body)))
    order = [*range(templates), *(random.randrange(templates) for _ in range(count - templates))]
    random.shuffle(order)
    return [kinds[number].format(*(random.randrange(10**6) for _ in range(14))) for number in order]


def hostile(size: int) -> Iterator[tuple[str, str]]:
    """Names and lines of *size* characters on which backtracking expressions take ages."""
    yield "80 letters after x, then g", "x " + "a" * 80 + "g"
    for name, piece in {
        "a-a-": "a-",
        "a.a.": "a.",
        "hexadecimal": "deadbeef",
        "digits": "1",
        "colons": "a:",
        "slashes": "/a",
        "quotes": '"',
        "equals": "a=",
        "blanks": " ",
        "words": "w ",
        "user=": "user=",
        "not ASCII": "é",
    }.items():
        yield name, (piece * (size // len(piece) + 1))[:size]
