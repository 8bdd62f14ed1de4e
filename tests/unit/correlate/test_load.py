"""Load accounting: each term alone, in pairs, none; retries are not demand; unknown is not level."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from aiops.correlate.arrivals import arrivals_change, judge_arrivals
from aiops.correlate.load import LoadAccount, account
from aiops.correlate.pace import read_paces
from aiops.correlate.steps import level_step
from aiops.correlate.terms import TermChange
from aiops.correlate.topology import read_topology
from aiops.correlate.view import View
from aiops.model import Labels
from aiops.rulebook.clauses import Term
from tests.fakes import FakeSeries

FIRST_BAD_S = 1_000.0
START_S = FIRST_BAD_S - 600.0
TERMS = list(Term)


def make(changes: dict[Term, float]) -> LoadAccount:
    """An account whose terms grew by the given factors."""
    return LoadAccount({term: TermChange(math.log(changes.get(term, 1.0))) for term in Term})


@pytest.mark.parametrize("term", TERMS)
def test_a_term_that_grew_alone_holds_the_whole_rise(term):
    """The plain case of each kind of overload."""
    found = make({term: 1.5})

    assert found.share(term) == pytest.approx(1.0)
    assert [t for t in Term if found.holds(t, 0.6)] == [term]


@pytest.mark.parametrize("pair", list(itertools.combinations(TERMS, 2)))
def test_two_terms_that_grew_alike_hold_it_together(pair):
    """Neither has 60 %: both are named."""
    found = make(dict.fromkeys(pair, 1.5))

    assert {t for t in Term if found.holds(t, 0.6)} == set(pair)


def test_a_small_second_term_is_not_named():
    """A burst of x4 that slows the engines by a fifth is a burst."""
    found = make({Term.ARRIVALS: 4.0, Term.PACE: 1.2})

    assert found.holds(Term.ARRIVALS, 0.6)
    assert not found.holds(Term.PACE, 0.6)


def test_without_a_rise_nothing_holds_it():
    """503s without overload must not be blamed on 3 % more traffic."""
    found = make({Term.ARRIVALS: 1.03, Term.WORK: 1.05})

    assert not any(found.holds(t, 0.6) for t in Term)


def test_an_unknown_term_is_neither_held_nor_level():
    """No gateway log is not "traffic was level"."""
    found = LoadAccount({term: TermChange(None if term is Term.ARRIVALS else 0.0) for term in Term})

    assert found.holds(Term.ARRIVALS, 0.6) is None
    assert "arrivals unknown" in found.in_words()


def partly(changes: dict[Term, float | None]) -> LoadAccount:
    """An account in which terms given as None are unknown, and those not given did not change."""
    return LoadAccount(
        {t: TermChange(None if (f := changes.get(t, 1.0)) is None else math.log(f), missing="no page") for t in Term}
    )


def test_a_small_term_does_not_win_because_the_others_are_unknown():
    """20 % more arrivals beside an unknown pace are not "100 % of the rise"."""
    found = partly({Term.ARRIVALS: 1.2, Term.PACE: None})

    assert found.share(Term.ARRIVALS) == pytest.approx(math.log(1.2) / (math.log(1.2) + math.log(1.5)))
    assert found.holds(Term.ARRIVALS, 0.6) is None, "it may hold the rise, and may not"
    assert found.holds(Term.WORK, 0.6) is False, "whatever the pace did, work held nothing"


def test_a_large_term_wins_beside_unknown_ones():
    """Three and a half times the arrivals are a burst, also where only the gateway's log is read."""
    found = partly({Term.ARRIVALS: 3.5, Term.WORK: None, Term.PACE: None, Term.CAPACITY: None})

    assert found.holds(Term.ARRIVALS, 0.6) is True
    assert found.share(Term.ARRIVALS) == pytest.approx(0.64, abs=0.01)


def test_terms_that_share_the_rise_are_named_as_such():
    """Who reads that one of them is the cause must be told of the other."""
    assert make({Term.ARRIVALS: 1.5, Term.WORK: 1.5}).sharers(0.6) == (Term.ARRIVALS, Term.WORK)
    assert make({Term.ARRIVALS: 4.0, Term.WORK: 1.1}).sharers(0.6) == ()


