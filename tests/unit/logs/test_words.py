from __future__ import annotations

from aiops.logs.digits import form_of
from aiops.logs.words import Words

EXPRESSIONS = ["no space left", r"disk\b.*\bfull", r"\d\d", "status 50[34]|gone"]


def places(line: bytes, *, form: bool = False) -> list[int]:
    return list(Words(EXPRESSIONS).places(line, form=form))


def test_only_expressions_whose_words_are_there_are_named_the_first_one_first():
    """The first signature that matches wins; one without words may always match."""
    assert places(b"No space left on disk") == [0, 2]
    assert places(b"GONE") == [2, 3]
    assert places(b"") == [2]


def test_both_clauses_of_an_alternative_must_hold():
    """One word alone is in too many lines."""
    assert places(b"disk is full") == [1, 2]
    assert places(b"the disk") == places(b"full") == [2]


def test_digits_count_in_a_line_and_not_in_its_form():
    """A form stands for every line with other digits."""
    assert places(b"status 503") == [2, 3]
    assert places(b"status 200") == [2]
    assert places(form_of(b"status 200"), form=True) == [2, 3]


def test_there_may_be_no_expressions_or_very_many():
    """A person's own folder adds to what is shipped; the automaton grows with it and does not fall silent."""
    many = Words([f"trouble of kind {'abcdefghij'[n % 10]}{n} at" for n in range(5_000)])

    assert list(Words([]).places(b"disk")) == []
    assert 4_999 in many.places(b"x " * 9_000 + b"trouble of kind j4999 at " + b"some trouble of a kind")
