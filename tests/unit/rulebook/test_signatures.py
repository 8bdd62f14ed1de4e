from __future__ import annotations

from pathlib import Path

import pytest

from aiops.errors import ConfigError
from aiops.model import LogSeverity
from aiops.rulebook.signatures import LogClass, load_signatures

SHIPPED = Path(__file__).parents[3] / "rules"

GOOD = """\
signatures:
  - class: vram_exhaustion
    title: CUDA out of memory
    severity: critical
    patterns: ['CUDA out of memory']
    samples: ['CUDA out of memory on GPU 3']
    source: https://example.org
    extract: {gpu: 'GPU (\\d+)'}
"""


def problems(directory: Path, text: str) -> list[str]:
    (directory / "logs").mkdir(exist_ok=True)
    (directory / "logs" / "odd.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_signatures([directory])
    return [f"{problem.line}: {problem.text}" for problem in caught.value.problems]


def test_a_signature_is_read_with_all_its_fields(tmp_path: Path):
    """The YAML names are part of what people write; they stay."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.yaml").write_text(GOOD)

    (signature,) = load_signatures([tmp_path])

    assert signature.log_class is LogClass.VRAM_EXHAUSTION
    assert signature.severity is LogSeverity.CRITICAL
    assert signature.extract == {"gpu": r"GPU (\d+)"}


def test_later_folders_come_first_and_files_by_name(tmp_path: Path):
    """The first match wins, so a person's own folder, named last, overrides what is shipped."""
    for folder, name, title in (("own", "z", "A"), ("shipped", "a", "B"), ("shipped", "b", "C")):
        (tmp_path / folder / "logs").mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "logs" / f"{name}.yaml").write_text(GOOD.replace("CUDA out of memory\n", f"{title}\n"))
    (tmp_path / "shipped" / "logs" / "empty.yaml").write_text("")
    (tmp_path / "shipped" / "logs" / "README.md").write_text("not a rule")

    found = load_signatures([tmp_path / "shipped", tmp_path / "absent", tmp_path / "own"])

    assert [signature.title for signature in found] == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("old", "new", "line", "text"),
    [
        ("'CUDA out of memory']", "'CUDA (out']", 5, "patterns: expected an RE2 expression: missing )"),
        ("'CUDA out of memory']", "'CUDA', '(?=memory)']", 5, "patterns: expected an RE2 expression"),
        ("'CUDA out of memory']", "'(CUDA)*']", 5, "patterns: matches an empty line"),
        ("'CUDA out of memory']", "'CUDA.{0,60}memory']", 5, "patterns: too large; use .*"),
        ("'CUDA out of memory']", "]", 5, "patterns: expected at least one"),
        ("'CUDA out of memory on GPU 3'", "'all is well'", 6, "samples: none of the patterns"),
        ("['CUDA out of memory on GPU 3']", "[]", 6, "samples: expected at least one"),
        (r"'GPU (\d+)'", r"'GPU \d+'", 8, "extract.gpu: expected 1 group in parentheses, found 0"),
        ("class: vram_exhaustion", "class: vram", 2, "class: expected one of vram_exhaustion, "),
        ("severity: critical", "severity: bad", 4, "severity: expected one of info"),
        ("title:", "tittle:", 3, "tittle: unknown key"),
        ("    source: https://example.org\n", "", 2, "source: missing"),
    ],
)
def test_a_wrong_signature_is_refused_with_its_line(tmp_path: Path, old: str, new: str, line: int, text: str):
    """The person who wrote it is told where, and what was expected."""
    assert old in GOOD

    found = problems(tmp_path, GOOD.replace(old, new))

    assert len(found) == 1
    assert found[0].startswith(f"{line}: ")
    assert text in found[0]


def test_all_problems_of_all_files_are_told_at_once(tmp_path: Path):
    """Nobody wants to repair a folder one run at a time."""
    broken = GOOD.replace("'CUDA out of memory']", "'(', '[']")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.yaml").write_text(broken)

    assert len(problems(tmp_path, broken)) == 4


def test_a_pattern_of_absurd_length_is_refused(tmp_path: Path):
    """Expressions are compiled at start, and start is short."""
    (found,) = problems(tmp_path, GOOD.replace("'CUDA out of memory']", f"'{'a' * 1_001}']"))

    assert "at most 1000 characters" in found


def test_the_shipped_signatures_load_and_cover_every_class():
    """Their samples are checked on loading; a class without a signature could never be seen."""
    signatures = load_signatures([SHIPPED])

    assert {signature.log_class for signature in signatures} == set(LogClass)


def test_every_shipped_sample_is_given_its_own_class():
    """A later file must not lose its lines to an earlier one."""
    import re2

    signatures = load_signatures([SHIPPED])
    compiled = [(s.log_class, [re2.compile(pattern) for pattern in s.patterns]) for s in signatures]
    wrong = [
        (sample, first)
        for signature in signatures
        for sample in signature.samples
        for first in [next(c for c, patterns in compiled if any(p.search(sample) for p in patterns))]
        if first is not signature.log_class
    ]

    assert wrong == []


def test_samples_of_a_proven_folder_are_not_tried_again_those_of_a_persons_own_are(tmp_path: Path):
    """Trying the shipped ones costs a tenth of a second at each start; a person's own may be wrong today."""
    for folder in ("shipped", "own"):
        (tmp_path / folder / "logs").mkdir(parents=True)
        (tmp_path / folder / "logs" / "a.yaml").write_text(GOOD.replace("['CUDA out of memory']", "['no such words']"))
    folders = [tmp_path / "shipped", tmp_path / "own"]

    with pytest.raises(ConfigError) as caught:
        load_signatures(folders, proven=folders[:1])

    assert {problem.path for problem in caught.value.problems} == {str(tmp_path / "own" / "logs" / "a.yaml")}
