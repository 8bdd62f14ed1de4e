"""
Lines to their constant part.

Masking replaces what varies (numbers, ids, addresses, paths, times) by ``<*>``, so that lines of one kind become equal,
and at the same time takes out what must not be kept: keys, tokens, query strings, addresses of clients. Everything is
one RE2 alternation, so a hostile line costs time linear in its length; the first alternative that matches at a place
wins, so the long forms stand before the short ones they contain.
"""

from __future__ import annotations

import re2

_SECRETS = (
    r"(?i:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}",
    r"""(?i)\b[\w-]*(?:api[_-]?key|access[_-]?key|secret|passw(?:or)?d|token|authorization|cookie)["']?\s*[=:]\s*(?:"[^"]*"|'[^']*'|(?:(?i:bearer|basic)\s+)?[^\s"',;&]+)""",
    r"\b(?:sk|pk|rk|hf|gh[pousr]|github_pat|glpat|xox[abprs]|AKIA|ASIA|nvapi)[-_A-Za-z0-9]{12,}",
    r"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]+)*",
    r"[\w.+-]+@[\w-]+\.[\w.-]+",  # mail addresses
)
_PLACES = (
    r"\b[a-z][a-z0-9+.-]{1,9}://[^\s\"'<>|]+",  # addresses, with user, password and query
    r"\?[^\s\"'<>=]+=[^\s\"'<>]*",  # query strings
)
_TIMES = (
    r"\d{4}[-/]\d{2}[-/]\d{2}[T ]\d{2}:\d{2}:\d{2}(?:[.,]\d+)?(?: ?(?:Z|UTC|GMT|[+-]\d{2}:?\d{2}))?",
    r"\d{2}/[A-Z][a-z]{2}/\d{4}:\d{2}:\d{2}:\d{2}(?: [+-]\d{4})?",
    r"(?:\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? +)?\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +\d{1,2},?(?: +\d{4})? +\d{2}:\d{2}:\d{2}(?:\.\d+)?(?: \d{4})?",
    r"\b\d{2}[-/]\d{2} \d{2}:\d{2}:\d{2}(?:[.,]\d+)?",
    r"\b[IWEF]\d{4} \d{2}:\d{2}:\d{2}\.\d+",  # glog; severity is read from the raw line
    r"\b\d{1,2}:\d{2}:\d{2}(?:[.,]\d+)?\b",
)
_IDS = (
    r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b",
    r"\b(?:cmpl|chatcmpl|embd|req|resp|msg|trace|span)[-_][0-9a-zA-Z][0-9a-zA-Z-]{7,}",
    r"\b(?:[0-9a-fA-F]{2}:){5,7}[0-9a-fA-F]{2}\b",  # MAC
    r"\b(?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}(?:\.[0-7])?\b",  # PCI
    r"\b[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4}){3,7}\b",  # IPv6, whole
    r"\b[0-9a-fA-F]{2,4}(?::[0-9a-fA-F]{1,4}){0,6}::[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4}){0,6}\b",
    r"::(?:[0-9a-fA-F]{1,4}:){0,6}[0-9]{1,4}\b",
    r"\b\d{1,3}(?:\.\d{1,3}){3}(?:[:/]\d{1,5})?\b",
    r"\b0[xX][0-9a-fA-F]+\b",
    r"\b(?:[0-9]+[a-fA-F]|[a-fA-F]+[0-9])[0-9a-fA-F]{4,}\b",
)
_REST = (
    r"(?:/[\w.+@%~=-]+){2,}/?",  # paths of at least two parts
    r"""["'][^"'\s]*[0-9/\\][^"'\s]*["']""",  # quoted values; quoted words stay, they may be the message
    r"[-+]?\b\d(?:[\d,._]*\d)?(?:[eE][+-]?\d+)?(?:%| ?(?:[kKMGTP]i?[Bb]|bytes?|ms|us|µs|ns|secs?|seconds?|min|minutes?|hours?|tokens/s|reqs?)\b|[A-Za-z]{0,2}\b)",
    r"\b(?:(?i:rank|gpu|node|worker|thread|tid|pid|cpu|device|cuda|shard|replica)|[TDPE]P)[-_:# ]?\d+\b",
)

MASK = b"<*>"

_ALTERNATIVES = (*_SECRETS, *_PLACES, *_TIMES, *_IDS, *_REST)
PATTERN = "|".join(f"(?:{one})" for one in _ALTERNATIVES)
"""For RE2, whose ``\\b`` knows ASCII only."""
RUST_PATTERN = PATTERN.replace(r"\b", r"(?-u:\b)")
"""For Rust's engine, whose ``\\b`` must be told so."""


class Masker:
    """Compiled masks. Works on UTF-8 bytes, which RE2 searches without converting offsets."""

    def __init__(self) -> None:
        self._mask = re2.compile(PATTERN.encode())

    def mask(self, line: bytes) -> bytes:
        """*line* with everything variable or secret replaced by ``<*>``."""
        pieces: list[bytes] = []
        end = 0
        for found in self._mask.finditer(line):
            start, stop = found.span()
            pieces.append(line[end:start])
            end = stop
        pieces.append(line[end:])
        return MASK.join(pieces)
