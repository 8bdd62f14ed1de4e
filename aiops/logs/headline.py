"""
Of a record of several lines, the one that says it.

A joined traceback is thirty lines of places and one that says what went wrong: its last. Other records (stacks of
other languages, reports of drivers, messages that went on) say it in their first line. Templates are made of that line
alone, so that two tracebacks through different code are one template; what a record means is decided on all of it.
"""

from __future__ import annotations

from aiops.logs.digits import form_of

_BEGINS = b"Traceback (most recent call last):"
_MAX_LINES = 2_000
"""Looked at after a traceback's beginning; a record may be a megabyte of line feeds."""


def headline(record: bytes) -> bytes:
    """
    The line of *record* that says what happened: of a Python traceback its exception, else the first line.

    Of chained tracebacks the last one counts, and of a message of several lines the first.

    Args:
        record: UTF-8, without white space at its ends.
    """
    if b"\n" not in record:
        return record
    first = record[: record.find(b"\n")].rstrip()
    begins = record.rfind(_BEGINS)
    if begins < 0:
        return first
    # some programs put their head before each line, with the time in it
    head = form_of(record[record.rfind(b"\n", 0, begins) + 1 : begins])
    for line in record[begins:].split(b"\n", _MAX_LINES)[1 : _MAX_LINES + 1]:
        said = line[len(head) :] if form_of(line[: len(head)]) == head else line
        if said[:1].strip():  # frames and their code are indented
            return said.rstrip()
    return first
