from __future__ import annotations

from aiops.logs.batch import Batch
from aiops.model import LogSeverity


def test_every_line_gets_its_cluster_in_order():
    """Callers put the answers beside the lines."""
    batch = Batch(max_clusters=100)
    lines = ["took 12 ms", "CUDA out of memory", "took 7 ms", ""] * 100

    clusters = batch.assign(lines)

    assert [cluster.template for cluster in clusters[:4]] == ["took <*>", "CUDA out of memory", "took <*>", ""]
    assert clusters == clusters[:4] * 100


def test_severities_are_kept_apart():
    """An error must not dissolve into an information that differs by one word."""
    error, info = Batch(max_clusters=9).assign(
        ["ERROR the request to the router done", "INFO the request to the router done"]
    )

    assert (error.severity, info.severity) == (LogSeverity.ERROR, LogSeverity.INFO)
    assert error.id != info.id


def test_lone_surrogates_and_line_ends_inside_a_record_are_no_trouble():
    """The Rust engine refuses what is no text; records may be joined from several lines."""
    batch = Batch(max_clusters=9)
    lines = [f"bad \udcff {chr(97 + i)}\nnext\x00" for i in range(26)] * 4

    assert len(batch.assign(lines)) == len(lines)
