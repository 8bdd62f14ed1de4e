"""Templates by notes answer as the log path itself, and say no more than may leave the host."""

from __future__ import annotations

import random
from dataclasses import replace

from prometheus_client import CollectorRegistry

from aiops.logs.notes import NotedTemplates
from aiops.logs.path import LogPath
from aiops.model import Labels, LogRecord, to_json
from aiops.rulebook.places import shipped_rules
from aiops.rulebook.signatures import load_signatures
from aiops.selfstat import SelfStat

SIGNATURES = load_signatures([shipped_rules()])
LABELS = Labels.of(source="a.log")
WORDS = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "omikron",
    "pi",
    "rho",
    "sigma",
    "tau",
    "phi",
    "chi",
    "psi",
]


def lines(second: int, rng: random.Random) -> list[str]:
    found = [f"INFO [a.py:1] Added request {second}"] * rng.randrange(3)
    if second % 7 == 0:
        found.append(f"ERROR [b.py:2] CUDA out of memory. Tried to allocate {second} MiB")
    if second > 200:
        found.append(f"ERROR [c.py:3] the shard of {rng.choice(WORDS)} was lost")
    return found


def test_notes_give_the_same_templates_as_the_lines_did():
    """Whatever is asked, whenever: counts, news, onsets, values; only texts of few wordings are held back."""
    rng = random.Random(3)
    path = LogPath("n1", SIGNATURES, SelfStat(CollectorRegistry()))
    noted = NotedTemplates()
    for second in range(400):
        path.feed([LogRecord(1_000.0 + second, LABELS, line) for line in lines(second, rng)])
        if second == 50:
            path.begin_notes()
        noted.take(path.notes())
        if second >= 50 and second % 10 == 0:
            now_s = 1_000.0 + second
            for start_s in (now_s - 300.0, now_s - 30.0):
                live = path.templates(start_s, now_s)
                assert [_shown(t) for t in noted.templates(start_s, now_s)] == [_shown(t) for t in live]
    assert any(template.news for template in noted.templates(1_000.0, 1_400.0))
    assert any(template.distinct == 20 and template.template for template in noted.templates(1_000.0, 1_400.0))


def _shown(template):
    return template if template.distinct >= 20 else replace(template, template="")


def test_a_text_is_noted_once_twenty_different_lines_share_it():
    """Until then it may be somebody's own words."""
    path = LogPath("n1", SIGNATURES, SelfStat(CollectorRegistry()))
    path.begin_notes()
    said = b""
    for number, word in enumerate(WORDS[:20]):
        path.feed([LogRecord(1_000.0, LABELS, f"ERROR [c.py:3] the secret of {word} was lost")])
        if number < 19:
            said += to_json(path.notes())
    assert b"secret" not in said
    assert b'"distinct":19' in said
    assert b"secret" in to_json(path.notes())


def test_nothing_is_noted_while_nobody_records():
    """Notes cost memory."""
    path = LogPath("n1", SIGNATURES, SelfStat(CollectorRegistry()))
    path.feed([LogRecord(1_000.0, LABELS, "ERROR [c.py:3] lost")])
    assert path.notes() == ()
    path.begin_notes()
    assert [note.buckets for note in path.notes()] == [((100, 1),)]
    assert path.notes() == []
    path.end_notes()
    assert path.notes() == ()
