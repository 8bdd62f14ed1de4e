"""CSV files as they come: forgiven where they can be meant, refused with a line where not."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiops.errors import DataError
from aiops.offline import columns
from aiops.offline.columns import read_columns


def written(folder: Path, text: str | bytes, name: str = "m.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_plain_file_and_its_compressed_twin_are_the_same(tmp_path: Path):
    """Cases are kept compressed."""
    text = "time,a_cpu,b_cpu\n1,0.5,2\n2,0.6,3\n"
    plain = read_columns(written(tmp_path, text))
    packed = read_columns(written(tmp_path, gzip.compress(text.encode()), "m.csv.gz"))

    assert plain.names == packed.names == ("a_cpu", "b_cpu")
    assert plain.at_s.tolist() == [1.0, 2.0]
    assert plain.values.tolist() == packed.values.tolist() == [[0.5, 0.6], [2.0, 3.0]]
    assert plain.notes == ()


def test_missing_cells_text_and_short_rows_are_missing_readings(tmp_path: Path):
    """And the first of each kind is named, so that a wrong file is noticed."""
    path = written(tmp_path, "\ufefftime,a_x,b_x,c_x\n1,,NaN,null\n2,high,inf,4\n\n3,5\n4,1e300,6,7\n")
    found = read_columns(path)

    assert np.isnan(found.values[:, 0]).all()
    assert np.isnan(found.values[0, 1])
    assert np.isnan(found.values[1, 1])
    assert found.values[0, 3] == 1e150
    assert found.notes == (
        f"1 cells hold text and count as missing, the first 'high' at {path}:3.",
        f"1 rows end early and lack their last readings, the first {path}:5.",
    )


def test_rows_out_of_order_are_sorted_and_times_may_repeat(tmp_path: Path):
    """Exports of several shards are glued together."""
    found = read_columns(written(tmp_path, "a_x,time\n3,3\n1,1\n2,2\n9,2\n"))

    assert found.at_s.tolist() == [1.0, 2.0, 2.0, 3.0]
    assert found.values.tolist() == [[1.0, 2.0, 9.0, 3.0]]
    assert found.notes == ("Rows were out of order and were sorted by time.",)


def test_an_index_without_a_name_is_left_out(tmp_path: Path):
    """As pandas writes it."""
    found = read_columns(written(tmp_path, ",time,a_x\n0,1,7\n1,2,8\n"))

    assert found.names == ("a_x",)
    assert found.notes == ("1 columns have no name and were left out.",)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", ":1: the file is empty; expected a head of column names"),
        ("when,a_x\n1,2\n", ":1: no column named 'time' among 'when', 'a_x'"),
        ("time,time,a\n1,2,3\n", ":1: 2 columns named 'time' among 'time', 'time', 'a'"),
        ("time,a_x,a_x\n1,2,3\n", ":1: two columns are named 'a_x'"),
        ("time\n1\n", ":1: no column besides 'time'"),
        ("time,a_x\n", ":2: no row of readings"),
        ("time,a_x\n1,2\nnoon,3\n", ":3: time 'noon' is no number of seconds since 1970"),
        ("time,a_x\n1,2\n,3\n", ":3: time '' is no number of seconds since 1970"),
        ("time,a_x\n1661138460000,2\n", ":2: time '1661138460000' is not in seconds; milliseconds?"),
        ("time,a_x\n1,2,3\n", ":2: 3 cells, but the head names 2 columns"),
        ("a_x,time\n1,2\n3\n", ":3: the row ends before its time"),
        ('time,a_x\n1,"' + "x" * 200_000 + '"\n', ":2: no CSV: field larger than field limit (131072)"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line(tmp_path: Path, text: str, error: str):
    """A person must find the place."""
    path = written(tmp_path, text)
    with pytest.raises(DataError) as raised:
        read_columns(path)
    assert str(raised.value) == f"{path}{error}"


@pytest.mark.parametrize(
    "damage", [b"not gzip at all", gzip.compress(b"time,a\n1,2\n" * 999, mtime=0)[:-20]], ids=["no gzip", "cut off"]
)
def test_damaged_compressed_files_are_an_error(tmp_path: Path, damage: bytes):
    """Half a file is no file: its end may be the incident."""
    with pytest.raises(DataError, match=r"m\.csv\.gz:\d+: "):
        read_columns(written(tmp_path, damage, "m.csv.gz"))


def test_files_that_are_not_there_and_folders_are_an_error(tmp_path: Path):
    """Never a traceback."""
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(DataError):
            read_columns(path)


def test_a_file_that_unpacks_to_anything_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Both ways: a line without end, rows without end."""
    monkeypatch.setattr(columns, "_MAX_CELLS", 100)
    with pytest.raises(DataError, match=r":52: more than 100 readings; cut the file to the hours around the incident"):
        read_columns(written(tmp_path, "time,a\n" + "1,2\n" * 1000))
    monkeypatch.setattr(columns, "_MAX_LINE_CHARS", 64)
    with pytest.raises(DataError, match=r":1: the line has no end"):
        read_columns(written(tmp_path, "time," + "a" * 100))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=300), st.text(alphabet='time,a_x\n"01.5e-\r\0', max_size=200).map(str.encode)))
def test_any_bytes_are_read_or_refused(tmp_path: Path, data: bytes):
    """The only error is the file's own."""
    path = written(tmp_path, b"time,a_x\n" + data)
    try:
        found = read_columns(path)
    except DataError as error:
        said = str(error)
    else:
        said = f"{path}:"
        assert found.values.shape == (1, found.at_s.size)
        assert not np.isinf(found.values).any()
    assert said.startswith(f"{path}:")
