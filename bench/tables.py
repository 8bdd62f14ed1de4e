"""
Writes docs/performance.md from bench/results/*.json.

``python bench/tables.py`` writes it; ``--check`` writes nothing and fails when it is out of date.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
NAMES = {"aiops": "aiops", "stock": "Prometheus + Alertmanager, stock", "tuned": "Prometheus + Alertmanager, tuned"}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def measured(result: dict) -> Iterator[str]:
    where = result["machine"]
    yield (
        f"Measured {result['measured']} at revision {result['revision']} on {where['cores']} cores of {where['cpu']}, "
        f"{where['memory_gib']} GiB, Linux {where['kernel']}, Python {where['python']}; load average at the end "
        f"{result['load_average_at_end'][0]:.1f}. Again: `{result['command']}`"
    )
    yield ""


def time_to_page(result: dict) -> Iterator[str]:
    yield "## Time from the first 503 to the page"
    yield ""
    yield (
        "A gateway is healthy, then refuses a share of its requests. The clock starts at the first 503 a client got and "
        "stops when the webhook receiver has read the message. All three systems watch the same gateway in the same "
        "run: aiops its access log, Prometheus its counter of answers by status. Every spike has a gateway of its own, "
        "so that no system starts with the memory of the spike before."
    )
    yield ""
    seconds = {s: {row["name"]: row["seconds"].get(s) for row in result["spikes"]} for s in NAMES}
    rows = []
    for system, name in NAMES.items():
        numbers = result["summary"][system]
        times = [f"{numbers[key]:.1f} s" if numbers[key] is not None else "–" for key in ("median_s", "p95_s", "max_s")]
        rows.append([name, f"{numbers['paged']} of {len(seconds[system])}", *times, str(numbers["false_pages"])])
    yield from table(["", "paged", "median", "p95", "slowest", "false pages"], rows)
    for name, ratio in result["ratios"].items():
        yield f"- ratio of medians to {name.removeprefix('median_ratio_to_')}: {ratio:.3f}"
    yield ""
    yield from by_share(result)
    pairs = result["settings"]["pairs"]
    for name, how in pairs.items():
        yield (
            f"- {name}: scrape {how['scrape']}, evaluation {how['evaluate']}, `for: {how['for']}`, "
            f"`group_wait: {how['group_wait']}`, rate over {how['window']}, fires above "
            f"{result['settings']['threshold']}"
        )
    versions = result["versions"]
    yield f"- {versions['prometheus'].split(' (')[0]}; {versions['prometheus-alertmanager'].split(' (')[0]}"
    yield (
        f"- false pages are counted before each spike and on two gateways without one: "
        f"{result['settings']['requests_per_s']:.0f} requests/s of which {result['settings']['everyday_error_share']:.1%} "
        f"fail, and {result['settings']['night_requests_per_s']} requests/s of which now and then three of ten fail"
    )
    yield ""
    yield from measured(result)


def by_share(result: dict) -> Iterator[str]:
    shares = sorted({row["refused_share"] for row in result["spikes"]})
    rows = []
    for share in shares:
        spikes = [row["seconds"] for row in result["spikes"] if row["refused_share"] == share]
        cells = []
        for system in NAMES:
            times = sorted(row[system] for row in spikes if system in row)
            cells.append(f"{times[0]:.1f} to {times[-1]:.1f} s" if times else "–")
        rows.append([f"{share:.0%}", str(len(spikes)), *cells])
    yield from table(["refused", "spikes", *NAMES.values()], rows)


AGENTS = ("aiops", "node_exporter", "netdata", "collectd")


def footprint(result: dict) -> Iterator[str]:
    settings, goals = result["settings"], result["goals"]
    yield "## Footprint"
    yield ""
    yield (
        f"All agents watch the same host with {settings['processes']} processes at the same time. aiops also reads {settings['gpus']} stub "
        f"GPUs, two inference servers' recorded pages, {settings['lines_per_s']:.0f} log lines and {settings['requests_per_s']:.0f} requests a "
        "second, which the others do not know. The first row is aiops alone at its default cadence, its page opened once, scraped every "
        f"{settings['default_scrape_s']:.0f} s; then all read, and are scraped, as often as the first column says. CPU is the kernel's "
        "count, in shares of one core; children (NVML's reader, journalctl; Netdata's plug-ins) stand behind the plus sign. MB are 10^6 bytes."
    )
    yield ""
    rows = [
        [f"{every} s" if every != "default" else every, name, f"{cost['cpu_share']:.2%} + {cost['children_cpu_share']:.2%}",
         f"{cost['rss_bytes_max'] / 1e6:.1f} + {cost['children_rss_bytes_max'] / 1e6:.1f} MB", f"{cost['series']:,}"]
        for every, costs in result["phases"].items() for name in AGENTS if (cost := costs.get(name))
    ]  # fmt: skip
    yield from table(["every", "agent", "CPU", "RSS at most", "series"], rows)
    ours = result["phases"]["default"]["aiops"]
    scrape, starts = ours["scrape"], sorted(result["starts_s"])
    yield (
        f"- goals: {goals['cpu_share']:.1%} of a core with all children, {goals['rss_bytes'] / 1e6:.0f} MB, NVML's child "
        f"{goals['nvml_child_rss_bytes'] / 1e6:.0f} MB, start {goals['start_s']} s, scrape {goals['scrape_cpu_s'] * 1e3:.0f} ms of CPU"
    )
    yield f"- NVML's child: {ours['nvml_child_rss_bytes'] / 1e6:.1f} MB"
    yield f"- from exec to the first /metrics page: {starts[0]:.2f} to {starts[-1]:.2f} s, median {starts[len(starts) // 2]:.2f} s"
    yield (
        f"- a scrape of {ours['page_bytes'] / 1024:.0f} KiB: {scrape['one_by_one_s'] * 1e3:.1f} ms of CPU one by one, "
        f"{scrape['ten_at_once_s'] * 1e3:.1f} ms with ten scrapers at once"
    )
    missed = [name for name, reached in result["reached"].items() if not reached]
    yield f"- goals reached: {len(result['reached']) - len(missed)} of {len(result['reached'])}" + (
        f"; **missed: {', '.join(missed)}**" if missed else ""
    )
    yield f"- {result['versions']['node_exporter'].split(' (')[0]}; {result['versions']['netdata']}"
    yield ""
    yield from measured(result)


def incident_cost(result: dict) -> Iterator[str]:
    yield "## What an incident costs"
    yield ""
    yield (
        "The daemon watches the demo (three model servers, three cards, a gateway's log, three server logs, the host) "
        "with its default cadence; node_exporter runs beside it. Both are scraped every "
        f"{result['settings']['scrape_s']:.0f} s. CPU is the kernel's count of the process itself; children are apart."
    )
    yield ""
    rows = []
    for name, numbers in result["processes"].items():
        for phase in ("healthy", "incident"):
            used = numbers[phase]
            rows.append([
                name, phase, f"{used['seconds']:.0f} s", f"{used['cpu_share']:.2%}", mib(used["rss_bytes_max"]),
                f"{used['children_cpu_share']:.2%}, {mib(used['children_rss_bytes_max'])}",
            ])  # fmt: skip
    yield from table(["process", "phase", "measured", "CPU of one core", "RSS at most", "its children"], rows)
    for name, numbers in result["processes"].items():
        page = numbers["metrics_page"]
        yield (
            f"- {name}: {page['series']} series, {page['bytes'] / 1024:.0f} KiB a scrape; "
            f"PSS {mib(numbers['pss_bytes_at_end'])} at the end"
        )
    limits = result["limits"]
    yield f"- promised: at most {limits['cpu_share']:.1%} of one core and {mib(limits['rss_bytes'])} RSS besides children"
    yield f"- {result['versions']['node_exporter'].split(' (')[0]}"
    yield ""
    yield from measured(result)


def hung_sources(result: dict) -> Iterator[str]:
    settings = result["settings"]
    yield "## Sick sources"
    yield ""
    yield (
        f"For {settings['sick_s']:.0f} s an NVML call hangs, a network file system hangs (a real mount nobody serves), one inference server "
        "accepts and says nothing, another answers with 100 MB. Every collector is set to one run a second; how much later than that "
        "its runs ended:"
    )
    yield ""
    rows = [
        [name, f"{result['delays_healthy'][name]['p99_s']:.2f} s", f"{row['p99_s']:.2f} s", f"{row['max_s']:.2f} s"]
        for name, row in result["delays_sick"].items()
    ]
    yield from table(["collector", "p99, all healthy", "p99, four sick", "latest, four sick"], rows)
    yield "- gpu_nvml has the hung card and inference the hung servers; its healthy server is read on"
    yield f"- firing meanwhile: {', '.join(result['alerts_while_sick'])}; well again {result['recovered_after_s']} s after the sources were"
    failed = [name for name, held in result["held"].items() if not held]
    yield f"- held: {', '.join(name for name, held in result['held'].items() if held)}"
    if failed:
        yield f"- **not held: {', '.join(failed)}**"
    yield ""
    yield from measured(result)


def soak(result: dict) -> Iterator[str]:
    settings, speed = result["settings"], result["settings"]["speed"]
    yield f"## Soak, {'real time' if speed == 1 else f'{speed:g} times as fast'}"
    yield ""
    yield (
        f"The daemon on the reference node for {settings['hours_of_its_time']:g} hours"
        + (
            " of real time."
            if speed == 1
            else f" of its own time: its clock and event loop run {speed:g} times as fast, and so do logs and pages."
        )
        + " Every hour one server's model gets another name. Changes are between the medians of the second and the last quarter of the run."
    )
    yield ""
    held = result["held"]
    rows = [
        ["RSS at most", mib(result["rss_bytes_max"])],
        ["RSS slope (Theil-Sen)", f"{result['rss_slope_bytes_per_hour'] / 2**20:+.2f} MiB an hour"],
        ["RSS change", f"{result['rss_change_bytes'] / 2**20:+.2f} MiB" + ("" if held["rss"] else " (**more than 1 MiB**)")],
        ["its children", f"{result['children_rss_change_bytes'] / 2**20:+.2f} MiB"],
        ["descriptors: at most, change", f"{result['descriptors_max']}, {result['descriptors_change']:+g}"],
        ["threads: at most, change", f"{result['threads_max']}, {result['threads_change']:+g}"],
        ["CPU of one core", f"{result['cpu_share']:.2%}"],
        ["series", f"{result['series']:,}"],
    ]  # fmt: skip
    yield from table(["", ""], rows)
    if settings["hours_of_its_time"] <= 2:
        yield "- in its first hour the daemon still fills its memory of the last hour; the longer run shows where that ends"
        yield ""
    yield from measured(result)


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


def cut_short(row: dict, lines: int) -> str:
    return f" (stopped after {row['lines']:,})" if row["lines"] < lines else ""


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


PAGE_WAYS = {
    "again": "aiops, laid out as the page before: the usual reading",
    "grown": "aiops, a line has been added that is not wanted",
    "first": "aiops, a server never seen before",
    "prometheus_client": "prometheus_client's parser, to its families",
    "fetch": "for scale: asking for the page on loopback and taking it in",
}


def exposition(result: dict) -> Iterator[str]:
    seen = result["page"]
    yield "## A metrics page"
    yield ""
    yield (
        f"A page in the shape of vLLM's with two engines: {seen['samples']} samples, {seen['bytes'] / 1024:.0f} KiB, of which "
        f"{seen['wanted_lines']} lines are wanted and become {seen['samples_out']} samples. CPU time of the thread from bytes to "
        "samples, in turns on pages whose numbers move."
    )
    yield ""
    yield from table(
        ["", "median", "P95"],
        [
            [name, *(f"{result['milliseconds'][way][key]:.2f} ms" for key in ("median", "p95"))]
            for way, name in PAGE_WAYS.items()
        ],
    )
    yield f"- ratio to prometheus_client {result['versions']['prometheus_client']}: {result['ratio']:.0f}; goal: {result['goal_ms']} ms"
    yield ""
    yield from measured(result)


def mib(size_bytes: int | None) -> str:
    return "unknown" if size_bytes is None else f"{size_bytes / 2**20:.1f} MiB"


SECTIONS = {
    "time_to_page": time_to_page,
    "footprint": footprint,
    "incident_cost": incident_cost,
    "hung_sources": hung_sources,
    "soak_1x": soak,
    "soak_100x": soak,
    "exposition": exposition,
    "logs": logs,
    "flood": flood,
}

COMMANDS = {
    "footprint": "bench/footprint.py PAGES",
    "soak_1x": "bench/soak.py PAGES --seconds 3600",
    "soak_100x": "bench/soak.py PAGES --speed 100 --seconds 864",
}
"""Of those whose command is more than the name."""


def page() -> str:
    lines = [
        "# Performance",
        "",
        "<!-- Written by bench/tables.py from bench/results. Measure again, then run it. -->",
        "",
    ]
    for name, section in SECTIONS.items():
        path = RESULTS / f"{name}.json"
        if path.exists():
            lines += section(json.loads(path.read_text()))
        else:
            command = COMMANDS.get(name, f"bench/{name}.py")
            lines += [f"## {name}", "", f"Not measured yet: `python {command}`", ""]
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Write docs/performance.md from the results.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when it is out of date")
    args = parser.parse_args()
    text = page()
    if args.check:
        return 0 if PAGE.exists() and PAGE.read_text() == text else 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
