"""Answers that broke off, by nginx's error log: which of its lines tell of one, and that each counts once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.collect.access_broken import Broken, BrokenAnswers, broken_of
from aiops.collect.access_entry import Entry
from aiops.collect.access_log import Config, build
from aiops.collect.access_refusal import Refusal
from aiops.collect.access_service import Service
from aiops.collect.addresses import read_addresses
from aiops.collect.error_log import ErrorLogs
from aiops.model import NOBODY, Outcome, Sight
from tests.worlds import make_world

NOW_S = 1_800_000_000.0
"""At a full minute."""
CLOSED = "upstream prematurely closed connection"


def line(
    what: str = CLOSED,
    doing: str = "reading upstream",
    *,
    request: str = "POST /v1/completions HTTP/1.1",
    upstream: str = "http://10.0.0.5:8001/v1/completions",
    beside: str = "",
) -> bytes:
    text = (
        f"2027/01/15 08:00:02 [error] 12#12: *34 {what} while {doing}, client: 10.9.8.7, server: _, "
        f'request: "{request}"{beside}, upstream: "{upstream}", host: "chat"'
    )
    return text.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    ("written", "upstream", "path", "refusal"),
    [
        (line(), "10.0.0.5:8001", "/v1/completions", Refusal.RESET),
        (line("recv() failed (104: Connection reset by peer)"), "10.0.0.5:8001", "/v1/completions", Refusal.RESET),
        (line("readv() failed (104: Connection reset by peer)"), "10.0.0.5:8001", "/v1/completions", Refusal.RESET),
        (line("upstream timed out (110: Connection timed out)"), "10.0.0.5:8001", "/v1/completions", Refusal.TIMEOUT),
        (line("upstream timed out (110: Operation timed out)"), "10.0.0.5:8001", "/v1/completions", Refusal.TIMEOUT),
        (line("upstream sent invalid chunked response"), "10.0.0.5:8001", "/v1/completions", Refusal.RESET),
        (
            line("SSL_read() failed (SSL: error:0A000126:SSL routines::unexpected eof while reading)"),
            "10.0.0.5:8001", "/v1/completions", Refusal.RESET,
        ),
        (line(doing="sending to client"), "10.0.0.5:8001", "/v1/completions", Refusal.RESET),
        (line(request="GET /a?key=secret HTTP/2.0"), "10.0.0.5:8001", "/a", Refusal.RESET),
        (line(upstream="https://[fd00::5]:8001/v1"), "[fd00::5]:8001", "/v1/completions", Refusal.RESET),
        (line(upstream="http://unix:/run/a.sock:/v1"), "unix:/run/a.sock", "/v1/completions", Refusal.RESET),
        (
            line(request='GET /",upstream:"http://1.2.3.4:5/ HTTP/1.1'),
            "10.0.0.5:8001", '/",upstream:"http://1.2.3.4:5/', Refusal.RESET,
        ),
    ],
)  # fmt: skip
def test_a_line_about_an_answer_that_had_begun_is_one(written: bytes, upstream: str, path: str, refusal: Refusal):
    """Users hold half an answer, and the access log says 200."""
    assert broken_of(written) == Broken(upstream, path, refusal, 2)


@pytest.mark.parametrize(
    "written",
    [
        line(doing="reading response header from upstream"),
        line("connect() failed (111: Connection refused)", "connecting to upstream"),
        line("recv() failed (104: Connection reset by peer)", "sending to client"),
        line("recv() failed (104: Connection reset by peer)", "proxying upgraded connection"),
        line("an upstream response is buffered to a temporary file /tmp/1"),
        line('upstream sent more data than specified in "Content-Length" header'),
        line(beside=', subrequest: "/mirror"'),
        line(request=f"GET /{'a' * 2_048} HTTP/1.1"),
        line(upstream=f"http://{'a' * 300}/"),
        line(upstream="http://10.0.0.5:8001\x1b[31m/"),
        line("open() failed (2: No such file)", "opening", request=f"GET /{CLOSED} while reading upstream, HTTP/1.1"),
        b" while reading upstream, ",
        line()[:180],
    ],
)  # fmt: skip
def test_no_other_line_is(written: bytes):
    """A 502 is in the access log; a client chooses what it asks for; what a mirror answers reaches nobody."""
    assert broken_of(written) is None


@given(st.binary(max_size=300), st.integers(0, 200))
def test_whatever_stands_in_a_line_nothing_breaks(rubbish: bytes, place: int):
    """Disks fill up amid a line."""
    written = line()
    found = broken_of(written[:place] + rubbish + written[place:])

    assert found is None or len(found.upstream) <= 256


def entry(upstream: str = "10.0.0.5:8001", at_s: float = NOW_S + 2.5, **values: object) -> Entry:
    told = {"status": 200, "by_upstream": True, "path": "/v1/completions", "completed": True} | values
    return Entry(
        at_s=at_s, duration_s=1.0, first_byte_s=0.1, upstream=upstream, agent="", retry=0, refusal=None, model="",
        request_id="", **told,
    )  # fmt: skip


BROKEN = Broken("10.0.0.5:8001", "/v1/completions", Refusal.RESET, 2)


def met(each: Entry) -> bool:
    """Whether a waiting broken answer is taken for *each*."""
    waiting = BrokenAnswers()
    waiting.add(BROKEN, "chat", NOW_S + 3.0)
    found = waiting.met(each)
    left = list(waiting.overdue(NOW_S + 9.0))
    assert (found.refusal is not None) == (not left)
    assert not list(waiting.overdue(NOW_S + 9.0))
    return not left


@pytest.mark.parametrize(
    ("each", "is_it"),
    [
        (entry(), True),
        (entry(completed=False), True),
        (entry(at_s=NOW_S + 9.0), True),  # the client took its time with what there was
        (entry(at_s=NOW_S + 1.9), False),
        (entry("10.0.0.5:8002"), False),
        (entry(status=502), False),
        (entry(NOBODY, by_upstream=None), True),
        (entry(NOBODY, by_upstream=None, path="/style.css"), False),
        (entry(NOBODY, by_upstream=False), False),
    ],
)
def test_the_access_logs_line_of_the_same_answer_is_taken_for_it(each: Entry, is_it: bool):
    """Then the line does not count again; where none comes it counts by itself."""
    assert met(each) is is_it


def test_an_answer_that_is_met_is_cut_off_by_its_upstream():
    """Also in a log that names no upstream."""
    waiting = BrokenAnswers()
    waiting.add(BROKEN, "chat", NOW_S + 3.0)

    found = waiting.met(entry(NOBODY, by_upstream=None))

    assert (found.upstream, found.by_upstream, found.completed) == ("10.0.0.5:8001", True, False)
    assert waiting.met(entry()) == entry()


def test_a_line_that_comes_after_its_answer_counted_does_not_count_again():
    """An access log with a buffer is written when that is full: at one request a second, minutes later."""
    waiting = BrokenAnswers()
    waiting.add(BROKEN, "chat", NOW_S + 3.0)
    counted = [broken for _, broken, _ in waiting.overdue(NOW_S + 9.0)]
    later_s = NOW_S + 70.0

    assert counted == [BROKEN]
    assert not waiting.was_counted(entry("10.0.0.5:8002"), later_s)
    assert not waiting.was_counted(entry(at_s=NOW_S + 60.0), later_s)
    assert not waiting.was_counted(entry(status=502), later_s)
    assert waiting.was_counted(entry(), later_s)
    assert not waiting.was_counted(entry(), later_s)


def test_what_counted_by_itself_is_remembered_within_bounds():
    """Clients choose the paths."""
    waiting = BrokenAnswers()
    for number in range(5_000):
        waiting.add(Broken("10.0.0.5:8001", f"/{number}", Refusal.RESET, 2), "chat", NOW_S)
    assert len(list(waiting.overdue(NOW_S + 9.0))) == 5_000

    assert len(waiting._counted) <= 256
    assert max(map(len, waiting._counted.values())) <= 256


def test_what_was_written_while_nobody_looked_does_not_count_as_of_now():
    """A restart would show a spike that was long ago."""
    waiting = BrokenAnswers()
    waiting.add(BROKEN, "chat", NOW_S, is_dated=False)

    assert list(waiting.overdue(NOW_S + 9.0)) == []


def test_in_a_flood_the_oldest_count_at_once_and_no_more_is_held():
    """A gateway writes tens of thousands of such lines a second when all of its upstreams are gone."""
    waiting = BrokenAnswers()
    for number in range(10_000):
        waiting.add(Broken(f"10.0.0.5:{number}", f"/{number}", Refusal.RESET, 2), "chat", NOW_S)

    assert len(list(waiting.overdue(NOW_S + 1.0))) == 10_000 - 4_096
    assert len(list(waiting.overdue(NOW_S + 9.0))) == 4_096
    assert waiting._by_key == {}


@pytest.mark.parametrize(
    ("named", "asks"), [((), True), ((NOBODY,), True), (("10.0.0.5:8001",), True), (("10.0.0.5:8002", NOBODY), False)]
)
def test_by_itself_an_answer_counts_for_those_who_ask_its_upstream(tmp_path: Path, named: tuple[str, ...], asks: bool):
    """nginx writes one error log for all of its sites, and some have no access log: a dashboard's are not the chat's."""
    service = Service("node", "chat", read_addresses(tmp_path, "node"))
    for upstream in named:
        service.take(entry(upstream), NOW_S, Outcome.OK)

    assert service.asks(BROKEN.upstream) is asks


def test_error_logs_are_found_beside_access_logs_and_by_the_configuration(tmp_path: Path):
    """Nobody names them."""
    folder = tmp_path / "var/log/nginx"
    folder.mkdir(parents=True)
    for name in ("chat-access.log", "chat-error.log", "error.log", "named.log", "other.log"):
        (folder / name).touch()
    (tmp_path / "etc/nginx").mkdir(parents=True)
    (tmp_path / "etc/nginx/nginx.conf").write_text(
        "error_log stderr; error_log /dev/null; error_log syslog:server=10.0.0.1;\n"
        "http { error_log /var/log/nginx/named.log warn; server { error_log /var/log/nginx/none.log; } }"
    )

    collector = build(Config(), make_world(root=tmp_path))
    sights = [seen.subject for seen in collector.collect(NOW_S) if isinstance(seen, Sight)]

    assert sorted(subject for subject in sights if subject.startswith("error log")) == [
        f"error log {folder}/{name}" for name in ("chat-error.log", "error.log", "named.log")
    ]
    assert not [
        seen
        for seen in build(Config(discover=False), make_world(root=tmp_path)).collect(NOW_S)
        if isinstance(seen, Sight) and seen.subject.startswith("error log")
    ]


def test_an_error_log_goes_with_its_access_log(tmp_path: Path):
    """Names with a date in them would fill all places within weeks, and a new log would be read by nobody."""
    logs, waiting = ErrorLogs(make_world().checkpoints), BrokenAnswers()
    for day in range(20):
        access, error = tmp_path / f"access-{day}.log", tmp_path / f"error-{day}.log"
        access.touch()
        error.touch()
        logs.look({str(access): "chat"}, (), is_new=True)

    error.write_bytes(line() + b"\n")
    list(logs.read(waiting, NOW_S))

    assert [broken for _, broken, _ in waiting.overdue(NOW_S + 9.0)] == [BROKEN]


def test_a_link_that_points_to_another_error_log_now_is_followed_once(tmp_path: Path):
    """cronolog begins a file a day behind one name; twice followed, each answer would count twice."""
    (tmp_path / "access.log").touch()
    for day in ("monday", "tuesday"):
        (tmp_path / day).touch()
    (tmp_path / "error.log").symlink_to(tmp_path / "monday")
    logs, waiting = ErrorLogs(make_world().checkpoints), BrokenAnswers()
    access_logs = {str(tmp_path / "access.log"): "chat"}
    logs.look(access_logs, (), is_new=False)
    list(logs.read(waiting, NOW_S))

    (tmp_path / "error.log").unlink()
    (tmp_path / "error.log").symlink_to(tmp_path / "tuesday")
    logs.look(access_logs, (), is_new=True)
    (tmp_path / "tuesday").write_bytes(line() + b"\n")
    for seconds in range(1, 100, 10):
        list(logs.read(waiting, NOW_S + seconds))

    assert [broken for _, broken, _ in waiting.overdue(NOW_S + 200.0)] == [BROKEN]


def test_a_flood_in_every_error_log_is_read_in_several_rounds(tmp_path: Path):
    """What waits for the access log is held in memory."""
    access_logs = {}
    for number in range(8):
        (tmp_path / f"{number}-error.log").touch()
        access_logs[str(tmp_path / f"{number}-access.log")] = "chat"
    logs, waiting = ErrorLogs(make_world().checkpoints), BrokenAnswers()
    logs.look(access_logs, (), is_new=False)
    list(logs.read(waiting, NOW_S))
    count = 2_000_000 // len(line())
    for number in range(8):
        (tmp_path / f"{number}-error.log").write_bytes((line() + b"\n") * count)

    list(logs.read(waiting, NOW_S + 1.0))
    held = len(waiting._waiting)
    for seconds in range(2, 10):
        list(logs.read(waiting, NOW_S + seconds))

    assert 0 < held * len(line()) <= 8 * 2**20
    assert len(waiting._waiting) == 8 * count
