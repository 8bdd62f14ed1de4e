"""
Which of many expressions may be found in a line: those whose words (`needed`) it holds.

One set of words is looked for in one pass over the line, by an automaton whose memory is bounded. What each word speaks for is
one large number with a bit for each expression, so that putting together what the words of a line say costs no loop over
expressions.
"""

from __future__ import annotations

from collections.abc import Sequence

import re2

from aiops.logs.digits import form_of
from aiops.logs.needed import needed
from aiops.rulebook.signatures import quiet

_LEAST_BYTES = 1_000_000
_BYTES_A_LETTER = 100
"""Memory that the automaton may take: it needs sixty to be built, and the rest for what it remembers of lines."""


class Words:
    """
    The words of *expressions*.

    Alternatives that one word speaks for are kept together, a bit for each expression. The others have a bit each, twice: once
    for the words of their first clause, once for those of the second.
    """

    def __init__(self, expressions: Sequence[str]) -> None:
        self._always = 0
        self._count = len(expressions)
        """Bits for expressions; behind them come those for first clauses, then those for second ones."""
        self._singles = (1 << self._count) - 1
        self._pairs: list[int] = []
        """The bit of its expression, for each alternative with two clauses."""
        single: list[tuple[bytes, int]] = []
        double: list[tuple[bytes, int, int]] = []
        for place, expression in enumerate(expressions):
            for clauses in needed(expression):
                if not clauses:
                    self._always |= 1 << place
                elif len(clauses) == 1:
                    single += [(word, place) for word in clauses[0]]
                else:
                    double += [(word, which, len(self._pairs)) for which, each in enumerate(clauses) for word in each]
                    self._pairs.append(1 << place)
        speaks: dict[bytes, int] = {}
        for word, place in single:
            speaks[word] = speaks.get(word, 0) | 1 << place
        for word, which, pair in double:
            speaks[word] = speaks.get(word, 0) | 1 << (self._count + which * len(self._pairs) + pair)
        in_forms: dict[bytes, int] = {}
        for word, said in speaks.items():
            in_forms[form_of(word)] = in_forms.get(form_of(word), 0) | said
        words = list({**speaks, **in_forms})
        self._in_lines = [speaks.get(word, 0) for word in words]
        self._in_forms = [in_forms.get(word, 0) for word in words]
        self._set = _compiled(words)

    def places(self, text: bytes, *, form: bool = False) -> Sequence[int]:
        """
        Places of the expressions that may be found in a line, the first one first.

        Args:
            text: The line.
            form: It is the line's form (`digits`).
        """
        rest = self._candidates(text, self._in_forms if form else self._in_lines)
        return _bits(rest) if rest else ()

    def _candidates(self, text: bytes, speaks: Sequence[int]) -> int:
        matched = self._set.Match(text) if self._set is not None else None
        if matched is None:
            return self._always
        said = 0
        for word in matched:
            said |= speaks[word]
        found = self._always | said & self._singles
        pairs = said >> self._count
        both = pairs & (pairs >> len(self._pairs))
        if both:
            for pair in _bits(both):
                found |= self._pairs[pair]
        return found


def _bits(number: int) -> list[int]:
    """Places of the ones in *number*, from the lowest on."""
    found = []
    while number:
        lowest = number & -number
        found.append(lowest.bit_length() - 1)
        number ^= lowest
    return found


def _compiled(words: Sequence[bytes]) -> re2.Set | None:
    if not words:
        return None
    options = quiet()
    options.literal = True
    options.case_sensitive = False
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = max(_LEAST_BYTES, _BYTES_A_LETTER * sum(map(len, words)))
    found = re2.Set.SearchSet(options)
    for word in words:
        found.Add(word)
    found.Compile()
    return found