def test_what_rose_is_told_where_it_is_certain():
    """A small rise of one term beside unknown ones rules nothing out."""
    found = partly({Term.WORK: 2.44})
    assert found.risen(0.6) == {Term.WORK: "work a request grew to x2.4"}
    assert partly({Term.WORK: 1.1}).risen(0.6) == {}
    assert partly({Term.WORK: 1.3, Term.ARRIVALS: None}).risen(0.6) == {}


def poisson(rates: dict[float, float], start_s: float = FIRST_BAD_S - 60.0, seed: int = 1):
    """One-second buckets up to three seconds after the first refusal; *rates* by second before it."""
    rng = np.random.default_rng(seed)
    at_s = np.arange(start_s, FIRST_BAD_S + 3.0)
    level = [next(rate for ahead, rate in sorted(rates.items()) if FIRST_BAD_S - at <= ahead) for at in at_s]
    return at_s, rng.poisson(level).astype(float)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("began_before_s", [2.0, 5.0, 20.0, 120.0])
def test_a_surge_is_found_however_short_before_the_refusal(began_before_s, seed):
    """The five minutes before the first refusal must not dilute a surge of seconds."""
    at_s, counts = poisson({began_before_s: 42.0, 1e9: 12.0}, FIRST_BAD_S - 400.0, seed)

    found = judge_arrivals(at_s, counts, first_bad_s=FIRST_BAD_S, complete=True)

    assert found.change == pytest.approx(math.log(3.5), abs=0.35)
    assert found.onset is not None
    assert abs(found.onset.by_s - (FIRST_BAD_S - began_before_s)) <= 3.0


@pytest.mark.parametrize("seed", range(50))
def test_level_traffic_is_level(seed):
    """Three hundred candidate seconds, and chance must not find a surge in them."""
    at_s, counts = poisson({1e9: 12.0}, FIRST_BAD_S - 400.0, seed)

    assert judge_arrivals(at_s, counts, first_bad_s=FIRST_BAD_S, complete=True).change == 0.0


def test_a_missing_rise_is_unknown_while_requests_are_under_way():
    """Access logs are written at completion: the newest seconds look empty before they are."""
    at_s, counts = poisson({5.0: 3.0, 1e9: 12.0})

    found = judge_arrivals(at_s, counts, first_bad_s=FIRST_BAD_S, complete=False)

    assert found.change is None
    assert "under way" in found.missing


def test_too_little_history_is_unknown():
    """Twenty seconds are no baseline."""
    at_s, counts = poisson({5.0: 40.0, 1e9: 12.0}, FIRST_BAD_S - 20.0)

    assert judge_arrivals(at_s, counts, first_bad_s=FIRST_BAD_S, complete=True).change is None


def test_the_start_of_traffic_is_no_surge():
    """Seconds before the first request ever say nothing about normal traffic."""
    at_s, counts = poisson({40.0: 12.0, 1e9: 0.0}, FIRST_BAD_S - 300.0)

    assert judge_arrivals(at_s, counts, first_bad_s=FIRST_BAD_S, complete=True).change == 0.0


# --- from series ----------------------------------------------------------------------------------------------------


