from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from aiops.logs.path import LogPath
from aiops.model import Labels, LogRecord, NewsKind
from aiops.rulebook.signatures import load_signatures
from aiops.selfstat import SelfStat

SIGNATURES = load_signatures([Path(__file__).parents[3] / "rules"])
WEEK_S = 7 * 86_400.0
LABELS = Labels.of(source="engine.log")
WORDS = ["router", "cache", "block", "moved", "worker", "queue", "batch", "token", "full", "slow"]


class Daemon:
    """A log path over a state folder, as the daemon has it."""

    def __init__(self, folder: Path) -> None:
        self.stat = SelfStat(CollectorRegistry())
        self.path = LogPath("n1", SIGNATURES, self.stat, folder / "templates")
        self.path.load()

    def feed(self, *lines: str, at_s: float = 1_000.0) -> None:
        self.path.feed([LogRecord(at_s, LABELS, line) for line in lines])

    def templates(self) -> dict[str, str]:
        return {t.id: t.template for t in self.path.templates(0.0, 1e9)}

    def snapshots(self, result: str) -> float:
        return self.stat.registry.get_sample_value("aiops_log_snapshots_total", {"result": result}) or 0.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def varied(seed: int, count: int) -> Iterator[str]:
    rng = random.Random(seed)
    for _ in range(count):
        head = rng.choice(["INFO engine", "WARNING engine", "ERROR core"])
        words = " ".join(rng.choice(WORDS) for _ in range(rng.randint(8, 12)))
        yield f"{head} {words} {rng.randint(0, 9_999)} gpu{rng.randint(0, 9)} ssh{rng.randint(1, 3)}"


def ids_of(daemon: Daemon, lines: list[str]) -> list[str]:
    """The template of each line."""
    ids = []
    for number, line in enumerate(lines):
        at_s = 100_000.0 + 100 * number
        daemon.feed(line, at_s=at_s)
        (found,) = daemon.path.templates(at_s, at_s + 1)
        ids.append(found.id)
    return ids


def test_the_same_lines_have_the_same_ids_after_a_restart(folder: Path):
    """History, other nodes and people refer to them."""
    lines = list(varied(1, 400))
    first = Daemon(folder)
    first.feed(*lines)
    expected = ids_of(first, lines)
    first.path.save(2_000.0, WEEK_S)

    second = Daemon(folder)
    shuffled = list(enumerate(lines))
    random.Random(2).shuffle(shuffled)
    found = ids_of(second, [line for _, line in shuffled])

    assert found == [expected[number] for number, _ in shuffled]


def test_a_general_template_stays_general(folder: Path):
    """What many lines taught must not be learned again."""
    names = ["alpha", "beta", "gamma"]
    lines = [f"lost the connection to worker {name} of the router today" for name in names]
    first = Daemon(folder)
    first.feed(*lines)
    (before,) = first.templates().items()
    first.path.save(2_000.0, WEEK_S)
    second = Daemon(folder)
    second.feed("lost the connection to worker delta of the router today")

    assert list(second.templates().items()) == [before]
    assert before[1] == "lost the connection to worker <*> of the router today"


def test_what_one_line_alone_said_is_not_on_the_disk(folder: Path):
    """A template seen once is the line, and may be somebody's prompt; its id finds it again all the same."""
    first = Daemon(folder)
    first.feed(*["please tell me about CANARY and nothing else"] * 30)
    first.path.save(2_000.0, WEEK_S)

    for file in folder.iterdir():
        assert b"CANARY" not in file.read_bytes()
    second = Daemon(folder)
    second.feed("please tell me about CANARIES and nothing else")  # would have joined it
    second.feed("please tell me about CANARY and nothing else")
    assert first.templates().keys() <= second.templates().keys()


def test_a_restart_does_not_make_everything_new(folder: Path):
    """Else each upgrade would fill the next incident with news."""
    routine = [f"INFO step {i % 7 * 'x '}done" for i in range(200)]
    first = Daemon(folder)
    first.feed(*routine, at_s=1_000.0)
    first.path.save(2_000.0, WEEK_S)
    second = Daemon(folder)
    second.feed(*routine, "WARNING the sky is falling upon us", at_s=90_000.0)

    found = {t.template: t.news for t in second.path.templates(89_000.0, 91_000.0)}
    (news,) = [news for news in found.values() if news is not None]
    assert news.kind is NewsKind.NEW
    assert found["WARNING the sky is falling upon us"] is news


