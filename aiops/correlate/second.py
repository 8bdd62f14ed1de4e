"""
What a named cause does not explain: bad answers of other replicas, or of one replica more than of all others.

Two things can be at work at once, and the second seldom begins as the first does. Held against the incident's first bad
answer its evidence is late, and its share of the bad answers is small. So the rest is asked for once more, as if it were
all there is: when did it begin, and which cause that does not follow from what is named speaks for it?
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aiops.correlate.rank import LATE_S, Weighed
from aiops.correlate.scene import Scene
from aiops.correlate.topology import Place
from aiops.correlate.view import cut
from aiops.model import HURTFUL, NOBODY, CauseLevel, EventKind, EvidenceState, Sample
from aiops.ports import SeriesReader, Window
from aiops.rulebook.causes import CauseRule
from aiops.rulebook.clauses import EventTest
from aiops.stats import Floats, increase, steps

_REQUESTS = "http_server_requests_total"
_OF_ANSWERS = frozenset(
    {
        "http_server_refusals_total",
        "http_server_request_duration_seconds",
        "http_server_time_to_first_byte_seconds",
    }
)
"""What else the gateway tells of the answers of each replica."""
_BAD = {"outcome": "|".join(sorted(HURTFUL))}
_BEFORE_S = 10
"""Looked at before the first bad answer."""
_USUAL_S = 60.0
"""So long before that is usual, or as long as is known: some users always hang up."""
_MIN_BAD = 8.0
"""Fewer bad answers come by chance."""
_SPELL_S = 8
_IN_A_SPELL = 4.0
"""So many bad answers in a spell more than by chance, and they have begun."""
_STANDS_OUT = 3.0
"""Times as many bad answers as any other, or as before: one replica is hurt by something else than all are."""

Kind = tuple[str, str]
"""Who gave bad answers, and their outcome."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Bad answers that what was named does not explain."""

    kinds: frozenset[Kind]
    began_s: float
    taken: frozenset[str]
    """Replicas at which all is explained."""
    explained: frozenset[Kind] = frozenset()
    """The other bad answers."""

    @property
    def givers(self) -> frozenset[str]:
        """Who gave them."""
        return _givers(self.kinds)

    def fits(self, place: Place, replicas: frozenset[str]) -> bool:
        """Whether what happens at *place* could give them: at a replica that did, or at all that are left."""
        left = replicas - self.taken
        if place.instances and not left <= place.instances:
            return place.instances <= self.givers
        return NOBODY in self.givers or (bool(self.taken) and left <= self.givers)


def rest(scene: Scene, roots: Sequence[Weighed]) -> Rest | None:
    """
    The bad answers that *roots* do not explain; None where there are hardly any.

    Roots of some replicas explain what those give. Roots of all explain what all give, and what came as they began.
    """
    replicas = frozenset(scene.topology.instances)
    if len(replicas) < 2 or not roots:
        return None
    hurt = frozenset[str]().union(*(w.place.instances or replicas for w in roots))
    counts, taken, earliest = _by_kind(scene), frozenset[str](), 0.0
    if hurt < replicas:
        taken = hurt
        left = {kind: bad for kind, bad in counts.items() if kind[0] not in taken}
    else:
        left = _of_others(counts, roots) or dict(_standing_out(counts, replicas))
        earliest = _BEFORE_S + LATE_S
    if not left or (not taken and len(_givers(left)) > 1):
        return None
    whole = np.sum(list(left.values()), axis=0)
    began = _began(whole)
    if whole.sum() < _MIN_BAD or began is None or began < earliest:
        return None
    began_s = scene.first_bad_s - _BEFORE_S + began
    return Rest(frozenset(left), began_s, taken, frozenset(counts) - frozenset(left))


def second_look(
    scene: Scene,
    roots: Sequence[Weighed],
    weighed: Sequence[Weighed],
    weigh: Callable[[Rest, Callable[[CauseRule], bool]], Sequence[Weighed]],
) -> list[Weighed]:
    """
    What could be at work beside *roots*, weighed on the bad answers they leave unexplained, most likely first.

    No state, nothing at replicas at which all is explained, nothing that follows from *roots*, nor, where the rest began
    as they did, what they may follow from; empty where nothing is left to explain.

    Args:
        scene: What is looked at.
        roots: What is named.
        weighed: All, on all bad answers.
        weigh: Weighs on the rest what it is asked to: that is as dear as the first look.
    """
    found = rest(scene, roots)
    if found is None:
        return []
    replicas = frozenset(scene.topology.instances)
    named = frozenset(w.cause for w in roots)
    later = is_later(found, scene)
    out = named | _following((w.rule for w in roots), weighed)

    def asked(rule: CauseRule) -> bool:
        fits = rule.level is not CauseLevel.STATE and rule.cause not in out
        return fits and (later or named.isdisjoint(_following([rule], weighed)))

    return [w for w in weigh(found, asked) if found.fits(w.place, replicas)]


def is_later(found: Rest, scene: Scene) -> bool:
    """Whether the rest certainly began after the first bad answers."""
    return found.began_s > scene.context.onset.by_s + LATE_S


def stood(
    scene: Scene,
    weighed: Sequence[Weighed],
    leading: Sequence[Weighed],
    weigh: Callable[[Rest, Weighed, float | None], Weighed],
) -> list[Weighed]:
    """
    The cause that is named, as it stood before something else began to fail as well; empty where it does not.

    What came since may have made its traces fade: a card that was idle is busy again. So it is also taken as it was when
    it was named, unless what leads now explains the first bad answers in its place and does not follow from it.

    Args:
        scene: What is looked at.
        weighed: All, on all bad answers.
        leading: Those of them that lead.
        weigh: Weighs one again without the rest, as of now or of an earlier moment.
    """
    context = scene.context
    ours = [w for w in weighed if w.cause == context.named]
    best = next((w for w in ours if w.place.where == context.named_at), ours[0] if ours else None)
    found = rest(scene, [best]) if best is not None else None
    if best is None or found is None or not is_later(found, scene):
        return []
    again = weigh(found, best, None)
    known = context.named_s > 0  # after a restart nobody knows when it was named
    if known and not again.may_be_root and {w.cause for w in leading} <= _following([best.rule], weighed):
        again = weigh(found, best, context.named_s)
    return [again] if again.may_be_root else []


