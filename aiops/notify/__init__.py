"""
The table of senders: kind in the settings to module.

Modules stand here as text, so that only those in use are imported. Each offers ``Config`` (a frozen dataclass with
``name``, ``url`` and ``severities``) and ``build(config, client, clock) -> Notifier``. Senders are our own because the
libraries in the field take HTTP 200 with an error body for success.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

NOTIFIERS: Mapping[str, str] = MappingProxyType(
    {
        "feishu": "aiops.notify.feishu",
        "slack": "aiops.notify.slack",
        "webhook": "aiops.notify.webhook",
    }
)
