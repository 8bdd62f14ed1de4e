"""What people say moves priors, slowly and within bounds; and nothing sounds surer than it has been right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.model import Judgement, Tally, Word
from aiops.rulebook.causes import load_causes
from aiops.rulebook.places import shipped_rules
from aiops.rulebook.priors import MAX_SHOWN, MOST, bounds, most_shown, recounted, with_priors

CONFIRMED = Judgement(Word.CONFIRMED, 1.0, ("vram_exhaustion",), ("vram_exhaustion",))
REJECTED = Judgement(Word.REJECTED, 1.0, ("vram_exhaustion",))
OTHER = Judgement(Word.REJECTED, 1.0, ("vram_exhaustion",), ("vram_leak",))
TOLD = Judgement(Word.TOLD, 1.0, (), ("vram_leak",))


def prior_of(cause: str, *said: Judgement) -> float:
    causes = with_priors(load_causes([shipped_rules()]), Tally.of(said))
    return next(rule.prior for rule in causes if rule.cause == cause)


def test_nothing_moves_where_nothing_was_said():
    """A recording from before anybody spoke must replay to the last bit."""
    files = load_causes([shipped_rules()])

    assert with_priors(files, Tally()) == files


def test_a_confirmed_cause_becomes_likelier_and_all_others_less_so():
    """That it was one cause is also news of the others."""
    assert prior_of("vram_exhaustion", CONFIRMED) == pytest.approx((50 * 0.1 + 1) / 51)
    assert prior_of("vram_leak", CONFIRMED) == pytest.approx(50 * 0.03 / 51)


def test_a_rejected_answer_of_which_nobody_says_what_it_was_tells_of_that_cause_only():
    """What it was instead is unknown, and unknown is not absent."""
    assert prior_of("vram_exhaustion", REJECTED) == pytest.approx(50 * 0.1 / 51)
    assert prior_of("vram_leak", REJECTED) == prior_of("vram_leak")


@pytest.mark.parametrize("word", [OTHER, TOLD])
def test_what_a_person_says_it_was_counts_for_that_cause(word: Judgement):
    """Whether another cause was named before, or none."""
    assert prior_of("vram_leak", word) > prior_of("vram_leak")
    assert prior_of("vram_exhaustion", word) < prior_of("vram_exhaustion")


def test_one_word_at_most_doubles_the_rarest_shipped_cause():
    """A slip of the finger must not decide the next incident: this is what the weight of a file's prior is for."""
    rarest = min(rule.prior for rule in load_causes([shipped_rules()]))

    assert recounted(rarest, 1, 1) <= 2.0 * rarest


@given(st.floats(0.001, 0.999), st.integers(0, 10_000), st.integers(0, 10_000))
def test_no_count_moves_the_odds_by_more_than_a_factor_of_four(prior: float, was: int, others: int):
    """However many say so: evidence must go on deciding."""
    here = recounted(prior, was, was + others)

    assert 0.0 < here < 1.0
    ratio = here / (1 - here) / (prior / (1 - prior))
    assert 1 / MOST - 1e-9 <= ratio <= MOST + 1e-9
    assert prior / MOST - 1e-9 <= here <= prior * MOST + 1e-9
    assert bounds(prior)[0] <= here <= bounds(prior)[1] or here == prior


@given(st.lists(st.sampled_from([CONFIRMED, REJECTED, OTHER, TOLD]), max_size=30), st.data())
def test_a_changed_mind_counts_as_if_only_the_last_word_had_been_said(said: list[Judgement], data: st.DataObject):
    """Else who corrects himself would be counted twice."""
    tally = Tally.of([*said, CONFIRMED])
    again = data.draw(st.sampled_from([CONFIRMED, REJECTED, OTHER, TOLD]))

    assert tally.changed(CONFIRMED, again) == Tally.of([*said, again])


@pytest.mark.parametrize(
    ("confirmed", "rejected", "shown"),
    [(0, 0, 0.9), (29, 0, 0.9), (30, 0, 31 / 32), (98, 0, 0.99), (30, 30, 0.9), (60, 3, 61 / 65)],
)
def test_more_than_90_percent_is_shown_only_after_30_confirmed_and_never_more_than_was_right(
    confirmed: int, rejected: int, shown: float
):
    """A number on a page at night is believed."""
    tally = Tally.of([CONFIRMED] * confirmed + [REJECTED] * rejected)

    assert most_shown(tally) == pytest.approx(shown)
    assert most_shown(Tally()) == MAX_SHOWN
