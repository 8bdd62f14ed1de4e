"""
Masked lines to templates, with drain3: the only door to it.

Drain keeps a tree of templates by number of words and first words; a line joins the template of its leaf that it
resembles most, and makes it more general. drain3 grows the tree. The search, where all the time goes, is done here with
the same result: C code compares the words, and a leaf has a stamp that changes with it, so that a line seen before need
not be searched for while its leaf is as it was. Each severity has its own tree: an error must not dissolve into the
template of an information that differs by one word.

Everything is bounded: clusters per tree (the least recently used give way), and the tree's own nodes, which drain3
never frees, by planting what lives in a new tree after many births. A cluster's id is given at its birth and stays
while its template becomes more general.
"""

from __future__ import annotations

import hashlib
import sys
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from operator import eq
from typing import TYPE_CHECKING, Any

from aiops.logs.mask import MASK
from aiops.model import LogSeverity

if TYPE_CHECKING:
    from drain3.drain import Drain

PARAMETER = "<* >"
"""
Stands for a word that differs among the lines of a cluster, while they are clustered.

Not what masks leave: for drain, parameters never count as alike, and lines made of masks would resemble nothing. The
blank in it keeps lines from holding it as a word of theirs.
"""
SIMILARITY = 0.875
"""
One word in eight may differ.

`bench/logs.py` finds more to be better where masks know every word that varies, and much worse where they do not.
"""
DEPTH = 6
MAX_CHILDREN = 100
_RENEW_AFTER = 20
"""A tree is planted anew after this many times its clusters: it grows a few nodes with each, and never shrinks."""

Row = tuple[LogSeverity, str, str]


class Leaf:
    """Clusters whose templates begin alike."""

    __slots__ = ("clusters", "stamp")

    def __init__(self) -> None:
        self.clusters: list[Cluster] = []
        self.stamp = 0
        """Another one after each change by which a line may belong elsewhere; never one that was."""


class Cluster:
    """Lines that belong together; the same object for all of them, compared by identity."""

    __slots__ = ("cluster_id", "id", "leaf", "log_template_tokens", "parameters", "severity")

    def __init__(self, tokens: tuple[str, ...], birth_id: str, severity: LogSeverity) -> None:
        self.log_template_tokens = tokens  # this and the next by the names drain3 knows
        self.cluster_id = 0
        self.id = birth_id
        self.severity = severity
        self.leaf = Leaf()
        self.parameters = tokens.count(PARAMETER)

    @property
    def template(self) -> str:
        """The constant part as it stands now; later lines may make it more general."""
        return " ".join(MASK if token == PARAMETER else token for token in self.log_template_tokens)

    def get_template(self) -> str:
        """The same, by the name drain3 has for it."""
        return self.template


class Clusters:
    """
    Trees of templates, one per severity.

    Args:
        max_clusters: Templates kept per severity.
    """

    def __init__(self, max_clusters: int = 300) -> None:
        self._max_clusters = max_clusters
        self._trees: dict[LogSeverity, _Tree] = {}

    def assign(self, masked: str, severity: LogSeverity) -> Cluster:
        """Merge *masked* into the cluster it resembles, or begin one."""
        return self._tree(severity).assign(masked.split())

    def __iter__(self) -> Iterator[Cluster]:
        """All clusters, severity by severity, the least recently used first."""
        for tree in self._trees.values():
            yield from tree.living.values()

    def rows(self) -> list[Row]:
        """
        What `restore` takes: severity, id and words of every cluster, one a line.

        In the order of their birth: among templates that resemble a line equally, the elder has it.
        """
        clusters = [cluster for tree in self._trees.values() for cluster in sorted(tree.living.values(), key=_birth)]
        return [(cluster.severity, cluster.id, "\n".join(cluster.log_template_tokens)) for cluster in clusters]

    def restore(self, rows: Iterable[Row]) -> None:
        """Take in clusters of an earlier run, in the order of `rows`; which of them was used last is not told."""
        for severity, birth_id, words in rows:
            self._tree(severity).add(words.split("\n") if words else (), birth_id)

    def use(self, cluster: Cluster) -> None:
        """Count *cluster* as used just now, for lines that were placed without asking."""
        self._tree(cluster.severity).use(cluster)

    def remove(self, cluster: Cluster) -> None:
        """Forget *cluster*, if it is still there."""
        self._tree(cluster.severity).remove(cluster)

    def _tree(self, severity: LogSeverity) -> _Tree:
        tree = self._trees.get(severity)
        if tree is None:
            tree = self._trees[severity] = _Tree(severity, self._max_clusters)
        return tree


