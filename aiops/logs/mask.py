r"""
Lines to their constant part.

Masking replaces what varies (numbers, ids, addresses, paths, times) by ``<*>``, so that lines of one kind become equal,
and at the same time takes out what must not be kept: keys, tokens, query strings, addresses of clients, names of users.

Three ordered alternations do nearly all of it: what is secret or a place, then times and ids, then the rest. Within one,
at a place the first alternative that matches wins, so the long forms stand before the short ones they contain. A few
passes before them keep the word that tells what was masked ("user=<*>"), which an alternation cannot do without groups,
and groups cost four times the rest.

All of it is one text for three engines (RE2 for the stream, Rust's for batches, Python's for comparison), and all three
must answer alike. Hence the dialect: classes written out in ASCII, no case folding (engines differ in what folds), no
look-around and no back-references (linear time), word boundaries of ASCII. And no expression tells one digit from
another: lines that differ in digits alone are masked alike, which the caches rely on.
"""

from __future__ import annotations

import re2
from re2 import _re2  # re2's own finditer makes objects of every match, which costs more than finding it

MASK = "<*>"
MAX_BYTES = 4_096
"""A line is looked at so far: a longer template tells nobody more, and templates stay in memory."""


_MASK = MASK.encode()
_ANYWHERE = _re2.RE2.Anchor.UNANCHORED
_DIGITS = b"0123456789"


def _any_case(word: str) -> str:
    return "".join(f"[{letter.upper()}{letter}]" if letter.isalpha() else letter for letter in word)


def _one_of(*alternatives: str) -> str:
    return "(?:" + "|".join(alternatives) + ")"


_HEX = "[0-9a-fA-F]"

_BEARER = _one_of(_any_case("bearer"), _any_case("basic"))
_SECRET = _one_of(
    *(_any_case(name) for name in ("api_key", "api-key", "apikey", "access_key", "access-key", "accesskey", "secret")),
    *(_any_case(name) for name in ("password", "passwd", "token", "authorization", "cookie")),
)
_SECRETS = (
    rf"{_BEARER}[ \t]+[A-Za-z0-9._~+/=-]{{8,}}",
    rf"\b[0-9A-Za-z_-]*{_SECRET}[\"']?[ \t]*[=:][ \t]*(?:\"[^\"]*\"|'[^']*'|(?:{_BEARER}[ \t]+)?[^ \t\r\n\"',;&]+)",
    r"\b(?:sk|pk|rk|hf|gh[pousr]|github_pat|glpat|xox[abprs]|AKIA|ASIA|nvapi)[-_A-Za-z0-9]{12,}",
    r"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]+)*",
    r"\b[0-9A-Za-z_.+-]+@[0-9A-Za-z_-]+\.[0-9A-Za-z_.-]*[0-9A-Za-z]",  # mail addresses
)

_PLACES = (
    r"\b[a-z][a-z0-9+.-]{1,9}://(?:[^ \t\r\n\"'<>|\])]*[^ \t\r\n\"'<>|\]),.;:])?",  # with user, password and query
    r"\B/[^ \t\r\n\"]* HTTP/[0-9.]+",  # what a request asked for
    r"\?[^ \t\r\n\"'<>=]+=[^ \t\r\n\"'<>]*",  # query strings
)

_TIME = r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?"
_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_TIMES = (
    rf"\b[0-9]{{4}}[-/.][0-9]{{1,2}}[-/.][0-9]{{1,2}}(?:T|[ :,]+){_TIME}(?: ?(?:Z|UTC|GMT|[+-][0-9]{{2}}:?[0-9]{{2}}))?",
    rf"\b[0-9]{{2}}/{_MONTH}/[0-9]{{4}}:[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}(?: [+-][0-9]{{4}})?",
    rf"\b(?:{_DAY},? +)?{_MONTH} +[0-9]{{1,2}},?(?: +[0-9]{{4}})? +{_TIME}(?: [A-Z]{{3,4}}\b)?(?: [0-9]{{4}}\b)?",
    rf"\b[0-9]{{2}}[-/][0-9]{{2}} {_TIME}",
    rf"\b[IWEF][0-9]{{4}} {_TIME}",  # glog; severity is read from the raw line
)

