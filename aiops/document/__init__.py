"""
YAML written by people, into frozen dataclasses, with file:line on every complaint.

Settings, alert rules, causes and log signatures all come through here, so that a wrong unit in any of them reads the
same: ``rules/alerts/gpu.yaml:12: for: expected a duration such as 15s, found 'soon'``. The YAML is composed into nodes
(which carry their line), never constructed into objects; all problems of a file are reported at once.

Field types understood: str, int, float, bool, enums, `Duration`, `Size`, `Ratio`, `Quantity`, `Secret`, Path, nested
dataclasses, tuple[T, ...], dict[str, T], T | None, `Node` (left as it is, for a plug-in to decode) and `Any` (plain
data). A dataclass field may carry ``metadata=doc("text", key="yaml-name")``; `key` is for names Python reserves
(``for``, ``class``). A dataclass's own check (``__post_init__``) raises `FieldError` or ValueError.
"""

from aiops.document.decoding import (
    Duration,
    FieldError,
    Quantity,
    Ratio,
    Secret,
    Size,
    Unit,
    decode,
    doc,
)
from aiops.document.nodes import Node, load, parse, plain

__all__ = [
    "Duration",
    "FieldError",
    "Node",
    "Quantity",
    "Ratio",
    "Secret",
    "Size",
    "Unit",
    "decode",
    "doc",
    "load",
    "parse",
    "plain",
]
