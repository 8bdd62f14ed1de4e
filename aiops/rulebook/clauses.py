"""
The tests of clauses: what a cause file may ask of the data, as YAML that is checked when it is read.

A metric against a level, its own past, its peers, the whole, or growing at level traffic; lines of a log class, or
of a kind never seen; an event; a term of the load accounting; the pace of replicas; what they hold as they refuse. How
each is answered stands in `correlate`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from aiops.catalog import CATALOG, MetricKind
from aiops.document import Duration, FieldError, Quantity, Ratio, doc
from aiops.model import EventKind, LogSeverity
from aiops.rulebook.reduce import Reduce
from aiops.rulebook.signatures import LogClass

_BINDS = {
    name: next((label for label in ("upstream", "gpu", "instance", "service", "device") if label in metric.labels), "")
    for name, metric in CATALOG.items()
}
"""By metric: the label that says which place a series belongs to."""

_NAMED_VALUES = {
    ("xid", "hardware"): "48|61|62|63|64|74|79|92|94|95|109|110|119|120|136|140|143|145|149|154|155|156|158",
}
"""What a `match` may name in place of values. Xids of NVIDIA's catalogue that mean memory, bus, link or firmware of the card,
and not the program on it (13, 31, 43, 45): https://docs.nvidia.com/deploy/xid-errors/"""
TEMPLATES_S = 300.0
"""How long before the first bad second kinds of log lines are looked at."""
ROOT_SHARE = 0.6
"""Of the rise of load: a term that holds as much is where the root is looked for."""


class Term(StrEnum):
    """What can make load outgrow capacity."""

    ARRIVALS = "arrivals"
    WORK = "work"
    """Tokens a request."""
    PACE = "pace"
    """Seconds a token, at equal batch."""
    CAPACITY = "capacity"


class Against(StrEnum):
    """What a replica's pace is held against."""

    CHANGE = "change"
    """Its own pace before the change event that covers it."""
    BASELINE = "baseline"
    """Its own pace before the incident."""
    PEERS = "peers"
    """The other replicas of the service, at least two."""
    CLOCK = "clock"
    """Its own pace before, as measured; present where that is slower, and no longer once the SM clock is allowed for."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound; exactly one side."""

    above: Quantity | None = None
    below: Quantity | None = None

    def __post_init__(self) -> None:
        if (self.above is None) == (self.below is None):
            raise ValueError("expected either above or below")

    @property
    def value(self) -> float:
        """The bound itself."""
        if self.above is not None:
            return self.above
        assert self.below is not None  # noqa: S101 - __post_init__ saw to it
        return self.below

    def holds(self, value: float) -> bool:
        """Whether *value* lies on the named side of the bound."""
        return value > self.value if self.above is not None else value < self.value


@dataclass(frozen=True, slots=True)
class Watched:
    """The metric that is there whenever somebody looks: where it is, a series that is missing counts as 0."""

    name: str = field(metadata=doc("a metric of the catalogue"))
    match: dict[str, str] = field(default_factory=dict, metadata=doc("label values; alternatives with |"))

    def __post_init__(self) -> None:
        _require_metric("name", self.name)
        _require_labels(self.name, ("match", *self.match))


@dataclass(frozen=True, slots=True)
class Subtracted:
    """What is taken away from a metric, reading by reading, at the same place."""

    name: str = field(metadata=doc("a metric of the catalogue, in the same unit"))
    divide_by: str = field(default="", metadata=doc("metric with the same labels to divide by"))

    def __post_init__(self) -> None:
        _require_metric("name", self.name)
        if self.divide_by:
            _require_metric("divide_by", self.divide_by)


