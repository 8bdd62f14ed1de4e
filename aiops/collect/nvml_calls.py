"""
One card as NVML answers for it: a call gives a value, or nothing, or the card is lost.

What a card does not support is None and never zero. A card that is off the bus says so in every call; one that gives
nothing but errors, though it is asked for much, is as useless and counts as lost too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pynvml

_GONE = {pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED, pynvml.NVML_ERROR_GPU_NOT_FOUND}
_NO_DRIVER = {
    pynvml.NVML_ERROR_UNINITIALIZED,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
}
_CANNOT = {
    pynvml.NVML_ERROR_NOT_SUPPORTED,
    pynvml.NVML_ERROR_NO_PERMISSION,
    pynvml.NVML_ERROR_INVALID_ARGUMENT,
    pynvml.NVML_ERROR_NOT_FOUND,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
    pynvml.NVML_ERROR_DEPRECATED,
    pynvml.NVML_ERROR_NO_DATA,
}
"""Answers of a healthy card that has no such reading, or not for us."""
_VALUES = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
"""Where a field value's number stands, by its type."""

Field = int | tuple[int, int]
"""A field's number; with a link's number where the field is one of a link."""


class Lost(Exception):
    """The card does not answer any more."""


class Device:
    """
    One card, or a MIG instance of one.

    Args:
        handle: NVML's.
    """

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self._answers = 0
        self._failures = 0

    def ask(self, call: Callable[..., Any], *args: Any) -> Any:
        """
        What *call* gives, or None if this card has no such reading.

        Raises:
            Lost: the card does not answer any more.
            pynvml.NVMLError: the driver has gone.
        """
        try:
            value = call(self.handle, *args)
        except pynvml.NVMLError as error:
            self._judge(error.value)
            return None
        self._answers += 1
        return value

    def fields(self, wanted: Sequence[Field]) -> dict[Field, float]:
        """The *wanted* field values this card has, in one call; each has its own return code."""
        values: dict[Field, float] = {}
        for field, found in zip(wanted, self.ask(pynvml.nvmlDeviceGetFieldValues, wanted) or (), strict=False):
            if found.nvmlReturn != pynvml.NVML_SUCCESS:
                self._judge(found.nvmlReturn)
            elif 0 <= found.valueType < len(_VALUES):
                values[field] = float(getattr(found.value, _VALUES[found.valueType]))
        return values

    def check(self) -> None:
        """
        Look at what came of all calls since the last check.

        Raises:
            Lost: not one of them gave a value, and not because the card lacks the readings.
        """
        answers, failures = self._answers, self._failures
        self._answers = self._failures = 0
        if failures and not answers:
            raise Lost

    def _judge(self, code: int) -> None:
        if code in _GONE:
            raise Lost
        if code in _NO_DRIVER:
            raise pynvml.NVMLError(code)
        if code not in _CANNOT:
            self._failures += 1


def optional(call: Callable[..., Any], *args: Any) -> Any:
    """What *call* gives, or None if it fails."""
    try:
        return call(*args)
    except pynvml.NVMLError:
        return None


def text(value: Any) -> str:
    """A name NVML gave; empty if it gave none."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