def test_distinct_lines_are_not_counted_twice_over_restarts(folder: Path):
    """One prompt in a log that is read again after each of twenty restarts must not become publishable."""
    for _ in range(25):
        daemon = Daemon(folder)
        daemon.feed("please do tell me all about my illness", "please do tell me all about our illness")
        daemon.path.save(2_000.0, WEEK_S)

    (template,) = daemon.path.templates(0.0, 1e9)
    assert template.distinct == 2


def test_twenty_distinct_lines_stay_twenty(folder: Path):
    """What was fit to leave the host still is."""
    first = Daemon(folder)
    first.feed(*[f"by the policy of today {chr(97 + i) * 4} was throttled" for i in range(26)])
    first.path.save(2_000.0, WEEK_S)
    second = Daemon(folder)
    second.feed("by the policy of today zzzz was throttled")

    (template,) = second.path.templates(0.0, 1e9)
    assert (template.distinct, template.count) == (20, 1)


def test_templates_not_met_for_a_week_are_forgotten(folder: Path):
    """State follows its retention."""
    daemon = Daemon(folder)
    daemon.feed("an old line of mine", "an old line of yours", at_s=1_000.0)
    daemon.feed("a new line", at_s=1_000.0 + WEEK_S)
    daemon.path.save(1_001.0 + WEEK_S, WEEK_S)

    assert [cluster.template for cluster in daemon.path._clusters] == ["a new line"]
    assert len(daemon.path._ledger) == 1
    again = Daemon(folder)
    assert list(again.path._ledger.saved()) != []
    again.feed("something else")
    again.path.save(1_000.0 + 9 * WEEK_S, WEEK_S)
    assert [saved.last_at_s for saved in Daemon(folder).path._ledger.saved()] == []


@pytest.mark.parametrize("content", [b"", b"aiops-templates 1 5 abc\nhello", b"\x80\x04cos\nsystem\n.", b"\x00" * 500])
def test_a_damaged_snapshot_is_learned_anew(folder: Path, content: bytes):
    """A lost memory is no reason not to watch."""
    (folder / "templates").write_bytes(content)
    daemon = Daemon(folder)
    daemon.feed("ERROR something happened")
    daemon.path.save(2_000.0, WEEK_S)

    assert daemon.snapshots("damaged") == 1
    assert (folder / "templates.damaged").read_bytes() == content
    assert Daemon(folder).snapshots("damaged") == 0


def test_nothing_is_written_while_nothing_changed(folder: Path):
    """A quiet node must not wear its disk."""
    daemon = Daemon(folder)
    daemon.path.save(1_000.0, WEEK_S)
    assert list(folder.iterdir()) == []

    daemon.feed("INFO all is well 1")
    daemon.path.save(1_001.0, WEEK_S)
    daemon.feed("INFO all is well 2")
    daemon.path.save(1_200.0, WEEK_S)
    assert daemon.snapshots("ok") == 1

    daemon.path.save(4_700.0, WEEK_S)  # when it was last met is worth an hour's write
    assert daemon.snapshots("ok") == 2


def test_a_full_disk_is_counted_each_time_and_watching_goes_on(folder: Path):
    """The log path must survive what it reports."""
    daemon = Daemon(folder)
    (folder / "templates.part").mkdir()
    for now_s in (1_000.0, 1_200.0):
        daemon.feed(f"ERROR something {'x ' * int(now_s // 100)}happened")
        daemon.path.save(now_s, WEEK_S)

    assert daemon.snapshots("failed") == 2
    (folder / "templates.part").rmdir()
    daemon.path.save(1_400.0, WEEK_S)
    assert daemon.snapshots("ok") == 1


def test_a_path_without_a_place_keeps_nothing():
    """As offline commands and benches use it."""
    path = LogPath("n1", (), SelfStat(CollectorRegistry()))
    path.load()
    path.feed([LogRecord(1.0, LABELS, "a line")])
    path.save(5_000.0, WEEK_S)

    assert len(path.templates(0.0, 10.0)) == 1
