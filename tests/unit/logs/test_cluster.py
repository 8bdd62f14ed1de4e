from __future__ import annotations

import subprocess
import sys

from drain3.drain import Drain
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.logs.cluster import DEPTH, MAX_CHILDREN, PARAMETER, SIMILARITY, Cluster, Clusters, template_id
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


WORDS = st.sampled_from(["up", "down", "link", "at", "<*>", "port7", "*", "a", "b", "c"])
LINES = st.lists(WORDS, max_size=10).map(" ".join)


@settings(max_examples=500)
@given(st.lists(LINES, max_size=60), st.sampled_from([3, 1000]))
def test_lines_are_grouped_as_drain3_groups_them(lines: list[str], max_clusters: int):
    """The search is ours, the answer is drain3's, also where clusters give way."""
    theirs = Drain(
        depth=DEPTH, sim_th=SIMILARITY, max_children=MAX_CHILDREN, max_clusters=max_clusters, param_str=PARAMETER
    )
    ours = Clusters(max_clusters)

    for line in lines:
        expected, _ = theirs.add_log_message(line)
        found = ours.assign(line, LogSeverity.INFO)
        assert (found.cluster_id, found.log_template_tokens) == (expected.cluster_id, expected.log_template_tokens)


@settings(max_examples=300)
@given(st.lists(LINES, max_size=60))
def test_a_leaf_tells_when_a_line_may_belong_elsewhere(lines: list[str]):
    """While the stamp stands, a line seen before needs no search; that must never give another answer."""
    ours = Clusters(1000)
    known: dict[str, tuple[Cluster, int]] = {}

    for line in lines:
        for earlier, (cluster, stamp) in known.items():
            if cluster.leaf.stamp == stamp:
                assert ours.assign(earlier, LogSeverity.INFO) is cluster
        cluster = ours.assign(line, LogSeverity.INFO)
        known[line] = cluster, cluster.leaf.stamp


def test_a_word_that_begins_to_decide_moves_the_lines_that_hold_it():
    """Drain sends unknown words the way of parameters, until a template with that word is born."""
    clusters = Clusters()
    cluster = clusters.assign("port7 a b c d e f g", LogSeverity.INFO)
    line = "other a b c d e f g"
    assert clusters.assign(line, LogSeverity.INFO) is cluster
    stamp = cluster.leaf.stamp

    clusters.assign("other 1 2 3 4 5 6 7", LogSeverity.INFO)

    assert cluster.leaf.stamp != stamp
    assert clusters.assign(line, LogSeverity.INFO) is not cluster


def test_clusters_keep_their_id_while_they_become_more_general():
    """History refers to templates by id."""
    clusters = Clusters()
    cluster = clusters.assign("lost connection to worker alpha of the router here", LogSeverity.ERROR)
    first = cluster.id
    clusters.assign("lost connection to worker beta of the router here", LogSeverity.ERROR)

    assert cluster.id == first
    assert cluster.template == "lost connection to worker <*> of the router here"


def test_clusters_survive_a_restart():
    """Snapshots hold rows; ids and templates are the same afterwards, and lines find them."""
    before = Clusters()
    for worker in ("alpha", "beta"):
        before.assign(f"lost connection to worker {worker} of the router here", LogSeverity.ERROR)
    before.assign("ready in <*> ms", LogSeverity.INFO)

    after = Clusters()
    after.restore(before.rows())

    assert after.rows() == before.rows()
    found = after.assign("lost connection to worker gamma of the router here", LogSeverity.ERROR)
    assert found.id == before.rows()[0][1]


def test_clusters_that_live_survive_the_renewal_of_their_tree():
    """The tree is planted anew after many births; what was in use must not be born again."""
    clusters = Clusters(max_clusters=2)
    kept = clusters.assign("always here", LogSeverity.INFO)
    for i in range(200):
        clusters.assign("passing by " + "x " * i, LogSeverity.INFO)
        assert clusters.assign("always here", LogSeverity.INFO) is kept


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


def test_a_cluster_in_use_outlives_those_that_are_not():
    """Lines found in a cache never reach the tree; their template must not be taken for forgotten."""
    clusters = Clusters(max_clusters=2)
    kept = clusters.assign("one", LogSeverity.INFO)
    clusters.assign("one two", LogSeverity.INFO)
    clusters.use(kept)

    clusters.assign("one two three", LogSeverity.INFO)

    assert kept in list(clusters)
    clusters.use(Clusters().assign("a stranger", LogSeverity.ERROR))
    assert len(list(clusters)) == 2


def test_a_removed_cluster_is_gone_and_its_leaf_says_so():
    """What was cached by the leaf's stamp must be looked for again."""
    clusters = Clusters()
    gone = clusters.assign("disk is slow today", LogSeverity.INFO)
    stamp = gone.leaf.stamp
    clusters.remove(gone)
    clusters.remove(gone)

    assert list(clusters) == []
    assert gone.leaf.stamp != stamp
    assert clusters.assign("disk is slow today", LogSeverity.INFO) is not gone
