"""
One made-up incident, rich enough to show every part of a page, a report or a message.

Nothing here was measured: the numbers follow from small formulas, the hosts and replicas do not exist.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from aiops.model import (
    Alert,
    AlertState,
    CauseLevel,
    Chart,
    Diagnosis,
    DiagnosisStatus,
    Evidence,
    EvidenceState,
    Hypothesis,
    Impact,
    Incident,
    IncidentState,
    Labels,
    Line,
    LogSeverity,
    LogTemplate,
    Mover,
    Onset,
    SeriesRef,
    Severity,
    TimelineEntry,
    Verdict,
)

FIRST_BAD_S = 1_760_000_000.0
SERVICE = Labels.of(service="chat")
REPLICAS = ("10.0.0.11:8000", "10.0.0.12:8000", "10.0.0.13:8000")

_BURST = Onset(FIRST_BAD_S - 43, FIRST_BAD_S - 42)
_QUEUE = Onset(FIRST_BAD_S - 31, FIRST_BAD_S - 26)
_KV = Onset(FIRST_BAD_S - 16, FIRST_BAD_S - 11)


def _line(name: str, shape: Callable[[float], float], step_s: float = 1.0, gap: tuple[float, float] = (0, 0)) -> Line:
    """*shape* over seconds from the first 503, sampled from five minutes before to two minutes after."""
    offsets = [-300 + step_s * i for i in range(int(420 / step_s) + 1)]
    kept = [t for t in offsets if not gap[0] < t < gap[1]]
    return Line(name, tuple(FIRST_BAD_S + t for t in kept), tuple(shape(t) for t in kept))


def _rise(t: float, start: float, width: float) -> float:
    return 1 / (1 + math.exp(-(t - start - width / 2) / (width / 8)))


def _wobble(t: float, phase: float = 0.0) -> float:
    return 0.6 * math.sin(t / 3.1 + phase) + 0.4 * math.sin(t / 1.3 + 2 * phase)


def _charts() -> tuple[Chart, ...]:
    waiting = tuple(
        _line(name, lambda t, k=k: max(0.0, 38 * _rise(t, -30 + 4 * k, 40) + 0.8 * _wobble(t, k)), 5.0)
        for k, name in enumerate(REPLICAS)
    )
    kv = tuple(
        _line(name, lambda t, k=k: min(1.0, 0.44 + 0.56 * _rise(t, -32 + 3 * k, 34) + 0.02 * _wobble(t, k)), 5.0,
              (-190, -150) if k == 1 else (0, 0))
        for k, name in enumerate(REPLICAS)
    )  # fmt: skip
    return (
        Chart(
            "First attempts per second", "requests",
            (_line("chat", lambda t: 31 + 62 * _rise(t, -44, 8) + 3 * _wobble(t)),), _BURST,
        ),
        Chart("Requests waiting", "requests", waiting, _QUEUE),
        Chart("KV cache in use", "ratio", kv, _KV),
        Chart(
            "Answers with 503 per second", "requests",
            (_line("chat", lambda t: max(0.0, 24 * _rise(t, -1, 12) + 1.5 * _wobble(t)) if t >= 0 else 0.0),),
        ),
        Chart(
            "VRAM in use", "bytes",
            tuple(_line(f"GPU {k}", lambda t, k=k: (70.2 + k + 0.05 * _wobble(t, k)) * 2**30, 5.0) for k in range(3)),
        ),
    )  # fmt: skip


def _burst() -> Hypothesis:
    return Hypothesis(
        "traffic_burst", "Traffic burst", CauseLevel.TRIGGER, SERVICE, "service chat", 0.87, Verdict.ROOT,
        "Arrivals explain 91 % of the rise of load over capacity.",
        (
            Evidence("arrivals_rose", EvidenceState.PRESENT, "First attempts rose from 31 to 93 a second, 42 s before the first 503.", "demand", 2.6, specific=True, necessary=True, onset=_BURST, series=(SeriesRef("http_server_arrival_rate", SERVICE),)),
            Evidence("share_of_rise", EvidenceState.PRESENT, "Arrivals account for 91 % of the rise of load over capacity; work a request for 6 %.", "accounting", 1.9, specific=True),
            Evidence("queue_grew", EvidenceState.PRESENT, "Requests waiting rose from 0 to 38 on 3 of 3 replicas.", "saturation", 0.8, onset=_QUEUE),
            Evidence("replicas_lost", EvidenceState.ABSENT, "No replica was lost: 3 ready throughout.", "capacity", 0.4),
            Evidence("pace_changed", EvidenceState.ABSENT, "Seconds a token at equal batch did not change (+2 %).", "pace", 0.3),
            Evidence("retries", EvidenceState.UNKNOWN, "Retries before the first 503 cannot be told from first attempts: the log has no retry field.", "demand"),
        ),
        ("Queue grows", "KV cache full"),
        "Shed load or rate-limit at the gateway now; add replicas. Serve hot answers from a cache, and scale on arrivals rather than on GPU use.",
        "https://runbooks.example.org/traffic-burst",
    )  # fmt: skip


def _others() -> tuple[Hypothesis, ...]:
    return (
        Hypothesis(
            "kv_cache_exhaustion", "KV cache full", CauseLevel.STATE, Labels.of(instance=REPLICAS[0]), f"replica {REPLICAS[0]}", 0.81, Verdict.CONSEQUENCE,
            "Present, but the traffic burst that leads to it came 26 s earlier.",
            (
                Evidence("kv_full", EvidenceState.PRESENT, "KV cache in use reached 100 % on 3 of 3 replicas.", "kv", 2.2, specific=True, necessary=True, onset=_KV),
                Evidence("preemptions", EvidenceState.PRESENT, "Preemptions rose to 14 a minute, from none.", "kv", 0.0),
            ),
        ),
        Hypothesis(
            "vram_exhaustion", "VRAM exhausted", CauseLevel.FAULT, Labels.of(gpu="1"), "GPU 1", 0.06, Verdict.CANDIDATE,
            "VRAM is high, but level, and no allocation failed.",
            (
                Evidence("vram_high", EvidenceState.PRESENT, "VRAM in use is 90 % of the limit; engines pre-allocate, so this alone means little.", "vram", 0.1),
                Evidence("allocation_failed", EvidenceState.ABSENT, 'No "CUDA out of memory" in the logs of 3 replicas.', "log", -2.0, specific=True),
            ),
        ),
        Hypothesis(
            "deploy_regression", "Slower new version", CauseLevel.TRIGGER, SERVICE, "service chat", 0.02, Verdict.RULED_OUT,
            "No change was reported in the hour before, and the change feed is alive.",
            (Evidence("change_before", EvidenceState.ABSENT, "No deploy in the hour before the first 503.", "change", -3.0, necessary=True),),
        ),
        Hypothesis(
            "slow_node", "One slow replica", CauseLevel.FAULT, Labels.of(instance=REPLICAS[2]), f"replica {REPLICAS[2]}", 0.01, Verdict.RULED_OUT,
            "All replicas slowed alike: 1.0 to 1.1 times their median.",
            (Evidence("one_slower", EvidenceState.ABSENT, "No replica answers more slowly than 1.1 times the median.", "peers", -2.5, necessary=True),),
        ),
        Hypothesis(
            "connection_pool_exhaustion", "Connection pool exhausted", CauseLevel.FAULT, SERVICE, "service chat", 0.03, Verdict.NOT_TESTABLE,
            "No pool metrics and no application log are collected here.",
            (Evidence("pool_full", EvidenceState.UNKNOWN, "No server here reports its connection pool.", "pool", necessary=True),),
        ),
    )  # fmt: skip


def _templates() -> tuple[LogTemplate, ...]:
    return (
        LogTemplate("t1", "WARNING scheduler: sequence group <ID> is preempted by <MODE> mode because there is not enough KV cache space", 412, "kv_cache_preemption", LogSeverity.WARNING, FIRST_BAD_S - 14, FIRST_BAD_S + 96, 20, "Requests preempted for want of KV cache", Labels.of(instance=REPLICAS[0])),
        LogTemplate("t2", "upstream returned 503 for <PATH> after <NUM> ms", 1_204, "rate_limit_queue_full", LogSeverity.ERROR, FIRST_BAD_S, FIRST_BAD_S + 118, 20),
        LogTemplate("t3", "please summarise my private diary", 2, "benign", LogSeverity.INFO, FIRST_BAD_S - 3, FIRST_BAD_S + 9, 2),
    )  # fmt: skip


def _movers() -> tuple[Mover, ...]:
    replica = Labels.of(instance=REPLICAS[0])
    return (
        Mover(SeriesRef("http_server_arrival_rate", SERVICE), 21.4, _BURST, "31 → 93 requests a second"),
        Mover(SeriesRef("gen_ai_server_requests_waiting", replica), 17.9, _QUEUE, "0 → 38 requests"),
        Mover(SeriesRef("gen_ai_server_kv_cache_utilization_ratio", replica), 9.3, _KV, "44 % → 100 %"),
        Mover(SeriesRef("hw_power_watts", Labels.of(gpu="0")), 4.1, Onset(FIRST_BAD_S - 40, FIRST_BAD_S - 35), "402 W → 655 W"),
    )  # fmt: skip


def _timeline() -> tuple[TimelineEntry, ...]:
    return (
        TimelineEntry(FIRST_BAD_S - 42, "alert", "Arrivals left their normal: 93 a second against 31."),
        TimelineEntry(FIRST_BAD_S - 26, "alert", "QueueGrowing on 3 of 3 replicas."),
        TimelineEntry(FIRST_BAD_S - 11, "log", "Requests preempted for want of KV cache, 412 times."),
        TimelineEntry(FIRST_BAD_S, "symptom", "First 503, answered by the gateway."),
        TimelineEntry(FIRST_BAD_S + 2, "symptom", "GatewayErrors503 fired: 19 % of answers were 503."),
        TimelineEntry(FIRST_BAD_S + 2, "notification", "Sent to oncall: 503s on chat, cause not yet known."),
        TimelineEntry(FIRST_BAD_S + 6, "diagnosis", "Cause named: traffic burst on service chat, 87 %."),
        TimelineEntry(FIRST_BAD_S + 6, "notification", "Sent to oncall: traffic burst on service chat."),
    )


def sample_diagnosis() -> Diagnosis:
    """A burst that fills the KV cache: a root, a consequence, a candidate, two ruled out, one not testable."""
    return Diagnosis(
        DiagnosisStatus.NAMED, FIRST_BAD_S + 6, (_burst(), *_others()), _movers(), _templates(), _charts(),
        Impact(8_412, 1_204, 1_180, 24, (("503", 1_180), ("5xx", 24))),
        ("No change feed for the gateway's own settings: a changed limit there would not be seen.",),
    )  # fmt: skip


def sample_incident(*, resolved: bool = False, incident_id: str = "20251009-085320-chat") -> Incident:
    """An open incident with everything a page can show, or the same one after its end."""
    symptom = Alert(
        "GatewayErrors503", SERVICE.merge(outcome="503"), Severity.PAGE, True, AlertState.FIRING, FIRST_BAD_S, FIRST_BAD_S + 118, 0.19, 0.02,
        "19 % of answers of chat are 503", FIRST_BAD_S + 2,
    )  # fmt: skip
    incident = Incident(
        incident_id, "chat", IncidentState.OPEN, FIRST_BAD_S + 2, FIRST_BAD_S, FIRST_BAD_S + 118, (symptom,),
        sample_diagnosis(), _timeline(), revision=2,
    )  # fmt: skip
    if not resolved:
        return incident
    end = TimelineEntry(FIRST_BAD_S + 256, "symptom", "No 503 for one minute: resolved.")
    return replace(
        incident, state=IncidentState.RESOLVED, resolved_at_s=FIRST_BAD_S + 256, updated_at_s=FIRST_BAD_S + 256,
        timeline=(*incident.timeline, end), revision=3,
    )  # fmt: skip


def sample_undetermined(incident_id: str = "20251009-101500-embed") -> Incident:
    """An incident nobody wrote a cause for: the page has to lead with what moved first."""
    whole = sample_incident(resolved=True, incident_id=incident_id)
    hypotheses = tuple(
        replace(h, verdict=Verdict.CANDIDATE, probability=min(h.probability, 0.31), leads_to=())
        if h.verdict in {Verdict.ROOT, Verdict.CONSEQUENCE} else h
        for h in whole.diagnosis.hypotheses
    )  # fmt: skip
    diagnosis = replace(whole.diagnosis, status=DiagnosisStatus.UNDETERMINED, hypotheses=hypotheses)
    return replace(whole, service="embed", diagnosis=diagnosis)