def _following(causes: Iterable[CauseRule], weighed: Sequence[Weighed]) -> frozenset[str]:
    """What follows from *causes*: at once, or over others of which something is seen."""
    rules = {w.cause: w.rule for w in weighed}
    seen = {w.cause for w in weighed if w.seen and not w.ruled_out}
    found: set[str] = set()
    ahead = list(causes)
    while ahead:
        for follower in ahead.pop().leads_to:
            if follower not in found:
                found.add(follower)
                ahead += [rules[follower]] if follower in seen else []
    return frozenset(found)


class Only:
    """
    Series of which only some bad answers are known.

    Args:
        series: All.
        kinds: The bad answers that are known.
        taken: Replicas of whose answers nothing else is known either: that they are late, or refused, is explained.
    """

    def __init__(self, series: SeriesReader, kinds: frozenset[Kind], taken: frozenset[str] = frozenset()) -> None:
        self._series, self._kinds, self._taken = series, kinds, taken

    def window(
        self, metric: str, start_s: float, end_s: float, match: Mapping[str, str] | None = None
    ) -> Iterator[Window]:
        """As of `SeriesReader`."""
        found = self._series.window(metric, start_s, end_s, match)
        if metric in _OF_ANSWERS:
            return (w for w in found if w.labels.get("upstream") not in self._taken)
        if metric != _REQUESTS:
            return found
        return (w for w in found if w.labels.get("outcome") not in HURTFUL or _kind(w) in self._kinds)

    def latest(
        self, metric: str, now_s: float, match: Mapping[str, str] | None = None, max_age_s: float = 30.0
    ) -> Iterator[Sample]:
        """As of `SeriesReader`."""
        return self._series.latest(metric, now_s, match, max_age_s)

    def metrics(self) -> Sequence[str]:
        """As of `SeriesReader`."""
        return self._series.metrics()


def _kind(window: Window) -> Kind:
    return window.labels.get("upstream") or NOBODY, window.labels.get("outcome")


def _by_kind(scene: Scene) -> dict[Kind, Floats]:
    """Bad answers a second from shortly before the first one on; of kinds that came before as well, those that came more."""
    start_s = scene.first_bad_s - _BEFORE_S
    size = max(int(scene.now_s - start_s) + 1, 1)
    found: dict[Kind, Floats] = {}
    for window in scene.view.windows(_REQUESTS, _BAD | {"service": scene.context.service}):
        first = max(int(window.at_s.searchsorted(start_s)) - 1, 0)
        at_s, values = window.at_s[first:], window.values[first:]
        if at_s.size < 2:
            continue
        seconds = np.clip(np.floor(at_s[1:] - start_s).astype(np.intp), 0, size - 1)
        counts: Floats = np.bincount(seconds, weights=steps(values), minlength=size).astype(np.float64)
        before = cut(window, start_s - _USUAL_S, start_s)
        usual = increase(before.values) / float(np.ptp(before.at_s)) * size if before.at_s.size > 1 else 0.0
        if counts.sum() > max(_STANDS_OUT * usual, usual + (_MIN_BAD if usual else 0.0)):
            found.setdefault(_kind(window), np.zeros(size))
            found[_kind(window)] += counts
    return found


def _givers(kinds: Iterable[Kind]) -> frozenset[str]:
    return frozenset(giver for giver, _ in kinds)


def _of_others(counts: Mapping[Kind, Floats], roots: Sequence[Weighed]) -> dict[Kind, Floats]:
    """
    Where one replica alone gave bad answers at first, those of all others.

    Not where something was changed: a rollout reaches one replica after the other.
    """
    if any(_changed(w) for w in roots):
        return {}
    first = _givers(kind for kind, bad in counts.items() if bad[: int(_BEFORE_S + LATE_S)].any())
    return {kind: bad for kind, bad in counts.items() if kind[0] not in first} if len(first) == 1 else {}


def _changed(w: Weighed) -> bool:
    """Whether a change is part of what speaks for it."""
    tests = {clause.id: clause.test for clause in w.rule.evidence}
    return any(
        e.state is EvidenceState.PRESENT
        and e.log_odds > 0
        and isinstance(test := tests.get(e.id), EventTest)
        and test.kind is EventKind.CHANGE
        for e in w.evidence
    )


def _standing_out(counts: Mapping[Kind, Floats], replicas: frozenset[str]) -> Iterator[tuple[Kind, Floats]]:
    """Kinds of which one replica, or the gateway itself, gives far more than any other, less what that other gives."""
    nothing = np.zeros(next(iter(counts.values())).size if counts else 0)
    for (giver, outcome), bad in counts.items():
        others = [counts.get((name, outcome), nothing) for name in replicas - {giver}]
        usual = max(others, key=np.sum)
        if giver in {*replicas, NOBODY} and bad.sum() >= max(_MIN_BAD, _STANDS_OUT * usual.sum()):
            yield (giver, outcome), np.maximum(bad - usual, 0.0)


def _began(bad: Floats) -> int | None:
    """The second from which on they came, not one by one."""
    for second in np.flatnonzero(bad >= 0.5):
        if bad[second : second + _SPELL_S].sum() >= _IN_A_SPELL:
            return int(second)
    return None