class Service:
    """Three replicas behind a gateway, whose terms change by given factors a minute before the first refusal."""

    def __init__(self, *, arrivals=1.0, work=1.0, pace=1.0, ready=3, clock=1.0, retries=False, gateway=True):
        self.series = FakeSeries()
        self.onset_s = FIRST_BAD_S - 60.0
        if gateway:
            self._gateway(arrivals, retries=retries)
        for index in range(3):
            self._page(index, arrivals, work, pace, clock)
            self._up(index, up_to_the_end=index < ready)

    def account(self) -> LoadAccount:
        view = View(self.series, START_S, FIRST_BAD_S + 30.0)
        topology = read_topology(view, "chat")
        return account(view, topology, read_paces(view, topology), FIRST_BAD_S)

    def _gateway(self, arrivals, *, retries):
        rng = np.random.default_rng(3)
        labels = Labels.of(service="chat")
        total = 0.0
        for at in np.arange(START_S, FIRST_BAD_S + 30.0):
            rate = 20.0 * (arrivals if at >= self.onset_s else 1.0)
            rate += 25.0 * (retries and at >= FIRST_BAD_S)
            self.series.put("http_server_arrival_rate", labels, {at: float(rng.poisson(rate))})
            total += 28.0 if at >= FIRST_BAD_S else 0.0
            for index in range(3):
                upstream = labels.merge(outcome="503", answered_by="upstream", upstream=f"r{index}:1")
                self.series.put("http_server_requests_total", upstream, {at: total / 3})

    def _page(self, index, arrivals, work, pace, clock):
        labels = Labels.of(instance=f"r{index}:1")
        rng = np.random.default_rng(index)
        totals = dict.fromkeys(("finished", "prompt", "generated", "seconds"), 0.0)
        for at in np.arange(START_S, FIRST_BAD_S + 30.0, 5.0):
            late = at >= self.onset_s
            finished = 35.0 * (arrivals if late else 1.0) * rng.normal(1, 0.03)
            totals["finished"] += finished
            totals["prompt"] += finished * 100.0 * (work if late else 1.0)
            totals["generated"] += finished * 50.0 * (work if late else 1.0)
            totals["seconds"] += finished * 50.0 * 0.03 * (work * pace / clock if late else 1.0) * rng.normal(1, 0.02)
            running = 4.0 * (arrivals * work * pace / clock if late else 1.0) * rng.normal(1, 0.25)
            for name, value in (
                ("requests_finished_total", totals["finished"]), ("requests_running", running),
                ("prompt_tokens_total", totals["prompt"]), ("generation_tokens_total", totals["generated"]),
                ("time_per_output_token_seconds_sum", totals["seconds"]),
                ("time_per_output_token_seconds_count", totals["generated"]), ("kv_cache_blocks", 400.0),
            ):  # fmt: skip
                self.series.put(f"gen_ai_server_{name}", labels, {at: value})
            self.series.put("gen_ai_server_gpu", labels.merge(gpu=str(index)), {at: 1.0})
            self.series.put("hw_gpu_clock_hertz", Labels.of(gpu=str(index)), {at: 1.9e9 * (clock if late else 1.0)})

    def _up(self, index, *, up_to_the_end):
        for at in np.arange(START_S, FIRST_BAD_S + 30.0, 5.0):
            up = 1.0 if up_to_the_end or at < FIRST_BAD_S - 12.0 else 0.0
            self.series.put("gen_ai_server_up", Labels.of(instance=f"r{index}:1"), {at: up})


def test_a_replica_that_is_up_and_not_ready_is_capacity_gone():
    """One put to sleep, or refusing by its health path, still shows its page."""
    service = Service()
    for index in range(3):
        for at in np.arange(START_S, FIRST_BAD_S + 30.0, 5.0):
            ready = 0.0 if index == 0 and at > FIRST_BAD_S - 12.0 else 1.0
            service.series.put("gen_ai_server_ready", Labels.of(instance=f"r{index}:1"), {at: ready})
    found = service.account()

    assert found.terms[Term.CAPACITY].change == pytest.approx(math.log(1.5), abs=0.1)
    assert {ref.metric for ref in found.terms[Term.CAPACITY].series} == {"gen_ai_server_ready"}


CASES = {
    Term.ARRIVALS: {"arrivals": 1.5},
    Term.WORK: {"work": 1.5},
    Term.PACE: {"pace": 1.5},
    Term.CAPACITY: {"ready": 2},
}


@pytest.mark.parametrize("term", TERMS)
def test_a_factor_of_one_and_a_half_alone_is_found_in_its_own_series(term):
    """Each term is measured where it shows, and nowhere else."""
    found = Service(**CASES[term]).account()

    assert found.terms[term].change == pytest.approx(math.log(1.5), abs=0.1)
    assert [t for t in Term if found.holds(t, 0.6)] == [term], found.in_words()


@pytest.mark.parametrize("pair", list(itertools.combinations(TERMS, 2)))
def test_two_factors_are_told_apart_and_named_together(pair):
    """A burst onto fewer replicas is both."""
    found = Service(**(CASES[pair[0]] | CASES[pair[1]])).account()

    assert {t for t in Term if found.holds(t, 0.6)} == set(pair), found.in_words()


def test_when_nothing_changed_no_term_holds_anything():
    """The accounting of a quiet hour is all ones."""
    found = Service().account()

    assert [found.terms[term].change for term in Term] == pytest.approx([0.0] * 4, abs=0.03)


def test_retries_after_the_first_refusal_are_no_demand():
    """Arrivals double because clients retry; net of refusals nothing more arrives."""
    assert Service(retries=True).account().terms[Term.ARRIVALS].change == 0.0


