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


def footprint(result: dict) -> Iterator[str]:
    yield "## Footprint"
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


def mib(size_bytes: int | None) -> str:
    return "unknown" if size_bytes is None else f"{size_bytes / 2**20:.1f} MiB"


SECTIONS = {"time_to_page": time_to_page, "footprint": footprint}


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
            lines += [f"## {name}", "", f"Not measured yet: `python bench/{name}.py`", ""]
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
