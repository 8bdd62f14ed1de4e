from __future__ import annotations

import pytest

from aiops.logs.digits import blind, form_of
from aiops.logs.values import _KINDS, Extractor, Kept


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, GPU has fallen off the bus", {"xid": "79"}),
        ("OSError: [Errno 28] No space left on device", {"errno": "28"}),
        ('10.0.0.1 - "POST /v1/completions HTTP/1.1" 503 19', {"status": "503"}),
        ("upstream answered, status code: 429", {"status": "429"}),
        ("Tried to allocate 2.50 GiB. GPU 3 has no room", {"bytes": "2.50 GiB", "device": "GPU 3"}),
        ("blk_update_request: I/O error, dev nvme0n1, sector 7", {"device": "nvme0n1"}),
        ("worker was killed by SIGKILL", {"signal": "SIGKILL"}),
        ("process exited on signal 11", {"signal": "11"}),
        ("nothing of the kind, 503 apples", {}),
    ],
)
def test_values_that_masks_hide_are_taken_from_any_line(line: str, expected: dict[str, str]):
    """Which code it was is what people look up."""
    extractor = Extractor()

    assert extractor.extract(line.encode()) == expected
    assert extractor.may_hold(form_of(line.encode())) or not expected


@pytest.mark.parametrize("kind", _KINDS)
def test_every_kind_can_be_looked_for_without_digits(kind: str):
    """Forms are asked whether a line like them may hold a value."""
    assert blind(_KINDS[kind]) is not None


def test_the_last_few_different_values_are_kept_the_newest_first():
    """A template may stand for many Xids; what was seen last matters most."""
    kept = Kept()
    for xid in (31, 43, 31, 79, 48, 94, 95, 79):
        kept.add({"xid": str(xid)})

    assert kept.pairs() == (("xid", ("79", "95", "94", "48", "31")),)


def test_names_are_bounded_too():
    """Whatever a rule extracts."""
    kept = Kept()
    kept.add({f"name{i:02}": "x" for i in range(30)})

    assert len(kept.pairs()) == 8


def test_a_value_is_short():
    """It is shown beside a template, not in place of it."""
    found = Extractor().extract(b"needs " + b"9" * 10_000 + b" bytes")

    assert len(found["bytes"]) == 64
