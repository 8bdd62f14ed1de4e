"""Model values as JSON, and back."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from aiops.model.labels import Labels

T = TypeVar("T")


def _encode_hook(value: Any) -> Any:
    if isinstance(value, Labels):
        return dict(value.pairs)
    message = f"{type(value).__name__} is not a model type"
    raise NotImplementedError(message)  # the exception msgspec asks hooks for


def _decode_hook(kind: type, value: Any) -> Any:
    if kind is Labels and isinstance(value, dict):
        return Labels.from_mapping({str(name): str(text) for name, text in value.items()})
    message = f"cannot read {kind.__name__}"
    raise NotImplementedError(message)


_ENCODER = msgspec.json.Encoder(enc_hook=_encode_hook)


def to_json(value: Any) -> bytes:
    """Any model value, or containers of them, as JSON; labels become objects."""
    return _ENCODER.encode(value)


def from_json(data: bytes | str, kind: type[T]) -> T:
    """
    The model value of type *kind* that `to_json` wrote.

    Raises:
        msgspec.DecodeError: *data* is no JSON, or (ValidationError) not of that type.
    """
    return msgspec.json.decode(data, type=kind, dec_hook=_decode_hook)
