"""What a series, alert or event is about: a sorted set of name-value pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final


class Labels:
    """
    A sorted set of name-value pairs: what a series, alert or event is about. Immutable.

    Not a dataclass, so that the hash is computed once: labels are looked up far more often than made. Build them
    outside the hot path and reuse them.
    """

    __slots__ = ("_hash", "pairs")

    def __init__(self, pairs: tuple[tuple[str, str], ...] = ()) -> None:
        """Take *pairs* as they are: sorted by name, each name once. `of` and `from_mapping` sort for you."""
        self.pairs: Final = pairs
        self._hash: Final = hash(pairs)

    @classmethod
    def of(cls, **values: str) -> Labels:
        """Labels from keywords: ``Labels.of(host_name="n1", gpu="3")``."""
        return cls(tuple(sorted(values.items())))

    @classmethod
    def from_mapping(cls, values: Mapping[str, str]) -> Labels:
        """Labels from any mapping of text to text."""
        return cls(tuple(sorted(values.items())))

    def get(self, name: str, default: str = "") -> str:
        """The value under *name*, or *default*."""
        for key, value in self.pairs:
            if key == name:
                return value
        return default

    def merge(self, **values: str) -> Labels:
        """These labels with *values* added or replaced."""
        return Labels.from_mapping({**dict(self.pairs), **values})

    def only(self, names: Iterable[str]) -> Labels:
        """These labels with only *names* kept."""
        wanted = set(names)
        return Labels(tuple(pair for pair in self.pairs if pair[0] in wanted))

    def matches(self, wanted: Mapping[str, str]) -> bool:
        """Whether every name of *wanted* is here with that value."""
        for pair in wanted.items():
            if pair in self.pairs:  # thousands of times a second: a tuple is searched faster than a loop could
                continue
            name, value = pair
            if value or self.get(name):  # a label that is not there is an empty one
                return False
        return True

    def fingerprint(self) -> str:
        """Sixteen hex digits that identify this label set, the same in every process."""
        return hashlib.blake2b(repr(self.pairs).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.pairs)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Labels) and self.pairs == other.pairs

    def __repr__(self) -> str:
        return f"Labels({dict(self.pairs)!r})"

    def __reduce__(self) -> tuple[type[Labels], tuple[tuple[tuple[str, str], ...]]]:
        return Labels, (self.pairs,)


NO_LABELS = Labels()