_IP4 = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
_LABEL = "[0-9A-Za-z][0-9A-Za-z-]*"
_TOP = _one_of(
    *("com|org|edu|gov|mil|localdomain", r"[a-z]{2}\.(?:uk|jp|kr|br|au|nz|za|in|tw|cn|hk)"),
    *("cn|hk|tw|jp|kr|sg|th|vn|au|nz|us|ca|mx|br|ar|cl|za", "de|uk|fr|ru|it|pl|nl|se|dk|fi|es|pt|cz|hu|ro|gr|tr|ua"),
)
"""Ends of host names that no dotted name in a program has."""
_TOP_OR_WORD = "(?:net|in|local|internal|lan)"
_NUMBERED = (
    r"[A-Za-z][0-9A-Za-z]*(?:[_-][A-Za-z]+)*[_-]+[A-Za-z]{0,2}[0-9][0-9A-Za-z]*"
    r"(?:[_-]+[0-9A-Za-z]+)*(?:\.[0-9A-Za-z_-]+)*"
)
"""blk_-38, attempt_1445_0020_m_000001_0, node-12.example, worker-3."""
_IDS = (
    rf"\b{_HEX}{{8}}-(?:{_HEX}{{4}}-){{3}}{_HEX}{{12}}\b",
    r"\b(?:cmpl|chatcmpl|embd|req|resp|msg|trace|span)[-_][0-9a-zA-Z][0-9a-zA-Z-]{7,}",
    rf"\b(?:{_HEX}{{2}}:){{5,19}}{_HEX}{{2}}\b",  # MAC and longer
    rf"\b(?:{_HEX}{{4,8}}:)?{_HEX}{{2}}:{_HEX}{{2}}\.[0-9]\b",  # PCI, with and
    rf"\b{_HEX}{{4,8}}:{_HEX}{{2}}:{_HEX}{{2}}\b",  # without function
    rf"\b{_HEX}{{1,4}}(?::{_HEX}{{1,4}}){{3,7}}\b",  # IPv6, whole
    rf"\b{_HEX}{{2,4}}(?::{_HEX}{{1,4}}){{0,6}}::{_HEX}{{1,4}}(?::{_HEX}{{1,4}}){{0,6}}\b",
    rf"::(?:{_HEX}{{1,4}}:){{0,6}}[0-9]{{1,4}}\b",
    rf"(?:\B/|\b[0-9A-Za-z._-]+/)?\b{_IP4}(?:[:/][0-9]{{1,5}}\b)?(?:\.[0-9A-Za-z-]+)*(?:, ?{_IP4})*",
    rf"\b{_LABEL}(?:\.{_LABEL})*\.(?:{_TOP}|{_TOP_OR_WORD}|info|biz|io|me|tv|co):[0-9]{{1,5}}\b",
    rf"\b{_LABEL}(?:\.{_LABEL}){{2,}}:[0-9]{{2,5}}\b",
    rf"\b{_LABEL}(?:\.{_LABEL})*\.{_TOP}(?:/[0-9A-Za-z./-]*)?\b",
    rf"\b{_LABEL}(?:\.{_LABEL}){{2,}}\.{_TOP_OR_WORD}\b",
)

_NUMBER = r"[0-9](?:[0-9,._]*[0-9])?(?:-[0-9][0-9A-Za-z.]*)*"
_NUMBERS = r"\[[0-9]+(?:[ ,;\\-]+[0-9]+)+\]"
_PART = "[0-9A-Za-z_.+@%~=$-]+"
_RANK = _one_of(*(_any_case(word) for word in ("rank", "gpu", "node", "worker", "thread", "cpu", "shard", "replica")))
_REST = (
    rf"\b[0-9][xX]{_HEX}+\b",
    rf"\b(?:[0-9]+[a-fA-F]|[a-fA-F]+[0-9]){_HEX}{{4,}}\b",
    rf"\b{_HEX}{{8}}(?:{_HEX}{{4}})*\b",
    rf"\b{_TIME}\b",
    rf"(?:\b[A-Za-z]+-[A-Z]?)?(?:{_NUMBERS})+",  # node-[0-7], [3, 4, 9]
    r"\b(?:com|android)(?:\.[A-Za-z_][0-9A-Za-z_$-]*){2,}(?:/[0-9A-Za-z_.$/-]+)?(?::[0-9]+)?",  # packages, bundles
    r"\b[A-Z]:\\(?:[^ \t\r\n\"'<>|]*[^ \t\r\n\"'<>|,;:.])?",
    r"\b[0-9A-Za-z_.-]+~[0-9A-Za-z_.~-]+",
    rf"\B/(?:{_PART}/)*[0-9A-Za-z_.+@%~=$:-]*[0-9A-Za-z_*]/?",  # paths: absolute,
    rf"\b[0-9A-Za-z_.-]+/(?:{_PART}/)+(?:[0-9A-Za-z_.+@%~=$:-]*[0-9A-Za-z_*])?",  # of three parts,
    r"\b[0-9A-Za-z_-]+\.[0-9A-Za-z_.-]*/[0-9A-Za-z_.$-]*[0-9A-Za-z_]",  # or of two, one of which has a dot
    r"\b[0-9A-Za-z_-]+/[0-9A-Za-z_-]*\.[0-9A-Za-z_.$-]*[0-9A-Za-z_]",
    rf"\b{_NUMBERED}(?::[0-9]{{1,5}})*(?:,? {_NUMBERED})*\b",
    rf"\b(?:{_RANK}|[TDPE]P)[0-9]+\b",
    r"\b(?:[A-Za-z_]{3,}[0-9]{2}|[A-Za-z_]+[0-9]{4})[0-9A-Za-z_]*\b",  # but not c10, fp16, h100
    rf"\b{_NUMBER} bytes(?: \([0-9.,]+ [KMGT]?B\))?",
    r"<[0-9]+ (?:ms|secs?|seconds?|min)\b",
    rf"[-+]?\bv?{_NUMBER}(?:[eE][+-]?[0-9]+)?(?:%| ?(?:[KMGTP]i?[Bb]|k[Bb]|B|MHz|GHz)\b|[A-Za-z]{{0,3}}\b)",
)

