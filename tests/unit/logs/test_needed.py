from __future__ import annotations

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from aiops.logs.needed import needed


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("(?i)CUDA out", [[{b"cuda out"}]]),
        (r"(?m)(?i)\bfan\b.*\b(?:fail(?:ed|ure)?|stopped)\b", [[{b"fail", b"stopped"}, {b"fan"}]]),
        ("engine (?:a|b)?d", [[{b"engine ad", b"engine bd", b"engine d"}]]),
        (r"Xid \([^)]*\): (?:79|48)\b", [[{b"xid ("}, {b"): 79", b"): 48"}]]),
        (r"kv[ _-]?cache", [[{b"kvcache", b"kv cache", b"kv_cache", b"kv-cache"}]]),
        ("(?P<who>engine)+ (?:is )*down", [[{b"engine"}, {b"down"}]]),
        (r"disk|\d+ of \d", [[{b"disk"}], [{b" of "}]]),
        ("no(?: more)* live upstreams anywhere", [[{b" live upstream"}]]),
        ("[]x]abc[^]y]", [[{b"]abc", b"xabc"}]]),
        (r"lost{2,3}y", [[{b"los"}]]),
        ("(?:longer|long) ago", [[{b"longer ago", b"long ago"}]]),
        ("(?:.*lost|.*lost it) ", [[{b"lost"}]]),
    ],
)
def test_words_that_must_be_there_are_found(expression: str, expected: list[list[set[bytes]]]):
    """The rarer they are, the fewer expressions are asked in vain."""
    assert [[set(clause) for clause in clauses] for clauses in needed(expression)] == expected


@pytest.mark.parametrize(
    "expression",
    [
        r"\d\d",
        "(?:abc)*",
        "(?:abc)?",
        "(?:abc){0,3}",
        ": ",
        r"\Qa.c\E",
        r"\x41bc",
        "(?=abc)",
        "(abc",
        "abc)",
        "[abc",
        "[\\",
        "\\",
        "密",
        "disk|",
        "(" * 3_000,
    ],
)
def test_what_may_be_found_anywhere_or_cannot_be_read_needs_nothing(expression: str):
    """A wrong guess here would hide trouble; asking once more costs a microsecond."""
    assert () in needed(expression)


PARTS = st.sampled_from(
    [
        "a", "bc", "K", " ", "5", r"\d", r"\w", r"\b", ".", "[ab]", "[^a]", "[a-c]", "[5-]", "[]b]", "(?i)", "(?i:bC)", "(?:a|bc)",
        "(?:a.*b|c)", "(ab|)", "(?P<n>bc)", "[[:alpha:]]", r"\.", "é", "ſ", "|", "(?:a|b|c|k)", "(?:(?:ab.){2})",
    ]
)  # fmt: skip
COUNTS = st.sampled_from(["", "", "", "?", "*", "+", "{2}", "{0,1}", "+?"])


@given(
    st.lists(st.tuples(PARTS, COUNTS), min_size=1, max_size=6),
    st.text("abcABCkKſéK 5.]-", max_size=14),
)
def test_a_line_that_is_found_holds_the_words(parts: list[tuple[str, str]], line: str):
    """Whatever a rule's author writes."""
    expression = "".join(part + ("" if part in {"|", "(?i)", r"\b"} else count) for part, count in parts)
    expression = expression.replace("(?P<n>", "(", expression.count("(?P<n>") - 1)  # names must differ
    options = re2.Options()
    options.log_errors = False
    if expression.isascii():  # as the lexicon asks
        options.encoding = re2.Options.Encoding.LATIN1
    held = line.encode().lower()

    if re2.compile(expression.encode(), options).search(line.encode()):
        assert any(all(any(word in held for word in clause) for clause in clauses) for clauses in needed(expression))
