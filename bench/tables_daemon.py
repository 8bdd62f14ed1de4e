"""What was measured of the whole daemon, in tables: time to the page, cost, sick sources, soak, pages read."""

from __future__ import annotations

from collections.abc import Iterator

from sheet import measured, mib, table

NAMES = {"aiops": "aiops", "stock": "Prometheus + Alertmanager, stock", "tuned": "Prometheus + Alertmanager, tuned"}


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


def evaluation(result: dict) -> Iterator[str]:
    settings, goal = result["settings"], result["goals"]["thorough_s"]
    yield "## One look at an incident"
    yield ""
    yield (
        f"{settings['series']:,} series in memory, a quarter of an hour of each: {settings['replicas']} replicas on "
        f"{settings['cards']} cards with {settings['processes']} processes, in two scripted scenarios of the tests. An ordinary "
        "look weighs every cause at every place; a thorough one also scores every series and draws charts. CPU time, in turns "
        "with a fixed piece of work (a thousand sorts of 150 numbers), to whose quickest round the last column compares its own."
    )
    yield ""
    rows = [
        [name.partition("/")[0], way, f"{cost['median'] * 1e3:.0f} ms", f"{cost['least'] * 1e3:.0f} ms", f"{row['over_unit'][way]:.1f}"]
        for name, row in result["scenes"].items()
        for way in ("ordinary", "thorough")
        for cost in (row["seconds"][way],)
    ]  # fmt: skip
    yield from table(["scene", "look", "median", "quickest", "over the fixed work"], rows)
    yield f"- goal: a thorough one in {goal['goal'] * 1e3:.0f} ms" + ("" if goal["reached"] else "; **missed**")
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