@dataclass(frozen=True, slots=True)
class MetricTest:
    """A metric's window against a level, its own baseline, its peers, the whole, or its own growth at level traffic."""

    name: str = field(metadata=doc("a metric of the catalogue"))
    over: Duration = field(metadata=doc("how long before the first bad second the window starts; it ends now"))
    match: dict[str, str] = field(
        default_factory=dict,
        metadata=doc("label values; alternatives with |; xid: hardware for those that mean the card"),
    )
    by: str = field(default="", metadata=doc("label that binds a series to the place; default from the catalogue"))
    reduce: Reduce = Reduce.LAST
    divide_by: str = field(default="", metadata=doc("metric with the same labels to divide by"))
    rest: bool = field(default=False, metadata=doc("what is left of 1: the share that the ratio leaves"))
    minus: Subtracted | None = field(default=None, metadata=doc("taken away from it where both bind to one place"))
    up_to: Quantity | None = field(default=None, metadata=doc("readings above it do not count: given up, not measured"))
    above: Quantity | None = None
    below: Quantity | None = None
    past_round: Limit | None = field(default=None, metadata=doc("seconds past the round time-out it lasted for"))
    rise: Limit | None = field(default=None, metadata=doc("its level less that before the onset"))
    out_of: Watched | None = field(
        default=None, metadata=doc("its increase is told as a share of this one's, per upstream")
    )
    floor: Quantity | None = field(
        default=None, metadata=doc("as what a lower level before counts in ratio_to_baseline")
    )
    ratio_to_baseline: Limit | None = field(default=None, metadata=doc("against before the onset"))
    ratio_to_peers: Limit | None = field(default=None, metadata=doc("against the median of at least two others"))
    share: Limit | None = field(default=None, metadata=doc("of the whole over all places, at least two"))
    trend: Limit | None = field(default=None, metadata=doc("steady growth over the window, while traffic was level"))
    joined: Limit | None = field(default=None, metadata=doc("series that began in the window, less those that ended"))
    watched_by: Watched | None = field(default=None, metadata=doc("where this is seen, no series means 0"))
    until: Duration = field(
        default=0.0, metadata=doc("how long after the first bad second readings count, one at least; 0: until now")
    )
    reread: bool = field(default=False, metadata=doc("too early to tell until it was read since the first bad second"))

    def __post_init__(self) -> None:
        named = {label: _NAMED_VALUES.get((label, values), values) for label, values in self.match.items()}
        object.__setattr__(self, "match", named)
        _require_metric("name", self.name)
        if self.divide_by:
            _require_metric("divide_by", self.divide_by)
        _require_labels(self.name, ("match", *self.match), ("by", self.by))
        if len(self._against) + (self.above is not None or self.below is not None) != 1:
            raise ValueError(
                "expected exactly one of above/below, past_round, rise, ratio_to_baseline, ratio_to_peers, share, trend, "
                "joined"
            )
        if self.past_round is not None and CATALOG[self.name].unit != "seconds":
            raise FieldError("past_round", f"expected a metric in seconds, {self.name} is in {CATALOG[self.name].unit}")
        if self.rest and self.unit != "ratio":
            raise FieldError("rest", f"is for ratios, and {self.name} here is in {self.unit}")
        self._check_minus()
        self._check_shares()
        if self.counts and (self.divide_by or CATALOG[self.name].kind is not MetricKind.COUNTER):
            raise FieldError("reduce", f"{self.reduce.value} is for counters, and {self.name} here is none")

    def _check_shares(self) -> None:
        if self.out_of is not None and (self.reduce is not Reduce.INCREASE or self._against):
            raise FieldError("out_of", "is for the increase of a counter against above or below")
        if self.floor is not None and (self.ratio_to_baseline is None or self.ratio_to_baseline.above is None):
            raise FieldError("floor", "is for a rise: ratio_to_baseline with above")

    def _check_minus(self) -> None:
        if self.minus is None:
            return
        if CATALOG[self.name].kind is MetricKind.COUNTER or self.divide_by:
            raise FieldError("minus", f"is for readings, and {self.name} here is none")
        if CATALOG[self.minus.name].unit != CATALOG[self.name].unit:
            raise FieldError("minus", f"{self.minus.name} is in another unit than {self.name}")

    @property
    def _against(self) -> list[Limit]:
        """What it is held against beside a level."""
        others = (self.past_round, self.rise, self.ratio_to_baseline, self.ratio_to_peers, self.share, self.trend)
        return [limit for limit in (*others, self.joined) if limit is not None]

    @property
    def counts(self) -> bool:
        """Whether it is about what a counter added."""
        return self.reduce in {Reduce.INCREASE, Reduce.RATE}

    @property
    def unit(self) -> str:
        """Of the value: a ratio where like is divided by like, and tokens for tokens a request."""
        if self.out_of is not None:
            return "ratio"
        unit = CATALOG[self.name].unit
        return "ratio" if self.divide_by and CATALOG[self.divide_by].unit == unit else unit

    @property
    def limit(self) -> Limit:
        """The bound, whatever the value is held against."""
        against = self._against
        return against[0] if against else Limit(self.above, self.below)

    @property
    def bound_by(self) -> str:
        """Label that says which place a series belongs to."""
        return self.by or _BINDS[self.name]

    @property
    def minus_bound_by(self) -> str:
        """Label that says which place a series of what is taken away belongs to."""
        return "" if self.minus is None else _BINDS[self.minus.name]


