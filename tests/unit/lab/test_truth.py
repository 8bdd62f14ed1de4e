"""Which runs are experiments: users were hurt when, and only when, they should be."""

import pytest

from tests.lab.truth import Spoilt, check_hurt


def test_the_first_bad_answer_after_the_beginning_is_when_it_hurt():
    assert check_hurt(hurts=True, began_s=100.0, ended_s=150.0, bad_s=[103.5, 104.0]) == 103.5


def test_a_harmless_run_hurts_nobody():
    assert check_hurt(hurts=False, began_s=100.0, ended_s=150.0, bad_s=[]) is None


@pytest.mark.parametrize(
    ("hurts", "bad_s", "reason"),
    [
        (True, [], "nobody was hurt"),
        (True, [151.0], "nobody was hurt"),
        (True, [99.0, 103.0], "before anything happened"),
        (False, [99.0], "before anything happened"),
        (False, [120.0], "though nobody should"),
        (False, [151.0], "though nobody should"),
    ],
)
def test_a_run_in_which_the_wrong_people_were_hurt_is_no_experiment(hurts: bool, bad_s: list[float], reason: str):
    with pytest.raises(Spoilt, match=reason):
        check_hurt(hurts=hurts, began_s=100.0, ended_s=150.0, bad_s=bad_s)
