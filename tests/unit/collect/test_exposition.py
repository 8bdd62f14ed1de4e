"""The allow-list parser finds what is wanted and survives everything else."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from aiops.collect.exposition import Follower, Parser
from aiops.errors import SourceMalformed


def parsed(page: bytes, *wanted: str) -> list[tuple[dict[str, str], float]]:
    """Labels and values of the wanted names, in page order."""
    readings = Parser(wanted or ("a",)).parse(page).readings
    return [(dict(reading.labels), reading.value) for group in readings.values() for reading in group]


@pytest.mark.parametrize(
    ("line", "labels", "value"),
    [
        (b"a 1", {}, 1.0),
        (b"a 1 1700000000000", {}, 1.0),
        (b"a 1e3\r", {}, 1000.0),
        (b"a{} 2", {}, 2.0),
        (b'a{x="y"} 2', {"x": "y"}, 2.0),
        (b'a{x="y",} 2', {"x": "y"}, 2.0),
        (b'a{ x = "y" , z = "" } 2', {"x": "y", "z": ""}, 2.0),
        (b'a{x="}"} 2', {"x": "}"}, 2.0),
        (b'a{x="a, b={c}"} 2', {"x": "a, b={c}"}, 2.0),
        (rb'a{x="q\"q",y="b\\"} 2', {"x": 'q"q', "y": "b\\"}, 2.0),
        (rb'a{x="l\nl"} 2', {"x": "l\nl"}, 2.0),
        (b'a{x="\xc3\xa9"} -0.5', {"x": "é"}, -0.5),
        (b'a{x="\xff"} 2', {"x": "\ufffd"}, 2.0),
        (b'a{x="y"} 2 # {trace_id="1"} 0.5', {"x": "y"}, 2.0),
    ],
)
def test_a_line_of_the_format_is_read(line, labels, value):
    """These forms stand on pages of real servers."""
    assert parsed(b"# TYPE a gauge\n" + line + b"\n") == [(labels, value)]


@pytest.mark.parametrize(
    "line",
    [
        b"a", b"a ", b"a x", b"a 1_0", b'a{x="y" 1', b'a{x="y"}', b"a{x=y} 1", b'a{x="y} 1', b'a{"y"} 1', b'a{x="y"z="w"} 1',
        b'a{=""} 1', b"a{", b"a}1", b'a{x="' + b"v" * 20_000 + b'"} 1',
    ],
)  # fmt: skip
def test_a_broken_line_costs_only_itself(line):
    """One server bug must not blind us to the rest of its page."""
    assert parsed(line + b"\na 7\n") == [({}, 7.0)]


@pytest.mark.parametrize("value", [b"NaN", b"+Inf", b"-Inf", b"1e999"])
def test_a_value_that_is_no_finite_number_is_absent(value):
    """A reading that could not be taken is no reading, and never zero."""
    assert parsed(b"a " + value + b"\n") == []


def test_names_that_only_begin_like_a_wanted_one_are_not_taken():
    """`_created` and `_by_reason` stand beside the names we want."""
    page = b'a_created{x="y"} 1\nab 2\na{x="z"} 3\nA 4\n'
    assert parsed(page) == [({"x": "z"}, 3.0)]


def test_lines_that_could_not_be_understood_are_counted():
    """A new version that breaks the format should not pass unnoticed."""
    assert Parser(["a"]).parse(b"a x\na 1\na{ 2\nb ?\n").skipped == 2


def test_a_page_of_a_hundred_thousand_lines_is_refused():
    """Splitting it would cost more memory than the daemon may have."""
    with pytest.raises(SourceMalformed, match="more than 100000 lines"):
        Parser(["a"]).parse(b"\n" * 100_001)


def test_a_flood_of_wanted_readings_is_refused():
    """Labels without bound are how a metrics page kills its reader."""
    page = b"".join(b'a{x="%d"} 1\n' % i for i in range(6_001))
    with pytest.raises(SourceMalformed, match="more than 6000 readings"):
        Parser(["a"]).parse(page)


@pytest.mark.parametrize("blank", [b"\x0b", b"\x0c", b"\x0c{", b"\x0b\x0c", b"\x0c 1", b"\x1c"])
def test_a_line_of_nothing_but_odd_blanks_is_no_name(blank):
    """Python splits at more characters than the format knows."""
    assert parsed(b"a 1\n" + blank + b"\na 2") == [({}, 1.0), ({}, 2.0)]


@given(st.binary(max_size=2_000) | st.text("\t\n\v\f\r {}ab1", max_size=200).map(str.encode))
def test_any_bytes_are_survived(noise):
    """A port may answer with anything."""
    page = Parser(["a", "b"]).parse(noise + b"\na{" + noise + b'\na{x="' + noise + b"\nb 2.5\n")

    assert set(page.readings) <= {"a", "b"}
    assert 2.5 in [reading.value for reading in page.readings["b"]], "what is sound beside it is read"
    assert all(math.isfinite(reading.value) for readings in page.readings.values() for reading in readings)


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from(["x", "y", "zz"]), st.text(max_size=30), min_size=3, max_size=3),
            st.floats(allow_nan=False, allow_infinity=False),
        ),
        max_size=20,
    )
)
def test_what_prometheus_client_writes_is_read_back(rows):
    """The reference writer of the format, with any label text and any number."""
    registry = CollectorRegistry()
    gauge = Gauge("a", "Help with { and }.", ["x", "y", "zz"], registry=registry)
    expected = {}
    for labels, value in rows:
        gauge.labels(**labels).set(value)
        expected[tuple(labels[name] for name in ("x", "y", "zz"))] = value

    found = parsed(generate_latest(registry), "a")

    assert {(labels["x"], labels["y"], labels["zz"]): value for labels, value in found} == expected
    assert all(math.isfinite(value) for _, value in found)


@pytest.mark.parametrize("evil", [b'a{x="}' + b'"}' * 4_000, b"a{" + b'x="\\"}",' * 1_500, b'a{x="' + b"\\" * 15_000])
def test_a_page_of_adversarial_lines_is_read_in_linear_time(evil):
    """A backtracking expression or a quadratic count would stop the whole loop for minutes."""
    page = (evil + b"\n") * (2 * 2**20 // len(evil))
    started_s = time.process_time()
    Parser(["a"]).parse(page)
    assert time.process_time() - started_s < 2.0


@pytest.mark.parametrize(
    ("line", "labels"),
    [
        (b'{"a.b"} 3', {}),
        (b'{"a.b",x="y"} 3', {"x": "y"}),
        (b'{ "a.b" , x="y", } 3', {"x": "y"}),
        (b'{"a.b","my.label"="}"} 3 1700000000', {"my.label": "}"}),
    ],
)
def test_a_name_in_quotes_is_read(line, labels):
    """So Prometheus 3 and its clients write names that are not letters, digits and underscores."""
    assert parsed(b'{"a.b.c",x="y"} 9\n' + line + b"\n", "a.b") == [(labels, 3.0)]


def test_openmetrics_is_read_like_the_older_format():
    """A server that negotiates badly sends it unasked."""
    page = (
        b'# TYPE a counter\n# UNIT a seconds\na_total{x="y"} 4 1700000000.5 # {trace_id="1"} 0.5 1700000000\n'
        b'a_total 5 # {trace_id="}"} 1\na_created{x="y"} 1.7e9\nb_total 1 # {t="u"} 1\n# EOF\n'
    )
    assert parsed(page, "a_total") == [({"x": "y"}, 4.0), ({}, 5.0)]


WORDS = st.sampled_from(
    [b"a", b"b", b"{", b"}", b'x="y"', b'x="z"', b",", b" ", b"1", b"2.5", b"NaN", b"1_0", b"#", b"\n", b'"a"', b"\r", b"\t", b"+Inf"]
)  # fmt: skip
LINES = st.sampled_from(
    [b"a 1", b"a 2", b"a NaN", b'a{x="y"} 1', b'a{x="y"} 22', b'a{x="z"} 1', b"ab 1", b'ab{x="y"} 1', b"b 7", b"# a", b"", b"a", b'{"a"} 1',
     b'{"ab"} 1', b"a 1 2", b"a  1", b"a 1_0", b" a 1", b"{} 1", b"ab", b"\r", b'a{x="y"} 1 # {t="u"} 1', b"ab\t1", b'a {x="y"} 1']
)  # fmt: skip


@given(
    st.lists(
        st.one_of(st.lists(LINES, max_size=5).map(b"\n".join), st.lists(WORDS, max_size=12).map(b"".join)), max_size=6
    )
)
def test_a_page_read_again_and_again_gives_what_a_fresh_look_gives(pages):
    """What is remembered of the last page may save work, and never change an answer."""
    parser, follower = Parser(["a"]), Follower(Parser(["a"]))
    for page in (changed for each in pages for changed in (each, each.replace(b"1", b"3"), each)):
        layout, values = follower.read(page)
        found = [
            (series.labels, value, series.text)
            for series, value in zip(layout.series, values, strict=True)
            if math.isfinite(value)
        ]
        fresh = parser.parse(page)
        assert found == [tuple(reading) for reading in fresh.readings.get("a", [])]
        assert follower.parse(page) == fresh


def test_a_page_whose_numbers_alone_have_changed_is_not_parsed_again():
    """That is what makes a reading cheap, so it must not get lost unnoticed."""
    follower = Follower(Parser(["a"]))
    page = b'# HELP a b\na{x="y"} 1\nb 2\n\na{x="z"} 5\n'
    layout, values = follower.read(page)
    again, moved = follower.read(page.replace(b"1", b"1234.5").replace(b"b 2", b"b 99"))
    assert again is layout
    assert (values, moved) == ([1.0, 5.0], [1234.5, 5.0])
    grown, _ = follower.read(b"c 1\n" + page)
    assert grown is not layout
    assert grown.series is layout.series
