"""
How well lines were grouped and their templates found, as the field counts it.

Grouping accuracy (Zhu et al., "Tools and Benchmarks for Automated Log Parsing", 2019): share of lines in a group that
holds exactly the lines of one true group. FGA is the F1 of such groups (Jiang et al., "A Large-Scale Evaluation for Log
Parsing Techniques", 2024). Parsing accuracy and FTA (Khan et al., "Guidelines for Assessing the Accuracy of Log Message
Template Identification Techniques", 2022): share of lines whose template is the true one, and F1 of templates; both
after templates are written in one way, since "blk_<*>" and "<*>" say the same.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache

_AROUND_PATHS = re.compile(r"""([\s,!;:=|"'\[\](){}])""")
_AROUND_WORDS = re.compile(r"""([\s,!;:=|"'\[\](){}.\-+@#$%&])""")
_PATH = re.compile(r"(?:/[^/]+)+")
_WORD_OF_VALUES = re.compile(r"[^\s/]*<\*>[^\s/]*")


@dataclass(frozen=True, slots=True)
class Scores:
    """Each between 0 and 1."""

    ga: float
    fga: float
    pa: float
    fta: float


def mean(scores: Sequence[Scores]) -> Scores:
    return Scores(*(sum(values) / len(scores) for values in zip(*map(astuple, scores), strict=True)))


def score(
    groups: Sequence[Hashable], templates: Sequence[str], true_groups: Sequence[Hashable], true_templates: Sequence[str]
) -> Scores:
    """Scores of one set; all four hold one value a line."""
    found, true = Counter(groups), Counter(true_groups)
    both = Counter(zip(groups, true_groups, strict=True))
    right = [count for (group, true_group), count in both.items() if found[group] == count == true[true_group]]

    written = [normal(template) for template in templates]
    expected = [normal(template) for template in true_templates]
    meant = defaultdict(set)
    for one, other in zip(written, expected, strict=True):
        meant[one].add(other)
    found_templates = sum(others == {one} for one, others in meant.items())
    return Scores(
        ga=sum(right) / len(groups),
        fga=2 * len(right) / (len(found) + len(true)),
        pa=sum(one == other for one, other in zip(written, expected, strict=True)) / len(groups),
        fta=2 * found_templates / (len(meant) + len(set(expected))),
    )


@lru_cache(maxsize=100_000)
def normal(template: str) -> str:
    """*template* with single blanks, whole words for values, and values side by side as one."""
    template = " ".join(template.split())
    template = "".join("<*>" if _PATH.fullmatch(word) else word for word in _AROUND_PATHS.split(template))
    template = "".join("<*>" if _is_value(word) else word for word in _AROUND_WORDS.split(template))
    return re.sub(r"<\*>(?:\.?<\*>)+", "<*>", template)


def _is_value(word: str) -> bool:
    return (
        word.lower() in {"true", "false"}
        or (word.isascii() and word.isdigit())
        or _WORD_OF_VALUES.fullmatch(word) is not None
    )


def same_groups(groups: Sequence[Hashable], others: Sequence[Hashable]) -> float:
    """Share of lines whose group holds exactly the same lines in both."""
    found, other = Counter(groups), Counter(others)
    both = Counter(zip(groups, others, strict=True))
    same = sum(count for (one, two), count in both.items() if found[one] == count == other[two])
    return same / len(groups)
