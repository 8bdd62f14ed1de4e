"""
Alert rules: when something is worth a row, a ticket or a page, as YAML that a person can review.

A file in ``rules/alerts/`` is a list of rules. Each names a detector and carries that detector's settings in a block of
the same name; the block stays a node here, since its shape belongs to the detector (`aiops.detect` decodes it). What
all rules have in common is checked here: ids, severities, durations, the summary's placeholders.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from aiops.catalog import CATALOG
from aiops.document import Duration, FieldError, Node, decode, doc, load
from aiops.errors import ConfigError, Problem
from aiops.model import Severity

_ID = re.compile(r"(?=.*[a-z])[A-Z][A-Za-z0-9]{2,63}")
_COUNTING = frozenset({"error_ratio", "burn_rate"})
"""Detectors of what the access log adds every second."""
_PLACEHOLDER = re.compile(r"[a-z][a-z0-9_]*")


class Layer(StrEnum):
    """Where the rule looks."""

    HARDWARE = "hardware"
    SOFTWARE = "software"
    NETWORK = "network"
    BUSINESS = "business"
    SLO = "slo"


@dataclass(frozen=True, slots=True)
class Selector:
    """The series of a catalogued metric whose labels contain `match`."""

    name: str = field(metadata=doc("Name of the metric, as the catalogue spells it."))
    match: dict[str, str] = field(default_factory=dict, metadata=doc("Labels the series must have."))

    def __post_init__(self) -> None:
        metric = CATALOG.get(self.name)
        if metric is None:
            near = difflib.get_close_matches(self.name, CATALOG, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise FieldError("name", f"the catalogue has no metric {self.name!r}{hint}")
        for label in self.match:
            if label not in metric.labels:
                raise FieldError(
                    "match", f"{self.name} has no label {label!r}; expected one of {', '.join(metric.labels)}"
                )

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels its series have."""
        return CATALOG[self.name].labels

    @property
    def unit(self) -> str:
        """Unit of its values, as the catalogue spells it."""
        return CATALOG[self.name].unit


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertHead:
    """What every alert rule says, whatever its detector."""

    alert: str = field(metadata=doc("Id in CamelCase; stable for ever, since history refers to it."))
    layer: Layer = field(metadata=doc("Where it looks."))
    severity: Severity = field(metadata=doc("What a person must do: page, ticket or info."))
    detector: str = field(metadata=doc("The method; its settings stand in a block of this name."))
    summary: str = field(metadata=doc("The finding in words; {value}, {limit} and label names are filled in."))
    source: str = field(metadata=doc("Where the numbers come from, or why they are what they are."))
    symptom: bool = field(default=False, metadata=doc("Whether users feel it; only symptoms open incidents."))
    lingers: bool = field(
        default=False,
        metadata=doc(
            "Of a symptom: it may fire on when users feel nothing any more; alone it opens an incident, beside others it keeps none open."
        ),
    )
    for_s: Duration = field(default=0.0, metadata=doc("How long the condition must hold before it fires.", key="for"))
    keep_firing_for_s: Duration = field(
        default=0.0, metadata=doc("How long it fires on after the condition ends.", key="keep_firing_for")
    )
    by: tuple[str, ...] = field(default=(), metadata=doc("Labels kept in the alert; none named: all."))

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.alert):
            raise FieldError("alert", f"expected an id in CamelCase such as GpuMemoryHigh, found {self.alert!r}")
        if self.lingers and not self.symptom:
            raise FieldError("lingers", "only a symptom keeps an incident open, and this rule is none")
        _check_summary(self.summary)


def _check_summary(template: str) -> None:
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise FieldError("summary", f"expected text with {{names}} in braces: {error}") from error
    for _, name, spec, conversion in parts:
        # a format may look into attributes and elements of what it is given; a rule has no business there
        if name is not None and (spec or conversion or not _PLACEHOLDER.fullmatch(name)):
            raise FieldError("summary", f"expected plain names in braces, found {name!r}")


def placeholders(template: str) -> frozenset[str]:
    """Names in braces in a summary that `AlertHead` accepted."""
    return frozenset(name for _, name, _, _ in string.Formatter().parse(template) if name is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule(AlertHead):
    """An alert rule as read; `aiops.detect` turns it into a detector."""

    method: Node = field(repr=False, compare=False)
    """The detector's own block."""
    place: Node = field(repr=False, compare=False)
    """The rule in its file, for complaints."""

    @property
    def urgent(self) -> bool:
        """Whether a second counts: a symptom told from answers one by one, where other readings come every few seconds."""
        return self.symptom and self.detector in _COUNTING

    def light(self) -> AlertRule:
        """The rule without the text it was read from, for whoever keeps it: that text takes ten kilobytes."""
        return dataclasses.replace(self, method=self.method.bare(), place=self.place.bare())

    def words(self, values: Mapping[str, str]) -> str:
        """The summary with *values* filled in; a name nobody gave becomes "?"."""
        return self.summary.format_map({name: values.get(name, "?") for name in placeholders(self.summary)})


def load_alert_rules(folders: Sequence[Path]) -> tuple[AlertRule, ...]:
    """
    The rules in ``alerts/*.yaml`` of every folder, in the order of folders, file names and lines.

    Raises:
        ConfigError: everything wrong in any of the files; an id that stands twice is wrong too.
    """
    problems: list[Problem] = []
    rules: dict[str, AlertRule] = {}
    for node in _written_rules(folders, problems):
        try:
            rule = _rule(node)
        except ConfigError as error:
            problems.extend(error.problems)
            continue
        if rule.alert in rules:
            first = rules[rule.alert].place
            problems.append(node.problem(f"{rule.alert}: a rule of this name stands at {first.file}:{first.line}"))
            continue
        rules[rule.alert] = rule
    if problems:
        raise ConfigError(*problems)
    return tuple(rules.values())


def _written_rules(folders: Iterable[Path], problems: list[Problem]) -> Iterable[Node]:
    for folder in folders:
        for path in sorted((folder / "alerts").glob("*.yaml")):
            try:
                root = load(path)
                if root is not None:
                    yield from root.elements()
            except ConfigError as error:
                problems.extend(error.problems)


def _rule(node: Node) -> AlertRule:
    entries = {name: value for name, _, value in node.items()}
    named, detector = entries.get("alert"), entries.get("detector")
    where = str(named.yaml.value) if named is not None else ""
    method, rest = (None, node) if detector is None else node.split(str(detector.yaml.value))
    head = decode(rest, AlertHead, where)
    if method is None:
        raise ConfigError(node.problem(f"{where}.{head.detector}: missing; it holds the detector's settings"))
    shared = {each.name: getattr(head, each.name) for each in dataclasses.fields(AlertHead)}
    return AlertRule(**shared, method=method, place=node)
