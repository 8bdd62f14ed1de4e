"""What the audience sees, on a terminal and in a pipe."""

import io

from aiops.demo.chat import as_chat
from aiops.demo.terminal import Moment, Terminal, box


def moment(elapsed_s: float) -> Moment:
    return Moment("healthy", elapsed_s, 13.2, 0.25, 0.0123, 2)


def test_a_terminal_rewrites_one_line_and_ends_it_before_speaking():
    """Otherwise a message starts in the middle of a half-erased line."""
    stream = io.StringIO()
    terminal = Terminal(stream, live=True)

    terminal.progress(moment(61.0))
    terminal.progress(moment(62.0))
    terminal.say("Now.")

    assert stream.getvalue().count("\r\x1b[K") == 2
    assert stream.getvalue().endswith("messages: 2\nNow.\n")


def test_a_pipe_gets_a_plain_line_every_five_seconds():
    """CI logs are read by people too."""
    stream = io.StringIO()
    terminal = Terminal(stream)

    for second in range(11):
        terminal.progress(moment(float(second)))

    lines = stream.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["0:00", "0:05", "0:10"]
    assert "503:  25 %" in lines[0]
    assert "\x1b" not in stream.getvalue()


def test_a_message_is_framed_whatever_its_lines_are_long():
    """A frame with ragged edges is unreadable."""
    text = as_chat({
        "title": "503 on chat", "paragraphs": ["word " * 60], "url": "http://127.0.0.1:1/incidents/x",
        "fields": [{"name": "Where", "value": "GPU 1"}],
    })  # fmt: skip

    framed = box(text, "chat")

    assert {len(line) for line in framed.splitlines()} == {96}
    assert "Where  GPU 1" in framed


def test_control_characters_of_a_message_do_not_reach_the_terminal():
    """A title is text from elsewhere."""
    assert "\x1b" not in as_chat({"title": "a\x1b[2Jb", "text": "c\x07"})
