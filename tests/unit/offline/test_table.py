from __future__ import annotations

import re
import textwrap
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.model import LogSeverity
from aiops.offline.table import Look, cut, printable, summary, table
from aiops.offline.tally import Row
from aiops.rulebook.signatures import LogClass


def row(
    count: int = 1,
    template: str = "x",
    log_class: LogClass = LogClass.BENIGN,
    severity: LogSeverity = LogSeverity.INFO,
    spread: tuple[float, ...] = (),
    trouble: int | None = None,
) -> Row:
    bad = 0 if log_class is LogClass.BENIGN else count if trouble is None else trouble
    return Row("id", template, count, log_class, severity, 1, 1, bad, spread=spread)


ROWS = [
    row(9_000, "<*> <*> INFO request <*> finished in <*>", spread=(900, 800, 800, 900, 700, 900, 1000, 1000, 900, 600, 400, 100)),
    row(640, "<*>: WARNING queue is at <*>", severity=LogSeverity.WARNING, spread=(0, 0, 0, 0, 0, 0, 0, 40, 100, 200, 300, 0)),
    row(312, "ERROR <*> [worker.py:<*>] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate <*>. GPU <*> has a total capacity of <*>",
        LogClass.VRAM_EXHAUSTION, LogSeverity.CRITICAL, (0, 0, 0, 0, 0, 0, 0, 0, 2, 10, 100, 200)),
    row(40, "ERROR <*> nobody knows this", severity=LogSeverity.ERROR, spread=(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 20)),
    row(7, "Temperature of GPU <*> above limit", LogClass.THERMAL_THROTTLE, LogSeverity.WARNING, (0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)),
    row(1, "", spread=(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)),
]  # fmt: skip


def test_the_table_as_people_see_it():
    """Trouble stands first, however rare; what is cut stands in the JSON."""
    shown = table(ROWS, Look(cells=120, colours=False))
    assert "\n".join(line.rstrip() for line in shown.split("\n")) == textwrap.dedent("""\
            lines    share  where         severity  template

        trouble
              312    3.1 %          ▁▁▄█  critical  vram_exhaustion   ERROR <*> [worker.py:<*>] torch.OutOfMemoryError: CUDA ou…
                7    0.1 %   █            warning   thermal_throttle  Temperature of GPU <*> above limit

        errors by their own words, unknown to the signatures
               40    0.4 %            ██  error     ERROR <*> nobody knows this

        everything else
            9,000     90 %  █▇▇█▆████▅▄▁  info      <*>… INFO request <*> finished in <*>
              640    6.4 %         ▂▃▆█   warning   <*>: WARNING queue is at <*>
                1   <0.1 %  █             info      (blank)""")


def test_a_template_with_a_few_bad_lines_is_not_shown_as_bad_as_a_whole():
    """Codes hide behind masks: 12 answers of status 503 among 30,000 are no 30,000 failures."""
    bad = row(30_000, "POST <*>", LogClass.UPSTREAM_UNAVAILABLE, LogSeverity.ERROR, trouble=12)
    shown = table([bad, row(20)], Look(cells=90, colours=False))
    assert "       12   <0.1 %  error     upstream_unavailable  (of 30,000) POST <*>\n" in shown


def test_a_guess_is_marked_as_one():
    """A model may be wrong; a signature was reviewed."""
    unknown = replace(row(3, "cannot reach it", severity=LogSeverity.ERROR), guess=LogClass.NETWORK)
    shown = table([unknown, row(1, "y", severity=LogSeverity.ERROR)], Look(cells=80, colours=False))
    assert "error     network?  cannot reach it\n" in shown
    assert shown.endswith("error               y")


def test_a_narrow_terminal_keeps_the_template():
    """At eighty columns the words are worth more than the picture."""
    lines = table(ROWS, Look(cells=80, colours=False)).split("\n")
    assert "where" not in lines[0]
    assert any(line.endswith("ERROR <*> [worker.py:<*>] torch…") for line in lines)


@pytest.mark.parametrize("cells", [40, 80, 100, 119, 200])
def test_no_line_is_wider_than_the_terminal(cells: int):
    """A wrapped table is no table; below sixty columns the template keeps twenty."""
    for line in table(ROWS, Look(cells=cells, colours=False)).split("\n"):
        assert len(line) <= max(cells, 75)


def test_colours_add_nothing_but_colours():
    """Whoever sets NO_COLOR must see the same table."""
    plain, colourful = (table(ROWS, Look(cells=120, colours=colours)) for colours in (False, True))
    assert "\033" not in plain
    assert "\033[1;31mcritical" in colourful
    assert re.sub(r"\033\[[0-9;]*m", "", colourful) == plain


def test_what_is_not_shown_is_counted():
    """Ten thousand templates are no table; that they are there must not be hidden."""
    shown = table([row(30 - number) for number in range(30)], Look(cells=80, colours=False))
    assert shown.endswith("… 10 templates more, 55 lines; --json lists all")
    assert "\ntemplates\n" in shown, "no trouble: one section needs no contrast"


@pytest.mark.parametrize(
    ("rows", "classes", "expected"),
    [
        ([], {}, "0 lines, 0 templates; no known trouble"),
        ([row()], {LogClass.BENIGN: 1}, "1 line, 1 template; no known trouble"),
        (
            ROWS,
            {LogClass.BENIGN: 1_234_000, LogClass.VRAM_EXHAUSTION: 1_312, LogClass.DNS: 1},
            "1,235,313 lines, 6 templates, 2 classes of trouble: vram_exhaustion 1,312, dns 1",
        ),
        ([row()], {LogClass.DNS: 1}, "1 line, 1 template, 1 class of trouble: dns 1"),
    ],
)
def test_the_summary_says_how_much_and_what_is_wrong(rows: list[Row], classes: dict[LogClass, int], expected: str):
    """Many people read this line and nothing else."""
    assert summary(rows, classes) == expected


@given(st.text())
def test_a_template_cannot_speak_to_the_terminal(text: str):
    """Whoever can write a log line must not be able to clear the screen of the one who reads it."""
    assert printable(f"{text}\033[2J\r\u202e").isprintable()


@given(st.text(alphabet="a\u4e2d\u0301<*> ", max_size=40), st.integers(1, 30))
def test_what_is_cut_fits(text: str, cells: int):
    """A Chinese character takes two cells, a combining accent none."""
    widths = {"\u4e2d": 2, "\u0301": 0}
    shown = cut(text, cells)
    assert sum(widths.get(c, 1) for c in shown) <= cells
    assert shown == text or (shown.endswith("…") and text.startswith(shown[:-1]))
