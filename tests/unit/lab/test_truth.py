"""Which runs are experiments: users were hurt when, and only when, they should be."""

import pytest

from tests.lab.truth import Spoilt, check_hurt

BAD = [103.5 + n for n in range(20)]


def test_the_first_bad_answer_after_the_beginning_is_when_it_hurt():
    assert check_hurt(hurts=True, began_s=100.0, ended_s=150.0, bad_s=BAD, answers=80) == (103.5, 0.25)


def test_answers_after_the_end_are_not_the_faults():
    assert check_hurt(hurts=True, began_s=100.0, ended_s=115.0, bad_s=BAD, answers=24) == (103.5, 0.5)


def test_a_stray_bad_answer_long_before_spoils_nothing_and_is_not_the_first():
    assert check_hurt(hurts=True, began_s=100.0, ended_s=150.0, bad_s=[61.0, 90.0, *BAD], answers=80) == (103.5, 0.25)
    assert check_hurt(hurts=False, began_s=100.0, ended_s=150.0, bad_s=[61.0, 120.0], answers=600) == (None, 0.0)


def test_a_harmless_run_hurts_nobody():
    assert check_hurt(hurts=False, began_s=100.0, ended_s=150.0, bad_s=[], answers=600) == (None, 0.0)


@pytest.mark.parametrize(
    ("hurts", "bad_s", "reason"),
    [
        (True, [], "hardly anybody was hurt: 0 bad"),
        (True, BAD[:9], "hardly anybody was hurt: 9 bad"),
        (True, BAD[:11], "hardly anybody was hurt: 11 bad answers, 1.8 %"),
        (True, [150.0 + at_s for at_s in BAD], "hardly anybody was hurt: 0 bad"),
        (True, [99.0, *BAD], "before anything happened"),
        (False, [99.0], "before anything happened"),
        (True, [61.0, 62.0, 63.0, *BAD], "3 bad answers before anything happened"),
        (False, [120.0, 121.0, 122.0], "though nobody should"),
        (False, [151.0, 152.0, 153.0], "though nobody should"),
    ],
)
def test_a_run_in_which_the_wrong_people_were_hurt_is_no_experiment(hurts: bool, bad_s: list[float], reason: str):
    with pytest.raises(Spoilt, match=reason):
        check_hurt(hurts=hurts, began_s=100.0, ended_s=150.0, bad_s=bad_s, answers=600)
