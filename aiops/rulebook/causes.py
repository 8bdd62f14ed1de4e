"""
Cause files: what a fault looks like in the data, as YAML that a person can review.

A cause lists clauses. Each clause is one test on data (see `clauses`) with the odds that its outcome shifts: how much
likelier it is under this cause than without it, when present and when absent. Everything that can be wrong in such a
file is found here, with file and line, before anything runs; `correlate` reads the result and never sees YAML.
"""

from __future__ import annotations

import functools
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from aiops.catalog import CATALOG
from aiops.document import Duration, FieldError, Node, Ratio, decode, doc, load, plain
from aiops.errors import ConfigError, Problem
from aiops.model import CauseLevel
from aiops.rulebook.clauses import EventTest, HoldingTest, LoadTest, LogTest, MetricTest, PaceTest, TemplateTest, Term
from aiops.rulebook.signatures import LogClass

Test = MetricTest | LogTest | TemplateTest | EventTest | LoadTest | PaceTest | HoldingTest
ANY_SYMPTOM = "any"
PLACEHOLDERS = frozenset(
    {
        "place",
        "value",
        "limit",
        "baseline",
        "ratio",
        "share",
        "count",
        "when",
        "who",
        "action",
        "terms",
        "window",
        "clocks",
    }
)
"""What a text template may name; which of them a test fills stands with the test."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Scope(StrEnum):
    """What a hypothesis of a cause is bound to."""

    GPU = "gpu"
    PROCESS = "process"
    """One process that holds memory of a card."""
    INSTANCE = "instance"
    MODEL = "model"
    """All replicas of the service that serve it."""
    SERVICE = "service"
    LINK = "link"
    """One network card of the host."""
    HOST = "host"


_TOLD_APART_BY = {
    Scope.PROCESS: frozenset({"pid"}),
    Scope.MODEL: frozenset({"model", "instance", "upstream"}),
    Scope.LINK: frozenset({"device"}),
}
"""Labels of which a cause of that scope needs one, on a metric of some clause: else all its places look alike."""


@dataclass(frozen=True, slots=True)
class Odds:
    """Likelihood ratios of a clause: P(outcome | this cause) over P(outcome | not this cause); unknown counts as 1."""

    present: float
    absent: float

    def __post_init__(self) -> None:
        supports = self.present > 1.0 > self.absent > 0.0
        opposes = self.absent > 1.0 > self.present > 0.0
        # with p and q the probabilities of "present" with and without the cause, these are exactly the pairs
        # (p/q, (1-p)/(1-q)) that some p, q in (0, 1) can produce
        if not (supports or opposes):
            message = (
                f"odds no probabilities can produce: present {self.present:g}, absent {self.absent:g}; "
                "one must be above 1, the other between 0 and 1"
            )
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class ClauseText:
    """How findings are told; placeholders in braces."""

    present: str
    absent: str

    def __post_init__(self) -> None:
        for key, text in (("present", self.present), ("absent", self.absent)):
            try:
                named = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
            except ValueError as error:
                raise FieldError(key, f"braces: {error}") from error
            if unknown := named - PLACEHOLDERS:
                known = ", ".join(sorted(PLACEHOLDERS))
                raise FieldError(key, f"unknown placeholder {{{min(unknown)}}}; known: {known}")


@dataclass(frozen=True, slots=True)
class Clause:
    """One piece of evidence: a test, what it is worth, and how it is told."""

    id: str
    family: str = field(metadata=doc("clauses of one family share one vote: the strongest"))
    odds: Odds
    source: str = field(metadata=doc("where the odds and limits come from"))
    text: ClauseText
    specific: bool = field(default=False, metadata=doc("shows this cause and hardly any other"))
    necessary: bool = field(default=False, metadata=doc("when tested and absent, the cause is ruled out"))
    unless: tuple[str, ...] = field(
        default=(), metadata=doc("ids of clauses that show another way the same comes about: one way present is enough")
    )
    happened: bool = field(
        default=False,
        metadata=doc("of a necessary clause: absent, it has another reason, and may still be what followed"),
    )
    negated: bool = field(default=False, metadata=doc("present when what it tests is absent, and the other way round"))
    stands_for: tuple[Term, ...] = field(
        default=(), metadata=doc("terms of the load that may rise because of it; else a state follows from what rose")
    )
    metric: MetricTest | None = None
    log: LogTest | None = None
    template: TemplateTest | None = None
    event: EventTest | None = None
    load: LoadTest | None = None
    pace: PaceTest | None = None
    holding: HoldingTest | None = None

    def __post_init__(self) -> None:
        _require_name("id", self.id)
        _require_name("family", self.family)
        tests = (self.metric, self.log, self.template, self.event, self.load, self.pace, self.holding)
        given = [test for test in tests if test is not None]
        if self.happened and not self.necessary:
            raise FieldError("happened", "expected necessary beside it: nothing else rules a cause out")
        if len(given) != 1:
            raise ValueError("expected exactly one of metric, log, template, event, load, pace, holding")

    @property
    def test(self) -> Test:
        """The one test of this clause."""
        found = self.metric or self.log or self.template or self.event or self.load or self.pace or self.holding
        assert found is not None  # noqa: S101 - __post_init__ saw to it
        return found


@dataclass(frozen=True, slots=True)
class CauseRule:
    """A cause file."""

    cause: str
    title: str
    level: CauseLevel
    explains: tuple[str, ...] = field(metadata=doc("outcomes (503, 429…) or symptom alerts it can explain, or any"))
    scope: Scope
    lead: Duration = field(metadata=doc("how long before the symptom its traces may start"))
    prior: Ratio = field(metadata=doc("share of incidents it explains; counted in docs/causes.md"))
    evidence: tuple[Clause, ...]
    advice: str
    leads_to: tuple[str, ...] = field(default=(), metadata=doc("causes it brings about, in order"))
    narrows: bool = field(default=False, metadata=doc("told of one replica where nearly all bad answers come from it"))
    runbook_url: str = ""
    about: str = field(default="", metadata=doc("what happens and how a person checks it; for docs/causes.md"))

    def __post_init__(self) -> None:
        _require_name("cause", self.cause)
        if not self.explains:
            raise FieldError("explains", "expected at least one outcome or symptom, or any")
        if not 0.0 < self.prior < 1.0:
            raise FieldError("prior", f"expected a share between 0 and 1, found {self.prior:g}")
        labels = {label for clause in self.evidence if clause.metric for label in CATALOG[clause.metric.name].labels}
        wanted = _TOLD_APART_BY.get(self.scope, labels)
        if wanted and not wanted & labels:
            named = " or ".join(sorted(wanted))
            message = (
                f"{self.scope.value} needs a clause on a metric with label {named}: nothing tells one from another"
            )
            raise FieldError("scope", message)
        ids = [clause.id for clause in self.evidence]
        for clause in self.evidence:
            others = {name for name in ids if name != clause.id}
            if not others.issuperset(clause.unless):
                raise FieldError("evidence", f"{clause.id}: unless names other clauses of this cause")
        if len({clause.family for clause in self.evidence}) < 2:
            raise FieldError("evidence", "expected at least two families, a root needs two")
        if not any(clause.specific for clause in self.evidence):
            raise FieldError("evidence", "expected at least one specific clause, a root needs one")

    @property
    def ways(self) -> tuple[frozenset[str], ...]:
        """Groups of clauses that `unless` joins: each shows another way the same comes about."""
        return _joined(tuple((clause.id, *clause.unless) for clause in self.evidence if clause.unless))


@functools.lru_cache(maxsize=256)
def _joined(links: tuple[tuple[str, ...], ...]) -> tuple[frozenset[str], ...]:
    """*links* that share a name, put together."""
    groups: list[frozenset[str]] = []
    for link in links:
        touching = [group for group in groups if not group.isdisjoint(link)]
        groups = [group for group in groups if group not in touching] + [frozenset(link).union(*touching)]
    return tuple(groups)


def _require_name(what: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise FieldError(what, f"expected a name in snake_case, found {name!r}")


def load_causes(folders: Iterable[Path]) -> tuple[CauseRule, ...]:
    """
    All causes in ``causes/*.yaml`` of every folder, sorted by id.

    Raises:
        ConfigError: every problem of every file; also a cause given twice, one leading to a cause nobody wrote, or one
            that leads back to itself.
    """
    problems: list[Problem] = []
    read: dict[str, tuple[CauseRule, Node]] = {}
    for path in [path for folder in folders for path in sorted(folder.glob("causes/*.yaml"))]:
        try:
            rule, root = load_cause(path)
        except ConfigError as error:
            problems.extend(error.problems)
            continue
        if rule.cause in read:
            problems.append(root.problem(f"cause: {rule.cause} also stands in {read[rule.cause][1].file}"))
            continue
        read[rule.cause] = (rule, root)
    if not problems:  # a file that could not be read may be the one that is missed
        problems.extend(_dangling(read) or _cycles(read))
    if problems:
        raise ConfigError(*problems)
    return _sharing(read[cause][0] for cause in sorted(read))


def _sharing(rules: Iterable[CauseRule]) -> tuple[CauseRule, ...]:
    """*rules*, with one object for metric tests that are equal: what a look finds out for one holds for all."""
    known: dict[str, MetricTest] = {}

    def shared(clause: Clause) -> Clause:
        test = clause.metric
        return clause if test is None else replace(clause, metric=known.setdefault(repr(test), test))

    return tuple(replace(rule, evidence=tuple(map(shared, rule.evidence))) for rule in rules)


def load_cause(path: Path) -> tuple[CauseRule, Node]:
    """
    The cause in the file at *path*, and its place for later complaints.

    Raises:
        ConfigError: every problem of the file.
    """
    root = load(path)
    if root is None:
        raise ConfigError(Problem(str(path), 1, "expected a cause, found nothing"))
    if problems := _twice(root):
        raise ConfigError(*problems)
    rule = decode(root, CauseRule)
    if rule.cause != path.stem:
        raise ConfigError(root.problem(f"cause: expected {path.stem}, as the file is named, found {rule.cause}"))
    return rule, root


def _twice(root: Node) -> list[Problem]:
    """Clauses whose id another one has, each at its own id."""
    ids = [
        (plain(value), value)
        for key, _, listed in root.items()
        if key == "evidence"
        for clause in listed.elements(key)
        for name, _, value in clause.items(key)
        if name == "id"
    ]
    first = dict(reversed(ids))
    return [
        value.problem(f"evidence: id {name} stands twice; it is given in line {first[name].line}")
        for name, value in ids
        if first[name] is not value
    ]


def _dangling(read: Mapping[str, tuple[CauseRule, Node]]) -> list[Problem]:
    problems: list[Problem] = []
    for rule, root in read.values():
        places = {name: value for name, _, value in root.items()}
        for index, cause in enumerate(rule.leads_to):
            if cause not in read:
                place = places["leads_to"].elements()[index]
                problems.append(place.problem(f"leads_to: no cause {cause}; known: {', '.join(sorted(read))}"))
    return problems


def _cycles(read: Mapping[str, tuple[CauseRule, Node]]) -> list[Problem]:
    """A cause that brings itself about would have no root."""
    leads = reachable([rule for rule, _ in read.values()])
    problems: list[Problem] = []
    for rule, root in read.values():
        places = {name: value for name, _, value in root.items()}
        for index, following in enumerate(rule.leads_to):
            if following == rule.cause or rule.cause in leads[following]:
                place = places["leads_to"].elements()[index]
                problems.append(place.problem(f"leads_to: {following} leads back to {rule.cause}"))
    return problems


def reachable(causes: Sequence[CauseRule]) -> Mapping[str, tuple[str, ...]]:
    """Per cause all it can lead to, nearest first; never itself."""
    return _reached(tuple((rule.cause, rule.leads_to) for rule in causes))


@functools.lru_cache(maxsize=8)
def _reached(links: tuple[tuple[str, tuple[str, ...]], ...]) -> Mapping[str, tuple[str, ...]]:
    """As `reachable`, which every look asks for."""
    direct = dict(links)
    found: dict[str, tuple[str, ...]] = {}
    for cause, first in direct.items():
        order: list[str] = []
        waiting = list(first)
        while waiting:
            following = waiting.pop(0)
            if following != cause and following not in order:
                order.append(following)
                waiting.extend(direct.get(following, ()))
        found[cause] = tuple(order)
    return MappingProxyType(found)


def unfed_classes(folders: Iterable[Path], causes: Iterable[CauseRule]) -> tuple[Problem, ...]:
    """Signatures in ``logs/*.yaml`` whose log class no cause looks at: lines that are recognised for nothing."""
    cited = {clause.log.log_class for rule in causes for clause in rule.evidence if clause.log is not None}
    fed = cited | {LogClass.BENIGN}
    return tuple(
        place.problem(f"class: {plain(place)} feeds no cause")
        for folder in folders
        for path in sorted(folder.glob("logs/*.yaml"))
        if (root := load(path)) is not None
        for key, _, listed in root.items()
        if key == "signatures"
        for signature in listed.elements()
        for name, _, place in signature.items()
        if name == "class" and plain(place) not in fed
    )
