from __future__ import annotations

from pathlib import Path

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from aiops.logs.digits import blind, digits_of, form_of, has_digits, split_at_digits
from aiops.logs.lexicon import Lexicon
from aiops.rulebook.signatures import load_signatures

SIGNATURES = load_signatures([Path(__file__).parents[3] / "rules"])
LEXICON = Lexicon(SIGNATURES)
SAMPLES = [sample for signature in SIGNATURES for sample in signature.samples]


def test_a_form_is_a_line_without_its_digits():
    """Lines that differ in numbers share what is found out about them."""
    assert form_of(b"Xid 79 at 0x1f") == form_of(b"Xid 31 at 0x9f") == b"Xid 00 at 0x0f"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"\b50[234]\b", r"\b00[000]\b"),
        (r"a{2,3} \d+ [0-9a-f]{4}", r"a{2,3} \d+ [0-9a-f]{4}"),
        (r"[0-9.3]", r"[0-0.0]"),
        (r"[^0-9]x", r"[^0-9]x"),
        (r"[^5]x", r"(?s:.)x"),
        (r"[]5]", r"[]0]"),
        (r"[[:digit:]] 7", r"[[:digit:]] 0"),
        (r"{\"code\": 5}", r"{\"code\": 0}"),
        (r"\pN\p{Greek}1", r"\pN\p{Greek}0"),
        (r"\x35", None),
        (r"\Q5\E", None),
        (r"[\x30-\x39]", None),
        (r"(?P<n1>a)", None),
        ("[5", None),
        ("5\\", None),
    ],
)
def test_a_pattern_is_made_blind_or_said_to_be_impossible(pattern: str, expected: str | None):
    """A wrong guess here would let an outage pass for a harmless line."""
    assert blind(pattern) == expected


@given(st.sampled_from(SAMPLES), st.data())
def test_a_line_that_a_signature_knows_has_a_form_that_may_match(sample: str, data: st.DataObject):
    """This is what makes it sound to remember, by its form, that a line is harmless."""
    digits = data.draw(st.lists(st.sampled_from("0123456789"), min_size=len(sample), max_size=len(sample)))
    line = "".join(digit if char.isdigit() else char for char, digit in zip(sample, digits, strict=True)).encode()

    assert LEXICON.may_know(form_of(line)) or LEXICON.classify(line) is None


ATOMS = st.sampled_from(
    ["5", "50", "a", r"\d", "[0-4]", "[^5]", "[^0-9]", "[a5]", "[4-x]", "[+-7]", r"\b", ".", "x{1,2}", "[^3-6a]", r"\."]
)


@given(st.lists(ATOMS, min_size=1, max_size=6), st.text("0123456789abx.+-", max_size=12))
def test_a_blind_pattern_never_finds_less(atoms: list[str], line: str):
    """Whatever a rule's author writes."""
    pattern = "".join(atoms)
    blinded = blind(pattern)

    if re2.search(pattern, line):
        assert blinded is None or re2.search(blinded.encode(), form_of(line.encode()))


def test_digits_are_found_by_their_place_among_digits():
    """Those that masks leave tell forms apart."""
    assert digits_of(b"a1b22c3", (0, 3)) == b"13"
    assert (has_digits("ssh2"), has_digits("ssh")) == (True, False)
    assert split_at_digits("a1b22c") == ["a", "b", "", "c"]
