"""The scores by which log grouping is judged; a wrong one would make every figure in the docs wrong."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest


def _load(name: str):
    spec = importlib.util.spec_from_file_location(f"bench_{name}", Path(__file__).parents[3] / "bench" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


grouping, loglines = _load("grouping"), _load("loglines")


def test_perfect_groups_and_templates_score_one_whatever_they_are_called():
    """Group names are arbitrary."""
    scores = grouping.score([7, 7, 9], ["a <*>", "a <*>", "b"], ["x", "x", "y"], ["a <*>", "a <*>", "b"])

    assert scores == grouping.Scores(1, 1, 1, 1)


def test_a_group_counts_only_if_it_is_whole_and_alone():
    """Two of four lines lie in right groups: one true group is split, which makes neither half right."""
    scores = grouping.score([1, 2, 3, 4], ["a", "a", "b", "c"], ["x", "x", "y", "z"], ["a", "a", "b", "c"])

    assert scores.ga == pytest.approx(2 / 4)
    assert scores.fga == pytest.approx(2 * 2 / (4 + 3))


def test_merged_groups_count_as_wrong():
    """One big group must not score well."""
    scores = grouping.score([1] * 4, ["<*>"] * 4, ["x", "x", "y", "z"], ["a", "a", "b", "c"])

    assert (scores.ga, scores.fga, scores.pa, scores.fta) == (0, 0, 0, 0)


def test_templates_are_right_when_all_their_lines_mean_them():
    """Three lines of four have the true template; of two templates found, one is found for wrong lines too."""
    scores = grouping.score([1, 1, 2, 2], ["a", "a", "b", "b"], [1, 1, 2, 3], ["a", "a", "b", "c"])

    assert scores.pa == pytest.approx(3 / 4)
    assert scores.fta == pytest.approx(2 * 1 / (2 + 3))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("block blk_<*>  done", "block <*> done"),
        ("<*>.<*>.<*> and <*><*>", "<*> and <*>"),
        ("open /var/log/x as 17", "open <*> as <*>"),
        ("ready=True,x", "ready=<*>,x"),
        ("<*>:<*> stays", "<*>:<*> stays"),
        ("src/<*> stays", "src/<*> stays"),
        ("words stay", "words stay"),
    ],
)
def test_templates_are_written_in_one_way(template: str, expected: str):
    """What is written differently and says the same must compare equal, and nothing else."""
    assert grouping.normal(template) == expected


def test_same_groups_is_the_share_of_lines_grouped_alike():
    """Names differ between parsers."""
    assert grouping.same_groups("aabb", "xxyy") == 1
    assert grouping.same_groups("aabb", "xxyz") == 0.5


def test_the_mixture_repeats_words_but_not_numbers(tmp_path: Path):
    """A cache of whole lines must gain nothing from it."""
    (tmp_path / "A.log").write_text("took 1234567 ms at 10:20:30\nready\n")

    lines = loglines.mixed(tmp_path, 100, seed=1)

    assert len(lines) == 100
    assert lines.count("ready") == 50
    assert len({line for line in lines if line != "ready"}) == 50
    assert lines == loglines.mixed(tmp_path, 100, seed=1)


def test_many_templates_are_as_many_as_asked_for():
    """The scaling runs compare the same number of clusters at both lengths."""
    lines = loglines.many_templates(300, 100, seed=1)

    assert len(lines) == 300
    assert len({"".join(" " if char.isdigit() else char for char in line).split()[1] for line in lines}) > 50
