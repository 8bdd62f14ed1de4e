"""Which lines are no text: a core dump, a picture, a file of another kind where a log should be."""

from __future__ import annotations

_TEXT = bytes(set(range(256)) - (set(range(32)) - set(b"\t\r\n\x0b\x0c\x1b")) - {0x7F})
"""Everything but control characters. Colours begin with an escape."""
_SHARE = 0.05
_NEAR_LINES = 64


class Sieve:
    """
    Tells binary data from the text of one log.

    A line is rubbish when more than a twentieth of it are control characters. Near such a line short pieces of the same
    data have none by chance; there, what is no UTF-8 is rubbish too. Elsewhere it is text in another encoding.
    """

    def __init__(self) -> None:
        self._near = 0

    def is_rubbish(self, line: bytes) -> bool:
        """Whether *line*, which follows the one of the last call, is no text."""
        if len(line.translate(None, _TEXT)) > _SHARE * len(line):
            self._near = _NEAR_LINES
            return True
        if not self._near:
            return False
        self._near -= 1
        try:
            line.decode()
        except UnicodeDecodeError:
            return True
        return False
