"""
What was said of a run beside what is true: a row a run, and the numbers over rows. Pure.

The incident that counts is the one in which most requests failed, of those open at any time from the fault on. Its final
answer is the one it stood with at the recording's end. An answer is right when the first root it names is one of the
run's true causes; a cause that is merely ranked first, and not named, is not an answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from shares import share

from aiops.units import format_duration

RANKED = frozenset({"root", "candidate", "consequence"})
SURE = 0.8
FIRST_S, FINAL_S = 30.0, 60.0
EARLY_S = 1.0
"""Clocks of the lab and the daemon are one, but ticks are a second apart."""


def row_of(name: str, truth: Mapping, played: Mapping, live: Sequence[Mapping] | None, today: str) -> dict:
    """
    What came of a run.

    Args:
        name: Of the run.
        truth: As `lab_runs.Truth` has it.
        played: As `lab_play` gives it.
        live: What the chat got, with the times; None where that is not known.
        today: Fingerprint of the rules it was played through.
    """
    row = {key: truth[key] for key in ("fault", "kind", "causes", "where", "stub", "gateway", "dialect", "seed")}
    row["run"] = name
    if "damaged" in played:
        return row | {"damaged": played["damaged"]}
    incident = main_incident(played["incidents"], truth["began_s"])
    told = [one for one in played["told"] if incident and one["incident"] == incident["id"]]
    return row | _judged(incident, truth) | {
        "incidents": len(played["incidents"]),
        "false_pages": sum(one["opened_at_s"] < truth["began_s"] - EARLY_S for one in played["incidents"]),
        "named": sorted({one["cause"] for one in played["told"] if one["cause"]}),
        "first_named": next((one["cause"] for one in told if one["cause"]), None),
        "seconds": seconds(told, truth["first_bad_s"]),
        "seconds_live": seconds(_as_told(live), truth["first_bad_s"]) if live is not None else None,
        "sure_and_wrong": sorted(
            {one["cause"] for one in played["told"] if _is_sure(one) and one["cause"] not in truth["causes"]}
        ),
        "live_is_replay": same_as_live(played, live) if live is not None and played["rules"] == today else None,
        "cut_off": played["cut_off"],
    }  # fmt: skip


def _judged(incident: Mapping | None, truth: Mapping) -> dict:
    """The answer an incident stood with, and what it ranked, beside the truth."""
    ranked = [h for h in incident["hypotheses"] if h["verdict"] in RANKED] if incident else []
    answer = answer_of(incident)
    return {
        "status": incident["status"] if incident else None,
        "answer": answer["cause"] if answer else None,
        "probability": answer["probability"] if answer else None,
        "where_said": answer["where"] if answer else None,
        "place": answer["place"] if answer else None,
        "right": answer is not None and answer["cause"] in truth["causes"],
        "place_right": place_right(answer, truth),
        "in_three": [cause for cause in truth["causes"] if cause in first_causes(ranked, 3)],
        "ranked_first": ranked[0]["cause"] if ranked else None,
        "ranked": [{key: h[key] for key in ("cause", "place", "probability", "verdict")} for h in ranked[:5]],
    }


def main_incident(incidents: Sequence[Mapping], began_s: float) -> Mapping | None:
    after = [one for one in incidents if one["resolved_at_s"] is None or one["resolved_at_s"] >= began_s]
    return max(after, key=lambda one: (one["failed"], -one["opened_at_s"]), default=None)


def answer_of(incident: Mapping | None) -> Mapping | None:
    """The first root, if one is named."""
    if incident is None or incident["status"] != "named":
        return None
    return next((h for h in incident["hypotheses"] if h["verdict"] == "root"), None)


def first_causes(ranked: Iterable[Mapping], count: int) -> list[str]:
    """A cause at three places is one cause."""
    return list(dict.fromkeys(h["cause"] for h in ranked))[:count]


def place_right(answer: Mapping | None, truth: Mapping) -> bool | None:
    """
    Whether the cause that is rightly named is where the truth has it; None where that is not asked.

    A truth may give both card and replica; what the answer names of them must agree, and it must name one.
    """
    if answer is None or answer["cause"] not in truth["causes"] or not truth["where"]:
        return None
    common = answer["where"].keys() & truth["where"].keys()
    return bool(common) and all(answer["where"][name] == str(truth["where"][name]) for name in common)


def seconds(told: Sequence[Mapping], first_bad_s: float | None) -> dict:
    """From the first bad answer to the first message, to the first that answers, that names, and to the final answer."""
    said = [one for one in told if one["change"] in {"opened", "updated"}]
    if first_bad_s is None or not said:
        return {}
    answers = [one for one in said if one["status"] in {"named", "undetermined"}]
    final = next((i for i in range(len(said)) if len({_answer(one) for one in said[i:]}) == 1), None)
    found = {
        "message": said[0],
        "answer": answers[0] if answers else None,
        "named": next((one for one in said if one["cause"]), None),
        "final": said[final] if final is not None and said[-1] in answers else None,
    }
    return {name: round(one["at_s"] - first_bad_s, 2) for name, one in found.items() if one is not None}


def _answer(one: Mapping) -> tuple:
    return one["status"], one["cause"], one["place"]


def _is_sure(one: Mapping) -> bool:
    return bool(one["cause"]) and one["probability"] > SURE


def _as_told(live: Sequence[Mapping]) -> list[dict]:
    """Messages as the chat got them, of the first incident that was told, in the form of those that were played."""
    told = [
        {
            "at_s": one["at"],
            "change": one["message"].get("change"),
            "incident": facts.get("incident"),
            "status": facts.get("diagnosis", ""),
            "cause": facts.get("cause") or None,
            "place": facts.get("place") or None,
        }
        for one in live
        if (facts := one["message"].get("incident") or {}).get("incident")
    ]
    return [one for one in told if one["incident"] == told[0]["incident"]]


def same_as_live(played: Mapping, live: Sequence[Mapping]) -> bool:
    """Whether all that was sent while the recording ran is what was played, field by field."""
    sent = [
        one["message"] for one in live if played["at_s"] <= one["message"].get("created_at", 0) <= played["ended_s"]
    ]
    return sent == played["payloads"]


def left_out_row(name: str, truth: Mapping, played: Mapping, leads: Mapping[str, Sequence[str]]) -> dict:
    """
    What is said of a fault whose cause file is missing.

    "undetermined" is right; "nothing yet" names no cause either, and is told apart. A state that the missing cause leads
    to is how it hurts, and true (a state is named where no trigger or fault that leads to it is known); it is counted
    apart, and wrong all the same.
    """
    incident = main_incident(played["incidents"], truth["began_s"])
    answer = answer_of(incident)
    cause = answer["cause"] if answer else None
    if answer is None:
        said = "undetermined" if incident and incident["status"] == "undetermined" else "nothing yet"
    elif cause in leads.get(truth["causes"][0], ()):
        said = "its state" if answer["level"] == "state" else "its consequence"
    else:
        said = "wrong"
    return {
        "run": name,
        "without": truth["causes"][0],
        "said": said,
        "answer": cause,
        "probability": answer["probability"] if answer else None,
    }


# --- over rows ------------------------------------------------------------------------------------------------------


def summary(rows: Sequence[Mapping], left_out: Sequence[Mapping]) -> dict:
    sound = [row for row in rows if "damaged" not in row]
    faults = [row for row in sound if row["kind"] == "fault"]
    groups: dict[str, Callable[[Mapping], object]] = {
        "all": bool,
        "without stubs": lambda row: not row["stub"],
        "stubs": lambda row: row["stub"],
        "python, vllm": lambda row: (row["gateway"], row["dialect"]) == ("python", "vllm"),
        "nginx, sglang": lambda row: (row["gateway"], row["dialect"]) == ("nginx", "sglang"),
        "python, sglang": lambda row: (row["gateway"], row["dialect"]) == ("python", "sglang"),
        "nginx, vllm": lambda row: (row["gateway"], row["dialect"]) == ("nginx", "vllm"),
    }
    by_group = {name: [row for row in faults if fits(row)] for name, fits in groups.items()}
    causes = sorted({row["causes"][0] for row in faults})
    return {
        "runs": len(rows),
        "damaged": [row["run"] for row in rows if "damaged" in row],
        "faults": {name: of_faults(held) for name, held in by_group.items() if held},
        "causes": {
            cause: of_faults([row for row in faults if row["causes"][0] == cause])
            | {"left_out": of_left_out([row for row in left_out if row["without"] == cause])}
            for cause in causes
        },
        "left_out": of_left_out(left_out),
        "harmless": {
            kind: of_harmless([row for row in sound if row["kind"] == kind])
            for kind in ("none", "lookalike", "undescribed")
        }
        | {"all": of_harmless([row for row in sound if row["kind"] in {"none", "lookalike", "undescribed"}])},
        "two": of_two([row for row in sound if row["kind"] == "two"]),
        "false_pages": sum(row["false_pages"] for row in sound),
        "live_is_replay": share(row["live_is_replay"] for row in sound if row["live_is_replay"] is not None),
    }


def of_faults(rows: Sequence[Mapping]) -> dict:
    placed = [row for row in rows if row["where"]]
    named = [row for row in rows if row["first_named"] or row["answer"]]
    return {
        "first": share(row["right"] for row in rows),
        "three": share(bool(row["in_three"]) for row in rows),
        "place": share(row["place_right"] for row in rows if row["place_right"] is not None),
        "cause_and_place": share(bool(row["place_right"]) for row in placed),
        "kept": share(row["first_named"] == row["answer"] for row in named),
        "unsaid": sum(row["status"] is None for row in rows),
        "unnamed": sum(row["status"] is not None and row["answer"] is None for row in rows),
        "sure_and_wrong": sum(bool(row["sure_and_wrong"]) for row in rows),
        "replayed": of_times([row["seconds"] for row in rows]),
        "live": of_times([row["seconds_live"] for row in rows if row["seconds_live"] is not None]),
    }


def of_times(seconds_of: Sequence[Mapping[str, float]]) -> dict:
    """Shares are of all runs: where nothing was said it did not come in time."""
    found: dict = {}
    for name in ("message", "answer", "named", "final"):
        held = sorted(row[name] for row in seconds_of if name in row)
        found[name] = {
            "of": len(held),
            "median_s": held[len(held) // 2] if held else None,
            "p90_s": held[math.ceil(0.9 * len(held)) - 1] if held else None,
            "max_s": held[-1] if held else None,
            "within_30": share(row.get(name, math.inf) <= FIRST_S for row in seconds_of),
            "within_60": share(row.get(name, math.inf) <= FINAL_S for row in seconds_of),
        }
    return found


def of_left_out(rows: Sequence[Mapping]) -> dict:
    kinds = ("undetermined", "nothing yet", "its state", "its consequence", "wrong")
    return {
        "held_back": share(row["answer"] is None for row in rows),
        "undetermined": share(row["said"] == "undetermined" for row in rows),
        "or_its_state": share(row["answer"] is None or row["said"] == "its state" for row in rows),
        "or_what_follows": share(row["said"] != "wrong" for row in rows),
        "said": {kind: sum(row["said"] == kind for row in rows) for kind in kinds},
    }


def of_harmless(rows: Sequence[Mapping]) -> dict:
    return {
        "held_back": share(row["answer"] is None and not row["named"] for row in rows),
        "silent": share(row["incidents"] == 0 for row in rows),
        "sure_and_wrong": sum(bool(row["sure_and_wrong"]) for row in rows),
    }


def of_two(rows: Sequence[Mapping]) -> dict:
    return {
        "both_in_three": share(len(row["in_three"]) == len(row["causes"]) for row in rows),
        "first": share(row["right"] for row in rows),
    }


# --- for whoever mends ----------------------------------------------------------------------------------------------


def wrong(row: Mapping) -> str:
    """What is wrong about a run, in a few words; empty where nothing is."""
    if "damaged" in row:
        return f"damaged: {row['damaged']}"
    if row["kind"] == "two":
        missing = [cause for cause in row["causes"] if cause not in row["in_three"]]
        return f"not in the first three: {', '.join(missing)}" if missing else ""
    if row["kind"] != "fault":
        named = list(dict.fromkeys([*row["named"], *([row["answer"]] if row["answer"] else [])]))
        return f"named {', '.join(named)}" if named else ""
    if row["status"] is None:
        return "nothing was said"
    if not row["right"]:
        return f"named {row['answer']}" if row["answer"] else row["status"]
    if row["place_right"] is False:
        return f"at {row['place']}, and is at {row['where']}"
    return f"named {row['first_named']} first" if row["first_named"] != row["answer"] else ""


def confusion(row: Mapping) -> str:
    """A wrong run on a line: what was true, what was said, what came next."""
    ranked = " > ".join(f"{h['cause']} {h['probability']:.2f} {h['verdict']}" for h in row.get("ranked", ())[:3])
    return f"{row['run']}: {'+'.join(row['causes']) or row['kind']}; {wrong(row)} | {ranked or 'no hypothesis'}"


def explained(row: Mapping, truth: Mapping, played: Mapping) -> str:
    """Everything that decided a run: what was told when, and the clauses of the truth and of the first hypotheses."""
    incident = main_incident(played["incidents"], truth["began_s"])
    zero_s = truth["first_bad_s"] or truth["began_s"]
    lines = [
        f"{row['run']}: {row['kind']} {'+'.join(row['causes'])} at {row['where'] or 'no place'}, {truth['magnitudes']}",
        f"  began {truth['began_s'] - zero_s:+.1f} s, ended {truth['ended_s'] - zero_s:+.1f} s of the first bad answer",
        f"  {wrong(row) or 'right'}",
    ]
    for one in played["told"]:
        at = f"{one['at_s'] - zero_s:+.1f} s"
        lines.append(f"  {at:>9} {one['change']} {one['status']} {one['cause'] or ''} {one['place'] or ''}".rstrip())
    if incident is None:
        return "\n".join([*lines, "  no incident"])
    lasted = format_duration((incident["resolved_at_s"] or played["ended_s"]) - incident["opened_at_s"])
    lines.append(
        f"  incident of {incident['service']}: {', '.join(incident['symptoms'])}; {incident['failed']} failed, {lasted}"
    )
    lines += [f"  note: {note}" for note in incident["notes"]] + [f"  moved: {text}" for text in incident["movers"]]
    order = [h for h in incident["hypotheses"] if h["verdict"] in RANKED][:4]
    order += [h for h in incident["hypotheses"] if h["cause"] in row["causes"] and h not in order][:3]
    for h in order:
        lines.append(f"  {h['cause']} at {h['place']}: {h['verdict']} {h['probability']:.2f}. {h['reason']}")
        lines += [
            f"    {e['state']:<8}{e['log_odds']:+6.2f} {e['marks']:<2} {e['id']}: {e['text']}" for e in h["evidence"]
        ]
    return "\n".join(lines)
