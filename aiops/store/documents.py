"""
Model values as the text columns of the state file, and back.

Three things must not stop a commit or lose an incident: text that is no valid Unicode (labels may come from paths and log
lines), numbers that JSON does not know, and a row that this version cannot read any more. The first two are repaired on the way
in, the third is left out and named, once.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
import structlog

from aiops.model import Labels, from_json, to_json

log = structlog.get_logger(__name__)

T = TypeVar("T")


def document(value: Any) -> str:
    """*value* as JSON text that can be read back: lone surrogates become question marks, infinities the largest number."""
    try:
        text = to_json(value).decode()
        if "null" in text:  # an infinity would be written so, and a number that is null cannot be read
            from_json(text, type(value))
    except (UnicodeEncodeError, msgspec.DecodeError):
        return to_json(_repaired(msgspec.to_builtins(value, enc_hook=_plain))).decode()
    return text


def storable(text: str) -> str:
    """*text* with lone surrogates replaced, fit for a text column."""
    return text.encode("utf-8", "replace").decode()


def documents(rows: Iterable[tuple[Any, ...]], kind: type[T]) -> list[T]:
    """The values in the first column of *rows*; what cannot be read is left out and logged."""
    return [value for row in rows if (value := read_document(row[0], kind)) is not None]


def read_document(text: str, kind: type[T]) -> T | None:
    """The value in *text*, or None, logged, if this version cannot read it."""
    try:
        return from_json(text, kind)
    except msgspec.DecodeError as error:
        _complain(kind.__name__, str(error))
        return None


@functools.lru_cache(maxsize=64)
def _complain(kind: str, error: str) -> None:
    """Once: rows are read many times a minute."""
    log.warning("row of the state file cannot be read", kind=kind, error=error)


def _plain(value: Any) -> Any:
    if isinstance(value, Labels):
        return dict(value.pairs)
    message = f"{type(value).__name__} is not a model type"
    raise NotImplementedError(message)  # the exception msgspec asks hooks for


def _repaired(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {_repaired(name): _repaired(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_repaired(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return 0.0 if math.isnan(value) else math.copysign(sys.float_info.max, value)
    return value
