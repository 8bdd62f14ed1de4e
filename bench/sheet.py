"""The pieces every table of docs/performance.md is made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


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


def mib(size_bytes: int | None) -> str:
    return "unknown" if size_bytes is None else f"{size_bytes / 2**20:.1f} MiB"


def cut_short(row: dict, lines: int) -> str:
    return f" (stopped after {row['lines']:,})" if row["lines"] < lines else ""
