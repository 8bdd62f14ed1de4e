"""The lab's numbers as tables for docs/quality.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sheet import table

GOALS = {
    "first": 0.92, "three": 0.98, "place": 0.95, "kept": 0.9, "nginx_first": 0.85, "left_out": 0.9, "harmless": 0.95,
    "two": 0.9, "ece": 0.05, "brier_skill": 0.2, "answer_30": 1.0, "final_60": 0.9,
}  # fmt: skip
_TIMES = {
    "message": "the first message", "answer": 'the first answer (a cause or "undetermined")',
    "named": "the first message that names a cause", "final": "the final answer",
}  # fmt: skip


def lab(result: Mapping) -> Iterator[str]:
    found = result["summary"]
    yield from _groups(found)
    yield from _times(found["faults"]["all"]) if "all" in found["faults"] else ()
    yield from _others(found)
    yield from _calibration(found["calibration"])
    yield from _causes(found["causes"])
    if found["damaged"]:
        yield f"- recordings that could not be played: {', '.join(found['damaged'])}"
        yield ""


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
            of(held["kept"], GOALS["kept"]), str(held["undetermined"]), str(held["unsaid"]),
        ])  # fmt: skip
    head = [
        "faults",
        "first cause right",
        "in the first three",
        "right place",
        "first named is final",
        "undetermined",
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


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"


def _others(found: Mapping) -> Iterator[str]:
    left, harmless, two = found["left_out"], found["harmless"], found["two"]
    rows = [
        ['one cause file left out, its faults: "undetermined"', of(left["undetermined"], GOALS["left_out"])],
        ["– the same, or a state that the missing cause leads to", of(left["or_its_state"])],
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
    names = {"first": "the first answer of each run", "first_five": "the first five causes of each run"}
    rows = [
        [names[key], str(row["of"]), _number(row["right_share"]), f"{row['ece']:.3f}", f"{row['brier']:.3f}",
         "–" if row["brier_skill"] is None else f"{row['brier_skill']:.2f}"]
        for key, row in found.items() if row["of"]
    ]  # fmt: skip
    yield from table(
        [
            "probabilities of",
            "number",
            "right",
            "ECE, ten equal widths",
            "Brier score",
            "Brier skill over the constant",
        ],
        rows,
    )


def _causes(found: Mapping) -> Iterator[str]:
    rows = [
        [cause, _short(held["first"]), _short(held["three"]), _short(held["place"]), str(held["undetermined"] + held["unsaid"]),
         _seconds(held["replayed"]["named"]["median_s"])]
        for cause, held in found.items()
    ]  # fmt: skip
    yield from table(["cause", "first", "in three", "place", "no cause named", "median to the named cause"], rows)
