from __future__ import annotations

import subprocess
import sys

from aiops.logs.cluster import Clusters, template_id
from aiops.model import LogSeverity


def test_lines_of_one_kind_share_a_cluster():
    """A template is what stays when lines of one kind are laid upon one another."""
    clusters = Clusters()

    first = clusters.assign("lost connection to worker alpha of the router", LogSeverity.ERROR)
    second = clusters.assign("lost connection to worker beta of the router", LogSeverity.ERROR)

    assert first is second
    assert first.get_template() == "lost connection to worker <*> of the router"


def test_severities_are_kept_apart():
    """An error that differs by one word from an information must not dissolve into it."""
    clusters = Clusters()

    loud = clusters.assign("request to router done", LogSeverity.ERROR)
    quiet = clusters.assign("request to router done", LogSeverity.INFO)

    assert loud is not quiet


def test_templates_are_bounded_and_trees_begin_anew():
    """A log of random words must not take the memory."""
    clusters = Clusters(max_clusters=5)
    for i in range(400):
        clusters.assign(f"{chr(97 + i % 26) * (1 + i // 26)} {'x ' * (i % 40)}", LogSeverity.INFO)

    assert len(list(clusters)) == 5
    assert clusters._trees[LogSeverity.INFO].births <= 100


def test_an_empty_line_has_a_cluster_too():
    """Masking may leave nothing."""
    assert Clusters().assign("", LogSeverity.INFO).get_template() == ""


def test_ids_are_the_same_in_every_process():
    """History and other nodes refer to them."""
    assert template_id("CUDA out of memory <*>", LogSeverity.ERROR, "vram_exhaustion") == "7c8d5dce7c7c"
    assert template_id("a", LogSeverity.ERROR, "dns") != template_id("a", LogSeverity.INFO, "dns")


def test_drain3_is_not_loaded_before_it_is_needed():
    """Its 10 MB and 0.1 s would stand between the start and the first answer on /metrics."""
    code = "import sys, aiops.logs.path; sys.exit('drain3' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
