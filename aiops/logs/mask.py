r"""
Lines to their constant part.

Masking replaces what varies (numbers, ids, addresses, paths, times) by ``<*>``, so that lines of one kind become equal,
and at the same time takes out what must not be kept: keys, tokens, query strings, addresses of clients, names of users.

Ordered alternations do nearly all of it: what is secret or a place, then times and ids, then the rest, and at last what
several masks made pieces of. Within one, at a place the first alternative that matches wins, so the long forms stand
before the short ones they contain. Passes before them look for what few lines hold (only lines with "://" can hold an
address of the web), which keeps the automata of the alternations small; some of them keep the word that tells what was
masked ("user=<*>"), which an alternation cannot do without groups, and groups cost four times the rest.

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

_CLOSED = r"(?:\\*[\"']|\\x[0-9]{2}|%[0-9]{2}|&quot;)?\]?"
"""What may stand between a name and its sign: a quote, escaped as often as may be, and the bracket of a subscript."""
_SIGN = r"[ \t]*(?:=>|->|:=|[=:>]|%[0-9][AD])[ \t]*"
_QUOTED = r"\\*(?:\"[^\"]*\"|'[^']*')"
_TEXT = _one_of(
    r"\\+\"[^\"\\]*(?:\\\\+.[^\"\\]*)*(?:\\\")?",  # quoted within a quoted text
    r"\\+'[^'\\]*(?:\\\\+.[^'\\]*)*(?:\\')?",
    r"\"[^\"\\]*(?:\\.[^\"\\]*)*\"?",
    r"'[^'\\]*(?:\\.[^'\\]*)*'?",
)
"""A quoted one, or all that is left of it."""
_VALUE = _one_of(
    *(r"\[[^\]]*\]?", r"\{[^}]*\}?"),  # ['x', 'y']
    rf"(?:[A-Za-z]{{1,12}}\(|[bBuUrR])?{_TEXT}",  # Some("x"), b'x'
    *(r"&quot;[^&]*(?:&quot;)?", r"%[0-9]{2}[^ \t\r\n&;\"']*"),
)
_REST_OF_WORD = r"[^ \t\r\n\"',;&]*"
_NO_NUMBER = rf"(?:[^0-9 \t\r\n\"',;&-]|[0-9.]+[^0-9. \t\r\n\"',;&)\]}}]){_REST_OF_WORD}"
"""A number is no secret ("#new-token: 512"), and if it were, it is masked as a number."""
_SECRET = _one_of(
    _one_of(*map(_any_case, ("api", "access", "secret", "private", "signing", "encryption", "account", "master")))
    + f"[-_ ]?{_any_case('key')}[Ss]?",
    *(f"{_any_case(name)}[Ss]?" for name in ("secret", "password", "passwd", "passphrase", "cookie", "credential")),
    *map(_any_case, ("token", "authorization", "passcode", "pgpass", "_pass", "-pass", "_pwd")),
)
_NAME = rf"[0-9A-Za-z_-]*{_SECRET}[0-9]*"
_WORD = r"[^ \t\r\n\"',;&]+(?:\"[^\"]*\"?)?"
_AUTHORIZATION = (
    rf"\b[0-9A-Za-z_-]*{_any_case('authorization')}{_CLOSED}{_SIGN}"
    rf"{_WORD}(?:[ \t]+{_WORD}(?:,[ \t]*[0-9A-Za-z_-]+=[^ \t\r\n,]*)*)?"
)
"""A scheme, and a word or parameters."""
_COOKIE = (
    rf"\b(?:{_any_case('set')}-)?{_any_case('cookie')}{_CLOSED}"
    rf"(?::[ \t]*[^\"' \t\r\n][^'\r\n]*|=[^ \t\r\n\"',;]+(?:;[ \t]*[^ \t\r\n\"',;=]+=[^ \t\r\n\"',;]*)*)"
)
_NAMED = (
    rf"\b{_NAME}(?:{_CLOSED}{_SIGN}(?:{_VALUE}|(?:{_any_case('bearer')}[ \t]+)?{_NO_NUMBER}|-{_REST_OF_WORD})"
    rf"|\\*[\"'],[ \t]*b?{_QUOTED})"  # (b'cookie', b'a=b'), '--api-key', 'x'
)
_SECRETS = (
    r"^[0-9A-Za-z][0-9A-Za-z+/]{47,}={0,2}",  # a line of a key's text
    *(_AUTHORIZATION, _COOKIE, _NAMED),
    rf"{_any_case('bearer')}[ \t]+[A-Za-z0-9._~+/=-]{{8,}}",
    rf"{_any_case('basic')}[ \t]+[a-z]*[A-Z0-9=][A-Za-z0-9+/=]{{7,}}",
    r"\b(?:[spr]k-|nvapi-|glpat-|xox[a-z]-|xapp-|gsk_|github_pat_|whsec_|[spr]k_(?:live|test)_)[-_A-Za-z0-9*]{10,}",
    r"\b(?:hf_|gh[a-z]_|npm_)[A-Za-z0-9]{16,}",
    r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}|\bAIza[-_A-Za-z0-9]{20,}",
)

_PLACES = (
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
    rf"\B\.{{0,2}}/(?:{_PART}/)*[0-9A-Za-z_.+@%~=$:-]*[0-9A-Za-z_*]/?",  # paths: absolute or from here,
    rf"\b[0-9A-Za-z_.-]+/(?:{_PART}/)+(?:[0-9A-Za-z_.+@%~=$:-]*[0-9A-Za-z_*])?",  # of three parts,
    r"\b[0-9A-Za-z_-]+\.[0-9A-Za-z_.-]*/[0-9A-Za-z_.$-]*[0-9A-Za-z_]",  # or of two, one of which has a dot
    r"\b[0-9A-Za-z_-]+/[0-9A-Za-z_-]*\.[0-9A-Za-z_.$-]*[0-9A-Za-z_]",
    rf"\b{_NUMBERED}(?::[0-9]{{1,5}})*(?:,? {_NUMBERED})*\b",
    rf"\b(?:{_RANK}|[TDPE]P)[0-9]+\b",
    r"\b[A-Za-z]{4,}[0-9]+_[A-Za-z_]+\b",
    r"\b[A-Z][0-9]{2}\b",
    r"\b[A-Za-z]+[0-9]+[A-Za-z]+[0-9]+[0-9A-Za-z]{3,}\b",  # k1aBcD0123
    r"\b(?:[A-Za-z_]{3,}[0-9]{2}|[A-Za-z_]{2}[0-9]{3}|[A-Za-z_]+[0-9]{4})[0-9A-Za-z_]*\b",  # but not c10, fp16, h100
    rf"\b{_NUMBER} bytes(?: \([0-9.,]+ [KMGT]?B\))?",
    r"<[0-9]+ (?:ms|secs?|seconds?|min)\b",
    rf"[-+]?\bv?{_NUMBER}(?:[eE][+-]?[0-9]+)?(?:%| ?(?:[KMGTP]i?[Bb]|k[Bb]|B|MHz|GHz)\b|[A-Za-z]{{0,3}}\b)",
)

_PIECES = r"<\*>(?:[-+._/:~]?<\*>)*"
_LISTS = (rf"{_PIECES}(?:,? {_PIECES}){{3,}}", r"[./]*<\*>(?:[-+._/:~]?<\*>)+")
"""One value, of which several masks made pieces; and a list of values, however long."""

_VALUE_IN_LIST = r"[A-Za-z_][^ \t\r\n,;=()\"']*\"?"
_FIRST = (
    ("-----BEGIN ", r"-----BEGIN [0-9A-Z ]+-----[^-]*(?:-----END [0-9A-Z ]+-----)?", MASK),
    ("://", r"\b[A-Za-z][0-9A-Za-z+.-]*://[^ \t\r\n\"'/@]*@[^ \t\r\n\"'<>|\])]*", MASK),  # with any password
    ("://", r"\b[A-Za-z][0-9A-Za-z+.-]*://(?:[^ \t\r\n\"'<>|\])]*[^ \t\r\n\"'<>|\]),.;:])?", MASK),
    ("==", r"\b[0-9A-Za-z+/]{16,}==", MASK),
    ("eyJ", r"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]+)*", MASK),
    # mail addresses, and user:password@host
    ("@", r"<?\b[0-9A-Za-z_.+-]+@[0-9A-Za-z_-]+\.[0-9A-Za-z_.-]*[0-9A-Za-z]>?", MASK),
    ("@", r"\b[A-Za-z_][0-9A-Za-z_.-]*:[^ \t\r\n\"'@:/]+@[0-9A-Za-z][0-9A-Za-z_.:-]*", MASK),
    # on command lines
    ("--", rf"--{_NAME}[ \t]+(?:{_QUOTED}|{_NO_NUMBER})", MASK),
    (" -p", r" -p[ \t]+(?:[^0-9 \t\r\n/.~<-]|[0-9]+[^0-9: \t\r\n])[^ \t\r\n]*", " -p <*>"),
    ("mysql", r"\bmysql[^|;\r\n]* -p[^ \t\r\n]+", MASK),
    ("ookie ", r"ookie [^ \t\r\n=]+=[^ \t\r\n]*", "ookie <*>"),
    ("--user", r"--user[ =][^ \t\r\n\"':]+:[^ \t\r\n\"']+", MASK),
    (" -u", r" -u[ \t]?[^ \t\r\n\"':]+:[^ \t\r\n\"']+", " -u <*>"),
    ("pass", rf"\bpass{_CLOSED}{_SIGN}(?:{_VALUE}|{_NO_NUMBER})", MASK),
    ("pwd", rf"\bpwd{_CLOSED}{_SIGN}(?:{_VALUE}|{_NO_NUMBER})", MASK),
    (" '", r"\b(?:PASSWORD|password|BY|by)[ \t]+'[^']*'", MASK),
    ("user=", r"\buser=[^ \t\r\n,;)&]*", "user=<*>"),
    ("rhost=", r"\brhost=[^ \t\r\n,;)&]*", "rhost=<*>"),
    # who asked, in an access log
    ('] "', rf" [^ \t\r\n]+ \[[0-9]{{2}}/{_MONTH}/[0-9]{{4}}(?::[0-9]{{2}}){{3}}(?: [+-][0-9]{{4}})?\]", " <*> [<*>]"),
    ("nvalid user ", r"nvalid user [^ \t\r\n]+", "nvalid user <*>"),
    ("for user ", r"\bfor user [0-9A-Za-z_.$-]+", "for user <*>"),
    (" port ", r" for [^ \t\r\n]+ from [^ \t\r\n]+ port [0-9]+", " for <*> from <*> port <*>"),
    ("CMD (", r"\([^ ()\r\n]*\) CMD \([^\r\n]*\)", "(<*>) CMD (<*>)"),
    ("rocess ", r"rocess [0-9]+ \([^()\r\n]*\)", "rocess <*> (<*>)"),
    ("COMMAND=", r"\bCOMMAND=[^\r\n]*", "COMMAND=<*>"),
    ("class ", r"\bclass [A-Za-z_$][0-9A-Za-z_$]*(?:\.[0-9A-Za-z_$]+)+", "class <*>"),
    # in a list, a word or two after a sign are a value; "level=error msg=.." and sentences are what the line is about
    ('="', r'="[^" \t\r\n]*(?: [^" \t\r\n]*)?",', '="<*>",'),
    ("=", rf"={_VALUE_IN_LIST},", "=<*>,"),
    ("=", rf"={_VALUE_IN_LIST}\)", "=<*>)"),
    ("=", r":[a-z]+(?:\.[a-z]+)+=[^\r\n]*", ":<*>"),  # a property of a program, with words for its value
    ("\\", r"\\[0-9]{3}[^\\\r\n]*\\[0-9]{3}", MASK),  # quoted by the codes of quotes
    # a quoted word inside a sentence; in what is JSON, and at the end, it may be what the line is about
    (" '", r" '[^' \t\r\n]+' ", " '<*>' "),
    (' "', r' "[^" \t\r\n]+" ', ' "<*>" '),
)
"""What must be in a line, the pattern, and what replaces it."""
_ALTERNATIONS = tuple(
    "|".join(f"(?:{one})" for one in alternatives)
    for alternatives in ((*_SECRETS, *_PLACES), (*_TIMES, *_IDS), _REST, _LISTS)
)
"""
Replaced by `MASK` alone.

Four, because as one they make an automaton that takes twice the time, most of it for building itself up.
"""
PASSES = (
    *((pattern, masked) for _, pattern, masked in _FIRST),
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
        self._first = [
            (needle.encode(), re2.compile(pattern.encode()), masked.encode()) for needle, pattern, masked in _FIRST
        ]
        self._masks = [_re2.RE2(pattern.encode(), re2.Options()) for pattern in _ALTERNATIONS]

    def mask(self, line: bytes) -> bytes:
        """The `head` of *line* with everything variable or secret replaced by ``<*>``."""
        line = head(line)
        for needle, pattern, masked in self._first:
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
