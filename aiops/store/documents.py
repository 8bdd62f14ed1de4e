"""
Model values as the text columns of the state file, and back.

Two things must not stop a commit or a start: text that is no valid Unicode (labels may come from paths and log lines),
and a row that this version cannot read any more. The first is repaired on the way in, the second is left out and named.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
import structlog

from aiops.model import Labels, from_json, to_json

log = structlog.get_logger(__name__)

T = TypeVar("T")


def document(value: Any) -> str:
    """*value* as JSON text; lone surrogates become question marks."""
    try:
        return to_json(value).decode()
    except UnicodeEncodeError:
        return to_json(_repaired(msgspec.to_builtins(value, enc_hook=_plain))).decode()


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
        log.warning("row of the state file cannot be read", kind=kind.__name__, error=str(error))
        return None


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
    return value
