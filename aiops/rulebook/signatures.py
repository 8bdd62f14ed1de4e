"""
Log signatures: what known failures look like in a log line, from ``rules/logs/*.yaml``.

A signature maps lines to one log class of a closed list, since cause files cite classes. Patterns are RE2 expressions,
searched in the raw line, so a hostile line costs time linear in its length. A signature carries sample lines that it
must match: a pattern that stopped matching what it was written for is an error of the file, with its line. `aiops check`
and the tests try all of them, the daemon those of a person's own folder.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import re2

from aiops.document import Node, decode, doc, load
from aiops.errors import ConfigError, Problem
from aiops.model import LogSeverity

_MAX_PATTERN_CHARS = 1_000
_MAX_PROGRAM = 500
"""RE2 instructions of one pattern; counted repetitions such as .{0,60} blow it up."""


class LogClass(StrEnum):
    """What sort of trouble a line speaks of. Cause files cite these; the list is closed."""

    VRAM_EXHAUSTION = "vram_exhaustion"
    KV_CACHE_PREEMPTION = "kv_cache_preemption"
    GPU_HW = "gpu_hw"
    NCCL_TIMEOUT = "nccl_timeout"
    THERMAL_THROTTLE = "thermal_throttle"
    HOST_OOM = "host_oom"
    DISK_FULL = "disk_full"
    DISK_IO_ERROR = "disk_io_error"
    NETWORK = "network"
    UPSTREAM_UNAVAILABLE = "upstream_unavailable"
    POOL_EXHAUSTED = "pool_exhausted"
    WORKER_TIMEOUT = "worker_timeout"
    TOO_MANY_FILES = "too_many_files"
    MODEL_LOAD_FAILURE = "model_load_failure"
    RATE_LIMIT_QUEUE_FULL = "rate_limit_queue_full"
    TLS_CERT = "tls_cert"
    DNS = "dns"
    ENGINE_DEAD = "engine_dead"
    PROBE_FAILURE = "probe_failure"
    BENIGN = "benign"
    """Known to be harmless, or not known at all."""


@dataclass(frozen=True, slots=True)
class LogSignature:
    """What one kind of line looks like, and what it means."""

    log_class: LogClass = field(metadata=doc("The log class.", key="class"))
    title: str = field(metadata=doc("The line's meaning in a few words; sent to people in place of the line."))
    severity: LogSeverity = field(metadata=doc("How bad it is."))
    patterns: tuple[str, ...] = field(
        metadata=doc("RE2 expressions; one of them must be found in the raw record. ^ and $ are the ends of its lines.")
    )
    samples: tuple[str, ...] = field(metadata=doc("Lines it must match."))
    source: str = field(metadata=doc("Where such lines were seen or are documented."))
    extract: Mapping[str, str] = field(
        default_factory=dict,
        metadata=doc("Name to RE2 expression with one group: a value to take from the line, such as the GPU's index."),
    )

    @property
    def expressions(self) -> tuple[str, ...]:
        """Its patterns as they are searched in a record, which may be of several lines."""
        return tuple(f"(?m){pattern}" for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class _File:
    """A file of rules/logs/."""

    signatures: tuple[LogSignature, ...]


def load_signatures(folders: Sequence[Path], *, proven: Collection[Path] = ()) -> tuple[LogSignature, ...]:
    """
    The signatures in ``logs/*.yaml`` of every folder; within a folder in the order of file names and lines.

    Args:
        folders: Shipped ones first.
        proven: Those of *folders* whose expressions and samples need not be tried again: the shipped one, when the daemon
            starts. `aiops check` and the tests have tried it, and trying takes a tenth of a second and two megabytes.

    The first signature that matches a line decides. Those of later folders come first, so that a person's own folder
    (named after the shipped one) overrides what is shipped.

    Raises:
        ConfigError: every problem found in all files.
    """
    found: list[LogSignature] = []
    problems: list[Problem] = []
    for folder, path in [(each, path) for each in reversed(folders) for path in sorted(each.glob("logs/*.yaml"))]:
        try:
            found.extend(_read(path, proven=folder in proven))
        except ConfigError as error:
            problems.extend(error.problems)
    # what was compiled to be checked is not needed; the module would keep the last of it for ever, over a megabyte
    re2.purge()
    if problems:
        raise ConfigError(*problems)
    return tuple(found)


def _read(path: Path, *, proven: bool) -> tuple[LogSignature, ...]:
    root = load(path)
    if root is None:
        return ()
    signatures = decode(root, _File).signatures
    if proven:
        return signatures
    (listed,) = [value for name, _, value in root.items() if name == "signatures"]
    problems = [
        problem
        for node, signature in zip(listed.elements(), signatures, strict=True)
        for problem in _check(node, signature)
    ]
    if problems:
        raise ConfigError(*problems)
    return signatures


def _check(node: Node, signature: LogSignature) -> Iterator[Problem]:
    """What decoding cannot see: that expressions compile, and that samples match."""
    places = {name: value for name, _, value in node.items()}
    for name, given in (("patterns", signature.patterns), ("samples", signature.samples)):
        if not given:
            yield places[name].problem(f"{name}: expected at least one")
    for name, _, place in places["extract"].items() if "extract" in places else ():
        if complaint := _complaint(signature.extract[name], groups=1):
            yield place.problem(f"extract.{name}: {complaint}")
    broken = [
        place.problem(f"patterns: {complaint}")
        for place, pattern in zip(places["patterns"].elements(), signature.patterns, strict=True)
        if (complaint := _complaint(pattern, groups=None))
    ]
    if broken:
        yield from broken
    elif signature.patterns:
        yield from _check_samples(places["samples"], signature)


def _check_samples(samples: Node, signature: LogSignature) -> Iterator[Problem]:
    for place, sample in zip(samples.elements(), signature.samples, strict=True):
        if not any(re2.search(expression, sample, quiet()) for expression in signature.expressions):
            yield place.problem("samples: none of the patterns is found in this line")


def _complaint(pattern: str, groups: int | None) -> str:
    """Why *pattern* cannot be used; empty if it can."""
    if len(pattern) > _MAX_PATTERN_CHARS:
        return f"expected at most {_MAX_PATTERN_CHARS} characters, found {len(pattern)}"
    try:
        expression = re2.compile(pattern, quiet())
    except re2.error as error:
        reason = error.args[0]
        return f"expected an RE2 expression: {reason.decode(errors='replace') if isinstance(reason, bytes) else reason}"
    if expression.programsize > _MAX_PROGRAM:
        return "too large; use .* in place of counted repetitions such as .{0,60}, and several patterns in place of one"
    if groups is not None and expression.groups != groups:
        return f"expected {groups} group in parentheses, found {expression.groups}"
    if expression.search("") is not None:
        return "matches an empty line, and so every line"
    return ""


def quiet() -> re2.Options:
    """RE2 options that keep its complaints off standard error: they become problems with a line number."""
    options = re2.Options()
    options.log_errors = False
    return options
