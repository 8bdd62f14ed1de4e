"""
The plug-in table of the collectors: name in the settings to module.

Modules stand here as text, so that nothing is imported before it is known to be enabled. Each offers ``Config`` (a
frozen dataclass with ``enabled``, ``interval`` and ``deadline``) and ``build(config, world)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

COLLECTORS: Mapping[str, str] = MappingProxyType(
    {
        "host": "aiops.collect.host",
        "process": "aiops.collect.process",
        "gpu_nvml": "aiops.collect.gpu_nvml",
        "dcgm": "aiops.collect.dcgm",
        "inference": "aiops.collect.inference",
        "gateway": "aiops.collect.gateway",
        "node_exporter": "aiops.collect.node_exporter",
        "access_log": "aiops.collect.access_log",
        "log_tail": "aiops.collect.log_tail",
        "kernel_log": "aiops.collect.kernel_log",
        "journal": "aiops.collect.journal",
        "changes": "aiops.collect.changes",
        "prometheus": "aiops.collect.prometheus",
        "business": "aiops.collect.business",
        "kubernetes": "aiops.collect.kubernetes",
    }
)
