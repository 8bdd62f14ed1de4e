"""
How the program's own log looks: lines for people on a terminal, JSON elsewhere.

Events are fixed phrases with fields; nothing is interpolated, so that a hostile value stays a value.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog
import structlog.tracebacks
from structlog.typing import EventDict, Processor, WrappedLogger

from aiops.clock import SystemClock

_DIM, _RED, _YELLOW, _GREEN, _RESET = "\033[2m", "\033[31m", "\033[33m", "\033[32m", "\033[0m"
_COLOURS = {"error": _RED, "critical": _RED, "warning": _YELLOW}


def _stamp(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    event["time"] = datetime.fromtimestamp(SystemClock().now_s(), UTC).isoformat(timespec="milliseconds")
    return event


def _printable(value: Any) -> str:
    """One line without control characters: a log line of ours must not be forged by a log line of theirs."""
    text = str(value)
    return "".join(c if c.isprintable() else " " for c in text[:2000])


# local variables stay out: they hold log lines, addresses and tokens
_TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))


class _Lines:
    """``21:04:05 watching      inference: vLLM at 127.0.0.1:8000 (3 engines)``."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> str:
        clock = str(event.pop("time"))[11:19]
        level, phrase = event.pop("level"), event.pop("event")
        trace = event.pop("exception", "")
        if "subject" in event and "detail" in event:
            hint = event.pop("hint", "")
            words = f"{event.pop('collector')}: {event.pop('subject')}, {event.pop('detail')}"
            fields = _printable(words + (f" → {hint}" if hint else ""))
        else:
            fields = ""
        fields += " ".join(f"{name}={_printable(value)}" for name, value in event.items())
        colour = _COLOURS.get(level, _YELLOW if phrase == "not watching" else _GREEN if phrase == "watching" else "")
        if self._colours:
            return f"{_DIM}{clock}{_RESET} {colour}{phrase:<13}{_RESET} {fields}" + (f"\n{trace}" if trace else "")
        return f"{clock} {phrase:<13} {fields}" + (f"\n{trace}" if trace else "")


def configure(level: str, style: str, stream: TextIO = sys.stderr) -> None:
    """
    Send the program's log to *stream*.

    Args:
        level: debug, info, warning or error; lower ones are left out.
        style: "console", "json", or "auto": console on a terminal.
        stream: Where to.
    """
    text = style == "console" or (style == "auto" and stream.isatty())
    ends: list[Processor] = (
        [structlog.processors.format_exc_info, _Lines(colours=stream.isatty())]
        if text
        else [_TRACEBACKS, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[structlog.processors.add_log_level, _stamp, *ends],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    # libraries speak through the standard log: warnings of theirs are ours to see, their chatter is not
    logging.basicConfig(level=logging.WARNING, stream=stream, format="%(asctime)s %(name)s %(message)s", force=True)
