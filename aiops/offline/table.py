"""
Templates as a table for people: trouble first, then errors nobody knows, then the rest by how often.

A template holds words of strangers, so nothing in it may move the cursor or colour the screen; and it is cut to the
width there is, measured in cells, since a Chinese character takes two.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiops.model import LogSeverity
from aiops.offline.tally import SHOWN_SLOTS, Row
from aiops.rulebook.signatures import LogClass

_MAX_TROUBLE = 50
_MAX_ERRORS = 15
_MAX_REST = 20
_MIN_TEMPLATE_CELLS = 20
_BARS = " ▁▂▃▄▅▆▇█"
_SPREAD_FROM_CELLS = 100
"""Narrower than this, the cells are the template's."""

_MAX_CHARS = 2_000
"""No screen is wider; a template may be."""
_RUN = re.compile(r"<\*>(?: ?<\*>)+ ?")
"""What a line begins with, mostly: date, time, process. One sign does for all of them."""

_DIM, _BOLD, _RESET = "\033[2m", "\033[1m", "\033[0m"
_COLOURS = {
    LogSeverity.CRITICAL: "\033[1;31m",
    LogSeverity.ERROR: "\033[31m",
    LogSeverity.WARNING: "\033[33m",
    LogSeverity.INFO: "",
}


@dataclass(frozen=True, slots=True)
class Look:
    """
    Where the table is shown.

    Args:
        cells: Width.
        colours: Whether there are colours.
    """

    cells: int
    colours: bool

    def paint(self, colour: str, text: str) -> str:
        """*text* in a colour, where there are colours."""
        return f"{colour}{text}{_RESET}" if self.colours and colour else text


def summary(rows: Sequence[Row], classes: Mapping[LogClass, int]) -> str:
    """One line: how much there was, and what is wrong."""
    lines = sum(classes.values())
    head = f"{_number(lines, 'line')}, {_number(len(rows), 'template')}"
    trouble = [f"{each} {count:,}" for each, count in classes.items() if each is not LogClass.BENIGN]
    if not trouble:
        return f"{head}; no known trouble"
    return f"{head}, {_number(len(trouble), 'class', 'classes')} of trouble: {', '.join(trouble)}"


def table(rows: Sequence[Row], look: Look) -> str:
    """The templates in *rows*, which come with the most frequent first, one a line."""
    lines = sum(row.count for row in rows)
    trouble = sorted(
        (row for row in rows if row.trouble), key=lambda row: (-_rank(row.severity), row.log_class, -row.trouble)
    )
    errors = [row for row in rows if is_unknown_error(row)]
    rest = [row for row in rows if not row.trouble and not is_unknown_error(row)]
    sections = (
        ("trouble", trouble, _MAX_TROUBLE),
        ("errors by their own words, unknown to the signatures", errors, _MAX_ERRORS),
        ("everything else" if trouble or errors else "templates", rest, _MAX_REST),
    )
    parts = [_section(title, part, most, lines, look) for title, part, most in sections if part]
    return "\n\n".join([look.paint(_DIM, _heading(look)), *parts])


def is_unknown_error(row: Row) -> bool:
    """Whether the lines themselves say that something is wrong, and no signature knows what."""
    return not row.trouble and row.severity in (LogSeverity.ERROR, LogSeverity.CRITICAL)


def _heading(look: Look) -> str:
    spread = f"{'where':<{SHOWN_SLOTS}}  " if look.cells >= _SPREAD_FROM_CELLS else ""
    return f"{'lines':>9}  {'share':>7}  {spread}{'severity':<8}  template"


def _section(title: str, rows: Sequence[Row], most: int, lines: int, look: Look) -> str:
    shown, hidden = rows[:most], rows[most:]
    text = [look.paint(_BOLD, title), *(_line(row, shown, lines, look) for row in shown)]
    if hidden:
        text.append(
            look.paint(
                _DIM,
                f"{'':9}… {_number(len(hidden), 'template')} more, {_number(sum(row.count for row in hidden), 'line')};"
                " --json lists all",
            )
        )
    return "\n".join(text)


def _line(row: Row, section: Sequence[Row], lines: int, look: Look) -> str:
    # codes hide behind masks: of a template's lines, those with status 503 may be few
    count = row.trouble or row.count
    of_all = f"(of {row.count:,}) " if count < row.count else ""
    cells = [(f"{count:>9,}", ""), (f"{_share(count / lines):>7}", "")]
    if look.cells >= _SPREAD_FROM_CELLS:
        cells.append((f"{_bars(row.spread):<{SHOWN_SLOTS}}", _DIM))
    colour = _COLOURS[row.severity]
    cells.append((f"{row.severity:<8}", colour))
    if width := max(len(_class(each)) for each in section):
        cells.append((f"{_class(row):<{width}}", colour))
    used = sum(len(text) + 2 for text, _ in cells)
    template = _RUN.sub("<*>… ", printable(row.template[:_MAX_CHARS])).rstrip() or "(blank)"
    template = cut(of_all + template, max(look.cells - used, _MIN_TEMPLATE_CELLS))
    painted = "  ".join(look.paint(colour, text) for text, colour in cells)
    return f"{painted}  {template.replace('<*>', look.paint(_DIM, '<*>'))}"


def _class(row: Row) -> str:
    if row.trouble:
        return row.log_class
    return f"{row.guess}?" if row.guess is not LogClass.BENIGN else ""


def _share(ratio: float) -> str:
    percent = 100 * ratio
    return f"{percent:.0f} %" if percent >= 9.95 else f"{percent:.1f} %" if percent >= 0.05 else "<0.1 %"


def _bars(spread: Sequence[float]) -> str:
    """Where in the input lines stand; the highest bar is as high for a rare template as for a frequent one."""
    most = max(spread, default=0.0) or 1.0
    return "".join(_BARS[math.ceil(share / most * (len(_BARS) - 1))] for share in spread)


def _rank(severity: LogSeverity) -> int:
    return list(LogSeverity).index(severity)


def _number(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def printable(text: str) -> str:
    """*text* in one line, without anything a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in text)


def cut(text: str, cells: int) -> str:
    """The beginning of *text* that fits into *cells*."""
    used = 0
    for place, character in enumerate(text):
        width = 0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if used + width > cells or (used + width == cells and place + 1 < len(text)):
            return text[:place] + "…"
        used += width
    return text
