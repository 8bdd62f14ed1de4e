"""What was measured of the way of a log line, in tables: speed, bounds, accuracy, a flood."""

from __future__ import annotations

from collections.abc import Iterator

from sheet import cut_short, measured, mib, table

LOG_WAYS = {
    "batch_20000": "batch path, 20,000 lines at a time",
    "batch_2000": "batch path, 2,000 lines at a time",
    "batch_500": "batch path, 500 lines at a time",
    "stream": "streaming path, the daemon's: classes, values and series too",
    "drain3_our_masks": "drain3, our masks",
    "drain3_example": "drain3, its example masks",
    "drain3_default": "drain3, no masks",
    "brain": "Brain (logparser3), no masks; lines from a file, groups to a file",
}
SCORES = ("ga", "fga", "pa", "fta")


def logs(result: dict) -> Iterator[str]:
    yield "## Logs"
    yield ""
    versions = result["versions"]
    yield from log_throughput(result["throughput"])
    scale = result["scaling"]
    yield (
        f"Throughput over {scale['lines'][1]:,} lines beside that over {scale['lines'][0]:,}, both with "
        f"{scale['templates']:,} templates (1.00: the same; birth of the templates included, so more lines share it):"
    )
    yield ""
    yield from table(
        ["", f"µs a line, {scale['lines'][0]:,}", f"{scale['lines'][1]:,}", "kept"],
        [
            [LOG_WAYS[way], *(f"{row[run]['us_per_line']:.1f}" + cut_short(row[run], lines)
                              for run, lines in zip(("short", "long"), scale["lines"], strict=True)), f"{row['kept']:.2f}"]
            for way, row in scale["ways"].items()
        ],
    )  # fmt: skip
    yield from log_bounds(result)
    yield from log_accuracy(result)
    yield f"- drain3 {versions['drain3']}, google-re2 {versions['google-re2']}, polars {versions['polars']}"
    yield ""
    yield from measured(result)


def log_throughput(result: dict) -> Iterator[str]:
    yield (
        "Lines of the labelled sets' raw logs, mixed and repeated with other numbers (digits drawn anew, of free-standing "
        "numbers every third a digit longer or shorter: real traffic does not repeat verbatim). CPU time of the process "
        "on one core; nothing is stored. The ratio is to drain3 with the same masks, parameters and severities. "
        f"The mixture has {result['templates']:,} templates."
    )
    yield ""
    most = max(row["lines"] for row in result["rows"].values())
    yield from table(
        ["", "lines", "µs a line", "ratio"],
        [
            [name, f"{row['lines']:,}{cut_short(row, most)}", f"{row['us_per_line']:.1f}", f"{row['ratio']:.1f}"]
            for way, name in LOG_WAYS.items()
            if (row := result["rows"].get(way))
        ],
    )
    identical = ", ".join(f"{share:.3f} at {int(size):,}" for size, share in result["identical"].items())
    yield f"- lines grouped exactly as by drain3 with the same masks: {identical} lines at a time"
    example, quickest = result["rows"]["drain3_example"], result["rows"]["batch_20000"]
    yield (
        "- drain3's example masks are seven, and quicker than ours in Python's engine: the batch path is "
        f"{example['us_per_line'] / quickest['us_per_line']:.1f} times as quick as drain3 with those"
    )
    yield (
        f"- the streaming path at 1,000 lines a second: {result['stream_core_share_at_1000_a_second']:.1%} of a core, "
        "samples of each second included"
    )
    yield ""


def log_bounds(result: dict) -> Iterator[str]:
    hostile, memory = result["hostile"], result["memory"]
    name, worst = max(hostile["rows"].items(), key=lambda pair: max(pair[1].values()))
    yield (
        f"- slowest of {len(hostile['rows'])} kinds of hostile lines of {mib(hostile['size'])}: {name!r}, "
        f"{worst['batch'] * 1e3:.1f} ms in the batch path, {worst['stream'] * 1e3:.1f} ms in the streaming path. "
        "drain3's example masks are left out: they take half a minute on 83 characters"
    )
    yield (
        f"- memory of the streaming path with {memory['clusters']:,} clusters: {mib(memory['clusters_bytes'])}, and "
        f"{mib(memory['first_line_bytes'])} that come with its first line"
    )
    goals = result["goals"]
    missed = [name for name, goal in goals.items() if not goal["reached"]]
    yield f"- goals reached: {len(goals) - len(missed)} of {len(goals)}" + (
        f"; missed: {', '.join(missed)}" if missed else ""
    )
    yield ""


