"""Log templates: the constant part of many lines, and what is new about one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from aiops.model.labels import NO_LABELS, Labels
from aiops.model.times import Onset


class LogSeverity(StrEnum):
    """How bad a line is by its own words."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class NewsKind(StrEnum):
    """What is new about a template."""

    NEW = "new"
    """Never seen before, in a log that seldom says anything new."""
    MORE = "more"
    """Seen far more often than before."""


@dataclass(frozen=True, slots=True)
class TemplateNews:
    """What is new about a template in a window of time."""

    kind: NewsKind
    onset: Onset
    """Of its first line, or of the jump."""
    ratio: float
    """Of a jump: lines a second over those before it; else 0."""


@dataclass(frozen=True, slots=True)
class LogTemplate:
    """
    The constant part of many log lines.

    ``distinct`` counts lines behind it that differ in more than digits, up to a cap of 20: below 20 the template may still hold somebody's
    text and leaves this host only if ``title`` (lexicon text) can stand for it.
    """

    id: str
    """Given when its first line was seen; stays while the template becomes more general, and over restarts."""
    template: str
    count: int
    """Lines within the window that was asked for."""
    log_class: str
    severity: LogSeverity
    first_at_s: float
    """First line within the window."""
    last_at_s: float
    distinct: int = 1
    title: str = ""
    labels: Labels = NO_LABELS
    values: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """What masks hid and matters, by name, the last seen first: ``("xid", ("79", "31"))``."""
    news: TemplateNews | None = None
    unsure: bool = False
    """Its first line came in the window, and too little of its log was known to tell whether that is news."""


@dataclass(frozen=True, slots=True)
class TemplateNote:
    """
    What is counted of a template, for another process to count on: never a line.

    Notes of one template follow one another; each holds all but ``buckets``, of which it holds those that changed.
    """

    id: str
    template: str
    """Empty until it may leave this host."""
    log_class: str
    severity: LogSeverity
    title: str
    labels: Labels
    watched_since_s: float | None
    """Since when its log is read."""
    born_at_s: float
    last_at_s: float
    distinct: int
    surprise: float | None
    """How likely its log was to say something new when this was; None where that could not be told."""
    forgotten: int
    """The newest bucket that was given up."""
    values: tuple[tuple[str, tuple[str, ...]], ...]
    buckets: tuple[tuple[int, int], ...]
    """Number of ten seconds, and lines in them."""