class Retried:
    """Ten requests a second; from *fails_s* before the first bad second twelve a second end badly and are retried."""

    def __init__(self, outcome: str, *, fails_s: float = 0.0, surge_s: float | None = None) -> None:
        self.series = FakeSeries()
        rng = np.random.default_rng(7)
        labels, bad, total = Labels.of(service="chat"), FIRST_BAD_S - fails_s, 0.0
        for at in np.arange(START_S, FIRST_BAD_S + 30.0):
            surge = surge_s is not None and at >= FIRST_BAD_S - surge_s
            rate = 10.0 * (3.0 if surge else 1.0) + (12.0 if at >= bad + 1 and not surge else 0.0)
            self.series.put("http_server_arrival_rate", labels, {at: float(rng.poisson(rate))})
            failing = labels.merge(outcome=outcome, answered_by="upstream", upstream="r0:1")
            self.series.put("http_server_requests_total", failing, {at: total})
            total += 0.3 if at < bad else 20.0 if surge else 12.3

    def arrivals(self) -> TermChange:
        view = View(self.series, START_S, FIRST_BAD_S + 30.0)
        return arrivals_change(view, read_topology(view, "chat"), FIRST_BAD_S)


@pytest.mark.parametrize("outcome", ["503", "5xx", "429", "499", "truncated", "stalled"])
@pytest.mark.parametrize("fails_s", [0.0, 40.0])
def test_retries_of_any_failure_are_no_demand(outcome, fails_s):
    """Clients retry what hung, was cut or given up as they retry a 503, also when that began before the first 503."""
    assert Retried(outcome, fails_s=fails_s).arrivals().change == 0.0


def test_a_surge_whose_requests_time_out_before_the_first_refusal_is_a_surge():
    """It began before the first of them was given up; netting their failures must not hide it."""
    found = Retried("499", fails_s=40.0, surge_s=60.0).arrivals()

    assert found.change == pytest.approx(math.log(3.0), abs=0.25)
    assert found.onset is not None
    assert found.onset.by_s == pytest.approx(FIRST_BAD_S - 60.0, abs=4.0)


def test_a_pace_explained_by_clocks_is_none():
    """Half the clock is half the pace, and not the version's fault."""
    assert Service(clock=0.5).account().terms[Term.PACE].change == pytest.approx(0.0, abs=0.05)


def test_without_a_gateway_log_arrivals_are_what_the_engines_saw():
    """Finished, refused and in flight add up to demand."""
    found = Service(arrivals=2.0, gateway=False).account()

    assert found.terms[Term.ARRIVALS].change == pytest.approx(math.log(2.0), abs=0.15)


def test_nothing_to_read_is_unknown_in_every_term():
    """An account of no series claims nothing."""
    view = View(FakeSeries(), START_S, FIRST_BAD_S)
    topology = read_topology(view, "chat")
    found = account(view, topology, read_paces(view, topology), FIRST_BAD_S)

    assert all(term.change is None and term.missing for term in found.terms.values())
    assert [found.holds(term, 0.6) for term in Term] == [None] * 4
    assert found.sharers(0.6) == ()


def under_way(logged_lately: float, held: float) -> TermChange:
    """Four seconds after the first refusal; of the last eight seconds' arrivals the log shows *logged_lately* a second."""
    series, now_s = FakeSeries(), FIRST_BAD_S + 4.0
    labels = Labels.of(service="chat")
    for at in np.arange(FIRST_BAD_S - 90.0, now_s):
        series.put("http_server_arrival_rate", labels, {at: 12.0 if at < now_s - 8.0 else logged_lately})
    ok = labels.merge(outcome="ok", answered_by="upstream", upstream="r0:1")
    series.put("http_server_requests_total", ok, {FIRST_BAD_S - 90.0: 0.0, now_s: 1000.0})
    duration = labels.merge(upstream="r0:1", quantile="0.99")
    series.put("http_server_request_duration_seconds", duration, {now_s - 1.0: 6.0})
    for name, value in (("running", 16.0), ("waiting", held - 16.0)):
        series.put(f"gen_ai_server_requests_{name}", Labels.of(instance="r0:1"), {now_s - 0.5: value})
    view = View(series, START_S, now_s)
    topology = read_topology(view, "chat")
    return account(view, topology, read_paces(view, topology), FIRST_BAD_S).terms[Term.ARRIVALS]


