from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiops.model import Labels

NAMES_AND_VALUES = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["", "x", "y"]), max_size=3)


@given(NAMES_AND_VALUES, NAMES_AND_VALUES)
def test_labels_match_what_they_say_and_an_absent_one_is_empty(held: dict[str, str], wanted: dict[str, str]):
    """As in Prometheus: a matcher on the empty value finds series without the label."""
    expected = all(held.get(name, "") == value for name, value in wanted.items())

    assert Labels.from_mapping(held).matches(wanted) is expected
