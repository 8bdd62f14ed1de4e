"""Which lines are no text: a core dump, a picture, a file of another kind where a log should be."""

from __future__ import annotations

_TEXT = bytes(set(range(256)) - (set(range(32)) - set(b"\t\r\n\x0b\x0c\x1b")) - {0x7F})
"""Everything but control characters. Other encodings than UTF-8 are text, if not ours; colours begin with an escape."""
_SHARE = 0.05


def is_rubbish(line: bytes) -> bool:
    """Whether more than a twentieth of *line* are control characters, as in binary data."""
    return len(line.translate(None, _TEXT)) > _SHARE * len(line)
