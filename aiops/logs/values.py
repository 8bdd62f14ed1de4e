"""
Values that masks hide and people ask for: which Xid, which errno, which status, how many bytes, which device.

Signatures name what to take from the lines they know. From other lines of trouble the few kinds of values are taken
that mean the same everywhere. Beside a template the last few different ones are kept: an Xid of 79 and one of 31 are
two stories of one template.
"""

from __future__ import annotations

from collections.abc import Mapping

import re2

from aiops.logs.digits import blind
from aiops.rulebook.signatures import quiet

_KINDS = {
    "xid": r"\bXid\b[^0-9]{0,3}(?:\([^)]*\))?[: =]{1,2}([0-9]{1,3})\b",
    "errno": r"(?i:\berrno\b|\bos error\b|\berror code)[ =:]{0,2}(-?[0-9]{1,5})\b",
    "status": r"(?:\bHTTP/[0-9.]{1,3}\"? |(?i:\bstatus(?:[ _]code)?[\"']?[ =:]{1,2}))([1-5][0-9]{2})\b",
    "signal": r"(?i:\bsignal )([0-9]{1,2})\b|\b(SIG[A-Z]{3,6})\b",
    "bytes": r"(?i:\ballocat\w*|\brequested|\bneeds?|\brequires?) +([0-9][0-9.,]* ?(?:[KMGT]i?B|bytes))\b",
    "device": r"\b(cuda:[0-9]{1,3}|(?i:gpu)[ :#]?[0-9]{1,3}|nvme[0-9]{1,3}n[0-9]{1,3}|sd[a-z]{1,2}|dm-[0-9]{1,4}|nvidia[0-9]{1,3}|mlx5_[0-9]{1,3}|eth[0-9]{1,3})\b",
}
_MAX_KEPT = 5
_MAX_NAMES = 8
_MAX_CHARS = 64


class Extractor:
    """The kinds of values that mean the same everywhere, compiled."""

    def __init__(self) -> None:
        self._kinds = [(kind, re2.compile(pattern.encode(), quiet())) for kind, pattern in _KINDS.items()]
        self._may_hold = re2.Filter()
        for pattern in _KINDS.values():
            self._may_hold.Add((blind(pattern) or pattern).encode(), quiet())
        self._may_hold.Compile()

    def may_hold(self, form: bytes) -> bool:
        """False only if no line of this *form* holds a value."""
        return bool(self._may_hold.Match(form))

    def extract(self, line: bytes) -> dict[str, str]:
        """Kind to the first value of that kind in *line*."""
        found: dict[str, str] = {}
        for kind, pattern in self._kinds:
            match = pattern.search(line)
            if match is not None:
                value = next(group for group in match.groups() if group is not None)
                found[kind] = value[:_MAX_CHARS].decode(errors="replace")
        return found


class Kept:
    """The last few different values of each name; as small as it is, since there is one for each template."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[str, list[str]] = {}

    def add(self, values: Mapping[str, str]) -> None:
        """Take in what one line held."""
        for name, value in values.items():
            held = self._held.get(name)
            if held is None:
                if len(self._held) == _MAX_NAMES:
                    continue
                held = self._held[name] = []
            if held and held[0] == value:
                continue
            if value in held:
                held.remove(value)
            held.insert(0, value)
            del held[_MAX_KEPT:]

    def pairs(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Names with their values, the last seen first."""
        return tuple((name, tuple(held)) for name, held in sorted(self._held.items()))