def test_requests_that_only_pile_up_are_no_surge_and_need_no_waiting_for():
    """Slow engines hold what usual traffic brings: all that arrived is in the log or in the engines."""
    assert under_way(logged_lately=4.0, held=64.0).change == 0.0


def test_a_surge_that_sits_in_the_engines_is_waited_for():
    """The log cannot show it yet, but what the engines hold is more than usual traffic brings."""
    found = under_way(logged_lately=12.0, held=230.0)

    assert found.change is None
    assert found.waits


def test_few_noisy_readings_step_where_none_lies_among_those_before():
    """The uncached part of a prompt varies by itself as long as a cache helps."""
    before = [238.0, 215, 78, 114, 134, 186, 112, 75, 91]
    at_s = FIRST_BAD_S - 45.0 + 5.0 * np.arange(12)

    def found(after: list[float], *, apart: bool) -> bool:
        values = np.log(np.array(before + after))
        span = {"earliest_s": FIRST_BAD_S - 60.0, "latest_s": FIRST_BAD_S + 10.0}
        return level_step(at_s, values, **span, floor=0.05, apart=apart) is not None

    assert found([577, 535, 540], apart=True)
    assert not found([577, 535, 540], apart=False)
    assert not found([577, 230, 540], apart=True)


def test_requests_that_only_end_do_not_make_the_others_longer():
    """When an engine takes none any more, what it still finishes is counted over those that ended."""
    service = Service()
    for index in range(3):
        labels = Labels.of(instance=f"r{index}:1")
        for name, a_request in (("finished", 1.0), ("prompt_tokens", 100.0), ("generation_tokens", 50.0)):
            metric = "requests_finished_total" if name == "finished" else f"{name}_total"
            held = service.series.held[f"gen_ai_server_{metric}"][labels]
            last = held[max(at for at in held if at <= FIRST_BAD_S)]
            held.update(
                {at: last + 20.0 * a_request * min((at - FIRST_BAD_S) / 5.0, 2.0) for at in held if at > FIRST_BAD_S}
            )
        running = service.series.held["gen_ai_server_requests_running"][labels]
        running.update({at: 28.0 - 14.0 * min(max(at - FIRST_BAD_S, 0.0) / 5.0, 2.0) for at in running})

    assert service.account().terms[Term.WORK].change == 0.0


def renamed(service: Service, since_s: float) -> None:
    """Each page begins to tell another model; the counters of the new process begin at 0 as the old ones end."""
    for metric, held in service.series.held.items():
        for labels in [each for each in held if metric.startswith("gen_ai_server_")]:
            points = held[labels]
            later = {at: value for at, value in points.items() if at >= since_s}
            ended_s = max(at for at in points if at < since_s)
            first = {ended_s: 0.0} if metric.endswith(("_total", "_sum", "_count")) else {}
            zero = points[ended_s] if first else 0.0
            service.series.held[metric][labels.merge(model="v2")] = first | {at: v - zero for at, v in later.items()}
            service.series.held[metric][labels] = {at: value for at, value in points.items() if at < since_s}


def test_a_replica_that_tells_another_model_goes_on():
    """A server of a new version names its model anew: the account reads over that."""
    service = Service(pace=1.5)
    renamed(service, service.onset_s)
    found = service.account()

    assert found.unknown == ()
    assert found.terms[Term.PACE].change == pytest.approx(math.log(1.5), abs=0.1)
    assert found.holds(Term.PACE, 0.6)


def test_a_replica_that_comes_to_help_leaves_the_account_as_it_is():
    """One more for the time of a rollout has no past; the others have."""
    service = Service(work=1.5)
    labels = Labels.of(instance="r3:1")
    for name, a_second in (
        ("requests_finished_total", 2.0),
        ("prompt_tokens_total", 300.0),
        ("generation_tokens_total", 150.0),
    ):
        points = {FIRST_BAD_S - 10.0 + 5.0 * n: 5.0 * n * a_second for n in range(8)}
        service.series.put(f"gen_ai_server_{name}", labels, points)
    upstream = Labels.of(service="chat", outcome="ok", answered_by="upstream", upstream="r3:1")
    service.series.put("http_server_requests_total", upstream, {FIRST_BAD_S - 5.0: 0.0, FIRST_BAD_S: 10.0})
    service.series.put("gen_ai_server_up", labels, {FIRST_BAD_S - 10.0 + 5.0 * n: 1.0 for n in range(8)})

    assert service.account().holds(Term.WORK, 0.6)


