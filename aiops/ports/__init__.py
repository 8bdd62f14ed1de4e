"""
The small protocols through which the stages meet.

A stage implements some of these and is handed others; `app.py` introduces them. No protocol has more than four
methods. Implementations live in their stage; contract tests in tests/contract run over every one of them.

They stand in the order in which data flows: `collect`, `store`, `evaluate`, `outward`; everybody imports them from here.
"""

from aiops.ports.collect import (
    Acknowledging,
    AsyncCollector,
    Checkpoints,
    Closeable,
    Collector,
    Inbox,
    Source,
    World,
)
from aiops.ports.evaluate import (
    AlertBook,
    Correlator,
    Detector,
    Docket,
    Ledger,
    LogSink,
    Part,
    Tape,
    TemplateNotes,
)
from aiops.ports.outward import (
    Exposition,
    Notifier,
    StatusReader,
)
from aiops.ports.store import (
    MAX_TEMPLATES,
    EmergencyOutbox,
    EventReader,
    EventSink,
    IncidentLog,
    Keeper,
    Outbox,
    RunBlocking,
    Series,
    SeriesReader,
    SeriesWriter,
    StateWriter,
    TemplateReader,
    Window,
)

__all__ = [
    "MAX_TEMPLATES",
    "Acknowledging",
    "AlertBook",
    "AsyncCollector",
    "Checkpoints",
    "Closeable",
    "Collector",
    "Correlator",
    "Detector",
    "Docket",
    "EmergencyOutbox",
    "EventReader",
    "EventSink",
    "Exposition",
    "Inbox",
    "IncidentLog",
    "Keeper",
    "Ledger",
    "LogSink",
    "Notifier",
    "Outbox",
    "Part",
    "RunBlocking",
    "Series",
    "SeriesReader",
    "SeriesWriter",
    "Source",
    "StateWriter",
    "StatusReader",
    "Tape",
    "TemplateNotes",
    "TemplateReader",
    "Window",
    "World",
]
