from __future__ import annotations

import time
from random import Random

import pytest
from drain3.drain import Drain
from drain3.masking import LogMasker, MaskingInstruction

from aiops.logs.batch import Batch
from aiops.logs.cluster import DEPTH, MAX_CHILDREN, PARAMETER, SIMILARITY
from aiops.logs.lexicon import Lexicon
from aiops.logs.mask import PASSES
from aiops.model import LogSeverity


def test_every_line_gets_its_cluster_in_order():
    """Callers put the answers beside the lines."""
    batch = Batch(max_clusters=100)
    lines = ["took 12 ms", "CUDA out of memory", "took 7 ms", ""] * 100

    clusters = batch.assign(lines)

    assert [cluster.template for cluster in clusters[:4]] == ["took <*> ms", "CUDA out of memory", "took <*> ms", ""]
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


def test_a_batch_groups_as_drain3_groups_with_the_same_masks():
    """Forms, caches and stamps are there for speed; none of them may change an answer."""
    random = Random(503)
    kinds = [
        *(
            "worker {w} of rank {n} lost its link to {w} at port {n}",
            "took {n} ms",
            "{w} {w} {w}",
            "a {w} b c d e f g h",
        ),
        *("request {n} from user {w} failed", "queue is {w} and holds {n} of {n} entries", "{w} is up", "ready"),
        *("eth{d} of ssh{d} is up since {n}", "md{d} {w} b c d e f g {d}h"),
    ]
    words = [chr(97 + i) * 3 for i in range(26)] + ["node-1", "x1", "<*>", "*"]
    lines = [
        random.choice(kinds).format(
            w=random.choice(words), n=random.randrange(10 ** random.randrange(1, 6)), d=random.randrange(4)
        )
        for _ in range(6_000)
    ]
    miners: dict[LogSeverity, Drain] = {}
    masker = LogMasker([MaskingInstruction("(?a)" + pattern, masked) for pattern, masked in PASSES], "", "")
    severity = Lexicon(()).severity

    expected = []
    for line in lines:
        how_bad = severity(line.encode())
        miner = miners.setdefault(how_bad, Drain(DEPTH, SIMILARITY, MAX_CHILDREN, param_str=PARAMETER))
        expected.append((how_bad, miner.add_log_message(masker.mask(line))[0].cluster_id))
    for size in (7, 500, 6_000):
        batch = Batch(max_clusters=10_000)
        found = [cluster for i in range(0, len(lines), size) for cluster in batch.assign(lines[i : i + size])]
        assert [(cluster.severity, cluster.cluster_id) for cluster in found] == expected


@pytest.mark.parametrize("piece", ["a-", "a.", "deadbeef", "x ", "/", "é", "\\ud800"])
def test_hostile_lines_cost_little(piece: str):
    """A line of a megabyte must not stop the command that reads it."""
    batch = Batch(max_clusters=10)
    line = piece * (2**20 // len(piece))
    batch.assign(["warm"])
    started_s = time.process_time()
    batch.assign([line])

    assert time.process_time() - started_s < 0.1