def log_accuracy(result: dict) -> Iterator[str]:
    yield (
        f"How well lines without their head are grouped, over {len(result['sets'])} labelled sets of 2,000 lines: grouping "
        "accuracy, F1 of groups, share of lines with the true template, F1 of templates. One configuration for all sets."
    )
    yield ""
    accuracy, left = result["accuracy"], result["leave_one_out"]
    rows = [
        [name, *(f"{accuracy[way]['mean'][score]:.3f}" for score in SCORES)]
        for way, name in (
            ("aiops", "aiops"),
            ("drain3_default", LOG_WAYS["drain3_default"]),
            ("drain3_example", LOG_WAYS["drain3_example"]),
            ("brain", "Brain (logparser3), no masks, threshold 2"),
        )
        if way in accuracy
    ]
    rows[1:1] = [
        [name, *(f"{found['mean'][score]:.3f}" for score in SCORES)]
        for name, found in (
            ("aiops, similarity and depth chosen without the set", left),
            ("aiops, without the passes of masks that no other set needs", result["without_own_passes"]),
        )
    ]
    yield from table(["mean", *(score.upper() for score in SCORES)], rows)
    sets = accuracy["aiops"]["sets"]
    yield from table(
        ["aiops", *(score.upper() for score in SCORES), "chosen without it: similarity, depth", "GA", "FGA"],
        [
            [
                name,
                *(f"{scores[score]:.3f}" for score in SCORES),
                "{similarity}, {depth}".format(**left["sets"][name]),
                *(f"{left['sets'][name][score]:.3f}" for score in ("ga", "fga")),
            ]
            for name, scores in sets.items()
        ],
    )  # fmt: skip
    yield (
        "- the masks were written with these sets in view. The second line leaves out and chooses again the two numbers "
        "only; the third leaves the numbers as they are and masks each set by passes alone that change a line of another "
        "set too (an alternation is one pass), which takes the names of users from the one set that is full of them"
    )
    yield from log_grid(result)


def log_grid(result: dict) -> Iterator[str]:
    """GA and FGA for each similarity, at the depth in use: how much hangs on the choice."""
    depth = result["parameters"]["depth"]
    kinds = [result["leave_one_out"]["grid"], result["without_own_passes"]["grid"]]
    yield ""
    yield from table(
        [f"similarity, at depth {depth}", "GA", "FGA", "GA without own passes", "FGA"],
        [
            [str(one["similarity"]), *(f"{row[score]:.3f}" for row in (one, other) for score in ("ga", "fga"))]
            for one, other in zip(*kinds, strict=True)
            if one["depth"] == depth
        ],
    )


def flood(result: dict) -> Iterator[str]:
    settings, written, counted, daemon = (result[key] for key in ("settings", "written", "counted", "daemon"))
    yield "## A flood of log lines"
    yield ""
    yield (
        f"A log gets {settings['lines_per_s']:,} lines a second for {settings['seconds']:.0f} s and is rotated by rename every "
        f"{settings['rotate_s']:.0f} s; a quiet log gets one a second, a gateway's five. One line in five thousand of the "
        "flood speaks of trouble. The daemon follows all three with its default settings."
    )
    yield ""
    rows = [
        ["lines written", f"{written['lines']:,} ({written['bytes'] / 2**20:,.0f} MiB)"],
        ["read + skipped", f"{counted['read']:,} + {counted['skipped']:,} = {counted['read'] + counted['skipped']:,}"],
        ["lines of trouble written, classified", f"{written['trouble']:,}, {counted['trouble']:,}"],
        ["lines of the quiet log written, read", f"{result['quiet']['written']:,}, {result['quiet']['read']:,}"],
        ["CPU of one core", f"{daemon['cpu_share']:.1%} (limit {result['limits']['cpu_share']:.0%})"],
        ["RSS before, at most", f"{mib(daemon['rss_bytes_calm'])}, {mib(daemon['rss_bytes_max'])} (limit {mib(result['limits']['rss_bytes'])})"],
        ["longest run: log_tail, host, access_log", ", ".join(f"{daemon['longest_run_s'][name] * 1e3:.0f} ms" for name in ("log_tail", "host", "access_log"))],
        ["/metrics: median, p99, slowest", ", ".join(f"{result['metrics_page_s'][key] * 1e3:.0f} ms" for key in ("median", "p99", "max"))],
        ["runs late, failed or left out", str(sum(runs[name] for runs in result["runs"].values() for name in ("timeout", "error", "skipped")))],
    ]  # fmt: skip
    yield from table(["", ""], rows)
    failed = [name for name, held in result["held"].items() if not held]
    yield f"- held: {', '.join(name for name, held in result['held'].items() if held)}"
    if failed:
        yield f"- **not held: {', '.join(failed)}**"
    yield ""
    yield from measured(result)
