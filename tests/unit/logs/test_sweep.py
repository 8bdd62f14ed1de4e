from __future__ import annotations

from pathlib import Path

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from aiops.logs.lexicon import Lexicon
from aiops.logs.sweep import Sweep
from aiops.rulebook.signatures import load_signatures

SIGNATURES = load_signatures([Path(__file__).parents[3] / "rules"])
LEXICON = Lexicon(SIGNATURES)
SAMPLES = [sample.replace("\n", " ") for signature in SIGNATURES for sample in signature.samples]
PATTERNS = [b"ab", b"^a", b"b$", b"a\\s+b", b"\\ba[^x]*b\\b", b"\\Aa", b"b\\z", b"(?s)a.*b", b"(?i)B"]


@pytest.mark.parametrize("pattern", PATTERNS)
@given(lines=st.lists(st.text(alphabet="ab x\r\t", max_size=5).map(str.encode), max_size=10))
def test_no_line_is_missed(pattern: bytes, lines: list[bytes]):
    """A match that runs over the end of a line must not hide what the next lines hold."""
    found = {number for number, line in enumerate(lines) if re2.search(pattern, line) is not None}
    candidates = list(Sweep(pattern).candidates(lines))
    assert found <= set(candidates)
    assert candidates == sorted(set(candidates))


@given(st.lists(st.one_of(st.sampled_from(SAMPLES), st.text(max_size=20)), max_size=20))
def test_the_lexicon_says_the_same_to_many_lines_as_to_each(texts: list[str]):
    """The class in the table of templates is the class of the line, however it was found."""
    lines = [text.replace("\n", " ").encode("utf-8", "replace") for text in texts]
    each = {number: hit for number, line in enumerate(lines) if (hit := LEXICON.classify(line)) is not None}
    assert LEXICON.among(lines) == each


def test_a_lexicon_without_signatures_knows_no_line():
    """Rules can be switched off."""
    assert Lexicon(()).among([b"CUDA out of memory"]) == {}
