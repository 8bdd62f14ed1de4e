"""Docker's and the CRI's lines become what the container wrote."""

from __future__ import annotations

import json

import pytest

from aiops.collect.container_format import Unwrapped, Unwrapper, Wrapping

NOW_S = 1_795_478_400.0
TIME = "2026-11-24T00:00:00.123456789Z"


def docker(text: str, stream: str = "stdout", time: str = TIME) -> bytes:
    return json.dumps({"log": text, "stream": stream, "time": time}).encode()


def cri(text: str, tag: str = "F", stream: str = "stdout", time: str = TIME) -> bytes:
    return f"{time} {stream} {tag} {text}".encode()


def unwrap(*lines: bytes, wrapping: Wrapping = Wrapping.AUTO) -> list[Unwrapped]:
    unwrapper = Unwrapper(wrapping)
    return [unwrapped for line in lines for unwrapped in unwrapper.add(line, NOW_S)]


@pytest.mark.parametrize(
    "line", [docker("it's \x1b[1mup\u001b[0m\n", "stderr"), cri("it's \x1b[1mup\x1b[0m", stream="stderr")]
)
def test_a_wrapped_line_is_text_stream_and_time(line: bytes) -> None:
    """Signatures and masks want the words, not the wrapping."""
    (found,) = unwrap(line)

    assert found.text == "it's \x1b[1mup\x1b[0m"
    assert found.stream == "stderr"
    assert found.at_s == pytest.approx(NOW_S + 0.123456)


def test_a_time_of_another_zone_is_understood() -> None:
    """containerd writes local time with its offset."""
    (found,) = unwrap(cri("x", time="2026-11-24T01:00:00.5+01:00"))

    assert found.at_s == NOW_S + 0.5


@pytest.mark.parametrize(
    "lines",
    [
        [docker("one "), docker("and "), docker("the same\n")],
        [cri("one ", "P"), cri("and ", "P"), cri("the same", "F")],
        [cri("one ", "P"), cri("other", "F", "stderr"), cri("and the same", "F")],
    ],
    ids=["docker", "cri", "two streams"],
)
def test_parts_of_a_long_line_are_put_together(lines: list[bytes]) -> None:
    """Runtimes cut at 16 KiB, in the middle of a word."""
    assert "one and the same" in [found.text for found in unwrap(*lines)]


def test_a_part_without_an_end_is_given_out_after_a_while() -> None:
    """The container was killed in the middle of its line."""
    unwrapper = Unwrapper()
    assert list(unwrapper.add(docker("half"), NOW_S)) == []
    assert not unwrapper.is_idle
    assert list(unwrapper.flush(NOW_S + 1.0)) == []

    assert [found.text for found in unwrapper.flush(NOW_S + 2.0)] == ["half"]
    assert unwrapper.is_idle


def test_endless_parts_are_bounded_and_marked() -> None:
    """A megabyte in one line, sixteen kilobytes at a time."""
    (found,) = unwrap(*[cri("x" * 16_384, "P")] * 100, cri("end", "F"))

    assert len(found.text) == 65_536
    assert found.truncated


def test_plain_lines_are_left_as_they_are() -> None:
    """Most logs are."""
    lines = [b"INFO start", b'{"log": 5}', b"{not json", b"\xff", b"2026-11-24T00:00:00 stdout of the child", b""]

    assert [found.text for found in unwrap(*lines)] == [line.decode("utf-8", "replace") for line in lines]


def test_odd_lines_in_a_wrapped_file_are_passed_on() -> None:
    """A crash of the runtime leaves half an object."""
    odd = [b'{"log":"half', b"text", docker("x\n", "neither"), b'{"log":"\\ud800\\n","stream":"stdout","time":"never"}']
    found = unwrap(docker("first\n"), *odd, docker("last\n"))

    assert [each.text for each in found][0::5] == ["first", "last"]
    assert len(found) == 6


def test_a_plain_file_is_plain_for_good_until_another_takes_its_place() -> None:
    """A user's text that looks like a container's line must not be given another time or stream."""
    unwrapper = Unwrapper()
    for _ in range(20):
        list(unwrapper.add(b"text", NOW_S))
    assert unwrapper.wrapping is Wrapping.PLAIN
    assert [found.text for found in unwrapper.add(cri("x"), NOW_S)] == [cri("x").decode()]

    unwrapper.begin()

    assert [found.text for found in unwrapper.add(cri("x"), NOW_S)] == ["x"]


def test_a_person_may_say_how_lines_are_wrapped() -> None:
    """What is forced is not guessed."""
    assert unwrap(docker("x\n"), wrapping=Wrapping.PLAIN)[0].text == docker("x\n").decode()
    assert [found.text for found in unwrap(*[b"text"] * 30, cri("x"), wrapping=Wrapping.CRI)][-1] == "x"