@pytest.mark.parametrize(("used", "change"), [(0.97, math.log(4.0)), (0.3, 0.0)])
def test_a_cache_that_became_smaller_is_capacity_gone_where_it_is_full(used, change):
    """Nobody misses blocks that were never used."""
    service = Service()
    for index in range(3):
        labels = Labels.of(instance=f"r{index}:1")
        blocks = service.series.held["gen_ai_server_kv_cache_blocks"][labels]
        blocks.update({at: 100.0 for at in blocks if at >= service.onset_s})
        service.series.put("gen_ai_server_kv_cache_utilization_ratio", labels, dict.fromkeys(blocks, used))

    assert service.account().terms[Term.CAPACITY].change == pytest.approx(change)


def cached(service: Service, share: float, then: float) -> None:
    """The prefix cache holds *share* of each prompt, since the onset *then*; found is counted a reading before asked."""
    for labels, asked in list(service.series.held["gen_ai_server_prompt_tokens_total"].items()):
        times, total = sorted(asked), 0.0
        for before, at in itertools.pairwise(times):
            total += (asked[at] - asked[before]) * (share if at < service.onset_s else then)
            service.series.put("gen_ai_server_prompt_tokens_cached_total", labels, {before: total})


@pytest.mark.parametrize(("share", "then", "factor"), [(0.97, 0.0, 150 / 53), (0.8, 0.1, 2.0), (0.22, 0.11, 1.09)])
def test_what_the_cache_no_longer_holds_is_work(share, then, factor):
    """Also where nearly all was found, and readings show more found than asked now and then."""
    service = Service()
    cached(service, share, then)
    found = service.account().terms[Term.WORK]

    assert found.change == pytest.approx(math.log(factor), abs=0.1)


@pytest.mark.parametrize(("looked_after_s", "waits"), [(3.0, True), (9.0, False), (26.0, False)])
def test_a_rise_of_work_that_only_begins_to_show_is_waited_for(looked_after_s, waits):
    """Traffic that had doubled before without hurting anybody is not named before work that hurts can be read."""
    service = Service(arrivals=2.0)
    service.onset_s = FIRST_BAD_S + 5.0  # of the cache; what is found is counted a reading early
    cached(service, 0.9, 0.0)
    view = View(service.series, START_S, FIRST_BAD_S + looked_after_s)
    topology = read_topology(view, "chat")
    found = account(view, topology, read_paces(view, topology), FIRST_BAD_S)

    assert found.terms[Term.WORK].waits is waits
    assert found.holds(Term.WORK, 0.6) is (None if waits else True)


def test_level_work_is_not_waited_for():
    """A surge is named as soon as it is certain."""
    service = Service(arrivals=3.0)
    view = View(service.series, START_S, FIRST_BAD_S + 6.0)
    topology = read_topology(view, "chat")
    found = account(view, topology, read_paces(view, topology), FIRST_BAD_S)

    assert not found.waits
    assert found.holds(Term.ARRIVALS, 0.6)


def test_a_large_model_with_a_request_in_two_seconds_has_a_measure_of_work():
    """Readings are as far apart as it takes to see some requests end."""
    service = Service(work=2.0)
    for name in ("requests_finished_total", "prompt_tokens_total", "generation_tokens_total", "requests_running"):
        for held in service.series.held[f"gen_ai_server_{name}"].values():
            held.update({at: value / 40.0 for at, value in held.items()})
    found = service.account().terms[Term.WORK]

    assert found.change == pytest.approx(math.log(2.0), abs=0.15)


def test_where_few_requests_end_a_rise_that_begins_to_show_is_waited_for_as_long_as_readings_take():
    """Half a minute after the first refusal there may be one reading: no measure of level work."""
    service = Service(work=2.0)
    for name in ("requests_finished_total", "prompt_tokens_total", "generation_tokens_total", "requests_running"):
        for held in service.series.held[f"gen_ai_server_{name}"].values():
            held.update({at: value / 80.0 for at, value in held.items()})
    view = View(service.series, START_S, service.onset_s + 31.0)
    topology = read_topology(view, "chat")
    found = account(view, topology, read_paces(view, topology), service.onset_s + 2.0)

    assert found.terms[Term.WORK].waits