_KEEPING = (
    ("user=", r"\buser=[^ \t\r\n,;)&]+", "user=<*>"),
    ("rhost=", r"\brhost=[^ \t\r\n,;)&]+", "rhost=<*>"),
    ("nvalid user ", r"nvalid user [^ \t\r\n]+", "nvalid user <*>"),
    ("for user ", r"\bfor user [0-9A-Za-z_.$-]+", "for user <*>"),
    # a quoted word inside a sentence; in what is JSON, and at the end, it may be what the line is about
    (" '", r" '[^' \t\r\n]+' ", " '<*>' "),
    (' "', r' "[^" \t\r\n]+" ', ' "<*>" '),
)
"""What must be in a line, the pattern, and what replaces it."""
_ALTERNATIONS = tuple(
    "|".join(f"(?:{one})" for one in alternatives) for alternatives in ((*_SECRETS, *_PLACES), (*_TIMES, *_IDS), _REST)
)
"""
Replaced by `MASK` alone.

Three, because as one they make an automaton that takes twice the time, most of it for building itself up.
"""
PASSES = (
    *((pattern, masked) for _, pattern, masked in _KEEPING),
    *((pattern, MASK) for pattern in _ALTERNATIONS),
)
"""Patterns and what replaces them, in order: RE2's spelling, whose word boundaries know ASCII only."""


def for_rust(pattern: str) -> str:
    r"""*pattern* for Rust's engine, which must be told that ``\b`` and ``\B`` mean ASCII."""
    return pattern.replace(r"\b", r"(?-u:\b)").replace(r"\B", r"(?-u:\B)")


def head(line: bytes) -> bytes:
    """As much of *line*, UTF-8, as is masked; no character is cut in two."""
    return line if len(line) <= MAX_BYTES else line[:MAX_BYTES].decode(errors="ignore").encode()


class Masker:
    """Compiled masks. Works on UTF-8 bytes, which RE2 searches without converting offsets."""

    def __init__(self) -> None:
        self._keeping = [
            (needle.encode(), re2.compile(pattern.encode()), masked.encode()) for needle, pattern, masked in _KEEPING
        ]
        self._masks = [_re2.RE2(pattern.encode(), re2.Options()) for pattern in _ALTERNATIONS]

    def mask(self, line: bytes) -> bytes:
        """The `head` of *line* with everything variable or secret replaced by ``<*>``."""
        line = head(line)
        for needle, pattern, masked in self._keeping:
            if needle in line:
                line = pattern.sub(masked, line)
        for mask in self._masks:
            length = len(line)
            pieces: list[bytes] = []
            end = 0
            while True:
                ((start, stop),) = mask.Match(_ANYWHERE, line, end, length)
                if start < 0:
                    break
                pieces.append(line[end:start])
                end = stop
            if end:
                pieces.append(line[end:])
                line = _MASK.join(pieces)
        return line

    def left(self, line: bytes) -> tuple[int, ...]:
        """
        Which digits of *line*, counted from zero, masking leaves ("ssh2").

        The same ones for all lines that differ in digits only. Digits are numbered by writing, for each decimal place
        of the number, that place's digit where the line has its own: what is left can be read off.
        """
        line = head(line)
        places = [place for place, byte in enumerate(line) if byte in _DIGITS]
        found: list[int] = []
        for power in range(len(str(len(places)))):
            numbered = bytearray(line)
            for number, place in enumerate(places):
                numbered[place] = _DIGITS[number // 10**power % 10]
            digits = [byte - _DIGITS[0] for byte in self.mask(bytes(numbered)) if byte in _DIGITS]
            found = [sum_ + digit * 10**power for sum_, digit in zip(found or [0] * len(digits), digits, strict=True)]
        return tuple(found)
