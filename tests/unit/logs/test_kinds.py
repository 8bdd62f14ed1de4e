from __future__ import annotations

from pathlib import Path

import pytest

from aiops.logs.batch import Batch

CASES = (Path(__file__).parents[2] / "cases" / "logs" / "kinds.txt").read_text(encoding="utf-8")
KINDS = [kind.splitlines() for kind in CASES.split("\n\n")[1:]]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if len(kind) > 1], ids=lambda kind: kind[0][:30])
def test_lines_of_one_kind_share_a_template(kind: list[str]):
    """Users, hosts, sizes, packages, lists of any length: what varies from line to line is no wording."""
    clusters = Batch(max_clusters=1_000).assign(kind)

    assert {cluster.id for cluster in clusters} == {clusters[0].id}


def test_lines_of_two_kinds_do_not_share_a_template():
    """What is masked too eagerly makes one thing of two."""
    lines = [line for kind in KINDS for line in kind]
    clusters = Batch(max_clusters=1_000).assign(lines)

    assert len({cluster.id for cluster in clusters}) == len(KINDS)