class _Tree:
    """One tree of drain3, searched by our own loop."""

    def __init__(self, severity: LogSeverity, max_clusters: int) -> None:
        self._severity = severity
        self._max_clusters = max_clusters
        self._stamps = 0
        self.living: OrderedDict[int, Cluster] = OrderedDict()
        self._plant()

    def _plant(self) -> None:
        self._drain = _drain()
        self._leaves: dict[Any, Leaf] = {}
        self.births = 0
        kept, self.living = self.living, OrderedDict()
        for cluster in kept.values():
            self._root(cluster)

    def assign(self, tokens: Sequence[str]) -> Cluster:
        cluster = self._find(tokens)
        if cluster is None:
            return self.add(tokens, template_id(" ".join(tokens), self._severity, ""))
        template = cluster.log_template_tokens
        merged = tuple(one if one == other else PARAMETER for one, other in zip(template, tokens, strict=True))
        if merged != template:
            cluster.log_template_tokens = merged
            cluster.parameters = merged.count(PARAMETER)
            self._touch(cluster.leaf)
        self.living.move_to_end(cluster.cluster_id)
        return cluster

    def add(self, tokens: Sequence[str], birth_id: str) -> Cluster:
        """A cluster of its own for *tokens*."""
        if self.births >= _RENEW_AFTER * self._max_clusters:
            self._plant()
        # most words occur in many templates
        cluster = Cluster(tuple(map(sys.intern, tokens)), birth_id, self._severity)
        self._root(cluster)
        if len(self.living) > self._max_clusters:
            self.remove(next(iter(self.living.values())))
        return cluster

    def use(self, cluster: Cluster) -> None:
        """Count *cluster* as used just now."""
        if self.living.get(cluster.cluster_id) is cluster:
            self.living.move_to_end(cluster.cluster_id)

    def remove(self, cluster: Cluster) -> None:
        """Forget *cluster*, if it is still there."""
        if self.living.get(cluster.cluster_id) is cluster:
            del self.living[cluster.cluster_id]
            cluster.leaf.clusters.remove(cluster)
            self._touch(cluster.leaf)

    def _find(self, tokens: Sequence[str]) -> Cluster | None:
        *_, (node, _) = self._way(tokens)
        leaf = self._leaves.get(node)
        return _best(leaf.clusters, tokens) if leaf else None

    def _way(self, tokens: Sequence[str]) -> Iterator[tuple[Any, str]]:
        """The nodes on which drain3 looks for *tokens*, as far as they exist, each with the word it decides by."""
        node = self._drain.root_node.key_to_child_node.get(str(len(tokens)))
        deciding = tokens[: min(self._drain.max_node_depth, len(tokens)) - 1] if tokens else ()
        for token in deciding:
            if node is None:
                break
            yield node, token
            children = node.key_to_child_node
            node = children.get(token) or children.get(PARAMETER)
        yield node, ""

    def _root(self, cluster: Cluster) -> None:
        """Let drain3 find *cluster* its place."""
        self.births += 1
        cluster.cluster_id = self.births
        self.living[cluster.cluster_id] = cluster
        tokens = cluster.log_template_tokens
        strangers = [
            (node, token)
            for node, token in self._way(tokens)
            if node is not None and PARAMETER in node.key_to_child_node and token not in node.key_to_child_node
        ]
        self._drain.add_seq_to_prefix_tree(self._drain.root_node, cluster)
        for node, token in strangers:
            if token in node.key_to_child_node:  # lines with this word went the way of parameters until now
                self._touch_below(node.key_to_child_node[PARAMETER])
        *_, (leaf_node, _) = self._way(tokens)
        leaf_node.cluster_ids = []  # the leaf knows them
        cluster.leaf = self._leaves.setdefault(leaf_node, Leaf())
        cluster.leaf.clusters.append(cluster)
        self._touch(cluster.leaf)

    def _touch(self, leaf: Leaf) -> None:
        self._stamps += 1
        leaf.stamp = self._stamps

    def _touch_below(self, node: Any) -> None:
        leaf = self._leaves.get(node)
        if leaf is not None:
            self._touch(leaf)
        for child in node.key_to_child_node.values():
            self._touch_below(child)


def _birth(cluster: Cluster) -> int:
    return cluster.cluster_id


def _best(clusters: list[Cluster], tokens: Sequence[str]) -> Cluster | None:
    """
    The most similar cluster, if it is similar enough.

    Words that are equal count; where the template has a parameter, nothing does. Among equals the more general wins.
    """
    best, best_equal, best_parameters = None, -1, -1
    for cluster in clusters:
        equal = sum(map(eq, cluster.log_template_tokens, tokens))
        if equal > best_equal or (equal == best_equal and cluster.parameters > best_parameters):
            best, best_equal, best_parameters = cluster, equal, cluster.parameters
    return best if not tokens or best_equal / len(tokens) >= SIMILARITY else None


def _drain() -> Drain:
    # imported here: 10 MB and 0.14 s that the first answer on /metrics need not wait for
    from drain3.drain import Drain  # noqa: PLC0415

    return Drain(depth=DEPTH, sim_th=SIMILARITY, max_children=MAX_CHILDREN, param_str=PARAMETER)


def template_id(template: str, severity: LogSeverity, log_class: str) -> str:
    """Twelve hex digits, the same on every node and after every restart."""
    content = f"{severity}\n{log_class}\n{template}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=6).hexdigest()
