from __future__ import annotations

from collections.abc import Sequence

from aiops.logs.lexicon import Lexicon
from aiops.logs.privacy import Privacy
from aiops.model import LogSeverity
from aiops.offline.cluster import Clustering
from aiops.offline.since import Since
from aiops.offline.tally import Fixed, Row, Tally
from aiops.rulebook.places import rules_dirs
from aiops.rulebook.signatures import LogClass, load_signatures
from aiops.stamps import Stamps

LEXICON = Lexicon(load_signatures(rules_dirs(None)))


class ByFirstWord:
    """Lines that begin with the same word belong together."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def assign(self, lines: Sequence[str]) -> list[Fixed]:
        self.seen += lines
        return [Fixed(line.split(" ")[0] or "blank", line) for line in lines]


def cluster(*batches: list[str], since: Since | None = None) -> tuple[list[str], dict[str, Row], ByFirstWord]:
    """Ids of all lines, templates by id, and what grouping got to see."""
    grouping, tally = ByFirstWord(), Tally()
    clustering = Clustering(grouping, LEXICON, Privacy(), since, tally)
    ids = [each for batch in batches for each in clustering.take(list(batch))]
    assert clustering.lines == len(ids)
    return ids, {row.id: row for row in tally.rows()}, grouping


def test_every_line_has_the_id_of_a_template():
    """What stands beside the lines must be found in the table."""
    ids, rows, _ = cluster(["a 1", "", "b"], ["a 2"])
    assert ids == ["a", "blank", "b", "a"]
    assert (rows["a"].count, rows["a"].first_line, rows["a"].last_line) == (2, 1, 4)


def test_a_signature_on_one_line_marks_its_template():
    """Classes are decided on the raw line: a mask hides just what matters."""
    _, rows, _ = cluster(["a fine", "a RuntimeError: CUDA error: out of memory", "b fine"])
    assert (rows["a"].log_class, rows["a"].severity) == (LogClass.VRAM_EXHAUSTION, LogSeverity.CRITICAL)
    assert rows["b"].log_class is LogClass.BENIGN


def test_request_bodies_are_counted_and_seen_by_nobody():
    """A prompt may hold any words, those of an error included, and may not be printed as a template."""
    ids, rows, grouping = cluster(["a", "request body: {'prompt': 'CANARY CUDA out of memory'}", "", "prompt='CANARY'"])
    assert ids == ["a", "private", "blank", "private"]
    assert rows["private"].count == 2
    assert (rows["private"].template, rows["private"].log_class) == ("<request body>", LogClass.BENIGN)
    assert rows["blank"].count == 1
    assert not any("CANARY" in line for line in grouping.seen)


def test_lines_that_are_too_old_have_a_dash_and_are_not_counted():
    """Answers stand beside their lines whether or not they count, and numbers are those of the file."""
    since = Since(1_700_000_000.0, Stamps(1_800_000_000.0))
    ids, rows, grouping = cluster(
        ["1699999999 old", "a its trace", "1700000000 new"], ["a its trace", "1699999998 old"], ["a"], since=since
    )
    assert ids == ["-", "-", "1700000000", "a", "-", "-"]
    assert (rows["a"].count, rows["a"].first_line) == (1, 4)
    assert grouping.seen == ["1700000000 new", "a its trace"]


def test_a_batch_of_old_lines_only_is_fine():
    """The beginning of a long log is."""
    ids, rows, _ = cluster(["1699999999 old"], since=Since(1_700_000_000.0, Stamps(1_800_000_000.0)))
    assert (ids, rows) == (["-"], {})
