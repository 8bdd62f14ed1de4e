"""What stays of a line: values, news, headlines; and what hostile lines cost."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from aiops.logs.path import LogPath
from aiops.model import Labels, LogRecord, LogTemplate, NewsKind
from aiops.rulebook.signatures import load_signatures
from aiops.selfstat import SelfStat

SIGNATURES = load_signatures([Path(__file__).parents[3] / "rules"])
LABELS = Labels.of(source="engine.log")
TRACEBACK = """Traceback (most recent call last):
  File "/app/{0}.py", line 12, in step
    {0}()
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 3 has a total capacity of 80 GiB"""


@pytest.fixture
def path() -> LogPath:
    return LogPath("n1", SIGNATURES, SelfStat(CollectorRegistry()))


def feed(path: LogPath, *lines: str, at_s: float = 1_000.0) -> None:
    path.feed([LogRecord(at_s, LABELS, line) for line in lines])


def templates(path: LogPath, start_s: float = 0.0, end_s: float = 1e9) -> dict[str, LogTemplate]:
    return {t.template: t for t in path.templates(start_s, end_s)}


def test_a_traceback_is_known_by_the_line_that_says_it(path: LogPath):
    """Whatever code it came through, it is one kind of trouble."""
    feed(path, TRACEBACK.format("alpha"), TRACEBACK.format("beta"))

    (template,) = path.templates(0.0, 1e9)
    assert template.template.startswith("torch.OutOfMemoryError: CUDA out of memory.")
    assert "\n" not in template.template
    assert (template.count, template.log_class) == (2, "vram_exhaustion")


def test_one_headline_in_many_tracebacks_is_one_wording(path: LogPath):
    """Else frames would make the last line of a stranger's input publishable."""
    feed(path, *[TRACEBACK.format(chr(97 + i) * 5).replace("CUDA", "MY") for i in range(26)])

    (template,) = path.templates(0.0, 1e9)
    assert (template.count, template.distinct) == (26, 1)


def test_a_request_body_in_any_line_of_a_record_drops_it(path: LogPath):
    """A record is one thing."""
    feed(path, 'ERROR request failed\n{"messages": [{"role": "user", "content": "CANARY"}]}')

    assert path.templates(0.0, 1e9) == []


def test_values_stand_beside_the_template(path: LogPath):
    """Masks turn every Xid into one; people look up the number."""
    for xid in (13, 79):
        feed(path, f"NVRM: Xid (PCI:0000:3b:00): {xid}, pid=1234, name=python3, something happened to GPU 3")

    values = [dict(t.values) for t in path.templates(0.0, 1e9)]
    assert sorted(value for each in values for value in each["xid"]) == ["13", "79"]


def test_values_of_lines_that_no_signature_knows_are_kept_too(path: LogPath):
    """The code is half of an answer."""
    feed(path, "ERROR frobnicator gave up: errno 117", "ERROR frobnicator gave up: errno 74")

    (template,) = path.templates(0.0, 1e9)
    assert (template.log_class, template.values) == ("benign", (("errno", ("74", "117")),))


def test_digits_that_masks_leave_tell_templates_apart(path: LogPath):
    """What one line in a cache said must not be taken for another's."""
    for i in (6, 1, 6, 1):
        feed(path, f"INFO link ge{i} is up")

    assert {name: t.count for name, t in templates(path).items()} == {
        "INFO link ge6 is up": 2,
        "INFO link ge1 is up": 2,
    }


def test_a_class_that_hangs_on_digits_is_asked_for_each_line(path: LogPath):
    """The cache knows lines without their digits; 200 and 503 are not the same."""
    for code in (200, 503, 200, 503, 404):
        feed(path, f'INFO:     127.0.0.1:5 - "POST /v1/completions HTTP/1.1" {code}')

    found = path.templates(0.0, 1e9)
    assert sum(t.count for t in found) == 5
    assert sum(t.count for t in found if t.log_class == "upstream_unavailable") == 2


def test_ids_stay_while_a_template_becomes_more_general(path: LogPath):
    """A link to it must not break with the next line."""
    feed(path, "WARNING could not reach the node alpha of this ring")
    ((born, _),) = [(t.id, t.template) for t in path.templates(0.0, 1e9)]
    feed(path, "WARNING could not reach the node beta of this ring")

    assert [(t.id, t.template) for t in path.templates(0.0, 1e9)] == [
        (born, "WARNING could not reach the node <*> of this ring")
    ]


def test_what_was_never_seen_before_is_news_once_the_log_is_known(path: LogPath):
    """After a start everything is new, and so nothing."""
    feed(path, *[f"INFO step {i % 7 * 'x '}done" for i in range(200)], at_s=1_000.0)
    feed(path, "WARNING the sky is falling upon us", at_s=1_500.0)

    found = templates(path, 1_400.0, 1_600.0)
    news = found["WARNING the sky is falling upon us"].news
    assert news is not None
    assert (news.kind, news.onset.by_s) == (NewsKind.NEW, 1_500.0)
    assert all(t.news is None for t in path.templates(900.0, 1_100.0))


def test_a_jump_is_news(path: LogPath):
    """A retry warning that came once a minute and comes ten times a second says something."""
    for second in range(1_000):
        feed(path, *["WARNING the queue is being retried again"] * (10 if second >= 950 else second % 60 == 0),
             at_s=1_000.0 + second)  # fmt: skip

    (template,) = path.templates(1_700.0, 2_000.0)
    assert template.news is not None
    assert (template.news.kind, template.count) == (NewsKind.MORE, 504)
    assert template.news.onset.by_s == pytest.approx(1_950.0, abs=11.0)


def test_counts_per_template_become_samples_where_they_matter(path: LogPath):
    """Trouble has a series; the routine of a healthy node has none."""
    feed(path, *["INFO all is well"] * 100, "ERROR frobnicator gave up", "No space left on device")

    counted = [s for s in path.samples(1.0) if s.metric == "log_template_records_total" and s.value]
    assert sorted(s.labels.get("log_class") for s in counted) == ["benign", "disk_full"]
    ids = {t.id for t in path.templates(0.0, 1e9) if t.log_class != "benign" or t.severity == "error"}
    assert {s.labels.get("template_id") for s in counted} == ids


HOSTILE = {
    "80 letters after x": "x " + "a" * 80 + "g",
    "a-a-": "a-" * 500_000,
    "a.a.": "a." * 500_000,
    "hexadecimal": "deadbeef" * 130_000,
    "line feeds": "a\n" * 500_000,
    "tracebacks": "Traceback (most recent call last):\n" * 28_000,
    "indented": "Traceback (most recent call last):\n" + " x\n" * 330_000,
    "digits": "1234567890" * 100_000,
    "one digit a word": "a1 " * 330_000,
    "prompt-like": "received request " * 60_000,
    "not ASCII": "\u00e9\u4e2d\U0001f600" * 120_000,
    "surrogates": "\udc80\udcff" * 500_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_line_of_a_megabyte_takes_a_tenth_of_a_second(path: LogPath, name: str):
    """One hostile line must not hold up the evaluation behind it."""
    feed(path, "warm", "Traceback (most recent call last):\nValueError: x", "é 1 prompt")
    took = []
    for _ in range(3):
        started_s = time.process_time()
        feed(path, HOSTILE[name])
        took.append(time.process_time() - started_s)

    assert min(took) < 0.1
