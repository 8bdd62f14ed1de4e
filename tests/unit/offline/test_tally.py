from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.model import LogSeverity
from aiops.offline.tally import OTHERS, Fixed, Meaning, Tally
from aiops.rulebook.signatures import LogClass

A, B = Fixed("a", "A <*>", LogSeverity.ERROR), Fixed("b", "B")
OOM: Meaning = (LogClass.VRAM_EXHAUSTION, LogSeverity.CRITICAL)
SLOW: Meaning = (LogClass.THERMAL_THROTTLE, LogSeverity.WARNING)
FINE: Meaning = (LogClass.BENIGN, LogSeverity.INFO)


def test_counts_and_line_numbers_are_kept_over_batches():
    """First and last line lead a person back into a file of a million lines."""
    tally = Tally()
    assert tally.add([A, B, A], {}, np.array([1, 2, 3])) == ["a", "b", "a"]
    assert tally.add([B, B, B], {}, np.array([4, 7, 9])) == ["b", "b", "b"]
    assert tally.add([], {}, np.array([], int)) == []
    b, a = tally.rows()
    assert (a.count, a.first_line, a.last_line) == (2, 1, 3)
    assert (b.count, b.first_line, b.last_line) == (4, 2, 9)
    assert tally.lines == 6


@pytest.mark.parametrize(
    ("hits", "expected"),
    [
        ({}, (LogClass.BENIGN, LogSeverity.ERROR)),
        ({0: SLOW, 1: OOM, 2: SLOW}, OOM),
        ({2: SLOW}, SLOW),
        ({0: FINE, 1: FINE, 2: FINE}, FINE),
    ],
)
def test_a_template_means_what_the_worst_of_its_lines_means(hits: dict[int, Meaning], expected: Meaning):
    """Codes hide behind masks: one Xid in a thousand lines of a template is why somebody looks at them."""
    tally = Tally()
    tally.add([A, A, A], hits, np.arange(1, 4))
    (row,) = tally.rows()
    assert (row.log_class, row.severity) == expected
    assert row.trouble == sum(hit is not FINE for hit in hits.values())


def test_classes_are_counted_by_line_not_by_template():
    """The summary must not turn one bad line into a thousand."""
    tally = Tally()
    tally.add([A] * 1_000, {5: OOM, 6: SLOW, 7: SLOW}, np.arange(1, 1_001))
    assert tally.classes() == {LogClass.BENIGN: 997, LogClass.THERMAL_THROTTLE: 2, LogClass.VRAM_EXHAUSTION: 1}


def test_a_template_that_was_purged_and_comes_back_is_one():
    """Ids are written beside lines while they are read: the same id twice in the table would be a riddle."""
    tally = Tally()
    tally.add([A, Fixed("a", "A again")], {}, np.array([1, 2]))
    assert [(row.id, row.count, row.template) for row in tally.rows()] == [("a", 2, "A <*>")]


def test_templates_past_the_limit_are_counted_together():
    """A log of random words must not fill the memory, and its lines still have an answer."""
    tally = Tally(max_templates=3)
    clusters = [Fixed(str(number), str(number)) for number in range(10)]
    ids = tally.add(clusters, {}, np.arange(1, 11)) + tally.add(clusters, {}, np.arange(11, 21))
    assert ids == ["0", "1", "2", *["others"] * 7] * 2
    assert {row.id: row.count for row in tally.rows()} == {"0": 2, "1": 2, "2": 2, OTHERS.id: 14}


def test_the_spread_says_where_in_the_input_lines_stand():
    """A burst at the end looks different from a steady drip, without reading a single time stamp."""
    tally = Tally()
    for start in range(0, 12_000, 1_000):
        tally.add([B if start == 11_000 else A] * 1_000, {}, np.arange(start + 1, start + 1_001))
    a, b = (row.spread for row in tally.rows())
    assert a[:10] == (1.0,) * 10
    assert b[:10] == (0.0,) * 10
    assert a[-1] == 0.0
    assert b[-1] == 1.0
    assert len(a) == len(b) == 12


@pytest.mark.parametrize("lines", [1, 3, 12, 13, 64, 65, 999, 30_000])
def test_what_is_as_frequent_everywhere_is_level(lines: int):
    """Stretches of unequal length must not make a pattern that is not in the log."""
    tally = Tally()
    tally.add([A] * lines, {}, np.arange(1, lines + 1))
    (row,) = tally.rows()
    assert row.spread == (1.0,) * min(lines, 12)


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 150), st.booleans(), st.integers(1, 9_000)), max_size=30), max_size=8)
)
def test_it_counts_what_a_plain_loop_counts(batches: list[list[tuple[int, bool, int]]]):
    """Counting by array is quick, and easy to get wrong where numbers repeat in a batch."""
    tally = Tally()
    count: Counter[str] = Counter()
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    bad: set[str] = set()
    line = 0
    for batch in batches:
        at = []
        for cluster, is_bad, step in batch:
            line += step
            at.append(line)
            key = str(cluster)
            count[key] += 1
            first.setdefault(key, line)
            last[key] = line
            bad |= {key} if is_bad else set()
        clusters = [Fixed(str(cluster), "") for cluster, _, _ in batch]
        tally.add(clusters, {n: OOM for n, (_, is_bad, _) in enumerate(batch) if is_bad}, np.array(at, np.int64))
    rows = tally.rows()
    assert {row.id: row.count for row in rows} == count
    assert {row.id: (row.first_line, row.last_line) for row in rows} == {key: (first[key], last[key]) for key in first}
    assert {row.id for row in rows if row.trouble} == bad
    assert [row.count for row in rows] == sorted(count.values(), reverse=True)
