"""The lab's numbers as tables for docs/quality.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sheet import table

GOALS = {
    "first": 0.92, "three": 0.98, "place": 0.95, "kept": 0.9, "nginx_first": 0.85, "left_out": 0.9, "harmless": 0.95,
    "two": 0.9, "ece": 0.05, "brier_skill": 0.2, "answer_30": 1.0, "final_60": 0.9,
}  # fmt: skip
_CAPPED = 0.9
_TIMES = {
    "message": "the first message", "answer": 'the first answer (a cause or "undetermined")',
    "named": "the first message that names a cause", "final": "the final answer",
}  # fmt: skip


def lab(result: Mapping) -> Iterator[str]:
    found = result["summary"]
    yield from _goals(reached(found))
    yield from _groups(found)
    yield from _times(found["faults"]["all"]) if "all" in found["faults"] else ()
    yield from _others(found)
    yield from _calibration(found["calibration"])
    yield from _causes(found["causes"])
    yield f"- experiments that failed as such, and are not counted: {found['failed_experiments']}"
    yield ""
    if found["damaged"]:
        yield f"- recordings that could not be played: {', '.join(found['damaged'])}"
        yield ""


def reached(found: Mapping) -> dict[str, dict]:
    """Each goal with what was measured; what no run asked for is left out."""
    faults = found["faults"]
    everywhere, apart = faults.get("all"), faults.get("nginx, sglang")
    shares: dict[str, tuple[Mapping | None, float]] = {
        "first cause right": (everywhere and everywhere["first"], GOALS["first"]),
        "in the first three": (everywhere and everywhere["three"], GOALS["three"]),
        "right place": (everywhere and everywhere["place"], GOALS["place"]),
        "first cause right on nginx with SGLang pages": (apart and apart["first"], GOALS["nginx_first"]),
        "one cause file left out: no cause named": (found["left_out"]["held_back"], GOALS["left_out"]),
        "first named cause is the final one": (everywhere and everywhere["kept"], GOALS["kept"]),
        "no fault, look-alikes, undescribed: no cause named": (
            found["harmless"]["all"]["held_back"],
            GOALS["harmless"],
        ),
        "two faults: both in the first three": (found["two"]["both_in_three"], GOALS["two"]),
        "first answer within 30 s": (everywhere and everywhere["replayed"]["answer"]["within_30"], GOALS["answer_30"]),
        "final answer within 60 s": (everywhere and everywhere["replayed"]["final"]["within_60"], GOALS["final_60"]),
    }
    rows = {
        name: {"goal": f">= {_number(goal)}", "value": of(held), "reached": held["share"] >= goal}
        for name, (held, goal) in shares.items()
        if held and held["of"]
    }
    return rows | _numbers(found)


def _numbers(found: Mapping) -> dict[str, dict]:
    """Goals that are no share of runs."""
    rows: dict[str, dict] = {}
    calibrated, everywhere = found["calibration"]["first"], found["faults"].get("all")
    if everywhere:
        low = everywhere["first"]["low"]
        rows["first cause right, Wilson's lower bound"] = {
            "goal": ">= .86",
            "value": _number(low),
            "reached": low >= 0.86,
        }
    sure = found["harmless"]["all"]["sure_and_wrong"]
    rows["wrong causes above .8 where none is at work"] = {"goal": "0", "value": str(sure), "reached": sure == 0}
    if calibrated["of"] and calibrated["brier_skill"] is not None:
        ece, skill = calibrated["ece"], calibrated["brier_skill"]
        rows["calibration error (ECE)"] = {"goal": "<= .05", "value": f"{ece:.3f}", "reached": ece <= GOALS["ece"]}
        judged = found["calibration"].get("first_after", {})
        if judged.get("of"):
            ece = judged["ece"]
            rows["calibration error (ECE), after people judged answers"] = {
                "goal": "<= .05",
                "value": f"{ece:.3f}",
                "reached": ece <= GOALS["ece"],
            }
        rows["Brier skill"] = {"goal": ">= .2", "value": f"{skill:.2f}", "reached": skill >= GOALS["brier_skill"]}
    return rows


def _goals(rows: Mapping[str, Mapping]) -> Iterator[str]:
    yield from table(
        ["", "goal", "measured", ""],
        [
            [name, row["goal"], row["value"], "reached" if row["reached"] else "**missed**"]
            for name, row in rows.items()
        ],
    )


def of(share: Mapping, goal: float | None = None) -> str:
    """ ".95 (.90–.98), 143 of 150"; bold where the goal is missed."""
    if not share["of"]:
        return "–"
    text = f"{_number(share['share'])} ({_number(share['low'])}–{_number(share['high'])}), {share['hits']} of {share['of']}"
    return f"**{text}**" if goal is not None and share["share"] < goal else text


def _short(share: Mapping) -> str:
    return f"{share['hits']} of {share['of']}" if share["of"] else "–"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".removeprefix("0") if value < 1 else f"{value:.2f}"


def _groups(found: Mapping) -> Iterator[str]:
    rows = []
    for name, held in found["faults"].items():
        goal = GOALS["nginx_first"] if name == "nginx, sglang" else GOALS["first"]
        rows.append([
            name, of(held["first"], goal), of(held["three"], GOALS["three"]), of(held["place"], GOALS["place"]),
            of(held["kept"], GOALS["kept"]), str(held["unnamed"]), str(held["unsaid"]),
        ])  # fmt: skip
    head = [
        "faults",
        "first cause right",
        "in the first three",
        "right place",
        "first named is final",
        "no cause named",
        "nothing said",
    ]
    yield from table(head, rows)


def _times(held: Mapping) -> Iterator[str]:
    rows = [
        [f"{_TIMES[name]}, {when}", *(_seconds(row[key]) for key in ("median_s", "p90_s", "max_s")),
         of(row["within_30"], GOALS["answer_30"] if name == "answer" else None),
         of(row["within_60"], GOALS["final_60"] if name == "final" else None)]
        for name in _TIMES for when, row in (("replayed", held["replayed"][name]), ("live", held["live"][name])) if row["of"]
    ]  # fmt: skip
    yield from table(["from the first bad answer to", "median", "P90", "slowest", "within 30 s", "within 60 s"], rows)


def _fine(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"


def _others(found: Mapping) -> Iterator[str]:
    left, harmless, two = found["left_out"], found["harmless"], found["two"]
    rows = [
        ["one cause file left out, its faults: no cause named", of(left["held_back"], GOALS["left_out"])],
        ['– "undetermined" said, not only nothing yet when the recording ended', of(left["undetermined"])],
        ["– no cause, or a state that the missing cause leads to", of(left["or_its_state"])],
        ["– no cause, or any cause that the missing one leads to", of(left["or_what_follows"])],
        *([f"{name}: no cause named", of(harmless[kind]["held_back"], GOALS["harmless"])] for kind, name in (
            ("none", "no fault"), ("lookalike", "look-alikes"), ("undescribed", "a fault no file describes"), ("all", "all three"))),
        ["no fault, look-alikes: nothing said at all", ", ".join(_short(harmless[kind]["silent"]) for kind in ("none", "lookalike"))],
        ["wrong causes above .8 in these", str(harmless["all"]["sure_and_wrong"])],
        ["two faults at once: both in the first three", of(two["both_in_three"], GOALS["two"])],
        ["incidents before the fault began", str(found["false_pages"])],
        ["what was sent live is what is replayed, bit for bit (same rules)", of(found["live_is_replay"])],
    ]  # fmt: skip
    yield from table(["", ""], rows)


def _calibration(found: Mapping) -> Iterator[str]:
    names = {
        "first": "the first answer of each run",
        "first_after": "the same, where people have judged the answers of every other run",
        "first_five": "the causes among the first five hypotheses",
    }
    rows = [
        [names[key], str(row["of"]), _number(row["right_share"]), *(_fine(row.get(part)) for part in ("ece", "ece_by_chance", "brier")),
         "–" if row["brier_skill"] is None else f"{row['brier_skill']:.2f}"]
        for key in names if (row := found.get(key, {})).get("of")
    ]  # fmt: skip
    yield from table(
        [
            "probabilities of",
            "number",
            "right",
            "ECE, ten equal widths",
            "if each were exactly true",
            "Brier score",
            "Brier skill over the constant",
        ],
        rows,
    )
    top = next((b for b in found["first"].get("bins", ()) if b["from"] >= _CAPPED), None)
    if top:
        cost = (top["hits"] - top["of"] * top["said"]) / found["first"]["of"]
        yield (
            f"- a fresh daemon shows nothing above .9, and of its answers at .9 {top['hits']} of {top['of']} are right:"
            f" this rule alone makes {max(cost, 0.0):.3f} of its ECE"
        )
        yield ""


def ranked(result: Mapping) -> Iterator[str]:
    """The ranker without cause files on the same recordings."""
    head = [
        "way",
        *(f"{late} s late, {held['cases']} cases" for late, held in result["late"].items()),
        "series, on time",
        "ms a case",
    ]
    rows = [["chance", *(_of_three(held["chance"]) for held in result["late"].values()), "–", "–"]]
    for way, by_late in result["ways"].items():
        first = next(iter(by_late.values()))
        cells = [_of_three(by_late[late]) if late in by_late else "–" for late in result["late"]]
        rows.append([way, *cells, _of_three(first["series"]), f"{first['cpu_s'] * 1e3:.1f}"])
    yield from table(head, rows)
    kinds = result["late"].get("0", {}).get("chance", {}).get("kinds", {})
    for kind, by_chance in kinds.items():
        held = {way: by_late["0"]["kinds"][kind] for way, by_late in result["ways"].items() if "0" in by_late}
        said = ", ".join(f"{way} {_number(row['ac1'])}" for way, row in held.items())
        cases = next(iter(held.values()))["cases"]
        yield f"- AC@1 on time where the fault was at a {kind} ({cases} cases, chance {_number(by_chance)}): {said}"
    leads = result["intervals"].get("0", {})
    for name, (low, high) in leads.items():
        yield f"- AC@1 on time, {name}: {low:.2f} to {high:.2f}"
    yield ""


def _of_three(row: Mapping) -> str:
    return " / ".join(_number(row[key]) for key in ("ac1", "ac3", "avg5"))


def _causes(found: Mapping) -> Iterator[str]:
    rows = [
        [cause, _short(held["first"]), _short(held["three"]), _short(held["place"]), str(held["unnamed"] + held["unsaid"]),
         _seconds(held["replayed"]["named"]["median_s"]), _short(held["left_out"]["held_back"]), _short(held["left_out"]["or_its_state"])]
        for cause, held in found.items()
    ]  # fmt: skip
    head = ["cause", "first", "in three", "place", "no cause named", "median to the named cause"]
    yield from table([*head, "file missing: no cause named", "or its state"], rows)