@dataclass(frozen=True, slots=True)
class LogTest:
    """At least so many lines of a class."""

    log_class: LogClass = field(metadata=doc("one of the closed list", key="class"))
    within: Duration = field(metadata=doc("how long before the first bad second lines count; until now", key="in"))
    at_least: int = 1
    of_host: bool = field(default=False, metadata=doc("lines of logs that are no replica's count too: the kubelet's"))
    of_gateway: bool = field(
        default=False,
        metadata=doc("only logs that are no replica's; silence counts where nginx's error log is followed"),
    )
    jump: float = field(default=0.0, metadata=doc("times as many as in as long a time before; 0 does not ask"))
    told_after: Duration = field(default=0.0, metadata=doc("how long what a line tells of may have lasted by then"))
    until: Duration = field(default=0.0, metadata=doc("how long after the first bad second lines count; 0: until now"))

    def __post_init__(self) -> None:
        if self.at_least < 1:
            raise FieldError("at_least", f"expected 1 or more, found {self.at_least}")
        if self.jump and self.jump <= 1.0:
            raise FieldError("jump", f"expected more than 1, found {self.jump:g}")


@dataclass(frozen=True, slots=True)
class TemplateTest:
    """Lines of a kind never seen before, in a log that is known well enough to tell; or lines of one signature."""

    within: Duration = field(metadata=doc("how long before the first bad second they began; until now", key="in"))
    at_least: int = 1
    severity: LogSeverity = field(default=LogSeverity.ERROR, metadata=doc("at least as bad by their own words"))
    title: str = field(default="", metadata=doc("only lines of the signature of this title; alternatives with |"))
    known: bool = field(default=False, metadata=doc("lines of a kind that was seen before count, too; needs a title"))
    without: LogClass | None = field(default=None, metadata=doc("only where no line of this class came, too"))
    of_host: bool = field(default=False, metadata=doc("lines of logs that are no replica's count, too; needs known"))
    told_after: Duration = field(default=0.0, metadata=doc("how long what a line tells of may have lasted by then"))

    def __post_init__(self) -> None:
        if self.at_least < 1:
            raise FieldError("at_least", f"expected 1 or more, found {self.at_least}")
        if self.known and not self.title:
            raise FieldError("known", "expected a title beside it: every log has lines of known kinds")
        if self.without is not None and not self.known:
            raise FieldError("without", "expected known beside it: news is news beside whatever else is said")
        if (self.of_host or self.told_after) and not self.known:
            raise FieldError(
                "known", "expected with of_host and told_after: news is a replica's own, and is when it is"
            )
        if not 0.0 < self.within <= TEMPLATES_S:
            raise FieldError(
                "in", f"expected up to {TEMPLATES_S / 60:.0f}m, found {self.within:g} s: older lines are not judged"
            )

    @property
    def titles(self) -> frozenset[str]:
        """Of the signatures it asks for; empty where any kind will do."""
        return frozenset(self.title.split("|")) if self.title else frozenset()


@dataclass(frozen=True, slots=True)
class EventTest:
    """An event on the place, before the first bad second or as it came."""

    kind: EventKind
    action: tuple[str, ...] = field(default=(), metadata=doc("any of these; empty means all"))
    within: Duration = field(default=0.0, metadata=doc("how long before; the cause's lead unless given", key="in"))


@dataclass(frozen=True, slots=True)
class LoadTest:
    """A term of the load accounting holds at least this share of the rise."""

    term: Term
    share: Ratio = ROOT_SHARE


@dataclass(frozen=True, slots=True)
class HoldingTest:
    """
    Most of what is refused at admission is refused while the replica holds fewer requests than it held before without
    refusing, or while others wait though it runs fewer than it ran.
    """

    share: Ratio = field(default=0.6, metadata=doc("of the refused requests"))


@dataclass(frozen=True, slots=True)
class PaceTest:
    """Seconds a token, normalised by SM clock and batch, against something; the ratio must pass `above`."""

    against: Against
    above: float = field(metadata=doc("ratio; 1.2 is 20 % slower"))

    def __post_init__(self) -> None:
        if self.above <= 1.0:
            raise FieldError("above", f"expected more than 1, found {self.above:g}")


def _require_metric(key: str, name: str) -> None:
    if name not in CATALOG:
        raise FieldError(key, f"unknown metric {name}")


def _require_labels(metric: str, *wanted: tuple[str, ...]) -> None:
    """*wanted*: the field that names labels, then the labels."""
    known = CATALOG[metric].labels
    for key, *names in wanted:
        for label in names:
            if label and label not in known:
                raise FieldError(key, f"{metric} has no label {label}; it has {', '.join(known)}")
